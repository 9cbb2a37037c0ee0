"""Pending changes of one object: how a second change joins the first, in wire form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from server.values import WireObject

DELETE: WireObject = {"__op": "Delete"}


def operation(change: Any) -> str | None:
    """``Increment``, ``Add``, ...; ``None`` for a plain value."""
    return change.get("__op") if isinstance(change, dict) else None


def same(one: Any, other: Any) -> bool:
    """Whether two wire values are equal; objects and pointers by what they point to."""
    if isinstance(one, dict) and isinstance(other, dict) and one.get("objectId"):
        return (one.get("className"), one["objectId"]) == (
            other.get("className"),
            other.get("objectId"),
        )
    return bool(one == other)


def _contains(items: Iterable[Any], item: Any) -> bool:
    return any(same(each, item) for each in items)


def unique(items: list[Any], more: list[Any]) -> list[Any]:
    """``items`` and those of ``more`` that are new."""
    result = list(items)
    for item in more:
        if not _contains(result, item):
            result.append(item)
    return result


def applied(op: str, items: list[Any], given: list[Any]) -> list[Any]:
    """A list after ``Add``, ``AddUnique`` or ``Remove``."""
    match op:
        case "Add":
            return [*items, *given]
        case "AddUnique":
            return unique(items, given)
    return [item for item in items if not _contains(given, item)]


def joined(op: str, pending: Any, given: list[Any]) -> WireObject:
    """A list operation after a pending one of the same kind, if there is one."""
    before = pending["objects"] if operation(pending) == op else []
    join = unique if op == "AddUnique" else lambda first, second: [*first, *second]
    return {"__op": op, "objects": join(before, given)}


def relation_change(pending: Any, added: list[Any], removed: list[Any]) -> WireObject:
    """A relation's pending change with these pointers added and removed, the last word counting."""
    adds, removes = _relation_parts(pending)
    adds = unique(applied("Remove", adds, removed), added)
    removes = unique(applied("Remove", removes, added), removed)
    add = {"__op": "AddRelation", "objects": adds}
    remove = {"__op": "RemoveRelation", "objects": removes}
    if adds and removes:
        return {"__op": "Batch", "ops": [add, remove]}
    return add if adds else remove


def _relation_parts(pending: Any) -> tuple[list[Any], list[Any]]:
    match operation(pending):
        case "AddRelation":
            return pending["objects"], []
        case "RemoveRelation":
            return [], pending["objects"]
        case "Batch":
            adds: list[Any] = []
            removes: list[Any] = []
            for op in pending["ops"]:
                (adds if op["__op"] == "AddRelation" else removes).extend(op["objects"])
            return adds, removes
    return [], []
