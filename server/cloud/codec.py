"""Between wire values and the Python values that cloud code works with.

| wire                        | Python                                          |
|-----------------------------|-------------------------------------------------|
| ``Date``                    | aware UTC ``datetime``                          |
| ``Bytes``                   | ``bytes``                                       |
| ``Pointer``, ``Object``     | `cloud.Object` (``User``, ``Role``)             |
| ``File GeoPoint Polygon``   | `cloud.File`, `cloud.GeoPoint`, `cloud.Polygon` |

The classes of the last two rows register their decoders here, so that none imports another.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from server.values import WireObject, from_iso, to_iso


@runtime_checkable
class WireValue(Protocol):
    """A Python value with a wire form of its own."""

    def to_wire(self, *, full: bool) -> WireObject:
        """``full``: an object with its fields; otherwise a pointer to it."""


def _date(value: WireObject) -> datetime:
    return from_iso(value["iso"]).replace(tzinfo=UTC)


def _bytes(value: WireObject) -> bytes:
    return base64.b64decode(value["base64"])


decoders: dict[str, Callable[[WireObject], Any]] = {"Date": _date, "Bytes": _bytes}

# WIRE: of a function's parameters the peer reads these; the others stay as they came.
_PARAMETER_TYPES = frozenset(("Date", "File", "Pointer"))


def decode(value: Any) -> Any:
    """The Python value of a wire value. Shares no list or dict with it."""
    return _decode(value, None)


def decode_params(params: WireObject) -> dict[str, Any]:
    """The parameters of a function, typed values read."""
    return {key: _decode(value, _PARAMETER_TYPES) for key, value in params.items()}


def _decode(value: Any, only: frozenset[str] | None) -> Any:
    if isinstance(value, dict):
        kind = value.get("__type")
        if isinstance(kind, str) and (only is None or kind in only):
            decoder = decoders.get(kind)
            if decoder is not None:
                try:
                    return decoder(value)
                except (KeyError, TypeError, ValueError):
                    pass  # no real typed value: an object that only looks like one
        return {key: _decode(item, only) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item, only) for item in value]
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def encode(value: Any, *, full: bool = False) -> Any:
    """The wire value of a Python value.

    Args:
        full: Objects with all their fields (answers); otherwise pointers (values to store).
    Raises:
        TypeError: JSON has no form for it.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    # PERF: before the protocol check below, which costs microseconds.
    if isinstance(value, dict):
        return {_key(key): encode(item, full=full) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [encode(item, full=full) for item in value]
    if isinstance(value, datetime):
        return {"__type": "Date", "iso": to_iso(value)}
    if isinstance(value, WireValue):
        return value.to_wire(full=full)
    if isinstance(value, Mapping):
        return encode(dict(value), full=full)
    if isinstance(value, bytes | bytearray):
        return {"__type": "Bytes", "base64": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"A {type(value).__name__} can neither be stored nor sent.")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"The keys of an object are strings, not {type(key).__name__}.")
    return key
