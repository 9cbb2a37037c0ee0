"""MongoDB filters as Python predicates: which stored documents a filter selects.

`server.storage.where.build_filter` makes the filters; what MongoDB would answer to them is what
counts here, to the oddities of arrays and null.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from bson import Decimal128, MaxKey, MinKey, Regex

from livequery.bson_order import (
    BOOLEAN,
    MISSING,
    NUMBER,
    OBJECT_ID,
    STRING,
    compare,
    is_nan,
    rank,
)
from livequery.geometry import (
    Point,
    angle,
    as_point,
    in_box,
    in_flat_polygon,
    in_sphere_polygon,
)
from livequery.paths import Predicate, Test, any_reached
from livequery.patterns import Clock, compile_pattern
from server.errors import ParseError, invalid_query
from server.values import StoredDocument

_MAX_DEPTH = 100
_HASHABLE = frozenset((STRING, OBJECT_ID))


def compile_filter(filter_: Mapping[str, Any], clock: Clock | None = None) -> Predicate:
    """The predicate of a filter.

    Args:
        clock: limits the time of regular expressions.
    Raises:
        ParseError: A regular expression is not valid, or an operator is not known (102).
    """
    return _Compiler(clock or Clock()).document(filter_, 0)


def never(document: StoredDocument) -> bool:
    return False


def _always(document: StoredDocument) -> bool:
    return True


def _all_of(predicates: list[Predicate]) -> Predicate:
    if not predicates:
        return _always
    if len(predicates) == 1:
        return predicates[0]
    return lambda document: all(predicate(document) for predicate in predicates)


class _Compiler:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def document(self, filter_: Mapping[str, Any], depth: int) -> Predicate:
        if depth > _MAX_DEPTH:
            raise invalid_query("The query is nested too deeply.")
        predicates: list[Predicate] = []
        for key, condition in filter_.items():
            if key in ("$and", "$or", "$nor"):
                branches = [self.document(branch, depth + 1) for branch in condition]
                predicates.append(_joined(key, branches))
            elif key.startswith("$"):
                raise invalid_query(f"unknown operator: {key}")
            else:
                predicates += self.conditions(key, condition)
        return _all_of(predicates)

    def conditions(self, path: str, condition: Any) -> list[Predicate]:
        """One predicate for each operator at a path."""
        if not _has_operators(condition):
            return [any_reached(path, self._equality(condition))]
        return [
            self._operator(path, name, operand, condition)
            for name, operand in condition.items()
            if name not in ("$options", "$maxDistance")
        ]

    def _operator(
        self, path: str, name: str, operand: Any, condition: Mapping[str, Any]
    ) -> Predicate:
        match name:
            case "$eq" | "$in" | "$lt" | "$lte" | "$gt" | "$gte" | "$regex":
                return any_reached(path, self._test(name, operand, condition))
            case "$ne" | "$nin":
                positive = "$eq" if name == "$ne" else "$in"
                return _negated(any_reached(path, self._test(positive, operand, condition)))
            case "$not":
                if isinstance(operand, Regex | re.Pattern):
                    return _negated(any_reached(path, self._equality(operand)))
                return _negated(_all_of(self.conditions(path, operand)))
            case "$exists":
                present = any_reached(path, lambda value: value is not MISSING)
                return present if operand else _negated(present)
            case "$all":
                if not operand:
                    return never
                return _all_of([any_reached(path, self._equality(item)) for item in operand])
            case "$elemMatch":
                return any_reached(path, self._member_test(operand), spread=False)
            case "$geoWithin" | "$nearSphere" | "$geoIntersects":
                return any_reached(path, _geo_test(name, operand, condition), spread=False)
        raise invalid_query(f"bad constraint: {name}")

    def _test(self, name: str, operand: Any, condition: Mapping[str, Any]) -> Test:
        """A test of one value, arrays not opened."""
        match name:
            case "$eq":
                return self._equality(operand)
            case "$in":
                return self._membership(operand)
            case "$regex":
                return self._pattern(operand, condition.get("$options", ""))
        return _ordering(name, operand)

    def _member_test(self, condition: Mapping[str, Any]) -> Test:
        """``$elemMatch`` on values: whether one member of an array passes all operators."""
        tests: list[Test] = []
        for name, operand in condition.items():
            if name == "$options":
                continue
            if name in ("$ne", "$nin"):
                positive = "$eq" if name == "$ne" else "$in"
                tests.append(_opposite(self._test(positive, operand, condition)))
            elif name in ("$eq", "$in", "$lt", "$lte", "$gt", "$gte", "$regex"):
                tests.append(self._test(name, operand, condition))
            else:
                raise invalid_query(f"bad constraint: {name}")
        return lambda value: (
            isinstance(value, list) and any(all(test(member) for test in tests) for member in value)
        )

    def _equality(self, wanted: Any) -> Test:
        if isinstance(wanted, Regex | re.Pattern):
            return self._pattern(wanted, "")
        if wanted is None:
            return lambda value: value is None or value is MISSING
        kind = rank(wanted)
        if kind == STRING or kind == OBJECT_ID:
            return lambda value: bool(value == wanted)
        if kind == BOOLEAN:
            return lambda value: value is wanted
        if kind == NUMBER and type(wanted) in (int, float) and wanted == wanted:
            return lambda value: (
                # `rank` tells 1 from true.
                (value == wanted and rank(value) == NUMBER)
                or (value.__class__ is Decimal128 and compare(value, wanted) == 0)
            )
        return lambda value: rank(value) == kind and compare(value, wanted) == 0

    def _membership(self, members: Iterable[Any]) -> Test:
        texts: set[Any] = set()
        others: list[Test] = []
        for member in members:
            if not isinstance(member, re.Pattern) and rank(member) in _HASHABLE:
                texts.add(member)
            else:
                others.append(self._equality(member))

        def test(value: Any) -> bool:
            if rank(value) in _HASHABLE and value in texts:
                return True
            return any(other(value) for other in others)

        return test

    def _pattern(self, pattern: Any, options: str) -> Test:
        """Text that the pattern finds itself in; a stored pattern equals only itself."""
        source, flags = pattern, options
        if isinstance(pattern, Regex | re.Pattern):
            source, flags = str(pattern.pattern), options + _option_letters(int(pattern.flags))
        search = compile_pattern(source, flags, self._clock)
        letters = "".join(sorted(set(flags) - {"u"}))

        def test(value: Any) -> bool:
            if isinstance(value, str):
                return search(value)
            if isinstance(value, Regex):
                return value.pattern == source and _option_letters(value.flags) == letters
            return False

        return test


def _joined(key: str, branches: list[Predicate]) -> Predicate:
    if key == "$and":
        return _all_of(branches)
    if key == "$or":
        return lambda document: any(branch(document) for branch in branches)
    return lambda document: not any(branch(document) for branch in branches)


def _negated(predicate: Predicate) -> Predicate:
    return lambda document: not predicate(document)


def _opposite(test: Test) -> Test:
    return lambda value: not test(value)


def _has_operators(condition: Any) -> bool:
    return isinstance(condition, dict) and next(iter(condition), "").startswith("$")


def _option_letters(flags: int) -> str:
    letters = (("i", re.I), ("m", re.M), ("s", re.S), ("x", re.X))
    return "".join(letter for letter, flag in letters if flags & flag)


# ---- less and greater -------------------------------------------------------------------------


def _ordering(name: str, operand: Any) -> Test:
    """``$lt``, ``$lte``, ``$gt`` or ``$gte``: only values of the operand's type pass."""
    or_equal = name in ("$lte", "$gte")
    less = name in ("$lt", "$lte")
    if operand is None:
        # Null equals null and missing; it is not less or greater than anything.
        return lambda value: or_equal and (value is None or value is MISSING)
    kind = rank(operand)
    if isinstance(operand, MinKey | MaxKey):
        return _ordering_of_ends(less, or_equal, operand)
    if kind == NUMBER and is_nan(operand):
        return lambda value: or_equal and rank(value) == NUMBER and is_nan(value)
    wanted = -1 if less else 1

    def test(value: Any) -> bool:
        if rank(value) != kind or (kind == NUMBER and is_nan(value)):
            return False
        order = compare(value, operand)
        return order == wanted or (or_equal and order == 0)

    return test


def _ordering_of_ends(less: bool, or_equal: bool, operand: MinKey | MaxKey) -> Test:
    """Everything lies between MinKey and MaxKey."""
    inward = isinstance(operand, MaxKey) == less

    def test(value: Any) -> bool:
        if rank(value) == rank(operand):
            return or_equal
        return inward

    return test


# ---- places -----------------------------------------------------------------------------------


def _corner(value: Any) -> Point:
    point = as_point(value)
    if point is None:
        raise invalid_query("bad geo query: a point is expected")
    return point


def _geo_test(name: str, operand: Any, condition: Mapping[str, Any]) -> Test:
    if name == "$nearSphere":
        return _within_angle(_corner(operand), condition.get("$maxDistance"))
    if name == "$geoIntersects":
        centre = _corner(operand["$geometry"])
        return lambda value: _shape_holds(value, centre)
    if "$centerSphere" in operand:
        middle, radians = operand["$centerSphere"]
        return _within_angle(_corner(middle), radians)
    if "$box" in operand:
        one, other = map(_corner, operand["$box"])
        return lambda value: (point := as_point(value)) is not None and in_box(point, one, other)
    if "$polygon" in operand:
        corners = [_corner(corner) for corner in operand["$polygon"]]
        return lambda value: (
            (point := as_point(value)) is not None and in_flat_polygon(point, corners)
        )
    raise invalid_query(f"bad {name} value")


def _within_angle(centre: Point, radians: float | None) -> Test:
    if radians is None:
        return lambda value: as_point(value) is not None
    return lambda value: (point := as_point(value)) is not None and angle(point, centre) <= radians


def _shape_holds(value: Any, point: Point) -> bool:
    """Whether a stored polygon, or a stored point itself, meets the point."""
    if isinstance(value, dict) and value.get("type") == "Polygon":
        try:
            outer, *holes = ([_corner(corner) for corner in ring] for ring in value["coordinates"])
        except (KeyError, TypeError, ValueError, ParseError):
            return False
        return in_sphere_polygon(point, outer) and not any(
            in_sphere_polygon(point, hole) for hole in holes
        )
    return as_point(value) == point
