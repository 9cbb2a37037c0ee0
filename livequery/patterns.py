"""Regular expressions of subscriptions: PCRE as MongoDB reads it, limited in time."""

from __future__ import annotations

import logging
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
_MAX_LENGTH = 4096
_STRIKES = 3


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


def translate(pattern: str) -> str:
    """``\\Q..\\E`` and the ASCII classes of PCRE, spelled for the ``regex`` package."""
    out: list[str] = []
    position, size, in_class = 0, len(pattern), False
    while position < size:
        char = pattern[position]
        if char == "\\" and position + 1 < size:
            letter = pattern[position + 1]
            position += 2
            if letter == "Q":
                end = pattern.find("\\E", position)
                end = size if end < 0 else end
                out.append(_quote(pattern[position:end]))
                position = end + 2
            elif letter != "E":
                out.append(_special(letter, in_class))
            continue
        if char == "[" and not in_class:
            in_class = True
            # "]" is a member when it comes first.
            for opening in ("[^]", "[]", "[^"):
                if pattern.startswith(opening, position):
                    out.append(opening.replace("]", r"\]"))
                    position += len(opening)
                    break
            else:
                out.append("[")
                position += 1
            continue
        if in_class and char == "[" and not pattern.startswith("[:", position):
            out.append("\\[")
        elif in_class and char == "[":
            end = pattern.find(":]", position)
            end = size if end < 0 else end + 2
            out.append(pattern[position:end])
            position = end
            continue
        else:
            in_class = in_class and char != "]"
            out.append(char)
        position += 1
    return "".join(out)


def _quote(text: str) -> str:
    return "".join(char if char.isalnum() or char == "_" else f"\\{char}" for char in text)


def compile_pattern(
    pattern: str, options: str = "", *, timeout: float = 0.1
) -> Callable[[str], bool]:
    """A test of text. ``timeout``: seconds for one evaluation, after which nothing matches.

    SECURITY: a pattern made to run for ever costs ``timeout`` a few times and is then given up,
    for it would hold back all other subscribers.

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
    strikes = 0

    def test(text: str) -> bool:
        nonlocal strikes
        if strikes >= _STRIKES:
            return False
        try:
            return search(text, timeout=timeout) is not None
        except TimeoutError:
            strikes += 1
            logger.warning("a regular expression of a subscription ran out of time")
            return False

    return test
