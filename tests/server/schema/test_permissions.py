"""Class-level permissions: what may be stored."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import Code, ParseError
from server.schema.permissions import check_permissions
from server.schema.system import default_fields
from server.values import Field

FIELDS = {
    **default_fields("Note"),
    "text": Field("String"),
    "owner": Field("Pointer", "_User"),
    "other": Field("Pointer", "Note"),
    "editors": Field("Array"),
}
ACL = "for class level permissions acl"


@pytest.mark.parametrize(
    "clp",
    [
        {},
        {"find": {}, "get": {"*": True}, "addField": {"role:Staff": True, "abc123": True}},
        {"find": {"requiresAuthentication": True}, "update": {"pointerFields": ["owner"]}},
        {"readUserFields": ["owner", "editors"], "writeUserFields": []},
        {"protectedFields": {"*": ["text"], "authenticated": [], "userField:owner": []}},
        {"protectedFields": {"role:A": ["text"], "abc": ["owner"]}},
        {"ACL": {"*": {"read": True}, "currentUser": {"read": True, "write": False}}},
    ],
)
def test_good_permissions_are_kept_as_given(clp: dict[str, Any]) -> None:
    assert check_permissions(clp, FIELDS) == clp


@pytest.mark.parametrize("nothing", [None, False, "", 0])
def test_nothing_means_public(nothing: Any) -> None:
    assert check_permissions(nothing, FIELDS) is None


def test_an_empty_list_is_an_empty_object() -> None:
    assert check_permissions([], FIELDS) == {}
    assert check_permissions({"find": [], "protectedFields": []}, FIELDS) == {
        "find": {},
        "protectedFields": {},
    }


@pytest.mark.parametrize(
    ("clp", "message"),
    [
        ({"foo": {}}, "foo is not a valid operation for class level permissions"),
        (5, "'5' is not a valid value for class level permissions"),
        (
            {"find": None},
            "'null' is not a valid value for class level permissions find - must be an object",
        ),
        ({"find": {"*": False}}, f"'false' is not a valid value {ACL} find:*"),
        ({"find": {"*": {"a": 1}}}, f"'[object Object]' is not a valid value {ACL} find:*"),
        ({"find": {"bad-key": True}}, "'bad-key' is not a valid key for class level permissions"),
        ({"find": {"": True}}, "'' is not a valid key for class level permissions"),
        (
            {"update": {"pointerFields": "p"}},
            "'p' is not a valid value for update[pointerFields] - expected an array.",
        ),
        (
            {"update": {"pointerFields": ["text"]}},
            "'text' is not a valid column for class level pointer permissions update",
        ),
        (
            {"readUserFields": ["other"]},
            "'other' is not a valid column for class level pointer permissions readUserFields",
        ),
        (
            {"writeUserFields": {}},
            "'[object Object]' is not a valid value for class level permissions writeUserFields "
            "- must be an array",
        ),
        (
            {"protectedFields": {"*": "text"}},
            "'text' is not a valid value for protectedFields[*] - expected an array.",
        ),
        (
            {"protectedFields": {"*": ["nope"]}},
            "Field 'nope' in protectedFields:* does not exist",
        ),
        ({"protectedFields": {"*": ["ACL"]}}, "Default field 'ACL' can not be protected"),
        (
            {"protectedFields": {"bad-x": []}},
            "'bad-x' is not a valid key for class level permissions",
        ),
        ({"ACL": {"*": True}}, f"'true' is not a valid value {ACL}"),
        ({"ACL": {"*": {"foo": 1, "bar": 1}}}, f"'foo,bar' is not a valid key {ACL}"),
        ({"ACL": {"*": {"read": 1}}}, f"'1' is not a valid value {ACL}"),
    ],
)
def test_bad_permissions_are_refused(clp: Any, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        check_permissions(clp, FIELDS)
    assert (caught.value.code, str(caught.value)) == (Code.INVALID_JSON, message)


def test_custom_ids_may_hold_anything() -> None:
    clp = {"find": {"a-b c": True}}
    assert check_permissions(clp, FIELDS, custom_ids=True) == clp
    with pytest.raises(ParseError):
        check_permissions(clp, FIELDS)
