"""Whatever a stranger sends: a 4xx with Parse's error body, never a 5xx, and the server goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from server.settings import Settings
from tests.harness.api import APP_ID, MASTER_KEY, Api, ok
from tests.harness.app import running_app
from tests.harness.mongo import TestMongo

MAX_BODY = 100_000


@dataclass
class World:
    """One app with a few objects, and those who speak to it."""

    callers: dict[str, Api]
    ids: dict[str, str]


@pytest.fixture(scope="module")
async def world(mongo: TestMongo) -> AsyncIterator[World]:
    name = mongo.new_database()
    settings = Settings(
        app_id=APP_ID,
        master_key=MASTER_KEY,
        database_uri=mongo.uri(name),
        allow_client_class_creation=True,
        max_upload_size=MAX_BODY,
        log_level="error",
    )
    async with running_app(settings, hide_bugs=True) as anyone:
        alice = await anyone.sign_up("alice", email="alice@example.com")
        bob = await anyone.sign_up("bob")
        master = anyone.as_master()
        note = await anyone.create(
            "Note",
            n=1,
            text="x",
            tags=["a"],
            o={"a": 1},
            when={"__type": "Date", "iso": "2026-01-01T00:00:00.000Z"},
            owner=alice.pointer(),
            place={"__type": "GeoPoint", "latitude": 1, "longitude": 2},
        )
        role = ok(await master.post("/roles", {"name": "Staff", "ACL": {"*": {"read": True}}}))
        session = ok(await alice.get("/sessions/me"))
        yield World(
            {"anyone": anyone, "alice": alice, "bob": bob, "master": master},
            {
                "note": note,
                "alice": alice.id,
                "bob": bob.id,
                "role": role["objectId"],
                "session": session["objectId"],
            },
        )
    mongo.drop(name)


@dataclass(frozen=True)
class Bad:
    """One request and the refusal it must get. ``codes`` empty: any code of Parse's."""

    name: str
    method: str
    path: str
    body: Any = None
    codes: tuple[int | None, ...] = ()
    who: str = "anyone"
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    status: int | None = None


def create(name: str, fields: Any, *codes: int) -> Bad:
    return Bad(f"create {name}", "POST", "/classes/Note", fields, codes)


def update(name: str, fields: Any, *codes: int) -> Bad:
    return Bad(f"update {name}", "PUT", "/classes/Note/{note}", fields, codes)


def where(name: str, condition: Any, *codes: int, who: str = "anyone") -> Bad:
    params = {"where": condition}
    return Bad(f"where {name}", "GET", "/classes/Note", codes=codes, params=params, who=who)


def find(name: str, params: dict[str, Any], *codes: int, path: str = "/classes/Note") -> Bad:
    return Bad(f"find {name}", "GET", path, codes=codes, params=params)


def sign_up(name: str, body: Any, *codes: int) -> Bad:
    return Bad(f"sign up {name}", "POST", "/users", body, codes)


def log_in(name: str, body: Any, *codes: int) -> Bad:
    return Bad(f"log in {name}", "POST", "/login", body, codes)


def schema(name: str, method: str, path: str, body: Any, *codes: int) -> Bad:
    return Bad(f"schema {name}", method, "/schemas" + path, body, codes, who="master")


def batch(name: str, body: Any, *codes: int) -> Bad:
    return Bad(f"batch {name}", "POST", "/batch", body, codes)


def upload(name: str, file_name: str, who: str, content: bytes, *codes: int) -> Bad:
    headers = {"Content-Type": "text/plain"}
    path = f"/files{file_name}"
    return Bad(f"file {name}", "POST", path, None, codes, who, headers=headers, content=content)


_BAD_TOKEN = {"X-Parse-Session-Token": "r:00000000000000000000000000000000"}
_OPEN = {"__type": "Pointer", "className": "_User"}
_NO_CODE = (None,)

WHO_ASKS = (
    Bad("wrong app id", "GET", "/classes/Note", None, _NO_CODE, status=403,
        headers={"X-Parse-Application-Id": "nope"}),
    Bad("empty app id", "GET", "/classes/Note", None, _NO_CODE, status=403,
        headers={"X-Parse-Application-Id": ""}),
    Bad("app id in the body is a number", "POST", "/classes/Note", {"_ApplicationId": 5},
        _NO_CODE, status=403, headers={"X-Parse-Application-Id": ""}),
    Bad("session token in the body is an object", "POST", "/classes/Note",
        {"_ApplicationId": APP_ID, "_SessionToken": {"$ne": None}}, _NO_CODE, status=403,
        headers={"X-Parse-Application-Id": ""}),
    Bad("master key in the body is an object", "POST", "/classes/Note",
        {"_ApplicationId": APP_ID, "_MasterKey": {"$ne": None}}, _NO_CODE, status=403,
        headers={"X-Parse-Application-Id": ""}),
    Bad("dead session token", "GET", "/classes/Note", None, (209,), headers=_BAD_TOKEN),
    Bad("dead session token at log-out", "POST", "/logout", {}, (209,), headers=_BAD_TOKEN),
    Bad("session token like a query", "GET", "/users/me", None, (209,),
        headers={"X-Parse-Session-Token": '{"$ne":null}'}),
    Bad("cloud context no object", "POST", "/classes/Note", {}, (107,),
        headers={"X-Parse-Cloud-Context": "nope"}),
    Bad("cloud context a list", "POST", "/classes/Note", {}, (107,),
        headers={"X-Parse-Cloud-Context": "[1]"}),
    Bad("unknown route", "GET", "/nothing", None, _NO_CODE, status=404),
    Bad("unknown verb", "PATCH", "/classes/Note", {}, _NO_CODE, status=404),
    Bad("verb that the route lacks", "POST", "/classes/Note/{note}", {}, _NO_CODE, status=404),
)  # fmt: skip

BODIES = (
    Bad("malformed JSON", "POST", "/classes/Note", None, _NO_CODE, content=b'{"a":', status=400),
    Bad("not UTF-8", "POST", "/classes/Note", None, _NO_CODE, content=b'{"a":"\xff\xfe"}',
        status=400),
    Bad("a bare number", "POST", "/classes/Note", None, _NO_CODE, content=b"5", status=400),
    Bad("a bare text", "POST", "/classes/Note", None, _NO_CODE, content=b'"x"', status=400),
    Bad("NaN", "POST", "/classes/Note", None, _NO_CODE, content=b'{"n":NaN}', status=400),
    Bad("too large", "POST", "/classes/Note", None, _NO_CODE, status=413,
        content=b'{"text":"' + b"x" * MAX_BODY + b'"}'),
    Bad("nested beyond reason", "POST", "/classes/Note", None, _NO_CODE, status=400,
        content=b'{"o":' + b'{"a":' * 9000 + b"1" + b"}" * 9001),
    Bad("lists nested deeper than BSON", "POST", "/classes/Note", None,
        content=b'{"tags":' + b"[" * 400 + b"]" * 400 + b"}"),
)  # fmt: skip

OBJECTS = (
    Bad("class name with a dash", "POST", "/classes/bad-name", {}, (107, 119)),
    Bad("class name with an underscore", "POST", "/classes/_Foo", {}, (107, 119)),
    Bad("class name with a dollar", "POST", "/classes/%24cmd", {}, (107, 119)),
    Bad("class name with a NUL", "POST", "/classes/a%00b", {}, (107, 119)),
    Bad("class name with a dot", "POST", "/classes/system.users", {}, (107, 119)),
    *(
        Bad(f"client and {name}", "POST", f"/classes/{name}", {}, (119,))
        for name in ("_JobStatus", "_PushStatus", "_Hooks", "_GlobalConfig", "_Join:users:_Role")
    ),
    Bad("find in _Hooks", "GET", "/classes/_Hooks", None, (119,)),
    Bad("find in _SCHEMA", "GET", "/classes/_SCHEMA"),
    create("_rperm", {"_rperm": ["*"]}, 105),
    create("_wperm", {"_wperm": ["*"]}, 105),
    create("_acl", {"_acl": {}}, 105),
    create("_id", {"_id": "x"}, 105),
    create("_p_owner", {"_p_owner": "_User$x"}, 105),
    create("a dollar field", {"$set": 1}, 105),
    create("a dashed field", {"a-b": 1}, 105),
    create("a NUL in a field name", {"a\0b": 1}, 105),
    create("a NUL in a nested key", {"o": {"a\0b": 1}}),
    create("field length", {"length": 1}, 105),
    create("field objectId", {"objectId": "abcdefghij"}, 105),
    create("field id", {"id": "abcdefghij"}, 105),
    create("nested $where", {"o": {"$where": "1"}}, 121),
    create("nested dot", {"o": {"a.b": 1}}, 121),
    create("nested in a list", {"tags": [{"$gt": 1}]}, 121),
    create("constructor", {"o": {"constructor": 1}}, 105),
    create("__proto__", {"o": {"__proto__": 1}}, 105),
    create("bsontype", {"o": {"_bsontype": "Code"}}, 105),
    create("text for a Number", {"n": "one"}, 111),
    create("list for a Number", {"n": [1]}, 111),
    create("number for a String", {"text": 5}, 111),
    create("object for an Array", {"tags": {"a": 1}}, 111),
    create("text for a Date", {"when": "2026-01-01T00:00:00.000Z"}, 111),
    create("unreadable Date", {"when": {"__type": "Date", "iso": "soon"}}),
    create("Date of a number", {"when": {"__type": "Date", "iso": 5}}),
    create("Date without iso", {"when": {"__type": "Date"}}),
    create("unknown __type", {"fresh": {"__type": "Bogus"}}, 111),
    create("__type a list", {"fresh": {"__type": []}}),
    create("Pointer without objectId", {"owner": _OPEN}, 111),
    create("Pointer with an operator", {"owner": {**_OPEN, "objectId": {"$ne": None}}}),
    create("Pointer with a number", {"owner": {**_OPEN, "objectId": 5}}),
    create("Pointer to another class",
           {"owner": {"__type": "Pointer", "className": "Note", "objectId": "x"}}, 111),
    create("Pointer without a class", {"fresh": {"__type": "Pointer", "objectId": "x"}}, 111),
    create("GeoPoint of texts",
           {"place": {"__type": "GeoPoint", "latitude": "a", "longitude": "b"}}),
    create("second GeoPoint",
           {"other": {"__type": "GeoPoint", "latitude": 1, "longitude": 2}}, 111),
    create("Bytes that are none", {"bytes": {"__type": "Bytes", "base64": 5}}),
    create("Polygon of one point", {"area": {"__type": "Polygon", "coordinates": [[1, 2]]}}),
    create("File without a name", {"file": {"__type": "File"}}),
    create("ACL a text", {"ACL": "mine"}),
    create("ACL a list", {"ACL": [1]}),
    create("ACL with odd entries", {"ACL": {"*": "read"}}),
    create("ACL *unresolved", {"ACL": {"*unresolved": {"read": True}}}, 123),
    create("unknown __op", {"n": {"__op": "Explode"}}),
    create("__op a list", {"n": {"__op": ["Increment"]}}),
    create("Increment by a text", {"n": {"__op": "Increment", "amount": "1"}}, 107),
    create("Add without a list", {"tags": {"__op": "Add", "objects": "x"}}, 107),
    create("AddRelation of nothing", {"rel": {"__op": "AddRelation", "objects": []}}),
    create("AddRelation of texts", {"rel": {"__op": "AddRelation", "objects": ["x"]}}),
    create("AddRelation no list", {"rel": {"__op": "AddRelation", "objects": 5}}),
    create("Batch of nothing", {"rel": {"__op": "Batch", "ops": 5}}),
    update("_rperm", {"_rperm": ["*"]}, 105),
    update("a dollar path", {"o.$x": 1}),
    update("an empty path", {"o..x": 1}),
    update("text for a Number", {"n": "one"}, 111),
    update("text for createdAt", {"createdAt": "2026-01-01T00:00:00.000Z"}, 111),
    update("Increment by null", {"n": {"__op": "Increment", "amount": None}}, 107),
    update("Increment of a String", {"text": {"__op": "Increment", "amount": 1}}, 111),
    update("Remove without a list", {"tags": {"__op": "Remove", "objects": 5}}, 107),
    update("Add to a Number", {"n": {"__op": "Add", "objects": [1]}}, 111),
    update("nested $where", {"o": {"$where": "1"}}, 121),
    update("dotted Increment of a list", {"tags.x": {"__op": "Increment", "amount": 1}}),
    Bad("update nothing there", "PUT", "/classes/Note/nothere", {"n": 2}, (101,)),
    Bad("update a NUL id", "PUT", "/classes/Note/a%00b", {"n": 2}, (101,)),
    Bad("delete nothing there", "DELETE", "/classes/Note/nothere", None, (101,)),
    Bad("get nothing there", "GET", "/classes/Note/nothere", None, (101,)),
    Bad("get in no class", "GET", "/classes/Nowhere/nothere", None, (101, 119)),
    Bad("get with where", "GET", "/classes/Note/{note}", None, (102,), params={"where": {}}),
)  # fmt: skip

QUERIES = (
    find("where no JSON", {"where": "{a"}, 107),
    find("where a list", {"where": []}),
    find("where a text", {"where": "x"}, 107),
    where("unknown operator", {"n": {"$not": 1}}, 107),
    where("$where", {"$where": "sleep(1000)"}, 105),
    where("$expr", {"$expr": {}}, 105),
    where("$where in a field", {"n": {"$where": "1"}}, 107),
    where("$function", {"n": {"$function": {}}}, 107),
    where("NUL key", {"a\0b": 1}, 105),
    where("internal _hashed_password", {"_hashed_password": "x"}, 105),
    where("internal _session_token", {"_session_token": "x"}, 105),
    where("internal _wperm by dots", {"_wperm.0": "x"}, 105),
    where("ACL", {"ACL": {}}, 102),
    where("object literal", {"o": {"a": 1}}, 107),
    where("$in a text", {"n": {"$in": "x"}}, 107),
    where("$nin an object", {"n": {"$nin": {}}}, 107),
    where("$in with an operator", {"n": {"$in": [{"$gt": 1}]}}),
    where("$all a text", {"tags": {"$all": "x"}}),
    where("$or an object", {"$or": {}}, 102),
    where("$or of texts", {"$or": ["x"]}),
    where("$and a text", {"$and": "x"}, 102),
    where("$nor empty", {"$nor": []}, 102),
    where("$regex a number", {"text": {"$regex": 5}}, 102),
    where("$regex an object", {"text": {"$regex": {"$ne": 1}}}, 102),
    where("$regex invalid", {"text": {"$regex": "("}}),
    where("$regex with NUL", {"text": {"$regex": "a\0b"}}),
    where("$options unknown", {"text": {"$regex": "a", "$options": "z"}}, 102),
    where("$options a number", {"text": {"$regex": "a", "$options": 5}}, 102),
    where("$select bad", {"text": {"$select": {"query": 1}}}, 102),
    where("$dontSelect bad", {"text": {"$dontSelect": 5}}, 102),
    where("$inQuery bad", {"owner": {"$inQuery": 5}}, 102),
    where("$inQuery without a class", {"owner": {"$inQuery": {"where": {}}}}, 102),
    where("$inQuery with a bad where",
          {"owner": {"$inQuery": {"className": "_User", "where": {"$where": 1}}}}),
    where("$notInQuery a list", {"owner": {"$notInQuery": []}}, 102),
    where("$relatedTo bad", {"$relatedTo": 5}),
    where("$relatedTo without a key", {"$relatedTo": {"object": {}}}),
    where("$gt an object", {"n": {"$gt": {"a": 1}}}),
    where("unknown __type", {"n": {"__type": "Bogus"}}),
    where("bad Date", {"when": {"$gt": {"__type": "Date", "iso": "soon"}}}),
    where("bad $relativeTime", {"when": {"$gt": {"$relativeTime": "whenever"}}}, 107),
    where("$containedBy a text", {"tags": {"$containedBy": "x"}}),
    find("unknown parameter", {"bogus": 1}, 102),
    find("order by an internal field", {"order": "_rperm"}, 105),
    find("order by a dollar", {"order": "$natural"}, 105),
    find("negative skip", {"skip": -1}),
    find("explain as a client", {"explain": "true"}, 102),
    find("unknown read preference", {"readPreference": "THERE"}, 102),
    find("unknown hint", {"hint": "nothere"}),
    find("users by e-mail", {"where": {"email": "alice@example.com"}}, 119, path="/users"),
    find("users sorted by e-mail", {"order": "email"}, 119, path="/users"),
    find("users by password hash", {"where": {"_hashed_password": {"$regex": "^"}}},
         path="/users"),
    Bad("deep $or", "GET", "/classes/Note",
        params={"where": '{"$or":[' * 300 + '{"n":1}' + "]}" * 300}),
)  # fmt: skip

USERS = (
    sign_up("nothing", {}, 200),
    sign_up("without username", {"password": "x"}, 200),
    sign_up("username a number", {"username": 5, "password": "x"}, 200),
    sign_up("username an object", {"username": {"$ne": None}, "password": "x"}, 200),
    sign_up("empty username", {"username": "", "password": "x"}, 200),
    sign_up("without password", {"username": "x"}, 201),
    sign_up("password an object", {"username": "x", "password": {"$ne": 1}}, 201),
    sign_up("bad e-mail", {"username": "x", "password": "x", "email": "nope"}, 125),
    sign_up("e-mail an object", {"username": "x", "password": "x", "email": {"$ne": 1}}),
    sign_up("taken username", {"username": "ALICE", "password": "x"}, 202),
    sign_up("taken e-mail", {"username": "x", "password": "x", "email": "ALICE@example.com"}, 203),
    sign_up("emailVerified", {"username": "x", "password": "x", "emailVerified": True}, 119),
    sign_up("password hash", {"username": "x", "password": "x", "_hashed_password": "y"}, 105),
    sign_up("unknown provider", {"authData": {"nope": {"id": "1"}}}, 252),
    sign_up("authData a text", {"authData": "x"}),
    sign_up("authData a list", {"authData": [1]}),
    sign_up("authData id an operator", {"authData": {"anonymous": {"id": {"$ne": 1}}}}, 162),
    sign_up("authData empty", {"authData": {}}, 200),
    sign_up("provider with a dot", {"authData": {"anonymous.id": {"id": "x"}}}),
    log_in("nothing", {}, 200),
    log_in("without password", {"username": "alice"}, 201),
    log_in("wrong password", {"username": "alice", "password": "x"}, 101),
    log_in("unknown user", {"username": "nobody", "password": "x"}, 101),
    log_in("username an operator", {"username": {"$ne": None}, "password": "secret"}, 101),
    log_in("password an operator", {"username": "alice", "password": {"$ne": None}}, 101),
    log_in("password with a NUL", {"username": "alice", "password": "sec\0ret"}, 101),
    log_in("password very long", {"username": "alice", "password": "x" * 5000}, 101),
    log_in("e-mail an operator", {"email": {"$regex": "."}, "password": "secret"}, 101),
    log_in("authData of nobody", {"authData": {"nope": {"id": "1"}}}),
    Bad("update a user without a session", "PUT", "/users/{alice}", {"a": 1}, (206,)),
    Bad("update another user", "PUT", "/users/{alice}", {"a": 1}, (206,), who="bob"),
    Bad("delete another user", "DELETE", "/users/{alice}", None, (206,), who="bob"),
    Bad("delete a user without a session", "DELETE", "/users/{alice}", None, (206,)),
    Bad("another user", "GET", "/users/{alice}", None, (101,), who="bob"),
    Bad("take a username", "PUT", "/users/{bob}", {"username": "alice"}, (202,), who="bob"),
    Bad("password to a number", "PUT", "/users/{bob}", {"password": 5}, who="bob"),
    Bad("me without a token", "GET", "/users/me", None, (209,)),
    Bad("loginAs as a client", "POST", "/loginAs", {"userId": "x"}, (119,)),
    Bad("loginAs nobody", "POST", "/loginAs", {"userId": "x"}, (101,), who="master"),
    Bad("loginAs an operator", "POST", "/loginAs", {"userId": {"$ne": 1}}, who="master"),
    Bad("upgrade without a user", "POST", "/upgradeToRevocableSession", {}, (101,)),
    Bad("sessions without a token", "GET", "/sessions", None, (209,)),
    Bad("own session without a token", "GET", "/sessions/me", None, (209,)),
    Bad("make a session without a user", "POST", "/sessions", {}, (209,)),
    Bad("ACL of a session", "PUT", "/sessions/{session}", {"ACL": {}}, (105,), who="alice"),
    Bad("user of a session", "PUT", "/sessions/{session}", {"user": 1}, (105,), who="alice"),
    Bad("token of a session", "PUT", "/sessions/{session}", {"sessionToken": "r:1"}, (105,),
        who="alice"),
    Bad("session of another", "GET", "/sessions/{session}", None, (101,), who="bob"),
    Bad("role without a name", "POST", "/roles", {"ACL": {}}, (111,), who="master"),
    Bad("role without an ACL", "POST", "/roles", {"name": "Other"}, (111,), who="master"),
    Bad("role name a number", "POST", "/roles", {"name": 5, "ACL": {}}, who="master"),
    Bad("role name taken", "POST", "/roles", {"name": "Staff", "ACL": {}}, (137,), who="master"),
    Bad("role users of texts", "PUT", "/roles/{role}",
        {"users": {"__op": "AddRelation", "objects": ["x"]}}, who="master"),
    Bad("join a role", "PUT", "/roles/{role}",
        {"users": {"__op": "AddRelation", "objects": []}}, who="bob"),
)  # fmt: skip

FILES_AND_FUNCTIONS = (
    upload("without a name", "", "alice", b"x", 122),
    upload("bad name", "/a%24b.txt", "alice", b"x", 122),
    upload("name with a slash", "/..%2Fb.txt", "alice", b"x", 122),
    upload("name with a NUL", "/a%00b.txt", "alice", b"x", 122),
    upload("long name", "/" + "a" * 200 + ".txt", "alice", b"x", 122),
    upload("by the public", "/a.txt", "anyone", b"x", 130),
    upload("page", "/a.html", "alice", b"<script>", 130),
    upload("picture with scripts", "/a.svg", "alice", b"<svg>", 130),
    upload("empty", "/a.txt", "alice", b"", 130),
    Bad("file too large", "POST", "/files/a.txt", None, _NO_CODE, "alice", status=413,
        content=b"x" * (MAX_BODY + 1), headers={"Content-Type": "text/plain"}),
    Bad("delete a file as a client", "DELETE", "/files/a.txt", None, _NO_CODE, "alice",
        status=403),
    Bad("delete no file", "DELETE", "/files/nothere.txt", None, (153,), "master"),
    Bad("get no file", "GET", f"/files/{APP_ID}/nothere.txt", None, _NO_CODE, status=404),
    Bad("get a file of another app", "GET", "/files/nope/a.txt", None, _NO_CODE, status=403),
    Bad("unknown function", "POST", "/functions/nope", {}, (141,)),
    Bad("function with malformed JSON", "POST", "/functions/nope", None, _NO_CODE,
        content=b"{", status=400),
    Bad("function named like an attribute", "POST", "/functions/__init__", {}, (141,)),
)  # fmt: skip

ADMIN_PATHS = (
    ("GET", "/schemas"),
    ("GET", "/schemas/Note"),
    ("POST", "/schemas/Other"),
    ("PUT", "/schemas/Note"),
    ("DELETE", "/schemas/Note"),
    ("DELETE", "/purge/Note"),
    ("GET", "/hooks/functions"),
    ("POST", "/hooks/functions"),
    ("GET", "/hooks/triggers"),
    ("POST", "/hooks/triggers"),
    ("GET", "/serverInfo"),
)
_PERMISSIONS = "classLevelPermissions"

ADMIN = (
    *(Bad(f"client {method} {path}", method, path, {}, _NO_CODE, "alice", status=403)
      for method, path in ADMIN_PATHS),
    schema("of no class", "GET", "/Nowhere", None, 103),
    schema("change of no class", "PUT", "/Nowhere", {}, 103),
    schema("exists", "POST", "/Note", {}, 103),
    schema("bad name", "POST", "/bad-name", {}, 103),
    schema("two names", "POST", "/One", {"className": "Two"}, 103),
    schema("no name", "POST", "", {}, 135),
    schema("name a number", "POST", "", {"className": 5}),
    schema("fields a text", "POST", "/Fresh", {"fields": "x"}),
    schema("field a text", "POST", "/Fresh", {"fields": {"a": "String"}}),
    schema("type unknown", "POST", "/Fresh", {"fields": {"a": {"type": "Nope"}}}, 111),
    schema("type a number", "POST", "/Fresh", {"fields": {"a": {"type": 5}}}),
    schema("field name", "POST", "/Fresh", {"fields": {"_x": {"type": "String"}}}, 105),
    schema("objectId again", "POST", "/Fresh", {"fields": {"objectId": {"type": "String"}}}, 136),
    schema("Pointer to nothing", "POST", "/Fresh", {"fields": {"a": {"type": "Pointer"}}}, 135),
    schema("field exists", "PUT", "/Note", {"fields": {"n": {"type": "String"}}}, 255),
    schema("field is not there", "PUT", "/Note", {"fields": {"zz": {"__op": "Delete"}}}, 255),
    schema("class with objects", "DELETE", "/Note", None, 255),
    schema("default of another type", "POST", "/Fresh",
           {"fields": {"a": {"type": "Number", "defaultValue": "x"}}}, 111),
    schema("permissions a text", "PUT", "/Note", {_PERMISSIONS: "x"}, 107),
    schema("permission unknown", "PUT", "/Note", {_PERMISSIONS: {"fly": {"*": True}}}, 107),
    schema("permission false", "PUT", "/Note", {_PERMISSIONS: {"find": {"*": False}}}, 107),
    schema("permission a list", "PUT", "/Note", {_PERMISSIONS: {"find": ["*"]}}, 107),
    schema("pointer permission", "PUT", "/Note", {_PERMISSIONS: {"readUserFields": ["n"]}}, 107),
    schema("protected fields", "PUT", "/Note", {_PERMISSIONS: {"protectedFields": {"*": "n"}}},
           107),
    schema("index of no field", "PUT", "/Note", {"indexes": {"i": {"nofield": 1}}}, 102),
    schema("index a text", "PUT", "/Note", {"indexes": {"i": "n"}}),
    Bad("hook without anything", "POST", "/hooks/functions", {}, (143,), "master"),
    Bad("hook with a URL that is none", "POST", "/hooks/functions",
        {"functionName": "f", "url": 5}, (143,), "master"),
    Bad("trigger without a URL", "POST", "/hooks/triggers",
        {"className": "Note", "triggerName": "beforeSave"}, (143,), "master"),
    Bad("no such hook", "GET", "/hooks/functions/nope", None, (143,), "master"),
    Bad("no such trigger", "GET", "/hooks/triggers/Note/beforeSave", None, (143,), "master"),
    Bad("change no such hook", "PUT", "/hooks/functions/nope", {"url": "http://x"}, (143,),
        "master"),
)  # fmt: skip

BATCHES = (
    batch("of nothing", {}, 107),
    batch("requests a text", {"requests": "x"}, 107),
    batch("of texts", {"requests": ["x"]}, 107),
    batch("path a number", {"requests": [{"method": "GET", "path": 5}]}, 107),
    batch("path outside", {"requests": [{"method": "GET", "path": "/classes/Note"}]}, 107),
    batch("path unknown", {"requests": [{"method": "POST", "path": "/parse/nope"}]}, 107),
    batch("of a batch", {"requests": [{"method": "POST", "path": "/parse/batch"}]}, 107),
    batch("method a number", {"requests": [{"method": 5, "path": "/parse/classes/Note"}]}),
)

TABLE = (
    *WHO_ASKS,
    *BODIES,
    *OBJECTS,
    *QUERIES,
    *USERS,
    *FILES_AND_FUNCTIONS,
    *ADMIN,
    *BATCHES,
)


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
async def test_is_refused(world: World, bad: Bad) -> None:
    api = world.callers[bad.who]
    path = bad.path.format_map(world.ids)
    answer = await api.request(
        bad.method,
        path,
        bad.body,
        params=bad.params,
        headers=bad.headers,
        content=bad.content,
    )
    assert 400 <= answer.status_code < 500, f"{answer.status_code} {answer.text}"
    if bad.status is not None:
        assert answer.status_code == bad.status, answer.text
    code = _code(answer)
    assert code in (bad.codes or {code} - {None}), answer.text
    if code is not None and bad.status is None:
        assert answer.status_code == (404 if code == 101 else 400)
    _reveals_nothing(answer)


# What is sent to every route, in every place; most of it is refused, some of it is fine.
POISON = (
    b"",
    b"{",
    b"null",
    b"5",
    b'"x"',
    b"[]",
    b"[1,2]",
    b'{"\\u0000":1}',
    b'{"a":"\\u0000"}',
    b'{"a":"\\ud800"}',
    b'{"a":18446744073709551615,"b":-9223372036854775809,"c":1e400}',
    b'{"_method":"EXPLODE"}',
    b'{"_method":"GET","where":{"$where":"1"}}',
    b'{"_rperm":["*"],"_id":5,"$set":{}}',
    b'{"objectId":{"$ne":null},"className":{"$ne":null},"createdAt":5}',
    b'{"username":["a"],"password":["b"],"email":["c"],"authData":{"anonymous":5}}',
    b'{"ACL":{"*":5},"requests":[5],"name":{},"users":5,"fields":5,"indexes":5}',
    b'{"a":{"__type":"Pointer","className":"$","objectId":"$"}}',
    b'{"a":{"__type":"Relation","className":5}}',
    b'{"a":{"__type":"Object","className":"_User","objectId":"x","_rperm":[]}}',
    b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"a":' + b'{"a":' * 150 + b"1" + b"}" * 151,
)
ROUTES = (
    "GET /health",
    "GET /serverInfo",
    "GET /classes/Note",
    "POST /classes/Poison",
    "GET /classes/Note/{note}",
    "PUT /classes/Note/{note}",
    "DELETE /classes/Note/nothere",
    "GET /classes/_User",
    "POST /classes/_User",
    "POST /classes/_Session",
    "POST /classes/_Role",
    "POST /classes/_Installation",
    "GET /users",
    "POST /users",
    "GET /users/{alice}",
    "PUT /users/{bob}",
    "GET /users/me",
    "GET /login",
    "POST /login",
    "POST /loginAs",
    "GET /verifyPassword",
    "POST /verifyPassword",
    "POST /upgradeToRevocableSession",
    "GET /sessions",
    "POST /sessions",
    "GET /sessions/me",
    "PUT /sessions/{session}",
    "GET /roles",
    "POST /roles",
    "PUT /roles/{role}",
    "POST /files/poison.txt",
    "GET /files/app/poison.txt",
    "DELETE /files/poison.txt",
    "POST /functions/nope",
    "GET /hooks/functions",
    "POST /hooks/functions",
    "PUT /hooks/functions/nope",
    "POST /hooks/triggers",
    "PUT /hooks/triggers/Note/beforeSave",
    "GET /schemas",
    "POST /schemas",
    "POST /schemas/Poison",
    "PUT /schemas/Note",
    "DELETE /schemas/Nowhere",
    "DELETE /purge/Nowhere",
    "POST /batch",
)


@pytest.mark.parametrize("who", ["anyone", "bob", "master"])
@pytest.mark.parametrize("route", ROUTES)
async def test_never_a_server_error(world: World, route: str, who: str) -> None:
    """Every route takes every kind of rubbish: as its body, and as a parameter of a GET."""
    method, path = route.format_map(world.ids).split()
    api = world.callers[who]
    for poison in POISON:
        answers = [await api.request(method, path, content=poison)]
        if method == "GET" and len(poison) < 2000:
            text = poison.decode()
            for name in ("where", "order", "include", "keys", "limit", "skip"):
                answers.append(await api.request("GET", path, params={name: text}))
        for answer in answers:
            assert answer.status_code < 500, f"{poison[:80]!r}: {answer.text}"
            _reveals_nothing(answer)
    assert (await api.get("/health")).json() == {"status": "ok"}


def _code(answer: httpx.Response) -> int | None:
    """The code of Parse's error body; some refusals have none, some no JSON at all."""
    if "json" not in answer.headers.get("content-type", ""):
        return None
    body = answer.json()
    assert "error" in body, answer.text
    code: int | None = body.get("code")
    return code


def _reveals_nothing(answer: httpx.Response) -> None:
    """SECURITY: no trace, no storage name of ours, no path of this machine."""
    for word in ("Traceback", 'File "', "pymongo", "site-packages"):
        assert word not in answer.text, answer.text
