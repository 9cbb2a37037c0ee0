"""Parse Server and Pestle on one database: each reads what the other wrote, and writes the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import pytest
from bson import Binary
from pymongo import MongoClient

from server.settings import Settings
from server.values import pointer
from tests.conftest import SERVE_OPTIONS
from tests.harness.api import APP_ID, MASTER_KEY, Api, assert_parse_error, ok
from tests.harness.app import running_app
from tests.harness.mongo import TestMongo
from tests.harness.processes import start_peer

pytestmark = pytest.mark.slow

both_ways = pytest.mark.parametrize(
    ("writer", "reader"), [("peer", "pestle"), ("pestle", "peer")], ids=["peer-first", "ours-first"]
)
T = TypeVar("T")


@dataclass
class House:
    """Both servers on one database; ``of[name]`` speaks to ``peer`` or ``pestle``."""

    of: dict[str, Api]
    uri: str
    database: str

    def stored(self, collection: str, object_id: str) -> dict[str, Any]:
        """One document as it lies in MongoDB."""
        with MongoClient[dict[str, Any]](self.uri) as client:
            found = client[self.database][collection].find_one({"_id": object_id})
        assert found is not None, f"no {object_id} in {collection}"
        return found


@pytest.fixture(scope="module")
async def house(mongo: TestMongo) -> AsyncIterator[House]:
    database = mongo.new_database()
    uri = mongo.uri(database)
    # Parse Server keeps schema, sessions and roles for a while unless it is told not to.
    peer = start_peer(
        {
            **SERVE_OPTIONS,
            "databaseURI": uri,
            "cacheTTL": 1,
            "databaseOptions": {"enableSchemaHooks": True},
        }
    )
    settings = Settings(
        app_id=APP_ID,
        master_key=MASTER_KEY,
        database_uri=uri,
        allow_client_class_creation=True,
        log_level="error",
    )
    try:
        async with (
            httpx.AsyncClient(base_url=peer.url, timeout=30) as client,
            running_app(settings) as ours,
        ):
            yield House({"peer": Api(client), "pestle": ours}, uri, database)
    finally:
        peer.stop()
        mongo.drop(database)


async def eventually(ask: Callable[[], Awaitable[T]], fits: Callable[[T], bool]) -> T:
    """What ``ask`` gives once it fits: caches follow the other server within a moment."""
    for _ in range(100):
        value = await ask()
        if fits(value):
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {value!r}")


DATE = {"__type": "Date", "iso": "2026-01-02T03:04:05.678Z"}
POINT = {"__type": "GeoPoint", "latitude": 40.5, "longitude": -30.25}
ALL_TYPES: dict[str, Any] = {
    "text": "caf\u00e9 \u0000 \U0001f600",
    "whole": 7,
    "big": 2147483648,
    "small": -0.5,
    "yes": True,
    "nothing": None,
    "when": DATE,
    "list": [1, "a", None, {"b": [True]}, DATE, pointer("Other", "abcdefghij"), POINT],
    "tree": {"a": {"b": 1.5, "when": DATE, "to": pointer("Other", "abcdefghij")}, "empty": {}},
    "to": pointer("Other", "abcdefghij"),
    "place": POINT,
    "area": {"__type": "Polygon", "coordinates": [[0, 0], [0, 1], [1, 1], [0, 0]]},
    "raw": {"__type": "Bytes", "base64": "aGVsbG8="},
    "ACL": {"*": {"read": True}, "role:Staff": {"read": True, "write": True}},
}


@both_ways
async def test_every_type_is_read_as_it_was_written(house: House, writer: str, reader: str) -> None:
    class_name = f"Types{writer}"
    made = await house.of[writer].create(class_name, **ALL_TYPES)

    async def read(who: str) -> dict[str, Any]:
        answer = await house.of[who].get(f"/classes/{class_name}/{made}")
        return dict(answer.json())

    theirs = await eventually(lambda: read(reader), lambda found: "raw" in found)
    ours = await read(writer)
    assert theirs == ours
    assert {name: value for name, value in theirs.items() if name in ALL_TYPES} == ALL_TYPES


async def test_documents_are_stored_alike(house: House) -> None:
    """Same fields, same keys, same BSON types, whoever writes."""
    documents = []
    for name, api in house.of.items():
        made = await api.create(f"Alike{name}", **ALL_TYPES)
        documents.append(house.stored(f"Alike{name}", made))
    theirs, ours = (_shape(document) for document in documents)
    assert ours == theirs
    for key in set(documents[0]) - {"_id", "_created_at", "_updated_at"}:
        assert documents[1][key] == documents[0][key], key


async def test_system_documents_are_stored_alike(house: House) -> None:
    shapes: dict[str, list[Any]] = {}
    for name, api in house.of.items():
        user = await api.sign_up(f"alike-{name}", email=f"alike-{name}@example.com")
        session = ok(await user.get("/sessions/me"))["objectId"]
        body = {"name": f"Alike{name}", "ACL": {"*": {"read": True}}}
        role = ok(await api.as_master().post("/roles", body))["objectId"]
        fields = {"n": {"type": "Number", "required": True}, "o": _pointer_field("_User")}
        permissions = {"find": {"*": True}, "get": {"requiresAuthentication": True}}
        schema = {"fields": fields, "classLevelPermissions": permissions}
        ok(await api.as_master().post(f"/schemas/AlikeSchema{name}", schema))
        for class_name, object_id in (
            ("_User", user.id),
            ("_Session", session),
            ("_Role", role),
            ("_SCHEMA", f"AlikeSchema{name}"),
        ):
            shapes.setdefault(class_name, []).append(_shape(house.stored(class_name, object_id)))
    for class_name, (theirs, ours) in shapes.items():
        for document in (theirs, ours):
            document.pop("_acl", None)  # its keys are the users' ids
        assert ours == theirs, class_name


@both_ways
async def test_pointers_and_relations(house: House, writer: str, reader: str) -> None:
    ours, theirs = house.of[writer], house.of[reader]
    author = await ours.create(f"Author{writer}", name="Ann")
    to_author = pointer(f"Author{writer}", author)
    relation = {"__op": "AddRelation", "objects": [to_author]}
    book = await ours.create(f"Book{writer}", by=to_author, readers=relation)

    async def find_books() -> list[dict[str, Any]]:
        return await theirs.find(f"Book{writer}", {"by": to_author}, include="by")

    (found,) = await eventually(find_books, lambda books: bool(books and "readers" in books[0]))
    assert found["by"]["name"] == "Ann"
    assert found["readers"] == {"__type": "Relation", "className": f"Author{writer}"}
    related = {"$relatedTo": {"object": pointer(f"Book{writer}", book), "key": "readers"}}
    assert [one["objectId"] for one in await theirs.find(f"Author{writer}", related)] == [author]

    gone = {"readers": {"__op": "RemoveRelation", "objects": [to_author]}}
    ok(await theirs.put(f"/classes/Book{writer}/{book}", gone))
    assert await ours.find(f"Author{writer}", related) == []


@both_ways
async def test_operations_of_both_add_up(house: House, writer: str, reader: str) -> None:
    made = await house.of[writer].create(f"Sum{writer}", n=1, tags=["a"], gone=1)
    path = f"/classes/Sum{writer}/{made}"
    change = {
        "n": {"__op": "Increment", "amount": 2},
        "tags": {"__op": "AddUnique", "objects": ["a", "b"]},
        "gone": {"__op": "Delete"},
    }
    first = await eventually(
        lambda: house.of[reader].put(path, change), lambda answer: answer.status_code == 200
    )
    assert (first.json()["n"], first.json()["tags"]) == (3, ["a", "b"])
    second = ok(await house.of[writer].put(path, {"n": {"__op": "Increment", "amount": -0.5}}))
    assert second["n"] == 2.5
    assert "gone" not in ok(await house.of[reader].get(path))


@both_ways
async def test_users_log_in_at_either(house: House, writer: str, reader: str) -> None:
    name = f"user-{writer}"
    there = await house.of[writer].sign_up(name, email=f"{name}@example.com", nick="x")
    here = await house.of[reader].log_in(name)
    assert here.id == there.id
    same = house.of[reader].as_user(there.session_token)
    me = ok(await same.get("/users/me"))
    assert (me["username"], me["email"], me["nick"]) == (name, f"{name}@example.com", "x")

    ok(await here.put(f"/users/{here.id}", {"password": "other"}))
    assert (await house.of[writer].log_in(name, "other")).id == there.id
    body = {"username": name, "password": "secret"}
    assert_parse_error(await house.of[writer].post("/login", body), 101)
    dead = house.of[writer].as_user(there.session_token)
    answer = await eventually(lambda: dead.get("/users/me"), lambda one: one.status_code != 200)
    assert_parse_error(answer, 209)
    taken = {"username": name.upper(), "password": "x"}
    assert_parse_error(await house.of[reader].post("/users", taken), 202)


@both_ways
async def test_a_log_out_at_one_holds_at_the_other(house: House, writer: str, reader: str) -> None:
    user = await house.of[writer].sign_up(f"leaver-{writer}")
    there = house.of[reader].as_user(user.session_token)
    ok(await there.get("/users/me"))
    ok(await user.post("/logout"))
    answer = await eventually(lambda: there.get("/users/me"), lambda one: one.status_code != 200)
    assert_parse_error(answer, 209)


@both_ways
async def test_roles_and_acls(house: House, writer: str, reader: str) -> None:
    ours, theirs = house.of[writer], house.of[reader]
    member = await ours.sign_up(f"member-{writer}")
    stranger = await ours.sign_up(f"stranger-{writer}")
    public = {"*": {"read": True}}
    adding = {"__op": "AddRelation", "objects": [member.pointer()]}
    role = {"name": f"Child{writer}", "ACL": public, "users": adding}
    child = ok(await ours.as_master().post("/roles", role))["objectId"]
    nesting = {"__op": "AddRelation", "objects": [pointer("_Role", child)]}
    role = {"name": f"Parent{writer}", "ACL": public, "roles": nesting}
    ok(await ours.as_master().post("/roles", role))
    acl = {f"role:Parent{writer}": {"read": True}}
    secret = await ours.create(f"Secret{writer}", text="hush", ACL=acl)
    path = f"/classes/Secret{writer}/{secret}"

    inside = theirs.as_user(member.session_token)
    answer = await eventually(lambda: inside.get(path), lambda one: one.status_code == 200)
    assert answer.json()["text"] == "hush"
    assert_parse_error(await inside.put(path, {"text": "loud"}), 101)
    for outside in (theirs, theirs.as_user(stranger.session_token)):
        assert_parse_error(await outside.get(path), 101)
        assert await outside.find(f"Secret{writer}") == []


@both_ways
async def test_files(house: House, writer: str, reader: str) -> None:
    ours, theirs = house.of[writer], house.of[reader]
    user = await ours.sign_up(f"uploader-{writer}")
    answer = await user.request(
        "POST", "/files/note.txt", content=b"hello world", headers={"Content-Type": "text/plain"}
    )
    name = ok(answer)["name"]
    held = {"file": {"__type": "File", "name": name}}
    made = await user.create(f"Holder{writer}", **held)

    downloaded = await theirs.get(f"/files/{APP_ID}/{name}")
    assert (downloaded.status_code, downloaded.content) == (200, b"hello world")
    assert downloaded.headers["content-type"].startswith("text/plain")
    holder = await eventually(
        lambda: theirs.get(f"/classes/Holder{writer}/{made}"),
        lambda one: isinstance(one.json().get("file"), dict),
    )
    file = holder.json()["file"]
    assert (file["__type"], file["name"]) == ("File", name)
    assert file["url"].endswith(f"/parse/files/{APP_ID}/{name}")

    gone = await theirs.as_master().delete(f"/files/{name}")
    assert gone.status_code == 200
    assert (await ours.get(f"/files/{APP_ID}/{name}")).status_code == 404


@both_ways
async def test_schemas_with_permissions(house: House, writer: str, reader: str) -> None:
    ours, theirs = house.of[writer].as_master(), house.of[reader].as_master()
    path = f"/schemas/Planned{writer}"
    fields = {
        "name": {"type": "String", "required": True},
        "stars": {"type": "Number", "defaultValue": 3},
        "owner": _pointer_field("_User"),
        "fans": {"type": "Relation", "targetClass": "_User"},
    }
    permissions = {
        "find": {"requiresAuthentication": True},
        "get": {"*": True},
        "create": {"*": True},
        "update": {"pointerFields": ["owner"]},
        "protectedFields": {"*": ["stars"]},
    }
    ok(
        await ours.post(
            path,
            {
                "fields": fields,
                "classLevelPermissions": permissions,
                "indexes": {"byName": {"name": 1}},
            },
        )
    )
    answer = await eventually(lambda: theirs.get(path), lambda one: one.status_code == 200)
    assert _sorted(answer.json()) == _sorted(ok(await ours.get(path)))

    anyone = house.of[reader]
    user = await anyone.sign_up(f"planner-{writer}")
    class_path = f"/classes/Planned{writer}"
    assert_parse_error(await anyone.get(class_path), 101)
    assert_parse_error(await anyone.post(class_path, {}), 142)
    made = await user.create(f"Planned{writer}", name="x", owner=user.pointer())
    (found,) = await user.find(f"Planned{writer}")
    assert "stars" not in found
    assert ok(await theirs.get(f"{class_path}/{made}"))["stars"] == 3
    assert_parse_error(await anyone.put(f"{class_path}/{made}", {"name": "y"}), 101)
    ok(await user.put(f"{class_path}/{made}", {"name": "y"}))

    ok(await theirs.put(path, {"fields": {"stars": {"__op": "Delete"}, "more": {"type": "File"}}}))
    changed = await eventually(lambda: ours.get(path), lambda one: "more" in one.json()["fields"])
    assert "stars" not in changed.json()["fields"]


def _pointer_field(class_name: str) -> dict[str, str]:
    return {"type": "Pointer", "targetClass": class_name}


def _sorted(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without the entries that say the same as their absence."""
    permissions = schema["classLevelPermissions"]
    kept = {name: rule for name, rule in permissions.items() if rule}
    return {**schema, "classLevelPermissions": kept}


def _shape(value: Any) -> Any:
    """Keys and BSON types without the values."""
    if isinstance(value, dict):
        return {key: _shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value]
    if isinstance(value, bytes):
        return Binary
    return type(value)
