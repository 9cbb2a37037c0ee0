"""Bodies of writes around hooks: what they make of an object, and what hooks made of them."""

from __future__ import annotations

from typing import Any

from server.storage.documents import is_number
from server.values import WireObject


def apply_body(original: WireObject, body: WireObject) -> WireObject:
    """An object with a body's changes, as hooks see it before the database does.

    An operation that does not fit its value changes nothing here; it is refused after the hook.
    """
    current = dict(original)
    for name, value in body.items():
        if "." in name:
            continue
        if not (isinstance(value, dict) and "__op" in value):
            current[name] = value
        elif value["__op"] == "Delete":
            current.pop(name, None)
        elif value["__op"] == "Increment":
            amount, before = value.get("amount"), current.get(name, 0)
            if is_number(amount) and is_number(before):
                current[name] = before + amount
        elif value["__op"] in ("Add", "AddUnique", "Remove"):
            items, before = value.get("objects"), current.get(name, [])
            if isinstance(items, list) and isinstance(before, list):
                current[name] = _listed(value["__op"], before, items)
    return current


def _listed(operation: str, before: list[Any], items: list[Any]) -> list[Any]:
    if operation == "Remove":
        return [item for item in before if item not in items]
    if operation == "AddUnique":
        items = [item for item in items if item not in before]
    return [*before, *items]


def hook_changes(sent: WireObject, written: WireObject) -> WireObject:
    """What a hook or a default made of a body: the answer tells the client."""
    changed = {
        name: value for name, value in written.items() if name not in sent or sent[name] != value
    }
    return {name: value for name, value in changed.items() if name != "password"}
