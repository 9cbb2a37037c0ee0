"""LiveQuery in a whole app: what MongoDB reports, and rights that change while clients listen."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import pytest
import uvicorn
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from websockets.asyncio.client import ClientConnection, connect

from server.app import create_app
from server.settings import LiveQueryOptions, Settings
from tests.harness.api import Api

WAIT = 10.0
SILENCE = 0.3


class Listener:
    """One client, connected."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, **frame: Any) -> dict[str, Any]:
        await self._socket.send(json.dumps(frame))
        return await self.hear()

    async def subscribe(
        self, class_name: str, where: dict[str, Any] | None = None, **members: Any
    ) -> dict[str, Any]:
        query = {"className": class_name, "where": where or {}}
        return await self.say(op="subscribe", requestId=1, query=query, **members)

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT):
            return dict(json.loads(await self._socket.recv()))

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(SILENCE):
                await self._socket.recv()
        except TimeoutError:
            return True
        return False


class Live:
    """The app, spoken to by HTTP (``api``: the master), sockets (``listen``) and past it."""

    def __init__(self, url: str, api: Api, mongo: AsyncDatabase[dict[str, Any]]) -> None:
        self.api = api
        self.mongo = mongo
        self._url = url
        self._stack = AsyncExitStack()

    async def listen(self) -> Listener:
        client = await self._stack.enter_async_context(connect(self._url))
        listener = Listener(client)
        assert (await listener.say(op="connect", applicationId="app"))["op"] == "connected"
        return listener

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def live(settings: Settings, database_uri: str, database_name: str) -> AsyncIterator[Live]:
    names = ("Note", "_User", "_Session", ".*Live")
    app = create_app(replace(settings, live_query=LiveQueryOptions(class_names=names)))
    await app.prepare()
    listener = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(app, ws="websockets-sansio", lifespan="on", log_level="error")
    http = uvicorn.Server(config)
    task = asyncio.create_task(http.serve([listener]))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{host}/parse", timeout=30)
        )
        mongo = AsyncMongoClient[dict[str, Any]](database_uri)
        stack.push_async_callback(mongo.close)
        live = Live(f"ws://{host}/parse", Api(client).as_master(), mongo[database_name])
        async with asyncio.timeout(WAIT):
            while True:
                if http.started:
                    break
                await asyncio.sleep(0.01)
        yield live
        await live.aclose()
    http.should_exit = True
    await task
    listener.close()


PRIVATE: dict[str, Any] = {"ACL": {}}


def readable_by(entity: str) -> dict[str, Any]:
    return {"ACL": {entity: {"read": True}}}


async def keeps_old_states(live: Live, class_name: str) -> None:
    async with asyncio.timeout(WAIT):
        while True:
            async for info in await live.mongo.list_collections(filter={"name": class_name}):
                if info["options"].get("changeStreamPreAndPostImages", {}).get("enabled"):
                    return
            await asyncio.sleep(0.01)


async def test_writes_past_the_server_are_seen(live: Live) -> None:
    await live.api.create("Note", score=1)
    client = await live.listen()
    await client.subscribe("Note", {"score": {"$gt": 5}})
    now = datetime(2026, 1, 1)
    notes = live.mongo["Note"]
    await notes.insert_one({"_id": "raw", "score": 7, "_created_at": now, "_updated_at": now})
    frame = await client.hear()
    assert (frame["op"], frame["object"]["objectId"]) == ("create", "raw")
    await notes.update_one({"_id": "raw"}, {"$set": {"score": 1}})
    frame = await client.hear()
    assert (frame["op"], frame["original"]["score"]) == ("leave", 7)
    await notes.replace_one({"_id": "raw"}, {"score": 9})
    assert (await client.hear())["op"] == "enter"
    await notes.delete_many({})
    assert (await client.hear())["op"] == "delete"


async def test_a_class_born_under_a_subscription_has_old_states(live: Live) -> None:
    client = await live.listen()
    await client.subscribe("BornLive", {"score": {"$gt": 5}})
    object_id = await live.api.create("BornLive", score=1)
    await keeps_old_states(live, "BornLive")
    await live.api.put(f"/classes/BornLive/{object_id}", {"score": 6})
    frame = await client.hear()
    assert (frame["op"], frame["original"]["score"]) == ("enter", 1)


async def test_dropped_classes_come_back_with_old_states(live: Live) -> None:
    await live.api.create("Note", score=1)
    client = await live.listen()
    await client.subscribe("Note")
    await live.mongo["Note"].drop()
    object_id = await live.api.create("Note", score=2)
    assert (await client.hear())["op"] == "create"
    await keeps_old_states(live, "Note")
    await live.api.put(f"/classes/Note/{object_id}", {"score": 3})
    assert (await client.hear())["original"]["score"] == 2


async def test_log_out_ends_private_events_at_once(live: Live) -> None:
    alice = await live.api.sign_up("alice")
    client = await live.listen()
    await client.subscribe("Note", sessionToken=alice.session_token)
    await live.api.create("Note", **readable_by(alice.id))
    assert (await client.hear())["op"] == "create"
    await alice.post("/logout")
    await live.api.create("Note", **readable_by(alice.id))
    assert await client.hears_nothing()
    await live.api.create("Note")
    assert (await client.hear())["op"] == "create"


async def test_roles_are_gained_and_lost_at_once(live: Live) -> None:
    alice = await live.api.sign_up("alice")
    role = {"name": "staff", "ACL": {}}
    role_id = (await live.api.post("/roles", role)).json()["objectId"]
    client = await live.listen()
    await client.subscribe("Note", sessionToken=alice.session_token)
    for op, sees in (("AddRelation", True), ("RemoveRelation", False)):
        change = {"users": {"__op": op, "objects": [alice.pointer()]}}
        assert (await live.api.put(f"/roles/{role_id}", change)).status_code == 200
        started = time.monotonic()
        await live.api.create("Note", **readable_by("role:staff"))
        if sees:
            assert (await client.hear())["op"] == "create"
            assert time.monotonic() - started < WAIT
        else:
            assert await client.hears_nothing()


async def test_new_class_level_permissions_are_in_force_at_once(live: Live) -> None:
    await live.api.create("Note")
    client = await live.listen()
    await client.subscribe("Note")
    closed = {"classLevelPermissions": {"find": {}, "get": {}, "create": {"*": True}}}
    assert (await live.api.put("/schemas/Note", closed)).status_code == 200
    await live.api.create("Note")
    frame = await client.hear()
    assert (frame["op"], frame["code"], frame["requestId"]) == ("error", 119, 1)
    refused = await client.subscribe("Note")
    assert (refused["op"], refused["code"]) == ("error", 119)


async def test_pointers_of_a_column_that_comes_later(live: Live) -> None:
    alice = await live.api.sign_up("alice")
    await live.api.create("Note")
    client = await live.listen()
    await client.subscribe("Note", {"owner": alice.pointer()})
    await live.api.create("Note", owner=alice.pointer())
    frame = await client.hear()
    assert frame["object"]["owner"] == alice.pointer()


async def test_users_see_their_own_secrets_nowhere(live: Live) -> None:
    alice = await live.api.sign_up("alice", email="a@example.com")
    public, own = await live.listen(), await live.listen()
    await public.subscribe("_User")
    await own.subscribe("_User", sessionToken=alice.session_token)
    change = {"nick": "al", "password": "changed", **readable_by("*")}
    assert (await alice.put(f"/users/{alice.id}", change)).status_code == 200
    for listener in (public, own):
        frame = await listener.hear()
        text = json.dumps(frame)
        assert frame["object"]["nick"] == "al"
        for secret in ("password", "sessionToken", "authData", "_hashed", alice.session_token):
            assert secret not in text
        if listener is public:
            assert "example.com" not in text


async def test_sessions_are_confined_to_their_user(live: Live) -> None:
    alice = await live.api.sign_up("alice")
    client = await live.listen()
    refused = await client.subscribe("_Session")
    assert refused["code"] == 209
    await client.subscribe("_Session", sessionToken=alice.session_token)
    await live.api.sign_up("bob")
    await live.api.log_in("alice")
    frame = await client.hear()
    assert (frame["op"], frame["object"]["user"]["objectId"]) == ("create", alice.id)


async def test_private_objects_stay_private(live: Live) -> None:
    client = await live.listen()
    await client.subscribe("Note")
    object_id = await live.api.create("Note", text="secret", **PRIVATE)
    await live.api.put(f"/classes/Note/{object_id}", {"text": "secret too"})
    await live.api.delete(f"/classes/Note/{object_id}")
    assert await client.hears_nothing()


async def test_values_have_their_rest_forms(live: Live) -> None:
    fields = {
        "when": {"__type": "Date", "iso": "2020-01-02T03:04:05.678Z"},
        "place": {"__type": "GeoPoint", "latitude": 40, "longitude": -30},
        "bytes": {"__type": "Bytes", "base64": "aGVsbG8="},
        "owner": {"__type": "Pointer", "className": "_User", "objectId": "abc"},
        "list": [1, {"a": None}],
    }
    client = await live.listen()
    await client.subscribe("Note", {"place": {"$exists": True}})
    object_id = await live.api.create("Note", **fields)
    frame = await client.hear()
    stored = (await live.api.get(f"/classes/Note/{object_id}")).json()
    assert frame["object"] == {"className": "Note", **stored}
    assert {name: frame["object"][name] for name in fields} == fields


async def test_places(live: Live) -> None:
    await live.api.create("Note", place={"__type": "GeoPoint", "latitude": 0, "longitude": 0})
    client = await live.listen()
    centre = {"__type": "GeoPoint", "latitude": 40, "longitude": -30}
    await client.subscribe("Note", {"place": {"$nearSphere": centre, "$maxDistance": 0.01}})
    for latitude in (50, 40.1):
        point = {"__type": "GeoPoint", "latitude": latitude, "longitude": -30}
        await live.api.create("Note", place=point)
    assert (await client.hear())["object"]["place"]["latitude"] == 40.1
