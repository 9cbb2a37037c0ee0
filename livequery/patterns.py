"""Regular expressions of subscriptions: PCRE as MongoDB reads it, limited in time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import regex

from server.errors import invalid_query

logger = logging.getLogger(__name__)

_FLAGS = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL, "x": regex.VERBOSE}
_DIGIT, _WORD, _SPACE = "0-9", "A-Za-z0-9_", r" \t\n\v\f\r"
# MongoDB's classes are those of ASCII, while letters still fold beyond it with "i".
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_EDGE = (
    f"(?:(?<=[{_WORD}])(?![{_WORD}])|(?<![{_WORD}])(?=[{_WORD}]))",
    f"(?:(?<=[{_WORD}])(?=[{_WORD}])|(?<![{_WORD}])(?![{_WORD}]))",
)
_COUNTS = regex.compile(r"\{(\d+)(?:,(\d*))?\}")
_REFERENCE = regex.compile(r"k[<{'](\w+)[>}']")
_MAX_LENGTH = 4096
_MAX_SIZE = 20_000
_STRIKES = 3
# Seconds: lost to patterns in one period, before all get scant time.
_BUDGET, _PERIOD, _SCANT = 0.5, 10.0, 0.001


def _special(letter: str, in_class: bool) -> str:
    """The ``regex`` spelling of ``\\letter``."""
    small = letter.lower()
    if small in _CLASSES:
        members = _CLASSES[small]
        if letter == small:
            return members if in_class else f"[{members}]"
        return f"[^{members}]" if not in_class else f"\\{letter}"
    if small == "b" and not in_class:
        return _EDGE[letter == "B"]
    return f"\\{letter}"


class _Translation:
    """One pattern, read once from left to right; ``size`` is what its repeats unfold to."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._out: list[str] = []
        self._groups = [0]
        self._last = 0
        self._product = 1
        position = 0
        while position < len(pattern):
            position = self._step(position)

    @property
    def text(self) -> str:
        return "".join(self._out)

    @property
    def size(self) -> int:
        # A comment may hide or feign brackets; then every repeat counts as if it were nested.
        return self._product if "#" in self._pattern else max(sum(self._groups), self._last)

    def _step(self, position: int) -> int:
        """Translate what stands at a position; the position after it."""
        char = self._pattern[position]
        if char == "\\" and position + 1 < len(self._pattern):
            return self._escape(position + 1)
        if char == "[":
            return self._set(position)
        if char == "{":
            return self._repeat(position)
        if char == "(":
            self._groups.append(0)
        elif char == ")" and len(self._groups) > 1:
            self._atom(self._groups.pop())
        elif char not in "*+?|^$)":
            self._atom(1)
        self._out.append(char)
        return position + 1

    def _atom(self, size: int) -> None:
        self._last = max(size, 1)
        self._groups[-1] += self._last

    def _escape(self, position: int, *, in_set: bool = False) -> int:
        letter = self._pattern[position]
        if letter == "Q":
            end = self._pattern.find("\\E", position)
            end = len(self._pattern) if end < 0 else end
            text = self._pattern[position + 1 : end]
            self._out.append(_quote(text))
            for _ in text:
                self._atom(1)
            return end + 2
        reference = None if in_set else _REFERENCE.match(self._pattern, position)
        if reference is not None:
            self._out.append(f"(?P={reference.group(1)})")
            self._atom(1)
            return reference.end()
        if letter != "E":
            self._out.append(_special(letter, in_set))
            self._atom(1)
        return position + 1

    def _set(self, position: int) -> int:
        """``[...]``; "]" is a member when it comes first."""
        pattern = self._pattern
        openings = ("[^]", "[]", "[^", "[")
        opening = next(text for text in openings if pattern.startswith(text, position))
        self._out.append(opening.replace("]", r"\]"))
        position += len(opening)
        while position < len(pattern):
            char = pattern[position]
            if char == "\\" and position + 1 < len(pattern):
                position = self._escape(position + 1, in_set=True)
                continue
            if pattern.startswith("[:", position) and ":]" in pattern[position:]:
                end = pattern.index(":]", position) + 2
                self._out.append(pattern[position:end])
                position = end
                continue
            self._out.append("\\[" if char == "[" else char)
            position += 1
            if char == "]":
                break
        self._atom(1)
        return position

    def _repeat(self, position: int) -> int:
        counts = _COUNTS.match(self._pattern, position)
        if counts is None:
            self._out.append("{")
            self._atom(1)
            return position + 1
        times = max(1, *(int(count) for count in counts.groups() if count))
        self._product = min(self._product * times, _MAX_SIZE + 1)
        self._groups[-1] += self._last * (times - 1)
        self._last *= times
        self._out.append(counts.group())
        return counts.end()


def translate(pattern: str) -> str:
    """``\\Q..\\E`` and the ASCII classes of PCRE, spelled for the ``regex`` package.

    Raises:
        ParseError: Its counted repeats unfold to too much (102).
    """
    translation = _Translation(pattern)
    # SECURITY: "((a{1000}){1000}){1000}" would take all memory before any time limit applies.
    if translation.size > _MAX_SIZE:
        raise invalid_query("Invalid regular expression: regular expression is too large")
    return translation.text


def _quote(text: str) -> str:
    return "".join(char if char.isalnum() or char == "_" else f"\\{char}" for char in text)


class Clock:
    """The time that regular expressions may take, each alone and all together.

    SECURITY: one evaluation holds up the whole process. Patterns made to be slow use up the
    common budget of a period; until the next one all others get almost nothing.

    Args:
        limit: seconds for one evaluation.
    """

    def __init__(self, limit: float = 0.1) -> None:
        self._limit = limit
        self._wasted = 0.0
        self._period_ends = 0.0

    def allowance(self) -> float:
        """Seconds for the next evaluation."""
        if not self._wasted:
            return self._limit
        if time.monotonic() >= self._period_ends:
            self._wasted = 0.0
        return self._limit if self._wasted < _BUDGET else min(self._limit, _SCANT)

    def waste(self, seconds: float) -> None:
        """Note an evaluation that ran out of time."""
        if not self._wasted:
            self._period_ends = time.monotonic() + _PERIOD
        self._wasted += seconds


def compile_pattern(
    pattern: str, options: str = "", clock: Clock | None = None
) -> Callable[[str], bool]:
    """A test of text. A pattern that runs out of time a few times is given up: nothing matches.

    Raises:
        ParseError: The pattern or its options are not valid (102).
    """
    if len(pattern) > _MAX_LENGTH:
        raise invalid_query("Invalid regular expression: it is too long")
    flags = regex.VERSION0
    for option in options:
        if option != "u":
            if option not in _FLAGS:
                raise invalid_query(f"Bad $options value for query: {options}")
            flags |= _FLAGS[option]
    try:
        search = regex.compile(translate(pattern), flags).search
    except (regex.error, RecursionError, OverflowError) as error:
        raise invalid_query(f"Invalid regular expression: /{pattern}/: {error}") from None
    clock = clock or Clock()
    strikes = 0

    def test(text: str) -> bool:
        nonlocal strikes
        if strikes >= _STRIKES:
            return False
        allowance = clock.allowance()
        try:
            return search(text, timeout=allowance) is not None
        except TimeoutError:
            strikes += 1
            clock.waste(allowance)
            logger.warning("a regular expression of a subscription ran out of time")
            return False

    return test
