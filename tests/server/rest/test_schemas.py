"""``/schemas`` and ``/purge``: the answers and errors that clients and the dashboard know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from server.access.caller import ANONYMOUS, MASTER, READ_ONLY_MASTER, Caller, Context
from server.errors import HttpError, ParseError
from server.rest.call import Call
from server.rest.schemas import SchemasResource
from server.schema.registry import SchemaRegistry
from server.storage.indexes import list_indexes
from server.storage.mongo import Database

PUBLIC = {
    "ACL": {"*": {"read": True, "write": True}},
    **{
        name: {"*": True}
        for name in ("find", "count", "get", "create", "update", "delete", "addField")
    },
    "protectedFields": {"*": []},
}
DEFAULTS = {
    "objectId": {"type": "String"},
    "createdAt": {"type": "Date"},
    "updatedAt": {"type": "Date"},
    "ACL": {"type": "ACL"},
}
FIELDS = {
    "s": {"type": "String", "required": True},
    "n": {"type": "Number", "defaultValue": 5},
    "p": {"type": "Pointer", "targetClass": "_User"},
    "arr": {"type": "Array"},
    "rel": {"type": "Relation", "targetClass": "Sch"},
    "g": {"type": "GeoPoint"},
}

Send = Callable[..., Awaitable[Any]]


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[Database]:
    database = Database.connect(database_uri)
    yield database
    await database.close()


@pytest.fixture
async def send(database: Database) -> Send:
    """``await send(method, path, body)``: the answer's body, or ``(code, message)``."""
    registry = SchemaRegistry(database)
    await registry.ensure_class("_User")
    handlers = {(r.method, r.path): r.handler for r in SchemasResource(registry).routes()}

    async def send(method: str, path: str, body: Any = None, caller: Caller = MASTER) -> Any:
        _, root, *names = path.split("/")
        handler = handlers[method, f"/{root}" + "/{class_name}" * len(names)]
        call = Call(method, path, Context(caller, ""), {} if body is None else body)
        try:
            answer = await handler(call, **({"class_name": names[0]} if names else {}))
        except ParseError as error:
            return error.code, error.message
        except HttpError as error:
            return error.http_status, error.message
        assert answer.status == 200
        return answer.body

    return send


@pytest.fixture
async def sch(send: Send) -> Any:
    """The class most tests work on, as its creation was answered."""
    return await send("POST", "/schemas/Sch", {"className": "Sch", "fields": FIELDS})


async def test_create_and_read(send: Send, sch: Any) -> None:
    expected = {
        "className": "Sch",
        "fields": {**DEFAULTS, **FIELDS},
        "classLevelPermissions": PUBLIC,
    }
    assert sch == expected
    assert await send("GET", "/schemas/Sch") == expected
    everything = await send("GET", "/schemas")
    assert expected in everything["results"]
    assert {item["className"] for item in everything["results"]} == {"_User", "Sch"}


async def test_create_by_body_name(send: Send) -> None:
    assert (await send("POST", "/schemas", {"className": "Plain"}))["className"] == "Plain"


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/schemas/Sch", {}, (103, "Class Sch already exists.")),
        ("POST", "/schemas/_User", {}, (103, "Class _User already exists.")),
        ("POST", "/schemas/_Hooks", {}, (103, "Class _Hooks already exists.")),
        ("POST", "/schemas", {}, (135, "POST /schemas needs a class name.")),
        ("POST", "/schemas/A", {"className": "B"}, (103, "Class name mismatch between B and A.")),
        ("PUT", "/schemas/A", {"className": "B"}, (103, "Class name mismatch between B and A.")),
        ("PUT", "/schemas/Nope", {}, (103, "Class Nope does not exist.")),
        ("PUT", "/schemas/_Audience", {}, (103, "Class _Audience does not exist.")),
        ("GET", "/schemas/Nope", {}, (103, "Class Nope does not exist.")),
        ("GET", "/schemas/_SCHEMA", {}, (103, "Class _SCHEMA does not exist.")),
        (
            "POST",
            "/schemas/bad-name",
            {},
            (
                103,
                "Invalid classname: bad-name, classnames can only have alphanumeric characters "
                "and _, and must start with an alpha character ",
            ),
        ),
        ("POST", "/schemas/B", [], (107, "The body must be a JSON object.")),
        ("POST", "/schemas/B", {"fields": 5}, (107, "fields must be an object")),
        ("POST", "/schemas", {"className": 5}, (107, "className must be a string")),
    ],
)
async def test_class_errors(
    send: Send, sch: Any, method: str, path: str, body: Any, expected: Any
) -> None:
    assert await send(method, path, body) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"_x": {"type": "String"}}, (105, "invalid field name: _x")),
        ({"length": {"type": "String"}}, (105, "invalid field name: length")),
        ({"x": {"type": "Nope"}}, (111, "invalid field type: Nope")),
        ({"x": {"type": "ACL"}}, (111, "invalid field type: ACL")),
        ({"x": {"type": 5}}, (107, "invalid JSON")),
        ({"x": None}, (107, "invalid JSON")),
        ({"x": {"type": "Pointer"}}, (135, "type Pointer needs a class name")),
        ({"x": {"type": "Relation"}}, (135, "type Relation needs a class name")),
        ({"x": {"type": "Pointer", "targetClass": 5}}, (107, "invalid JSON")),
        (
            {"x": {"type": "Number", "defaultValue": "a"}},
            (111, "schema mismatch for Sch.x default value; expected Number but got String"),
        ),
        (
            {
                "x": {
                    "type": "Pointer",
                    "targetClass": "A",
                    "defaultValue": {"__type": "Pointer", "className": "B", "objectId": "x"},
                }
            },
            (
                111,
                "schema mismatch for Sch.x default value; expected Pointer<A> but got Pointer<B>",
            ),
        ),
        (
            {"x": {"type": "Object", "defaultValue": {"__type": "Foo"}}},
            (111, "This is not a valid Foo"),
        ),
        (
            {"x": {"type": "Relation", "targetClass": "A", "required": True}},
            (111, "The 'required' option is not applicable for Relation<A>"),
        ),
        (
            {"x": {"type": "GeoPoint"}},
            (
                111,
                "currently, only one GeoPoint field may exist in an object. Adding x when g "
                "already exists.",
            ),
        ),
        ({"s": {"type": "Number"}}, (255, "Field s exists, cannot update.")),
        (
            {"p": {"type": "Pointer", "targetClass": "B"}},
            (111, "schema mismatch for Sch.p; expected Pointer<_User> but got Pointer<B>"),
        ),
        ({"zz": {"__op": "Delete"}}, (255, "Field zz does not exist, cannot delete.")),
        ({"objectId": {"__op": "Delete"}}, (136, "field objectId cannot be changed")),
    ],
)
async def test_field_errors(send: Send, sch: Any, fields: Any, expected: Any) -> None:
    assert await send("PUT", "/schemas/Sch", {"fields": fields}) == expected
    assert await send("GET", "/schemas/Sch") == sch


async def test_a_new_class_cannot_define_what_every_class_has(send: Send) -> None:
    body = {"fields": {"objectId": {"type": "String"}}}
    assert await send("POST", "/schemas/A", body) == (136, "field objectId cannot be added")


async def test_options_of_a_field_are_changed_by_sending_it_again(send: Send, sch: Any) -> None:
    changed = await send("PUT", "/schemas/Sch", {"fields": {"s": {"type": "String"}}})
    assert changed["fields"]["s"] == {"type": "String"}
    options = {"type": "String", "required": True, "defaultValue": "x"}
    changed = await send("PUT", "/schemas/Sch", {"fields": {"s": options, "ACL": {"type": "ACL"}}})
    assert changed["fields"]["s"] == options


async def test_deleting_fields_deletes_their_values(
    send: Send, sch: Any, database: Database
) -> None:
    await database.insert("Sch", {"_id": "a", "s": "x", "arr": [1], "_p_p": "_User$u"})
    await database.insert("_Join:rel:Sch", {"owningId": "a", "relatedId": "b"})
    gone = {name: {"__op": "Delete"} for name in ("arr", "p", "rel")}
    added = {"fresh": {"type": "Date"}}
    changed = await send("PUT", "/schemas/Sch", {"fields": {**gone, **added}})
    assert set(changed["fields"]) == {*DEFAULTS, "s", "n", "g", "fresh"}
    assert await database.find("Sch", {}) == [{"_id": "a", "s": "x"}]
    assert "_Join:rel:Sch" not in await database.raw.list_collection_names()


async def test_permissions_are_replaced_whole(send: Send, sch: Any) -> None:
    body = {"classLevelPermissions": {"find": {"requiresAuthentication": True}}}
    changed = await send("PUT", "/schemas/Sch", body)
    expected = {name: {} for name in PUBLIC if name != "ACL"} | body["classLevelPermissions"]
    assert changed["classLevelPermissions"] == expected
    unchanged = await send("PUT", "/schemas/Sch", {"fields": {}})
    assert unchanged["classLevelPermissions"] == expected
    public = await send("PUT", "/schemas/Sch", {"classLevelPermissions": None})
    assert public["classLevelPermissions"] == PUBLIC


async def test_bad_permissions_change_nothing(send: Send, sch: Any) -> None:
    body = {
        "fields": {"new": {"type": "String"}, "n": {"__op": "Delete"}},
        "classLevelPermissions": {"protectedFields": {"*": ["n"]}},
    }
    assert await send("PUT", "/schemas/Sch", body) == (
        107,
        "Field 'n' in protectedFields:* does not exist",
    )
    assert await send("GET", "/schemas/Sch") == sch


async def test_permissions_may_name_fields_of_the_same_request(send: Send, sch: Any) -> None:
    body = {
        "fields": {"new": {"type": "String"}},
        "classLevelPermissions": {"protectedFields": {"*": ["new"]}},
    }
    changed = await send("PUT", "/schemas/Sch", body)
    assert changed["classLevelPermissions"]["protectedFields"] == {"*": ["new"]}


async def test_indexes(send: Send, sch: Any, database: Database) -> None:
    body = {"indexes": {"ab": {"s": 1, "n": -1}, "pp": {"_p_p": 1}}}
    changed = await send("PUT", "/schemas/Sch", body)
    assert changed["indexes"] == {"_id_": {"_id": 1}, **body["indexes"]}
    assert {"ab", "pp"} <= set(await list_indexes(database, "Sch"))
    changed = await send("PUT", "/schemas/Sch", {"indexes": {"ab": {"__op": "Delete"}}})
    assert changed["indexes"] == {"_id_": {"_id": 1}, "pp": {"_p_p": 1}}
    assert "ab" not in await list_indexes(database, "Sch")


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ({"ab": {"n": 1}}, "Index ab exists, cannot update."),
        ({"cd": {"nofield": 1}}, "Field nofield does not exist, cannot add index."),
        ({"zz": {"__op": "Delete"}}, "Index zz does not exist, cannot delete."),
        ({"_id_": {"__op": "Delete"}}, "Index _id_ cannot be deleted."),
        ({"x": 5}, "Index x needs an object of fields."),
        ({"x": {"s": "nonsense"}}, "Index x has a bad value for s."),
        ({"": {"s": 1}}, "MongoDB refused an index of Sch: ."),
    ],
)
async def test_index_errors(send: Send, sch: Any, indexes: Any, expected: str) -> None:
    await send("PUT", "/schemas/Sch", {"indexes": {"ab": {"s": 1}}})
    assert await send("PUT", "/schemas/Sch", {"indexes": indexes}) == (102, expected)


async def test_only_an_empty_class_is_deleted(send: Send, sch: Any, database: Database) -> None:
    await database.insert("Sch", {"_id": "a"})
    assert await send("DELETE", "/schemas/Sch") == (
        255,
        "Class Sch is not empty, contains 1 objects, cannot drop schema.",
    )
    assert await send("DELETE", "/purge/Sch") == {}
    assert await database.count("Sch", {}) == 0
    assert await send("DELETE", "/schemas/Sch") == {}
    assert await send("GET", "/schemas/Sch") == (103, "Class Sch does not exist.")
    names = await database.raw.list_collection_names()
    assert not {"Sch", "_Join:rel:Sch"} & set(names)


async def test_deleting_and_purging_what_is_not_there(send: Send, database: Database) -> None:
    assert await send("DELETE", "/schemas/Unknown") == {}
    assert await send("DELETE", "/purge/Unknown") == {}
    before = await database.find("_SCHEMA", {})
    assert await send("DELETE", "/purge/_SCHEMA") == {}
    assert await database.find("_SCHEMA", {}) == before
    assert (await send("DELETE", "/schemas/bad-name"))[0] == 103
    assert (await send("DELETE", "/schemas/_SCHEMA"))[0] == 103


ROUTES = [
    ("GET", "/schemas"),
    ("GET", "/schemas/Sch"),
    ("POST", "/schemas"),
    ("POST", "/schemas/New"),
    ("PUT", "/schemas/Sch"),
    ("DELETE", "/schemas/Sch"),
    ("DELETE", "/purge/Sch"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_only_the_master_key_may(send: Send, sch: Any, method: str, path: str) -> None:
    assert await send(method, path, {}, ANONYMOUS) == (403, "Permission denied")
    assert await send("GET", "/schemas/Sch") == sch


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_the_read_only_master_key_reads(send: Send, sch: Any, method: str, path: str) -> None:
    answer = await send(method, path, {}, READ_ONLY_MASTER)
    if method == "GET":
        assert isinstance(answer, dict)
    else:
        assert answer[0] == 119
        assert answer[1].startswith("read-only masterKey isn't allowed to ")
    assert await send("GET", "/schemas/Sch") == sch
