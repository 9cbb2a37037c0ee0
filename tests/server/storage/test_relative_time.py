"""``$relativeTime``: its grammar, and what does not follow it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from server.errors import Code, ParseError
from server.storage.relative_time import parse_relative_time

NOW = datetime(2026, 3, 1, 12)


@pytest.mark.parametrize(
    ("text", "delta"),
    [
        ("now", timedelta()),
        ("NOW", timedelta()),
        ("in 1 day", timedelta(days=1)),
        ("in 2 days", timedelta(days=2)),
        ("3 hours ago", timedelta(hours=-3)),
        ("1 hour 5 minutes ago", timedelta(hours=-1, minutes=-5)),
        ("in 1 week 2 days 3 hrs 4 mins 5 secs", timedelta(9, 3 * 3600 + 4 * 60 + 5)),
        ("1 year ago", timedelta(days=-365)),
        ("in 1 d", timedelta(days=1)),
        ("1 wk ago", timedelta(weeks=-1)),
    ],
)
def test_moments(text: str, delta: timedelta) -> None:
    assert parse_relative_time(text, NOW) == NOW + delta


@pytest.mark.parametrize(
    "text",
    ["", "soon", "in", "ago", "in 1", "1 day", "in 1 day ago", "in one day", "in 1 fortnight",
     "in -1 days", "in 1.5 days", "1 1 day ago", "in 999999999 years", 5, None, ["now"]],
)  # fmt: skip
def test_malformed(text: object) -> None:
    with pytest.raises(ParseError) as refused:
        parse_relative_time(text, NOW)
    assert refused.value.code == Code.INVALID_JSON
