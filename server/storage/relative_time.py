"""``$relativeTime``: a moment named from now, such as ``2 days ago`` or ``in 1 week 3 hours``."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from server.errors import ParseError, invalid_json
from server.values import utc_now

_SECONDS = {
    **dict.fromkeys(("year", "years", "yr", "yrs"), 31_536_000),
    **dict.fromkeys(("week", "weeks", "wk", "wks"), 604_800),
    **dict.fromkeys(("day", "days", "d"), 86_400),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), 3_600),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), 60),
    **dict.fromkeys(("second", "seconds", "sec", "secs"), 1),
}
_COUNT = re.compile(r"\d{1,9}\Z")


def parse_relative_time(value: Any, now: datetime | None = None) -> datetime:
    """The moment, naive UTC. Raises 107 where the text does not follow the grammar."""
    now = now or utc_now()
    words = value.lower().split() if isinstance(value, str) else []
    if words == ["now"]:
        return now
    if len(words) < 3:
        raise _malformed()
    is_future, is_past = words[0] == "in", words[-1] == "ago"
    if is_future == is_past:
        raise _malformed()
    words = words[1:] if is_future else words[:-1]
    if len(words) % 2:
        raise _malformed()
    seconds = 0
    for count, unit in zip(words[::2], words[1::2], strict=True):
        if not _COUNT.match(count) or unit not in _SECONDS:
            raise _malformed()
        seconds += int(count) * _SECONDS[unit]
    try:
        delta = timedelta(seconds=seconds)
        return now + delta if is_future else now - delta
    except OverflowError:
        raise _malformed() from None


def _malformed() -> ParseError:
    return invalid_json("bad $relativeTime value; use 'now', 'in 2 days' or '1 hour 5 minutes ago'")
