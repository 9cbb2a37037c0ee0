"""Class-level permissions: which operations a caller may run on a class, and on which objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.access.caller import PUBLIC, Caller
from server.errors import Code, Forbidden
from server.schema.classes import ClassSchema
from server.values import StoredDocument, pointer

_READS = frozenset(("get", "find", "count"))
NOTHING: Mapping[str, Any] = {"_id": {"$in": []}}
"""A filter that matches no document."""


def check(class_schema: ClassSchema, operation: str, caller: Caller) -> tuple[str, ...]:
    """Whether the caller may run an operation on a class.

    Args:
        operation: ``find get count create update delete addField``.
    Returns:
        The pointer-permission fields: empty when every object is within reach, else one of them
        must hold the caller (`pointer_filter`).
    Raises:
        Forbidden: 119, or 101 where the operation only requires that somebody is logged in.
    """
    clp = class_schema.clp
    if clp is None or caller.is_privileged:
        return ()
    entities: Mapping[str, Any] = clp.get(operation) or {}
    # SECURITY: only ``true`` counts, or a user with the id "pointerFields" would hold the class.
    if entities.get(PUBLIC) is True or any(entities.get(e) is True for e in caller.entities):
        return ()
    needs_login = entities.get("requiresAuthentication")
    if needs_login and caller.user_id is None:
        raise Forbidden("Permission denied, user needs to be authenticated.", Code.OBJECT_NOT_FOUND)
    fields = _pointer_fields(clp, entities, operation)
    if not fields and not needs_login:
        raise Forbidden(f"Permission denied for action {operation} on class {class_schema.name}.")
    return fields


def _pointer_fields(
    clp: Mapping[str, Any], entities: Mapping[str, Any], operation: str
) -> tuple[str, ...]:
    # An object that does not exist yet has no field that could point to the caller.
    if operation == "create":
        return ()
    shared = clp.get("readUserFields" if operation in _READS else "writeUserFields") or ()
    own = entities.get("pointerFields") or ()
    return tuple(dict.fromkeys((*shared, *own)))


def pointer_filter(
    fields: tuple[str, ...], class_schema: ClassSchema, caller: Caller
) -> Mapping[str, Any]:
    """The filter of pointer permissions: one of these fields holds the caller."""
    if caller.user_id is None:
        return NOTHING
    branches = [_holds(field, class_schema, caller.user_id) for field in fields]
    return branches[0] if len(branches) == 1 else {"$or": branches}


def _holds(name: str, class_schema: ClassSchema, user_id: str) -> dict[str, Any]:
    field = class_schema.fields.get(name)
    if field is not None and field.type == "Pointer":
        return {f"_p_{name}": f"_User${user_id}"}
    return {name: pointer("_User", user_id)}


def is_held_by(
    fields: tuple[str, ...], document: StoredDocument, class_schema: ClassSchema, caller: Caller
) -> bool:
    """`pointer_filter` for a document at hand."""
    if caller.user_id is None:
        return False
    return any(points_to(document, name, class_schema, caller.user_id) for name in fields)


def points_to(document: StoredDocument, name: str, class_schema: ClassSchema, user_id: str) -> bool:
    """Whether a Pointer column is this user, or an Array column contains it."""
    field = class_schema.fields.get(name)
    if field is not None and field.type == "Pointer":
        return bool(document.get(f"_p_{name}") == f"_User${user_id}")
    value = document.get(name)
    user = pointer("_User", user_id)
    return bool(value == user or (isinstance(value, list) and user in value))
