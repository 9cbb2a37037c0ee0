"""What a class looks like: immutable snapshots of classes and of the whole schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from server.storage.documents import Layout
from server.values import Field

DEFAULT_FIELDS: Mapping[str, Field] = {
    "objectId": Field("String"),
    "createdAt": Field("Date"),
    "updatedAt": Field("Date"),
    "ACL": Field("ACL"),
}


@dataclass(frozen=True)
class ClassSchema:
    """One class: its columns, class-level permissions and indexes.

    ``clp`` is Parse's own form as stored (``{"find": {"*": True}, ...}``), ``None`` when it was
    never set (public). ``append_only`` comes from ``schema.json``: objects can be created and
    read, but nobody, the master key included, changes or deletes them. ``protected_fields``: entity
    (``*``, ``authenticated``, ``role:X``, a user id, ``userField:f``) to the fields it must not see,
    the configured defaults included.
    """

    name: str
    fields: Mapping[str, Field]
    clp: Mapping[str, Any] | None = None
    indexes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    append_only: bool = False
    protected_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.name, self.fields)

    @cached_property
    def relations(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.fields.items() if spec.type == "Relation")

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.fields.items() if spec.required)

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        return {n: spec.default for n, spec in self.fields.items() if spec.default is not None}


@dataclass(frozen=True)
class Schema:
    """All classes at one moment; replaced whole when anything changes."""

    classes: Mapping[str, ClassSchema]

    def get(self, class_name: str) -> ClassSchema | None:
        return self.classes.get(class_name)
