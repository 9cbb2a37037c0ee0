"""Small questions that every rule asks: what changed, who may, which error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from server import cloud

NOT_FOUND = 101
FORBIDDEN = 119
DUPLICATE = 137
INVALID = 142

_KEPT_BY_PARSE = frozenset({"objectId", "createdAt", "updatedAt", "ACL", "className", "__type"})

# What still waits for a provider; the end of an object's way is nobody's work any more.
_OPEN = ("pending", "active", "out_for_delivery")

Moves = Mapping[str, Collection[str]]


def forbidden(message: str) -> cloud.Error:
    return cloud.Error(FORBIDDEN, message)


def invalid(message: str) -> cloud.Error:
    return cloud.Error(INVALID, message)


def changed_fields(request: cloud.Trigger) -> set[str]:
    """Names of the fields this save gives another value; `ACL` and Parse's own are left out.

    A relation's operations cannot be compared, so a relation counts as changed when it was sent.
    """
    sent = set(request.object.dirty_keys) - _KEPT_BY_PARSE
    if request.original is None:
        return sent
    after, before = request.object.to_json(), request.original.to_json()
    return {
        key for key in sent if _is_relation(after.get(key)) or after.get(key) != before.get(key)
    }


def _is_relation(value: Any) -> bool:
    return isinstance(value, dict) and (value.get("__type") == "Relation" or "__op" in value)


def only(changed: Collection[str], allowed: Collection[str], message: str) -> None:
    """Refuse a save that changes more than the ``allowed`` fields (119)."""
    if not set(changed) <= set(allowed):
        raise forbidden(message)


def must_be(request: cloud.Trigger, user_id: str) -> None:
    """Refuse everybody but this user (119): a right to write may outlive the role it came with."""
    if request.user is None or request.user.id != user_id:
        raise forbidden("This belongs to somebody else.")


def starts_as(obj: cloud.Object, status: str, *also: str) -> None:
    """A new object starts with ``status``, or one of ``also`` (142)."""
    if obj.get("status") is None:
        obj["status"] = status
    if obj["status"] not in (status, *also):
        raise invalid(f"A new {obj.class_name} starts as '{status}'.")


def check_move(request: cloud.Trigger, moves: Moves) -> tuple[str, str] | None:
    """The (old, new) status when this update moves it, `None` when it does not (142)."""
    assert request.original is not None
    old, new = request.original.get("status"), request.object.get("status")
    if old == new:
        return None
    if new not in moves.get(old, ()):
        raise invalid(f"A {request.object.class_name} cannot go from '{old}' to '{new}'.")
    return old, new


def keep(request: cloud.Trigger, *fields: str) -> None:
    """Undo what the client sent for fields that the server alone sets."""
    for field in fields:
        request.object.revert(field)


def grant(
    obj: cloud.Object,
    *,
    write: Collection[str] = (),
    read: Collection[str] = (),
) -> None:
    """Give ``obj`` exactly these rights; whatever ACL the client sent is gone.

    ``write`` (reads too) and ``read`` hold user ids, ``role:<name>`` or ``*``.
    """
    reading, writing = {"read": True}, {"read": True, "write": True}
    obj.acl = cloud.ACL(dict.fromkeys(read, reading) | dict.fromkeys(write, writing))


def grant_parties(obj: cloud.Object, patient_user_id: str) -> None:
    """The patient, admins, and whoever works on it (any provider, as long as nobody does)."""
    provider = obj.get("provider")
    writers = [patient_user_id, "role:admin"]
    if provider is not None:
        writers.append(provider.id)
    elif obj.get("status") in _OPEN:
        writers.append("role:provider")
    grant(obj, write=writers)


def pointer(obj: cloud.Object, field: str, class_name: str) -> cloud.Object | None:
    """The value of a pointer field, which a client may have filled with anything (142)."""
    value = obj.get(field)
    if value is not None and not _points_to(value, class_name):
        raise invalid(f"{field} must be a pointer to {class_name}.")
    return value


def needed(obj: cloud.Object, field: str, class_name: str) -> cloud.Object:
    """A pointer field that must have a value (142)."""
    value = pointer(obj, field, class_name)
    if value is None:
        raise invalid(f"{field} is required")
    return value


def pointed(obj: cloud.Object, field: str, class_name: str) -> list[str]:
    """The ids of an array of distinct pointers to ``class_name`` (142 when it is anything else)."""
    values = obj.get(field) or []
    if not isinstance(values, list) or not all(_points_to(value, class_name) for value in values):
        raise invalid(f"{field} must hold pointers to {class_name}.")
    ids = [value.id for value in values]
    if len(set(ids)) != len(ids):
        raise invalid(f"{field} must hold each {class_name} once.")
    return ids


def _points_to(value: Any, class_name: str) -> bool:
    # SECURITY: an id that is no text would be an operator in the queries that follow.
    is_object = isinstance(value, cloud.Object) and value.class_name == class_name
    return is_object and isinstance(value.id, str) and value.id != ""
