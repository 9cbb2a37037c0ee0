"""Between wire objects and stored documents: every type there and back, and what is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from bson.int64 import Int64

from server.errors import Code, ParseError
from server.storage.documents import (
    Layout,
    decode_acl,
    encode_acl,
    encode_field,
    encode_nested,
    encode_number,
    storage_key,
    wire_type,
)
from server.values import Field, dumps, loads, pointer

DATE = {"__type": "Date", "iso": "2026-02-03T04:05:06.789Z"}
BYTES = {"__type": "Bytes", "base64": "AAH+"}
GEO = {"__type": "GeoPoint", "latitude": 1.5, "longitude": -2}
RING = [[0, 0], [0, 1], [1, 1], [0, 0]]

# the column, the wire value, the stored value
TYPES: list[tuple[Field, Any, Any]] = [
    (Field("String"), "text ✓", "text ✓"),
    (Field("Boolean"), False, False),
    (Field("Number"), 1.5, 1.5),
    (Field("Number"), 7, 7),
    (Field("Date"), DATE, datetime(2026, 2, 3, 4, 5, 6, 789_000)),
    (Field("Pointer", "Note"), pointer("Note", "abc"), "Note$abc"),
    (Field("GeoPoint"), GEO, [-2, 1.5]),
    (Field("Polygon"), {"__type": "Polygon", "coordinates": RING},
     {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}),
    (Field("Bytes"), BYTES, b"\x00\x01\xfe"),
    (Field("Object"), {"a": {"b": [1, None, DATE]}},
     {"a": {"b": [1, None, datetime(2026, 2, 3, 4, 5, 6, 789_000)]}}),
    (Field("Array"), [1, "x", pointer("Note", "abc"), {"k": BYTES}, GEO],
     [1, "x", pointer("Note", "abc"), {"k": b"\x00\x01\xfe"}, GEO]),
]  # fmt: skip


@pytest.mark.parametrize(("field", "wire", "kept"), TYPES, ids=[str(row[0]) for row in TYPES])
def test_there_and_back(field: Field, wire: Any, kept: Any) -> None:
    assert wire_type(wire) == field
    assert encode_field(field, wire) == kept
    layout = Layout("Thing", {"value": field})
    rendered = layout.render({"_id": "x", storage_key("value", field): kept}, str)
    assert loads(dumps(rendered)) == {"objectId": "x", "value": wire}


def test_a_file_gets_its_url_when_read() -> None:
    field = Field("File")
    wire = {"__type": "File", "name": "a b.txt", "url": "http://elsewhere/evil.txt"}
    assert encode_field(field, wire) == "a b.txt"
    rendered = Layout("Thing", {"f": field}).render(
        {"_id": "x", "f": "a b.txt"}, "http://me/{}".format
    )
    assert rendered["f"] == {"__type": "File", "name": "a b.txt", "url": "http://me/a b.txt"}


@pytest.mark.parametrize(
    ("given", "kept"),
    [(1, 1), (1.0, 1), (2**31 - 1, 2**31 - 1), (2**31, float(2**31)), (-(2**31) - 1, -2147483649.0),
     (0.1, 0.1), (1e300, 1e300)],
)  # fmt: skip
def test_numbers_as_the_peer_stores_them(given: float, kept: float) -> None:
    assert encode_number(given) == kept
    assert type(encode_number(given)) is type(kept)


@pytest.mark.parametrize(
    "value",
    [
        {"__type": "Date"}, {"__type": "Date", "iso": 5}, {"__type": "Date", "iso": "soon"},
        {"__type": "Date", "iso": "2026-13-01T00:00:00.000Z"},
        {"__type": "Pointer"}, {"__type": "Pointer", "className": "A"},
        {"__type": "Pointer", "className": "A$b", "objectId": "x"},
        {"__type": "Pointer", "className": "A", "objectId": "x\0"},
        {"__type": "Pointer", "className": "", "objectId": "x"},
        {"__type": "GeoPoint", "latitude": "1", "longitude": 1},
        {"__type": "GeoPoint", "latitude": True, "longitude": 1},
        {"__type": "Bytes"}, {"__type": "File"}, {"__type": "File", "name": 5},
        {"__type": "Polygon", "coordinates": [[0, 0], [1, 1]]},
        {"__type": "Polygon", "coordinates": [[0, 0], [1, 1], [91, 0]]},
        {"__type": "Bogus"}, {"__type": ["Date"]}, {"__type": {}},
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_typed_value_is_refused(value: Any) -> None:
    with pytest.raises(ParseError) as refused:
        wire_type(value)
    assert refused.value.code == Code.INCORRECT_TYPE


@pytest.mark.parametrize("key", ["$where", "a.b", "a$b", "nul\0"])
def test_keys_that_mongodb_reserves_are_refused_at_any_depth(key: str) -> None:
    with pytest.raises(ParseError) as refused:
        encode_nested([{"fine": {key: 1}}])
    assert refused.value.code == Code.INVALID_NESTED_KEY


def test_an_included_object_in_an_array_is_kept_as_a_pointer() -> None:
    included = {"__type": "Object", "className": "Note", "objectId": "x", "text": "whole"}
    assert encode_nested([included]) == [pointer("Note", "x")]


def test_acl_there_and_back() -> None:
    acl = {"*": {"read": True}, "u1": {"read": True, "write": True}, "role:A": {"write": True}}
    document = encode_acl(acl)
    assert document == {
        "_rperm": ["*", "u1"],
        "_wperm": ["u1", "role:A"],
        "_acl": {"*": {"r": True}, "u1": {"r": True, "w": True}, "role:A": {"w": True}},
    }
    assert decode_acl(document) == acl
    assert decode_acl({}) is None
    assert decode_acl(encode_acl({})) == {}


@pytest.mark.parametrize("acl", [{"*unresolved": {"read": True}}, {"u": True}, {"a\0": {}}])
def test_bad_acl(acl: Any) -> None:
    with pytest.raises(ParseError) as refused:
        encode_acl(acl)
    assert refused.value.code == Code.INVALID_ACL


SECRETS = {
    "_hashed_password": "h1", "_session_token": "h2", "_email_verify_token": "h3",
    "_perishable_token": "h4", "_rperm": ["u"], "_wperm": ["u"], "_acl": {"u": {"r": True}},
    "_p_unknown": "Note$h5", "_unknown": "h6", "_failed_login_count": 7,
}  # fmt: skip


@pytest.mark.parametrize("class_name", ["_User", "Thing"])
def test_internal_keys_are_not_rendered(class_name: str) -> None:
    layout = Layout(class_name, {"name": Field("String")})
    rendered = layout.render({"_id": "x", "name": "n", **SECRETS}, str)
    assert rendered == {
        "objectId": "x", "name": "n", "ACL": {"u": {"read": True, "write": True}},
    }  # fmt: skip


def test_internal_keys_for_the_maintenance_key() -> None:
    internal = Layout("_User", {}).internal({"_id": "x", **SECRETS})
    assert internal["_failed_login_count"] == 7
    assert "_acl" not in internal and "_p_unknown" not in internal


def test_auth_data_is_gathered_from_its_keys() -> None:
    document = {"_id": "x", "_auth_data_anonymous": {"id": "1"}, "_auth_data_gone": None}
    layout = Layout("_User", {"authData": Field("Object")})
    assert layout.render(document, str)["authData"] == {"anonymous": {"id": "1"}}
    assert "authData" not in Layout("Thing", {}).render(document, str)


def test_relations_are_part_of_every_object() -> None:
    layout = Layout("Team", {"members": Field("Relation", "_User")})
    rendered = layout.render({"_id": "x"}, str)
    assert rendered["members"] == {"__type": "Relation", "className": "_User"}


def test_foreign_values_do_not_break_an_answer() -> None:
    """Another writer may have put anything into a column."""
    fields = {"p": Field("Pointer", "A"), "g": Field("GeoPoint"), "y": Field("Polygon")}
    document = {"_id": "x", "_p_p": 5, "g": "odd", "y": {"type": "Odd"}, "big": Int64(2**40)}
    rendered = loads(dumps(Layout("Thing", fields).render(document, str)))
    assert rendered == {"objectId": "x", "p": None, "g": "odd", "y": {"type": "Odd"}, "big": 2**40}
