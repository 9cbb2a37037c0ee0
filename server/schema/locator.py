"""Finds the lines of a JSON text where its values stand, for error messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Path = tuple[str | int, ...]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


@dataclass(frozen=True)
class Locations:
    """``lines``: the line (from 1) of each value; of an object's member, that of its key.

    ``repeated``: the members which an object names more than once, with the line of the last.
    """

    lines: Mapping[Path, int]
    repeated: Mapping[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of a value; of the nearest value around it when it is not there itself."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def locate(text: str) -> Locations:
    """Find all values of a text that is valid JSON."""
    lines: dict[Path, int] = {}
    repeated: dict[Path, int] = {}
    tokens = _tokens(text)
    token, line = next(tokens)
    lines[()] = line
    _walk(token, tokens, (), lines, repeated)
    return Locations(lines, repeated)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line, seen = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        yield match.group(), line


def _walk(
    token: str,
    tokens: Iterator[tuple[str, int]],
    path: Path,
    lines: dict[Path, int],
    repeated: dict[Path, int],
) -> None:
    if token == "{":
        token, line = next(tokens)
        while token != "}":
            if token != ",":
                here = (*path, json.loads(token))
                (repeated if here in lines else lines)[here] = line
                next(tokens)  # the colon
                _walk(next(tokens)[0], tokens, here, lines, repeated)
            token, line = next(tokens)
    elif token == "[":
        index = 0
        token, line = next(tokens)
        while token != "]":
            if token != ",":
                lines[(*path, index)] = line
                _walk(token, tokens, (*path, index), lines, repeated)
                index += 1
            token, line = next(tokens)
