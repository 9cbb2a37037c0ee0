"""Who gets which event: states, rights, watch and keys, with rights made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from livequery.fanout import Fanout
from livequery.identity import Identities
from livequery.subscriptions import Member, Subscriptions, Ticket
from server.access.caller import Caller
from server.errors import Code, ParseError
from server.schema.classes import DEFAULT_FIELDS, ClassSchema
from server.storage.changes import Change
from server.values import Field

NOTE = ClassSchema(
    "Note",
    {
        **DEFAULT_FIELDS,
        "score": Field("Number"),
        "text": Field("String"),
        "owner": Field("Pointer", "_User"),
    },
)
BASE = {"_id": "n1", "_created_at": datetime(2026, 1, 1), "_updated_at": datetime(2026, 1, 1)}


class FakeResolver:
    """Sessions by hand; each change of them is a new generation."""

    def __init__(self) -> None:
        self.generation = 0
        self._callers: dict[str, Caller] = {}
        self.lookups = 0

    def log_in(self, token: str, user_id: str, *roles: str) -> None:
        self.generation += 1
        entities = ("*", user_id, *(f"role:{role}" for role in roles))
        self._callers[token] = Caller(user_id=user_id, session_token=token, entities=entities)

    def log_out(self, token: str) -> None:
        self.generation += 1
        del self._callers[token]

    async def resolve(self, token: str) -> Caller:
        self.lookups += 1
        if token not in self._callers:
            raise ParseError(Code.INVALID_SESSION_TOKEN, "Invalid session token")
        return self._callers[token]


class Client:
    """Keeps its frames."""

    def __init__(self) -> None:
        self._frames: list[str] = []

    def offer(self, frame: str) -> None:
        self._frames.append(frame)

    def take(self) -> list[dict[str, Any]]:
        frames = [json.loads(frame) for frame in self._frames]
        self._frames.clear()
        return frames


class World:
    """A class, its subscribers and what happens to its objects."""

    def __init__(self) -> None:
        self.resolver = FakeResolver()
        self.subscriptions = Subscriptions()
        self.schema = NOTE
        self._identities = Identities()
        self._fanout = Fanout(self.subscriptions, self.resolver, file_url=lambda name: name)

    def subscribe(
        self,
        where: dict[str, Any],
        *tokens: str,
        keys: set[str] | None = None,
        watch: tuple[str, ...] = (),
        is_master: bool = False,
    ) -> tuple[Client, Ticket]:
        client = Client()
        ticket = self.subscriptions.add(
            self.schema,
            where,
            self._identities.get(*tokens, is_master=is_master),
            None if keys is None else frozenset(keys),
            watch,
            Member(client, '"clientId":"c","requestId":1,', 1),
        )
        return client, ticket

    async def change(self, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        op = "insert" if before is None else "delete" if after is None else "update"
        old = None if before is None else {**BASE, **before}
        new = None if after is None else {**BASE, **after}
        change = Change(self.schema.name, op, "n1", old, new)
        await self._fanout.deliver(change, self.schema)

    async def tell(self, change: Change) -> None:
        await self._fanout.deliver(change, self.schema)


@pytest.fixture
def world() -> World:
    return World()


def ops(client: Client) -> list[str]:
    return [frame["op"] for frame in client.take()]


@pytest.mark.parametrize(
    ("before", "after", "op"),
    [
        (None, 10, "create"),
        (None, 1, None),
        (10, 11, "update"),
        (10, 1, "leave"),
        (1, 10, "enter"),
        (1, 2, None),
        (10, None, "delete"),
        (1, None, None),
    ],
)
async def test_events(world: World, before: int | None, after: int | None, op: str | None) -> None:
    client, _ = world.subscribe({"score": {"$gt": 5}})

    def state(score: int | None) -> dict[str, Any] | None:
        return None if score is None else {"score": score}

    await world.change(state(before), state(after))
    frames = client.take()
    assert [frame["op"] for frame in frames] == ([op] if op else [])
    if op is None:
        return
    (frame,) = frames
    score = before if op == "delete" else after
    assert frame["object"] == {
        "className": "Note",
        "objectId": "n1",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "score": score,
    }
    assert frame["clientId"] == "c" and frame["requestId"] == 1
    assert ("original" in frame) == (op in ("update", "leave", "enter"))
    if "original" in frame:
        assert frame["original"]["score"] == before


async def test_keys_select_fields(world: World) -> None:
    client, _ = world.subscribe({}, keys={"text"})
    await world.change(None, {"score": 1, "text": "t", "_rperm": ["*"], "_wperm": []})
    (frame,) = client.take()
    assert frame["object"] == {
        "className": "Note",
        "objectId": "n1",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "ACL": {"*": {"read": True}},
        "text": "t",
    }


async def test_watch_holds_back_updates_of_other_fields(world: World) -> None:
    client, _ = world.subscribe({"score": {"$gt": 0}}, watch=("text",))
    await world.change({"score": 1, "text": "a"}, {"score": 2, "text": "a"})
    await world.change(None, {"score": 1})
    assert client.take() == []
    await world.change({"score": 1, "text": "a"}, {"score": 1, "text": "b"})
    await world.change(None, {"score": 1, "text": "a"})
    await world.change({"score": 1, "text": "a"}, {"score": 0, "text": "a"})
    await world.change({"score": 0, "text": "a"}, {"score": 1, "text": "a"})
    await world.change({"score": 1, "text": "a"}, None)
    assert ops(client) == ["update", "create", "leave", "enter", "delete"]


# ---- access control lists -----------------------------------------------------------------------


async def test_grant_is_an_enter_without_original(world: World) -> None:
    client, _ = world.subscribe({})
    await world.change({"text": "secret", "_rperm": []}, {"text": "open", "_rperm": ["*"]})
    (frame,) = client.take()
    assert frame["op"] == "enter"
    assert "original" not in frame and "secret" not in str(frame)


async def test_revocation_is_a_leave_with_the_old_state_only(world: World) -> None:
    client, _ = world.subscribe({})
    await world.change({"text": "open", "_rperm": ["*"]}, {"text": "secret", "_rperm": []})
    (frame,) = client.take()
    assert frame["op"] == "leave"
    assert frame["object"] == frame["original"]
    assert "secret" not in str(frame)


async def test_users_and_roles_read_by_acl(world: World) -> None:
    world.resolver.log_in("r:1", "u1")
    world.resolver.log_in("r:2", "u2", "staff")
    anonymous, _ = world.subscribe({})
    user, _ = world.subscribe({}, "r:1")
    staff, _ = world.subscribe({}, "r:2")
    master, _ = world.subscribe({}, is_master=True)
    await world.change(None, {"_rperm": ["u1"]})
    await world.change(None, {"_rperm": ["role:staff"]})
    counts = [len(client.take()) for client in (anonymous, user, staff, master)]
    assert counts == [0, 1, 1, 2]


async def test_log_out_is_in_force_at_once(world: World) -> None:
    world.resolver.log_in("r:1", "u1")
    client, _ = world.subscribe({}, "r:1")
    await world.change(None, {"_rperm": ["u1"]})
    await world.change(None, {"_rperm": ["u1"]})
    assert len(client.take()) == 2
    assert world.resolver.lookups == 1
    world.resolver.log_out("r:1")
    await world.change(None, {"_rperm": ["u1"]})
    await world.change({"_rperm": ["u1"]}, None)
    assert client.take() == []
    await world.change(None, {"_rperm": ["*"]})
    assert ops(client) == ["create"]


async def test_a_lost_role_is_in_force_at_once(world: World) -> None:
    world.resolver.log_in("r:1", "u1", "staff")
    client, _ = world.subscribe({}, "r:1")
    await world.change(None, {"_rperm": ["role:staff"]})
    world.resolver.log_in("r:1", "u1")
    await world.change(None, {"_rperm": ["role:staff"]})
    assert ops(client) == ["create"]


async def test_the_session_of_the_connection_counts_when_that_of_the_subscription_is_invalid(
    world: World,
) -> None:
    world.resolver.log_in("r:1", "u1")
    client, _ = world.subscribe({}, "r:gone", "r:1")
    await world.change(None, {"_rperm": ["u1"]})
    assert ops(client) == ["create"]


# ---- class-level permissions --------------------------------------------------------------------


async def test_a_lost_permission_is_an_error_for_each_event(world: World) -> None:
    client, _ = world.subscribe({"score": {"$gt": 0}})
    world.schema = replace(NOTE, clp={"find": {}})
    await world.change(None, {"score": 1})
    world.schema = replace(NOTE, clp={"find": {"requiresAuthentication": True}})
    await world.change(None, {"score": 1})
    await world.change(None, {"score": 0})
    frames = client.take()
    assert [(frame["op"], frame["code"], frame["requestId"]) for frame in frames] == [
        ("error", 119, 1),
        ("error", 101, 1),
    ]
    assert not frames[0]["reconnect"] and frames[0]["error"] == "Permission denied"


async def test_a_lost_permission_tells_nothing_of_what_others_own(world: World) -> None:
    """An error for each match would tell what is in objects that the receiver never could read."""
    world.resolver.log_in("r:1", "u1")
    client, _ = world.subscribe({"score": {"$gt": 0}}, "r:1")
    world.schema = replace(NOTE, clp={"find": {}})
    await world.change({"score": 1, "_rperm": ["u2"]}, {"score": 2, "_rperm": ["u2"]})
    assert ops(client) == []
    await world.change({"score": 1, "_rperm": ["u1"]}, {"score": 2, "_rperm": ["u2"]})
    assert ops(client) == ["error"]


async def test_a_column_hidden_since_is_not_guessed_by_events(world: World) -> None:
    asking, _ = world.subscribe({"$or": [{"score": {"$gt": 0}}]})
    watching, _ = world.subscribe({}, watch=("score",))
    plain, _ = world.subscribe({})
    world.schema = replace(NOTE, protected_fields={"*": ("score",)})
    await world.change({"score": 1}, {"score": 2})
    assert (ops(asking), ops(watching), ops(plain)) == ([], [], ["update"])


async def test_one_object_by_id_needs_get(world: World) -> None:
    world.schema = replace(NOTE, clp={"find": {}, "get": {"*": True}})
    client, _ = world.subscribe({"objectId": "n1"})
    await world.change(None, {"score": 1})
    assert ops(client) == ["create"]


async def test_pointer_permissions(world: World) -> None:
    world.resolver.log_in("r:1", "u1")
    world.schema = replace(NOTE, clp={"find": {"pointerFields": ["owner"]}})
    owner, _ = world.subscribe({}, "r:1")
    anonymous, _ = world.subscribe({})
    await world.change(None, {"_p_owner": "_User$u1"})
    await world.change(None, {"_p_owner": "_User$u2"})
    await world.change({"_p_owner": "_User$u1"}, {"_p_owner": "_User$u2"})
    await world.change({"_p_owner": "_User$u2", "text": "old"}, {"_p_owner": "_User$u1"})
    frames = owner.take()
    assert [frame["op"] for frame in frames] == ["create", "enter"]
    assert "original" not in frames[1]
    assert anonymous.take() == []


async def test_protected_fields_are_left_out(world: World) -> None:
    world.resolver.log_in("r:1", "u1")
    rules = {"*": ("text", "score"), "userField:owner": ()}
    world.schema = replace(NOTE, protected_fields=rules)
    owner, _ = world.subscribe({}, "r:1")
    anonymous, _ = world.subscribe({})
    old = {"text": "secret", "score": 5, "_p_owner": "_User$u2"}
    await world.change(old, {**old, "_p_owner": "_User$u1"})
    (frame,) = anonymous.take()
    assert "secret" not in str(frame) and "score" not in frame["object"]
    (frame,) = owner.take()
    assert frame["object"]["text"] == "secret"
    assert "text" not in frame["original"]


async def test_user_events_carry_no_secrets(world: World) -> None:
    world.schema = ClassSchema("_User", {**DEFAULT_FIELDS, "username": Field("String")})
    client, _ = world.subscribe({}, is_master=True)
    secrets = {
        "_hashed_password": "secret",
        "_auth_data_myauth": {"id": "secret"},
        "_session_token": "secret",
        "_perishable_token": "secret",
    }
    await world.change({"username": "a", **secrets}, {"username": "b", **secrets})
    (frame,) = client.take()
    assert frame["object"]["username"] == "b"
    assert "secret" not in str(frame)
    assert not {"authData", "password", "sessionToken"} & frame["object"].keys()


async def test_sessions_are_for_their_own_users(world: World) -> None:
    world.schema = ClassSchema("_Session", {**DEFAULT_FIELDS, "user": Field("Pointer", "_User")})
    world.resolver.log_in("r:1", "u1")
    client, _ = world.subscribe({}, "r:1")
    await world.change(None, {"_p_user": "_User$u1"})
    await world.change(None, {"_p_user": "_User$u2"})
    assert ops(client) == ["create"]


# ---- odd changes --------------------------------------------------------------------------------


async def test_changes_without_an_old_state(world: World) -> None:
    client, _ = world.subscribe({"score": 1}, watch=("text",))
    await world.tell(Change("Note", "update", "n1", None, {**BASE, "score": 1}))
    await world.tell(Change("Note", "update", "n1", None, {**BASE, "score": 2}))
    await world.tell(Change("Note", "delete", "n1", None, None))
    (frame,) = client.take()
    assert frame["op"] == "update" and "original" not in frame


async def test_a_new_column_is_known_to_old_subscriptions(world: World) -> None:
    world.schema = replace(NOTE, fields=DEFAULT_FIELDS)
    owner = {"__type": "Pointer", "className": "_User", "objectId": "u1"}
    client, _ = world.subscribe({"owner": owner})
    world.schema = NOTE
    await world.change(None, {"_p_owner": "_User$u1"})
    assert ops(client) == ["create"]


async def test_nothing_is_sent_after_the_end(world: World) -> None:
    client, ticket = world.subscribe({})
    world.subscriptions.remove(ticket)
    await world.change(None, {})
    assert client.take() == []
    assert "Note" not in world.subscriptions
