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
    obj.acl = {who: {"read": True} for who in read} | {
        who: {"read": True, "write": True} for who in write
    }


def grant_parties(obj: cloud.Object, patient_user_id: str) -> None:
    """The patient, admins, and whoever works on it (any provider, as long as nobody does)."""
    provider = obj.get("provider")
    worker = provider.id if provider is not None else "role:provider"
    grant(obj, write=[patient_user_id, worker, "role:admin"])


def pointed(values: Any, class_name: str) -> list[str]:
    """The ids of an array of distinct pointers to ``class_name`` (142 when it is something else)."""
    ids = [
        value.id
        for value in values
        if isinstance(value, cloud.Object) and value.class_name == class_name
    ]
    if len(ids) != len(values) or len(set(ids)) != len(ids):
        raise invalid(f"Expected pointers to {class_name}, each once.")
    return ids
