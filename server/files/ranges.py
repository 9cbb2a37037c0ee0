"""The ``Range`` header of a download (RFC 9110, section 14)."""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*\Z", re.IGNORECASE)


class UnsatisfiableRange(Exception):
    """The range lies outside of the file: 416."""


def read_range(header: str | None, length: int) -> tuple[int, int] | None:
    """The part of a file that is asked for.

    Returns:
        Start and stop, the stop not included; ``None`` for the whole file, also when the header
        is malformed or asks for several ranges, which a server may ignore.
    Raises:
        UnsatisfiableRange: No byte of it exists.
    """
    found = _ONE_RANGE.match(header) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(length - int(last), 0), length
    else:
        start, stop = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return None
    if start >= stop:
        raise UnsatisfiableRange
    return start, stop
