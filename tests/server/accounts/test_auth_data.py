"""Auth data without a database: what is new in it, and how it is stored."""

from __future__ import annotations

from typing import Any

import pytest

from server.accounts import auth_data as linking
from server.errors import ParseError


def test_stored_auth_data_leaves_out_nulls() -> None:
    user = {"_id": "u", "_auth_data_a": {"id": "1"}, "_auth_data_b": None, "authData": {"c": {}}}

    assert linking.stored_auth_data(user) == {"a": {"id": "1"}}


@pytest.mark.parametrize(
    ("sent", "stored", "new"),
    [
        ({"a": {"id": "1"}}, {"a": {"id": "1", "code": "x"}}, {}),
        ({"a": {"id": "1", "t": 2}}, {"a": {"id": "1", "t": 1}}, {"a": {"id": "1", "t": 2}}),
        ({"a": {"id": "1"}}, {}, {"a": {"id": "1"}}),
        ({"a": None, "anonymous": None}, {"a": {"id": "1"}}, {"a": None, "anonymous": None}),
        ({"anonymous": {"id": "2"}}, {"anonymous": {"id": "1"}}, {}),
    ],
)
def test_changed_is_what_is_not_stored_yet(sent: Any, stored: Any, new: Any) -> None:
    assert linking.changed(sent, stored) == new


def test_storage_changes_set_data_and_unset_nulls() -> None:
    to_set, to_unset = linking.storage_changes({"a": {"id": "1"}, "b": None})

    assert to_set == {"_auth_data_a": {"id": "1"}}
    assert to_unset == {"_auth_data_b"}


@pytest.mark.parametrize("key", ["$where", "a.b", "a\0b"])
def test_reserved_keys_in_auth_data_are_refused(key: str) -> None:
    with pytest.raises(ParseError) as refused:
        linking.storage_changes({"a": {"id": "1", "deep": [{key: 1}]}})
    assert refused.value.code == 121


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, 252), ("", 252), ("x", 252), ({"__op": "Delete"}, 252), (5, 111), ([], 111)],
)
def test_what_is_no_auth_data_is_refused(value: Any, code: int) -> None:
    with pytest.raises(ParseError) as refused:
        linking.read(value)
    assert refused.value.code == code


@pytest.mark.parametrize("name", ["", "a.b", "$a", "a\0", "ä"])
def test_names_that_would_break_a_storage_key(name: str) -> None:
    assert not linking.is_name(name)


def test_an_empty_acl_locks_a_user_out() -> None:
    assert linking.is_locked_out({"_rperm": [], "_wperm": []})
    assert not linking.is_locked_out({"_rperm": ["u"], "_wperm": []})
    assert not linking.is_locked_out({})
