"""Include: pointers in results replaced by the objects they point to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from server.access.caller import Context
from server.errors import Forbidden, ParseError, invalid_query
from server.objects.classes import check_reachable
from server.objects.query import Query
from server.objects.selection import IncludeTree
from server.values import WireObject

_MAX_DEPTH = 20

Find = Callable[[Context, str, Query], Awaitable[list[WireObject]]]


class Includer:
    """Follows pointers with the caller's rights: one find per class and path, not per object."""

    def __init__(self, find: Find) -> None:
        self._find = find

    async def follow(
        self,
        ctx: Context,
        rows: list[WireObject],
        tree: IncludeTree | None,
        read_preference: str | None = None,
        depth: int = 0,
    ) -> None:
        """Replace in place. A target that is missing or unreadable drops out of its object."""
        if tree is None or not rows:
            return
        if depth > _MAX_DEPTH:
            raise invalid_query(f"Includes may follow at most {_MAX_DEPTH} pointers.")
        for name, node in tree.children.items():
            holders = [row for row in rows if isinstance(row.get(name), dict | list)]
            wanted: dict[str, set[str]] = {}
            for row in holders:
                for target in _pointers(row[name]):
                    wanted.setdefault(target["className"], set()).add(target["objectId"])
            found: dict[tuple[str, str], WireObject] = {}
            for class_name, ids in wanted.items():
                for item in await self._fetch(ctx, class_name, ids, node, read_preference):
                    found[class_name, item["objectId"]] = item
            included = list(found.values())
            for row in holders:
                included += _already_included(row[name])
            await self.follow(ctx, included, node, read_preference, depth + 1)
            for row in holders:
                replaced = _replace(row[name], found)
                if replaced is None:
                    del row[name]
                else:
                    row[name] = replaced

    async def _fetch(
        self,
        ctx: Context,
        class_name: str,
        ids: set[str],
        node: IncludeTree,
        read_preference: str | None,
    ) -> list[WireObject]:
        ordered = sorted(ids)
        where: WireObject = {"objectId": ordered[0] if len(ordered) == 1 else {"$in": ordered}}
        query = Query(where=where, read_preference=read_preference)
        if node.keys is not None:
            query.keys = (*node.keys, *node.children)
        query.exclude_keys = tuple(node.exclude_keys)
        # SECURITY: who may write an array may point to what others may not read; that must not
        # spoil the finds of these others.
        try:
            check_reachable(ctx.caller, class_name, "find")
        except ParseError:
            return []
        try:
            items = await self._find(ctx, class_name, query)
        except Forbidden:
            return []
        included = []
        for item in items:
            if class_name == "_User":
                item.pop("sessionToken", None)
                if not ctx.caller.is_privileged:
                    item.pop("authData", None)
            included.append({"__type": "Object", "className": class_name, **item})
        return included


def _pointers(value: Any) -> Iterator[WireObject]:
    if isinstance(value, list):
        for item in value:
            yield from _pointers(item)
    elif isinstance(value, dict) and value.get("__type") == "Pointer":
        if isinstance(value.get("className"), str) and isinstance(value.get("objectId"), str):
            yield value


def _already_included(value: Any) -> Iterator[WireObject]:
    """Objects that stand in place already: sent by a hook, or plain ones that hold pointers."""
    if isinstance(value, list):
        for item in value:
            yield from _already_included(item)
    elif isinstance(value, dict) and value.get("__type") in (None, "Object"):
        yield value


def _replace(value: Any, found: dict[tuple[str, str], WireObject]) -> Any:
    if isinstance(value, list):
        replaced = [_replace(item, found) for item in value]
        return [item for item in replaced if item is not None]
    if isinstance(value, dict) and value.get("__type") == "Pointer":
        return found.get((value.get("className", ""), value.get("objectId", "")))
    return value
