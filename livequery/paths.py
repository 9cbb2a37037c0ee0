"""The values that a dotted path reaches in a document, as MongoDB's matcher walks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from livequery.bson_order import MISSING
from server.values import StoredDocument

Test: TypeAlias = Callable[[Any], bool]
Predicate: TypeAlias = Callable[[StoredDocument], bool]


def reach(document: Any, parts: tuple[str, ...], *, spread: bool = True) -> Iterator[Any]:
    """Each value at the end of the path; `MISSING` where it breaks off.

    An array on the way stands for each sub-document in it, and for one member where the next
    part of the path is an index. With ``spread`` an array at the end stands for its members
    too, before itself.
    """
    value = document
    last = len(parts) - 1
    for position, part in enumerate(parts):
        value = value.get(part, MISSING)
        if position == last or value is MISSING:
            break
        if isinstance(value, list):
            yield from _reach_in_array(value, parts[position + 1 :], spread)
            return
        if not isinstance(value, dict):
            value = MISSING
            break
    if spread and isinstance(value, list):
        yield from value
    yield value


def _reach_in_array(array: list[Any], rest: tuple[str, ...], spread: bool) -> Iterator[Any]:
    head = rest[0]
    # "01" is the name of a member, never an index.
    index = int(head) if head.isdecimal() and str(int(head)) == head else -1
    for position, item in enumerate(array):
        if isinstance(item, dict):
            yield from reach(item, rest, spread=spread)
        if position != index:
            continue
        if len(rest) == 1:
            yield item
        elif isinstance(item, dict):
            yield from reach(item, rest[1:], spread=spread)
        elif isinstance(item, list):
            yield from _reach_in_array(item, rest[1:], spread)


def any_reached(path: str, test: Test, *, spread: bool = True) -> Predicate:
    """True when one of the values at the path passes.

    PERF: a path without dots, nearly every one, costs one look-up and one call.
    """
    if "." not in path:
        if not spread:
            return lambda document: test(document.get(path, MISSING))

        def one_step(document: StoredDocument) -> bool:
            value = document.get(path, MISSING)
            if isinstance(value, list) and any(map(test, value)):
                return True
            return test(value)

        return one_step
    parts = tuple(path.split("."))
    return lambda document: any(map(test, reach(document, parts, spread=spread)))
