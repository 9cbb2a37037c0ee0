"""What a class looks like: immutable snapshots of classes and of the whole schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from server.schema.constraints import Check, compile_checks
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
    never set (public). ``protected_fields`` maps an entity to hidden columns: those of ``clp``
    and those of the server's ``protectedFields`` option in one. ``options`` are the columns'
    options as stored (``{"stars": {"required": True}}``), unknown ones included.
    ``append_only`` comes from ``schema.json``: objects can be created and read, but nobody, the
    master key included, changes or deletes them.
    """

    name: str
    fields: Mapping[str, Field]
    clp: Mapping[str, Any] | None = None
    indexes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    append_only: bool = False
    protected_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def layout(self) -> Layout:
        """How stored documents of this class are read."""
        return Layout(self.name, self.fields)

    @cached_property
    def relations(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.fields.items() if spec.type == "Relation")

    @cached_property
    def geo_point(self) -> str | None:
        """The GeoPoint column; a class has one at most."""
        return next((n for n, spec in self.fields.items() if spec.type == "GeoPoint"), None)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.fields.items() if spec.required)

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        return {n: spec.default for n, spec in self.fields.items() if spec.default is not None}

    @cached_property
    def checks(self) -> Mapping[str, Check]:
        """The compiled constraints of the columns that have any; see `check_constraints`."""
        return compile_checks(self.fields)


@dataclass(frozen=True)
class Schema:
    """All classes at one moment; replaced whole when anything changes."""

    classes: Mapping[str, ClassSchema]

    def get(self, class_name: str) -> ClassSchema | None:
        return self.classes.get(class_name)
