"""What a write makes of an object, told before the database does it: for hooks and constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.storage.documents import is_number
from server.values import WireObject

_GONE: Any = object()
# MongoDB fills a list up to the index that is set, and refuses more than this.
_LARGEST_INDEX = 1_500_000


def apply_body(original: Mapping[str, Any], body: Mapping[str, Any]) -> WireObject:
    """An object with a body's changes: values, operations, and both at paths such as ``o.a.0``.

    What does not fit its place changes nothing here; it is refused after the hook.
    """
    current = dict(original)
    for name, change in body.items():
        root, *path = name.split(".")
        after = _after(current.get(root, _GONE), path, change)
        if after is _GONE:
            current.pop(root, None)
        else:
            current[root] = after
    return current


def is_operation(value: Any) -> bool:
    """Whether a body's value is ``{"__op": ...}`` and not the value itself."""
    return isinstance(value, dict) and "__op" in value


def _after(value: Any, path: Sequence[str], change: Any) -> Any:
    """A value after a change of its member at ``path``."""
    if not path:
        return _changed(value, change)
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        return _with_item(value, step, rest, change)
    if not isinstance(value, dict) and value is not _GONE:
        return value
    members = {} if value is _GONE else dict(value)
    member = _after(members.get(step, _GONE), rest, change)
    if member is _GONE:
        members.pop(step, None)
        return value if value is _GONE else members
    members[step] = member
    return members


def _with_item(items: list[Any], step: str, rest: Sequence[str], change: Any) -> list[Any]:
    if not (step.isascii() and step.isdigit() and len(step) < 8 and int(step) < _LARGEST_INDEX):
        return items
    index = int(step)
    before = items[index] if index < len(items) else _GONE
    item = _after(before, rest, change)
    if item is _GONE:
        if before is _GONE:
            return items
        item = None  # a list keeps the place of what is deleted from it
    filled = [*items, *[None] * (index + 1 - len(items))]
    filled[index] = item
    return filled


def _changed(value: Any, change: Any) -> Any:
    if not is_operation(change):
        return change
    operation = change["__op"]
    if operation == "Delete":
        return _GONE
    if operation == "Increment":
        amount, before = change.get("amount"), 0 if value is _GONE else value
        return before + amount if is_number(amount) and is_number(before) else value
    if operation in ("Add", "AddUnique", "Remove"):
        objects, before = change.get("objects"), [] if value is _GONE else value
        if isinstance(objects, list) and isinstance(before, list):
            return _listed(operation, before, objects)
    return value


def _listed(operation: str, before: list[Any], items: list[Any]) -> list[Any]:
    if operation == "Remove":
        return [item for item in before if item not in items]
    if operation == "AddUnique":
        items = [item for item in items if item not in before]
    return [*before, *items]
