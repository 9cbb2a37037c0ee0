"""How MongoDB compares two BSON values: types in brackets, then values within a type."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from bson import Binary, Code, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp


class _Missing:
    """A field that is not there; null is something else."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

NULL, NUMBER, STRING, OBJECT, ARRAY, BINARY, OBJECT_ID = 5, 10, 15, 20, 25, 30, 35
BOOLEAN, DATE, TIMESTAMP, REGEX, CODE = 40, 45, 47, 50, 60
_MIN_KEY, _MAX_KEY, _ABSENT = -1, 127, 0

_RANKS: dict[type, int] = {
    type(None): NULL,
    int: NUMBER,
    float: NUMBER,
    Decimal128: NUMBER,
    str: STRING,
    dict: OBJECT,
    list: ARRAY,
    bytes: BINARY,
    ObjectId: OBJECT_ID,
    bool: BOOLEAN,
    datetime: DATE,
    Timestamp: TIMESTAMP,
    Regex: REGEX,
    re.Pattern: REGEX,
    DBRef: OBJECT,
    Code: CODE,
    MinKey: _MIN_KEY,
    MaxKey: _MAX_KEY,
    _Missing: _ABSENT,
}


def rank(value: Any) -> int:
    """The bracket of a value's type; only values of one bracket are less or greater."""
    found = _RANKS.get(value.__class__)
    if found is None:
        # Subclasses: Int64, Binary, SON, an IntEnum. The first base that is known decides.
        found = next((_RANKS[base] for base in type(value).__mro__ if base in _RANKS), CODE)
        _RANKS[value.__class__] = found
    return found


def is_nan(value: Any) -> bool:
    if isinstance(value, Decimal128):
        return value.to_decimal().is_nan()
    return bool(value != value)


def _number(value: Any) -> Any:
    return value.to_decimal() if isinstance(value, Decimal128) else value


def _sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _compare_numbers(left: Any, right: Any) -> int:
    left, right = _number(left), _number(right)
    left_nan, right_nan = left != left, right != right
    if left_nan or right_nan:
        # NaN is less than any number and equal to itself.
        return right_nan - left_nan if left_nan != right_nan else 0
    if isinstance(left, Decimal) and isinstance(right, float):
        right = Decimal(right)
    elif isinstance(right, Decimal) and isinstance(left, float):
        left = Decimal(left)
    return _sign(left, right)


def _compare_members(left: Any, right: Any, *, named: bool) -> int:
    """Members in their order: first the type, then the name, then the value."""
    for (left_name, left_value), (right_name, right_value) in zip(left, right, strict=False):
        if difference := _sign(rank(left_value), rank(right_value)):
            return difference
        if named and (difference := _sign(left_name, right_name)):
            return difference
        if difference := compare(left_value, right_value):
            return difference
    return _sign(len(left), len(right))


def _binary(value: bytes) -> tuple[int, int, bytes]:
    subtype = value.subtype if isinstance(value, Binary) else 0
    return len(value), subtype, bytes(value)


def _date(value: datetime) -> datetime:
    """Naive UTC in whole milliseconds, as BSON keeps it."""
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _as_items(value: Any) -> list[tuple[str, Any]]:
    return list((value.as_doc() if isinstance(value, DBRef) else value).items())


def compare(left: Any, right: Any) -> int:
    """Negative, zero or positive, in the order in which MongoDB sorts the two."""
    kind = rank(left)
    if difference := _sign(kind, rank(right)):
        return difference
    compare_values = _COMPARISONS.get(kind)
    return 0 if compare_values is None else compare_values(left, right)


_COMPARISONS: dict[int, Callable[[Any, Any], int]] = {
    NUMBER: _compare_numbers,
    STRING: _sign,
    OBJECT: lambda a, b: _compare_members(_as_items(a), _as_items(b), named=True),
    ARRAY: lambda a, b: _compare_members(list(enumerate(a)), list(enumerate(b)), named=False),
    BINARY: lambda a, b: _sign(_binary(a), _binary(b)),
    OBJECT_ID: _sign,
    BOOLEAN: _sign,
    DATE: lambda a, b: _sign(_date(a), _date(b)),
    TIMESTAMP: _sign,
    REGEX: lambda a, b: _sign((a.pattern, int(a.flags)), (b.pattern, int(b.flags))),
    CODE: lambda a, b: _sign(str(a), str(b)),
}
