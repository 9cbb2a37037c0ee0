"""A stranger and a neighbour in an app whose users are public: what they may not learn or write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.settings import Settings
from server.values import pointer
from tests.harness.api import APP_ID, MASTER_KEY, Api, ok
from tests.harness.app import running_app
from tests.harness.mongo import TestMongo
from tests.security.conftest import Attack, World

READ_ONLY = "read-only-key"
ADDRESS, SECRET_ID = "alice@example.com", "id-of-anonymous"


@pytest.fixture(scope="module")
async def world(mongo: TestMongo) -> AsyncIterator[World]:
    database = mongo.new_database()
    uri = mongo.uri(database)
    settings = Settings(
        app_id=APP_ID,
        master_key=MASTER_KEY,
        read_only_master_key=READ_ONLY,
        database_uri=uri,
        allow_client_class_creation=True,
        allow_custom_object_id=True,
        enforce_private_users=False,
        log_level="error",
    )
    async with running_app(settings, hide_bugs=True) as anyone:
        yield await _furnished(anyone, uri)
    mongo.drop(database)


async def _furnished(anyone: Api, uri: str) -> World:
    alice, bob = await anyone.sign_up("alice", email=ADDRESS), await anyone.sign_up("bob")
    master = anyone.as_master()
    ok(await anyone.post("/users", {"authData": {"anonymous": {"id": SECRET_ID}}}))
    session = ok(await alice.get("/sessions/me"))
    role = ok(
        await master.post(
            "/roles",
            {
                "name": "Staff",
                "ACL": {"*": {"read": True}},
                "users": {"__op": "AddRelation", "objects": [alice.pointer()]},
            },
        )
    )
    note = await alice.create(
        "Note",
        n=1,
        tags=["a"],
        o={"a": 1},
        owner=alice.pointer(),
        ACL={"*": {"read": True}, alice.id: {"read": True, "write": True}},
    )
    secret = await alice.create("Note", text="diary", ACL={alice.id: {"read": True, "write": True}})
    hashed = (await _stored_user(uri, alice.id))["_hashed_password"]
    return World(
        uri,
        {
            "anyone": anyone,
            "alice": alice,
            "bob": bob,
            "master": master,
            "read-only": anyone.with_headers({"X-Parse-Master-Key": READ_ONLY}),
        },
        {
            "alice": alice.id,
            "bob": bob.id,
            "session": session["objectId"],
            "role": role["objectId"],
            "note": note,
            "secret": secret,
        },
        (ADDRESS, SECRET_ID, hashed, alice.session_token, "diary", MASTER_KEY, READ_ONLY),
    )


async def _stored_user(uri: str, user_id: str) -> dict[str, Any]:
    from pymongo import AsyncMongoClient

    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        found = await client.get_default_database()["_User"].find_one({"_id": user_id})
        assert found is not None
        return found


def _find(name: str, where: Any, code: int = 119, place: str = "users", **params: Any) -> Attack:
    return Attack(name, "bob", "GET", f"/{place}", None, code, params={"where": where, **params})


def _query(where: Any, class_name: str = "_User") -> dict[str, Any]:
    return {"className": class_name, "where": where}


_HASH = {"_hashed_password": {"$regex": "^.2"}}
_IDS = {"authData.anonymous.id": {"$regex": "^id"}}
_EMAIL = {"email": {"$regex": "^alice"}}

READS = [
    *(_find("a hidden column", where) for where in (_EMAIL, {"$or": [{"$nor": [_EMAIL]}]})),
    _find("a hidden column, a part", {"email.x": 1}),
    _find("a hidden column, counted", _EMAIL, count="1", limit="0"),
    _find("a hidden column, of one's own too", {"$or": [{"objectId": "{bob}"}, _EMAIL]}),
    _find("a hidden column, sorted", {}, order="-email"),
    _find("a hidden column in a sub-query", {"username": {"$inQuery": _query(_EMAIL)}}),
    _find(
        "a hidden column selected by",
        {"username": {"$select": {"key": "username", "query": _query(_EMAIL)}}},
    ),
    _find("the hash", _HASH, 105),
    _find("the hash in a branch", {"$or": [_HASH]}, 105),
    _find("the hash as password", {"password": {"$exists": True}}, 105),
    _find("the hash, sorted", {}, 105, order="_hashed_password"),
    _find("a token", {"_session_token": {"$exists": True}}, 105),
    _find("a reset token", {"_perishable_token": {"$exists": True}}, 105),
    _find("auth data as stored", {"_auth_data_anonymous.id": SECRET_ID}, 105),
    _find("auth data, sorted", {}, 105, order="authData.anonymous.id"),
    _find("JavaScript", {"$where": "1"}, 105),
    _find("an expression", {"$expr": {"$eq": [1, 1]}}, 105),
    _find("JavaScript on a column", {"username": {"$where": "1"}}, 107),
    _find("a type test", {"username": {"$type": 2}}, 107),
    _find("an unlisted operator", {"username": {"$not": {"$eq": "a"}}}, 107),
    _find("a path with an operator", {"o.$a": 1}, 105, "classes/Note"),
    _find("rows of sessions", {"n": {"$inQuery": _query({}, "_Hooks")}}, 119, "classes/Note"),
    _find("rows of schemas", {"n": {"$inQuery": _query({}, "_SCHEMA")}}, 103, "classes/Note"),
    _find("rows of joins", {"n": {"$inQuery": _query({}, "_Join:users:_Role")}}, 119, "roles"),
    _find("a plan", {}, 102, explain="true"),
    Attack("another's session", "bob", "GET", "/sessions/{session}", code=101),
    Attack("another's object", "bob", "GET", "/classes/Note/{secret}", code=101),
    Attack("sessions", "anyone", "GET", "/sessions", code=209),
    *(
        Attack(name, "bob", "GET", f"/classes/{name}", code=code)
        for name, code in (
            ("_SCHEMA", 103),
            ("_Hooks", 119),
            ("_GlobalConfig", 119),
            ("_JobStatus", 119),
            ("_Installation", 119),
            ("_Join:users:_Role", 119),
        )
    ),
    *(
        Attack(path, "bob", "GET", path, code=None, status=403)
        for path in ("/schemas", "/schemas/_User", "/serverInfo", "/hooks/functions")
    ),
]

_NEW = {"username": "new", "password": "x"}
_PROHIBITED = [
    ({"_hashed_password": "x"}, 105),
    ({"_session_token": "r:x"}, 105),
    ({"_auth_data_anonymous": {"id": SECRET_ID}}, 105),
    ({"_rperm": ["*"]}, 105),
    ({"authData.anonymous.id": SECRET_ID}, 105),
    ({"authData": {"constructor": {"id": "x"}}}, 252),
    ({"authData": {"anonymous": {"id": {"$gt": ""}}}}, 162),
    ({"emailVerified": True}, 119),
    ({"objectId": "role:Staff"}, 119),
    ({"objectId": {"$gt": ""}}, 107),
    ({"username": "ALICE"}, 202),
    ({"username": {"$gt": ""}}, 200),
    ({"email": ADDRESS.upper()}, 203),
    ({"email": {"__op": "SetOnInsert", "amount": "x@y"}}, 108),
    ({"a": {"constructor": 1}}, 105),
    ({"a": {"$set": 1}}, 121),
]
_ADD_BOB = {"__op": "AddRelation", "objects": [pointer("_User", "{bob}")]}
_MINE = {"user": pointer("_User", "{alice}")}

WRITES = [
    *(
        Attack(f"sign-up with {next(iter(more))}", "anyone", "POST", "/users", {**_NEW, **more}, c)
        for more, c in _PROHIBITED
    ),
    *(
        Attack("another's account", who, method, "/users/{alice}", body, 206)
        for who in ("anyone", "bob")
        for method, body in (("PUT", {"password": "x"}), ("DELETE", None))
    ),
    Attack("another's by class", "bob", "PUT", "/classes/_User/{alice}", {"password": "x"}, 206),
    Attack("one's own hash", "bob", "PUT", "/users/{bob}", {"_hashed_password": "x"}, 105),
    Attack(
        "linked to another's id",
        "bob",
        "PUT",
        "/users/{bob}",
        {"authData": {"anonymous": {"id": SECRET_ID}}},
        208,
    ),
    *(
        Attack(f"a session's {key}", "alice", "PUT", "/sessions/{session}", {key: value}, 105)
        for key, value in (
            ("user", pointer("_User", "{bob}")),
            ("sessionToken", "r:fixed"),
            ("expiresAt", {"__type": "Date", "iso": "2999-01-01T00:00:00.000Z"}),
            ("createdWith.action", "x"),
            ("ACL", {"*": {"read": True}}),
            ("_session_token", "r:fixed"),
        )
    ),
    Attack("another's session", "bob", "PUT", "/sessions/{session}", {"a": 1}, 101),
    Attack("another's session away", "bob", "DELETE", "/sessions/{session}", None, 101),
    Attack("into a role", "bob", "PUT", "/roles/{role}", {"users": _ADD_BOB}, 101),
    Attack("a role's name", "bob", "PUT", "/roles/{role}", {"name": "x"}, 101),
    Attack("another's object", "bob", "PUT", "/classes/Note/{note}", {"n": 2}, 101),
    Attack(
        "another's, by increment",
        "bob",
        "PUT",
        "/classes/Note/{note}",
        {"n": {"__op": "Increment", "amount": 0}},
        101,
    ),
    Attack(
        "another's ACL", "bob", "PUT", "/classes/Note/{note}", {"ACL": {"*": {"write": True}}}, 101
    ),
    Attack("another's away", "bob", "DELETE", "/classes/Note/{note}", None, 101),
    Attack("a hole in a list", "alice", "PUT", "/classes/Note/{note}", {"tags.99999999": 1}, 102),
    Attack("a negative place", "alice", "PUT", "/classes/Note/{note}", {"tags.-1": 1}, 102),
    Attack(
        "an operation for inserts",
        "alice",
        "PUT",
        "/classes/Note/{note}",
        {"n": {"__op": "SetOnInsert", "amount": 2}},
        108,
    ),
    Attack("a join row", "bob", "POST", "/classes/_Join:users:_Role", {"relatedId": "{bob}"}),
    *(
        Attack("with the read-only key", "read-only", method, path, body, code, status)
        for method, path, body, code, status in (
            ("POST", "/classes/Note", {"n": 1}, 119, None),
            ("PUT", "/users/{alice}", {"n": 1}, 119, None),
            ("DELETE", "/users/{alice}", None, 119, None),
            ("POST", "/users", _NEW, 119, None),
            ("POST", "/users", {"authData": {"anonymous": {"id": "x"}}}, 119, None),
            ("POST", "/loginAs", {"userId": "{alice}"}, 119, None),
            ("POST", "/sessions", {}, 119, None),
            ("POST", "/roles", {"name": "x", "ACL": {}}, 119, None),
            ("POST", "/schemas/X", {}, 119, None),
            ("DELETE", "/purge/Note", None, 119, None),
            ("POST", "/hooks/functions", {"functionName": "f", "url": "http://x"}, 119, None),
            ("POST", "/files/a.txt", {"base64": "eA=="}, None, 403),
        )
    ),
    *(
        Attack(
            f"a hook at {url[:12]}",
            "master",
            "POST",
            "/hooks/functions",
            {"functionName": "f", "url": url},
            143,
        )
        for url in ("file:///etc/passwd", "gopher://x", "javascript:1", "ftp://x")
    ),
    Attack(
        "a log-in by operator",
        "anyone",
        "POST",
        "/login",
        {"username": {"$gt": ""}, "password": "x"},
        101,
    ),
    Attack(
        "a log-in without text",
        "anyone",
        "POST",
        "/login",
        {"username": "alice", "password": {"$gt": ""}},
        101,
    ),
]


def _named(attack: Attack) -> str:
    return f"{attack.who}: {attack.name} ({attack.method})"


@pytest.mark.parametrize("attack", READS + WRITES, ids=_named)
async def test_it_is_refused_and_nothing_is_written(world: World, attack: Attack) -> None:
    await world.refuses(attack)


@pytest.mark.parametrize(
    "params",
    [
        {"keys": "email,_hashed_password,password,authData,sessionToken,_session_token"},
        {"include": "*"},
        {"excludeKeys": "objectId,ACL"},
        {"where": {"_rperm": "*"}},
        {"hint": "_id_", "comment": "x"},
        {"redirectClassNameForKey": "email"},
    ],
    ids=str,
)
@pytest.mark.parametrize("who", ["anyone", "bob"])
async def test_no_secret_of_others_comes_along(
    world: World, who: str, params: dict[str, Any]
) -> None:
    api = world.callers[who]
    for path, more in (
        ("/users", {}),
        ("/roles", {}),
        ("/classes/Note", {"include": "owner,tags,o"}),
    ):
        answer = await api.get(path, {**more, **params})
        assert answer.status_code == 200, answer.text
        assert not world.leaks(answer.text)


async def test_a_pattern_does_not_find_anonymous_ids(world: World) -> None:
    bob = world.callers["bob"]
    for where in (_IDS, {"authData.anonymous": {"$regex": "^"}}, {"$or": [_IDS]}):
        answer = await bob.get("/users", {"where": where})
        assert answer.status_code == 400 or not answer.json()["results"]


@pytest.mark.parametrize(
    "class_name", ["_Session", "_Hooks", "_SCHEMA", "_Join:users:_Role", "Closed"]
)
async def test_a_pointer_planted_in_an_array_spoils_no_find(world: World, class_name: str) -> None:
    """Who may write an array may point anywhere; others still get the objects that hold it."""
    master, bob = world.callers["master"], world.callers["bob"]
    await master.post("/schemas/Closed", {"classLevelPermissions": {"find": {}, "get": {}}})
    session = pointer(class_name, world.names["session"])
    holder = await bob.create("Holder", items=[session], o={"p": session})
    for api in (bob, world.callers["anyone"]):
        answer = ok(await api.get(f"/classes/Holder/{holder}", {"include": "items,o.p"}))
        assert answer["items"] == []
        assert not world.leaks(str(answer))


async def test_another_s_session_is_not_found(world: World) -> None:
    bob, names = world.callers["bob"], world.names
    for where in (_alice(names), {"$or": [_alice(names), {}]}, {"sessionToken": {"$regex": "^"}}):
        sessions = await bob.find("_Session", where, include="user")
        assert all(session["user"]["objectId"] == bob.id for session in sessions)


def _alice(names: dict[str, str]) -> dict[str, Any]:
    return {"user": pointer("_User", names["alice"])}


async def test_a_session_asked_for_is_the_server_s_choice(world: World) -> None:
    """Token, owner and expiry that a client sends are passed over."""
    alice, bob = world.callers["alice"], world.callers["bob"]
    far = {"__type": "Date", "iso": "2999-01-01T00:00:00.000Z"}
    body = {"sessionToken": "r:fixed", "user": alice.pointer(), "expiresAt": far}
    made = ok(await bob.post("/sessions", body))
    assert made["user"]["objectId"] == bob.id
    assert made["sessionToken"] != "r:fixed" and made["expiresAt"] != far


async def test_sessions_end_with_the_password_and_with_the_user(world: World) -> None:
    anyone = world.callers["anyone"]
    user = await anyone.sign_up("victor")
    other = await anyone.log_in("victor")
    new = ok(await user.put(f"/users/{user.id}", {"password": "other"}))["sessionToken"]
    for api, status in ((user, 400), (other, 400), (anyone.as_user(new), 200)):
        assert (await api.get("/users/me")).status_code == status
    ok(await anyone.as_user(new).delete(f"/users/{user.id}"))
    answer = await anyone.as_user(new).get("/users/me")
    assert (answer.status_code, answer.json()["code"]) == (400, 209)


async def test_an_id_does_not_end_the_location(world: World) -> None:
    for object_id in ("a\r\nX-Evil: 1", "a/b?c#d", "\u2603", "*"):
        answer = await world.callers["anyone"].post("/classes/Note", {"objectId": object_id})
        assert answer.status_code == 201, answer.text
        assert "x-evil" not in answer.headers
        assert answer.headers["location"].rpartition("/classes/Note/")[2].isascii()


@pytest.mark.parametrize("user_id", ["pointerFields", "requiresAuthentication"])
async def test_an_id_is_no_word_of_permissions(world: World, user_id: str) -> None:
    """Class-level permissions name users by id beside their own words."""
    master = world.callers["master"]
    permissions = {"find": {"pointerFields": ["owner"]}, "get": {"requiresAuthentication": True}}
    name = f"Guarded{user_id}"
    fields = {"owner": {"type": "Pointer", "targetClass": "_User"}}
    ok(
        await master.post(
            f"/schemas/{name}", {"fields": fields, "classLevelPermissions": permissions}
        )
    )
    await master.create(name)
    user = await world.callers["anyone"].sign_up(user_id, objectId=user_id)
    assert await user.find(name) == []


@pytest.mark.parametrize(
    ("trusted", "forwarded", "status"),
    [
        ((), "10.0.0.1", 403),
        (("127.0.0.0/8",), "10.0.0.1, 8.8.8.8", 403),
        (("127.0.0.0/8",), "10.0.0.1, garbage", 403),
        (("127.0.0.0/8",), "8.8.8.8, 10.0.0.1", 200),
    ],
)
async def test_a_master_key_counts_from_its_addresses_only(
    database_uri: str, trusted: tuple[str, ...], forwarded: str, status: int
) -> None:
    """What a client says of its address counts only as far as a trusted proxy saw it."""
    settings = Settings(
        app_id=APP_ID,
        master_key=MASTER_KEY,
        master_key_ips=("10.0.0.1",),
        trust_proxy=trusted,
        database_uri=database_uri,
        log_level="error",
    )
    headers = {"X-Forwarded-For": forwarded, "X-Real-IP": "10.0.0.1"}
    async with running_app(settings) as anyone:
        master = anyone.as_master()
        answer = await master.request("GET", "/serverInfo", headers=headers)
        assert answer.status_code == status
