"""``requestKeywordDenylist``: words that must not stand in the data of a write, at any depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.errors import Code, ParseError
from server.values import dumps


class Denylist:
    """Keys and values refused with 105.

    Args:
        rules: ``{"key": ..}``, ``{"value": ..}`` or both, as the option's entries.
    """

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self._keys = {rule["key"]: rule for rule in rules if "key" in rule and "value" not in rule}
        self._values = [rule for rule in rules if "value" in rule]
        self._pair_keys = {rule["key"] for rule in self._values if "key" in rule}
        self._has_bare_values = any("key" not in rule for rule in self._values)

    def check(self, data: Mapping[str, Any]) -> None:
        """Raises 105 for the first forbidden word. PERF: plain values cost one look-up each."""
        for key, value in data.items():
            if key in self._keys:
                raise _prohibited(self._keys[key])
            if self._has_bare_values or key in self._pair_keys:
                self._check_pair(key, value)
            if isinstance(value, dict):
                self.check(value)
            elif isinstance(value, list):
                self._check_list(value)

    def _check_list(self, items: list[Any]) -> None:
        if not self._has_bare_values and set(map(type, items)).isdisjoint((dict, list)):
            return
        for item in items:
            if isinstance(item, dict):
                self.check(item)
            elif isinstance(item, list):
                self._check_list(item)
            elif self._has_bare_values:
                self._check_pair(None, item)

    def _check_pair(self, key: str | None, value: Any) -> None:
        for rule in self._values:
            if rule["value"] == value and rule.get("key", key) == key:
                raise _prohibited(rule)


def _prohibited(rule: Mapping[str, Any]) -> ParseError:
    return ParseError(
        Code.INVALID_KEY_NAME, f"Prohibited keyword in request data: {dumps(rule).decode()}."
    )
