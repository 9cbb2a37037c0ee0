"""``_SCHEMA`` documents and the schemas API's form."""

from __future__ import annotations

from typing import Any

import pytest

from server.schema.classes import ClassSchema
from server.schema.encoding import class_to_wire, decode_class, decode_type, encode_class
from server.schema.system import default_fields
from server.values import Field

DOCUMENT: dict[str, Any] = {
    "_id": "Sch",
    "objectId": "string",
    "updatedAt": "date",
    "createdAt": "date",
    "s": "string",
    "n": "number",
    "p": "*_User",
    "rel": "relation<Sch>",
    "pl": "polygon",
    "g": "geopoint",
    "_metadata": {
        "class_permissions": {"find": {"*": True}, "protectedFields": {"*": ["n"]}},
        "fields_options": {"s": {"required": True}, "n": {"defaultValue": 5, "foo": "bar"}},
        "indexes": {"_id_": {"_id": 1}, "s_idx": {"s": 1}},
    },
}


def test_decode() -> None:
    found = decode_class(DOCUMENT)
    assert found.fields == {
        **default_fields("Sch"),
        "s": Field("String", required=True),
        "n": Field("Number", default=5),
        "p": Field("Pointer", "_User"),
        "rel": Field("Relation", "Sch"),
        "pl": Field("Polygon"),
        "g": Field("GeoPoint"),
    }
    assert found.clp == {"find": {"*": True}, "protectedFields": {"*": ["n"]}}
    assert found.indexes["s_idx"] == {"s": 1}


def test_encode_gives_the_document_back() -> None:
    assert encode_class(decode_class(DOCUMENT)) == DOCUMENT


def test_user_lists_neither_acl_nor_password() -> None:
    document = encode_class(ClassSchema("_User", default_fields("_User")))
    assert document == {
        "_id": "_User",
        "objectId": "string",
        "updatedAt": "date",
        "createdAt": "date",
        "username": "string",
        "email": "string",
        "emailVerified": "boolean",
        "authData": "object",
    }


def test_legacy_documents() -> None:
    found = decode_class(
        {
            "_id": "Old",
            "createdAt": "string",
            "updatedAt": "string",
            "m": "map",
            "odd": 5,
            "_client_permissions": {"get": {"*": True}},
            "_metadata": None,
        }
    )
    assert found.fields == {**default_fields("Old"), "m": Field("Object")}
    assert found.clp is None
    assert found.indexes == {}


@pytest.mark.parametrize("stored", [None, {}, False])
def test_permissions_never_set_read_as_public(stored: Any) -> None:
    found = decode_class({"_id": "A", "_metadata": {"class_permissions": stored}})
    assert found.clp == ({} if stored == {} else None)


def test_wire_form_of_a_public_class() -> None:
    wire = class_to_wire(ClassSchema("A", {**default_fields("A"), "p": Field("Pointer", "B")}))
    assert wire["fields"]["p"] == {"type": "Pointer", "targetClass": "B"}
    assert wire["fields"]["ACL"] == {"type": "ACL"}
    assert wire["classLevelPermissions"]["find"] == {"*": True}
    assert wire["classLevelPermissions"]["ACL"] == {"*": {"read": True, "write": True}}
    assert "indexes" not in wire


def test_wire_form_of_set_permissions_names_every_operation() -> None:
    wire = class_to_wire(ClassSchema("A", {}, clp={"find": {"*": True}}))
    assert wire["classLevelPermissions"] == {
        "find": {"*": True},
        **dict.fromkeys(("count", "get", "create", "update", "delete", "addField"), {}),
        "protectedFields": {},
    }


def test_unknown_options_are_shown() -> None:
    wire = class_to_wire(decode_class(DOCUMENT))
    assert wire["fields"]["n"] == {"type": "Number", "defaultValue": 5, "foo": "bar"}


@pytest.mark.parametrize("text", ["", "nope", 5, None])
def test_unknown_types_are_no_columns(text: Any) -> None:
    assert decode_type(text) is None
