"""Regular expressions: PCRE's spelling, and limits that no pattern gets around."""

from __future__ import annotations

import time

import pytest

from livequery.patterns import Clock, compile_pattern, translate
from server.errors import Code, ParseError


@pytest.mark.parametrize(
    ("pattern", "options", "text", "matches"),
    [
        ("^\\Qa.b\\E", "", "a.bc", True),
        ("^\\Qa.b\\E", "", "axbc", False),
        ("\\Qa(", "", "a(", True),
        ("\\Qa\\E+", "", "aaa", True),
        ("^\\Q\\E$", "", "", True),
        ("ÄB", "i", "äb", True),
        ("\\w", "", "ä", False),
        ("\\W", "", "ä", True),
        ("[^\\w]", "", "ä", True),
        ("\\d", "", "٣", False),
        ("\\bä", "", "ä", False),
        ("a.b", "s", "a\nb", True),
        ("a.b", "", "a\nb", False),
        ("^b", "m", "a\nb", True),
        ("a b # note (", "x", "ab", True),
        ("[]a]", "", "]", True),
        ("[^]a]", "", "]", False),
        ("[a[b]", "", "[", True),
        ("[[:digit:]]", "", "5", True),
        ("a{,2}", "", "a{,2}", True),
        ("(?<n>a)\\k<n>", "", "aa", True),
        ("(?i)A", "", "a", True),
        ("a", "u", "a", True),
    ],
)
def test_patterns_mean_what_mongodb_means(
    pattern: str, options: str, text: str, matches: bool
) -> None:
    assert compile_pattern(pattern, options)(text) is matches


@pytest.mark.parametrize(
    ("pattern", "options"),
    [
        ("(", ""),
        ("a**", ""),
        ("[", ""),
        ("a", "z"),
        ("a" * 5000, ""),
        ("(?:" * 1000 + "a" + ")" * 1000, ""),
    ],
)
def test_invalid_patterns(pattern: str, options: str) -> None:
    with pytest.raises(ParseError) as refusal:
        compile_pattern(pattern, options)
    assert refusal.value.code == Code.INVALID_QUERY


@pytest.mark.parametrize(
    "pattern",
    [
        "((a{1000}){1000}){1000}",
        "(((a{30}){30}){30}){30}",
        "(?x)(a{1000}#(\n){1000}",
        "(a{1000}(?#()){1000}",
        "([(]a{1000}){1000}",
        "(\\(a{1000}){1000}",
        "(\\Q(\\Ea{1000}){1000}",
        "(|a{999}){999}",
    ],
)
def test_repeats_that_unfold_without_end_are_refused(pattern: str) -> None:
    start = time.monotonic()
    with pytest.raises(ParseError):
        compile_pattern(pattern)
    assert time.monotonic() - start < 0.5


def test_common_repeats_are_fine() -> None:
    uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
    assert compile_pattern(uuid)("572309a4-5916-49ed-906b-087b1b9bbaf4")
    assert translate("(ab{2,3}){10}") == "(ab{2,3}){10}"


def test_slow_patterns_are_stopped_and_given_up() -> None:
    clock = Clock(0.05)
    text = "a" * 60 + "!"
    slow = [compile_pattern("^(a|a)*$", "", clock) for _ in range(100)]
    start = time.monotonic()
    for test in slow:
        for _ in range(5):
            assert not test(text)
    assert time.monotonic() - start < 3
    assert compile_pattern("a", "", clock)(text)
