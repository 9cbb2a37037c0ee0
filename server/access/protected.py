"""Protected fields: columns that a caller must neither see, nor filter or sort by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from server.access.caller import PUBLIC, Caller
from server.access.clp import points_to
from server.errors import Forbidden
from server.schema.classes import ClassSchema
from server.values import StoredDocument

_USER_FIELD = "userField:"


@dataclass(frozen=True, slots=True)
class Protection:
    """What is hidden from one caller in one class.

    ``hidden``: in every object. ``by_field``: column to the set that takes part where that column
    points to the caller; all sets that apply are intersected, so it can only show more.
    """

    hidden: frozenset[str]
    by_field: Mapping[str, frozenset[str]]
    owner_id: str | None = None

    def hidden_in(
        self, document: StoredDocument, class_schema: ClassSchema, caller: Caller
    ) -> frozenset[str]:
        """The wire names of the fields to leave out of this document."""
        if self.owner_id is not None and document.get("_id") == self.owner_id:
            return frozenset()
        hidden = self.hidden
        if self.by_field and caller.user_id is not None:
            for name, fields in self.by_field.items():
                if points_to(document, name, class_schema, caller.user_id):
                    hidden = hidden & fields
        return hidden


def protection(
    class_schema: ClassSchema, caller: Caller, *, owner_exempt: bool = True
) -> Protection | None:
    """What is hidden from the caller; ``None``: nothing.

    ``owner_exempt``: users see their own ``_User`` row whole.
    """
    rules = class_schema.protected_fields
    if not rules or caller.is_privileged:
        return None
    sets: list[frozenset[str]] = []
    by_field: dict[str, frozenset[str]] = {}
    for entity, fields in rules.items():
        if entity.startswith(_USER_FIELD):
            if caller.user_id is not None:
                by_field[entity[len(_USER_FIELD) :]] = frozenset(fields)
        elif _applies(entity, caller):
            sets.append(frozenset(fields))
    if not sets:
        return None
    hidden = frozenset.intersection(*sets)
    if not hidden:
        return None
    owner = caller.user_id if owner_exempt and class_schema.name == "_User" else None
    return Protection(hidden, by_field, owner)


def _applies(entity: str, caller: Caller) -> bool:
    if entity == PUBLIC:
        return True
    if caller.user_id is None:
        return False
    return entity == "authenticated" or entity in caller.entities


def check_usable(
    names: list[str], protected: Protection, class_name: str, *, action: str = "query"
) -> None:
    """Refuse a filter (``query``) or an order (``sort by``) over hidden fields (119)."""
    for name in names:
        root = name.partition(".")[0]
        if root in protected.hidden:
            raise Forbidden(f"This user is not allowed to {action} {root} on class {class_name}")
