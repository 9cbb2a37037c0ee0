"""Lines of JSON values."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.schema.locator import locate

TEXT = """{
  "a": 1,
  "b": [
    {"c": "x\\"}"}, -1.5e3
  ],
  "d": {
    "a": null, "a": true
  }
}"""


def test_lines_of_members_and_items() -> None:
    found = locate(TEXT)
    assert found.line(("a",)) == 2
    assert found.line(("b",)) == 3
    assert found.line(("b", 0, "c")) == 4
    assert found.line(("b", 1)) == 4
    assert found.line(("d", "a")) == 7


def test_an_unknown_place_is_that_around_it() -> None:
    found = locate(TEXT)
    assert found.line(("b", 7, "zz")) == 3
    assert found.line(("nowhere",)) == 1


def test_a_member_given_twice_is_told() -> None:
    assert locate(TEXT).repeated == {("d", "a"): 7}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    found = {path}
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        found |= _paths(inner, (*path, key))
    return found


@given(_VALUES, st.sampled_from([None, 1]))
def test_every_value_of_any_json_is_found(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert set(locate(text).lines) == _paths(value)
