"""A change by one worker, another server or MongoDB itself is in force in every worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase

from server.storage.embedded import EmbeddedMongo
from server.values import pointer
from tests.conftest import SERVE_OPTIONS
from tests.harness.api import Api, ok
from tests.harness.fleet import (
    Subscriber,
    api_per_worker,
    eventually,
    mongod_of,
    running_directory,
    subscriber_per_worker,
)
from tests.harness.processes import Server, free_port, start_peer

pytestmark = pytest.mark.slow

MongoDocument = dict[str, Any]
Right = Callable[[Api], Awaitable[bool]]
PUBLIC = {op: {"*": True} for op in ("find", "get", "count", "create", "update", "delete")}


@pytest.fixture(scope="module")
def mongo_uri(directory: Path) -> str:
    return EmbeddedMongo(directory / ".pestle").uri


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
async def server(directory: Path) -> AsyncIterator[Server]:
    options = {**SERVE_OPTIONS, "liveQuery": {"classNames": ["Live.*"]}}
    async with running_directory(directory, options) as server:
        yield server


@pytest.fixture
async def apis(server: Server) -> AsyncIterator[list[Api]]:
    """A client at each worker; nobody's."""
    async with api_per_worker(server) as apis:
        yield list(apis.values())


@pytest.fixture
def database(server: Server, mongo_uri: str) -> Any:
    """MongoDB itself, below the server."""
    with MongoClient[MongoDocument](mongo_uri) as client:
        yield client.get_default_database()


@asynccontextmanager
async def turning(right: Right, apis: list[Api], *, granted: bool) -> AsyncIterator[None]:
    """The block changes a right: every worker turns to the new answer, and never back.

    The worker of the first client, through which the block does the change, turns at once.
    """

    async def old(api: Api) -> bool:
        return await right(api) is not granted

    async def new(api: Api) -> bool:
        return await right(api) is granted

    async def follow(api: Api) -> None:
        await eventually(lambda: new(api), "the new answer")
        for _ in range(5):
            assert await right(api) is granted, "an old right came back"

    # Twice: the second answer comes from the caches.
    for _ in range(2):
        for api in apis:
            await eventually(lambda api=api: old(api), "the state before")
    followers = [asyncio.create_task(follow(api)) for api in apis[1:]]
    try:
        yield
        assert await right(apis[0]) is granted, "the worker of the change did not turn at once"
        await asyncio.gather(*followers)
    finally:
        for task in followers:
            task.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


async def test_sessions(apis: list[Api]) -> None:
    one = apis[0]
    user = await one.sign_up("sessions")

    async def is_in(api: Api) -> bool:
        answer = await api.as_user(user.session_token).get("/users/me")
        return answer.status_code == 200

    async with turning(is_in, apis, granted=False):
        ok(await user.post("/logout"))

    user = await one.log_in("sessions")
    other = await one.log_in("sessions")
    async with turning(is_in, apis, granted=False):
        ok(await other.put(f"/users/{other.id}", {"password": "another"}))

    user = await one.log_in("sessions", "another")
    async with turning(is_in, apis, granted=False):
        ok(await one.as_master().delete(f"/users/{user.id}"))


async def test_roles(apis: list[Api]) -> None:
    one = apis[0]
    master = one.as_master()
    user = await one.sign_up("roles")
    ids = {}
    for name in ("outer", "middle", "inner"):
        ids[name] = ok(await master.post("/roles", {"name": name, "ACL": {}}))["objectId"]
    acl = {"role:outer": {"read": True}}
    secret = ok(await master.post("/classes/Secret", {"ACL": acl}))["objectId"]

    async def may_read(api: Api) -> bool:
        answer = await api.as_user(user.session_token).get(f"/classes/Secret/{secret}")
        return answer.status_code == 200

    async def change(role: str, relation: str, op: str, member: Any) -> None:
        body = {relation: {"__op": op, "objects": [member]}}
        ok(await master.put(f"/roles/{ids[role]}", body))

    def role(name: str) -> dict[str, str]:
        return pointer("_Role", ids[name])

    async with turning(may_read, apis, granted=True):
        await change("outer", "users", "AddRelation", user.pointer())
    async with turning(may_read, apis, granted=False):
        await change("outer", "users", "RemoveRelation", user.pointer())
    # Members of a role in "roles" have the role, over any number of steps.
    await change("inner", "users", "AddRelation", user.pointer())
    await change("middle", "roles", "AddRelation", role("inner"))
    async with turning(may_read, apis, granted=True):
        await change("outer", "roles", "AddRelation", role("middle"))
    async with turning(may_read, apis, granted=False):
        await change("middle", "roles", "RemoveRelation", role("inner"))
    async with turning(may_read, apis, granted=True):
        await change("middle", "roles", "AddRelation", role("inner"))
    async with turning(may_read, apis, granted=False):
        ok(await master.delete(f"/roles/{ids['middle']}"))


async def test_permissions_and_columns(apis: list[Api]) -> None:
    one = apis[0]
    master = one.as_master()
    await one.create("Shelf", n=1)

    async def may_find(api: Api) -> bool:
        return (await api.get("/classes/Shelf", {"limit": "1"})).status_code == 200

    async def set_permissions(**changed: Any) -> None:
        body = {"classLevelPermissions": {**PUBLIC, "addField": {"*": True}, **changed}}
        ok(await master.put("/schemas/Shelf", body))

    async with turning(may_find, apis, granted=False):
        await set_permissions(find={})
    async with turning(may_find, apis, granted=True):
        await set_permissions()

    async def shows_n(api: Api) -> bool:
        return "n" in (await api.find("Shelf"))[0]

    async with turning(shows_n, apis, granted=False):
        await set_permissions(protectedFields={"*": ["n"]})

    async def has_column(api: Api) -> bool:
        # Nobody may add one by writing it.
        return (await api.post("/classes/Shelf", {"fresh": 1})).status_code == 201

    await set_permissions(addField={})
    async with turning(has_column, apis, granted=True):
        ok(await master.put("/schemas/Shelf", {"fields": {"fresh": {"type": "Number"}}}))
    async with turning(has_column, apis, granted=False):
        ok(await master.put("/schemas/Shelf", {"fields": {"fresh": {"__op": "Delete"}}}))


async def test_webhooks(apis: list[Api]) -> None:
    master = apis[0].as_master()

    async def is_known(api: Api) -> bool:
        answer = await api.post("/functions/far")
        return "Invalid function" not in answer.text

    hook = {"functionName": "far", "url": f"http://127.0.0.1:{free_port()}/far"}
    async with turning(is_known, apis, granted=True):
        ok(await master.post("/hooks/functions", hook))
    async with turning(is_known, apis, granted=False):
        ok(await master.put("/hooks/functions/far", {"__op": "Delete"}))


async def test_a_broken_change_stream_loses_and_doubles_nothing(
    server: Server, apis: list[Api], database: MongoDatabase[MongoDocument]
) -> None:
    one, _ = apis
    user = await one.sign_up("broken-stream")
    await one.create("LiveBroken", n=-1)
    is_going = True
    created: list[str] = []

    async def write(api: Api) -> None:
        while is_going:
            created.append(await api.create("LiveBroken", n=len(created)))

    async def break_both() -> bool:
        return await asyncio.to_thread(_break_streams, database) >= 2

    async with (
        subscriber_per_worker(server, "LiveBroken", {"n": {"$gte": 0}}) as at,
        api_per_worker(server) as writers,
    ):
        async with asyncio.TaskGroup() as group:
            for api in writers.values():
                group.create_task(write(api))
            for kills in range(1, 6):
                await eventually(break_both, "two open streams")
                session = await one.log_in("broken-stream")
                broken = f"{kills} broken streams"
                aim = len(created) + 10
                await eventually(lambda aim=aim: _reached(created, aim), broken)

                async def is_in(api: Api, token: str = session.session_token) -> bool:
                    return (await api.as_user(token).get("/users/me")).status_code == 200

                await asyncio.to_thread(_break_streams, database)
                async with turning(is_in, apis, granted=False):
                    ok(await session.post("/logout"))
            is_going = False
        for subscriber in at.values():
            await _heard_all(subscriber, created)
    assert ok(await user.get("/users/me"))["objectId"] == user.id
    assert "Traceback" not in server.output


async def _reached(things: list[str], count: int) -> bool:
    return len(things) >= count


async def _heard_all(subscriber: Subscriber, ids: list[str], op: str = "create") -> None:
    async def has_all() -> bool:
        return set(ids) <= subscriber.heard(op).keys()

    await eventually(has_all, f"{len(ids)} events {op}")
    assert subscriber.heard(op) == Counter(ids)


def _break_streams(database: MongoDatabase[MongoDocument]) -> int:
    """End all change streams of the database, in MongoDB; how many there were."""
    found = database.client.admin.aggregate(
        [
            {"$currentOp": {"idleCursors": True, "allUsers": True}},
            {"$match": {"ns": {"$regex": f"^{database.name}\\."}}},
            {"$match": {"cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": True}}},
        ]
    )
    cursors = [operation["cursor"]["cursorId"] for operation in found]
    if cursors:
        database.command("killCursors", "$cmd.aggregate", cursors=cursors)
    return len(cursors)


async def test_a_mongod_that_hangs_makes_nobody_trust_a_cache(
    server: Server, apis: list[Api]
) -> None:
    one, other = apis
    user = await one.sign_up("hanging")
    await one.create("LiveHang", n=0)

    async def is_down(api: Api) -> bool:
        return (await api.get("/health")).status_code == 503

    async def is_up(api: Api) -> bool:
        return (await api.get("/health")).status_code == 200

    async with (
        subscriber_per_worker(server, "LiveHang") as at,
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
    ):
        for api in (one, other):
            ok(await api.as_user(user.session_token).get("/users/me"))
        mongod = mongod_of(server)
        os.kill(mongod, signal.SIGSTOP)
        try:
            for api in (one, other):
                await eventually(lambda api=api: is_down(api), "the end of trust")
            asked = [
                asyncio.create_task(who.get("/users/me"))
                for who in [Api(client).as_user(user.session_token)] * 8
            ]
            done, waiting = await asyncio.wait(asked, timeout=0.5)
            assert not done, "answered from a cache that nobody keeps right"
        finally:
            os.kill(mongod, signal.SIGCONT)
        for task in waiting:
            assert ok(await task)["objectId"] == user.id
        created = [await api.create("LiveHang", n=1) for api in (one, other)]
        for api in (one, other):
            await eventually(lambda api=api: is_up(api), "trust again")
        for subscriber in at.values():
            await _heard_all(subscriber, created)
            assert subscriber.subscriptions == 1


async def test_writes_straight_into_mongodb_are_seen(
    server: Server, apis: list[Api], database: MongoDatabase[MongoDocument]
) -> None:
    master = apis[0].as_master()
    ok(await master.post("/schemas/LiveRaw", {"fields": {"n": {"type": "Number"}}}))
    now = datetime(2026, 1, 2, 3, 4, 5)
    raw = database["LiveRaw"]
    private = {"_rperm": ["nobody"], "_wperm": []}
    async with subscriber_per_worker(server, "LiveRaw", {"n": {"$lt": 10}}) as at:
        times = {"_created_at": now, "_updated_at": now}
        for document in (
            {"_id": "seen", "n": 1, "_rperm": ["*"]},
            {"_id": "private", "n": 1, **private},
            {"_id": "large", "n": 11},
        ):
            raw.insert_one({**document, **times})
        raw.update_one({"_id": "seen"}, {"$set": {"n": 2}})
        raw.update_one({"_id": "large"}, {"$set": {"n": 3}})
        raw.replace_one({"_id": "seen"}, {"_id": "seen", "n": 30, **times})
        raw.delete_one({"_id": "large"})
        for subscriber in at.values():

            async def has_all(subscriber: Subscriber = subscriber) -> bool:
                return any(event["op"] == "delete" for event in subscriber.events)

            await eventually(has_all, "the last event")
            told = [(event["op"], event["object"]["objectId"]) for event in subscriber.events]
            assert told == [
                ("create", "seen"),
                ("update", "seen"),
                ("enter", "large"),
                ("leave", "seen"),
                ("delete", "large"),
            ]
            assert subscriber.events[0]["object"]["createdAt"] == "2026-01-02T03:04:05.000Z"
            assert subscriber.events[1]["original"]["n"] == 1


async def test_a_collection_made_anew_still_gives_events(
    server: Server, apis: list[Api], database: MongoDatabase[MongoDocument]
) -> None:
    one, _ = apis
    await one.create("LiveAnew", n=0)
    async with subscriber_per_worker(server, "LiveAnew") as at:
        await asyncio.to_thread(database["LiveAnew"].drop)
        created = [await one.create("LiveAnew", n=n) for n in range(3)]
        for subscriber in at.values():
            await _heard_all(subscriber, created)


async def test_what_the_peer_writes_is_seen(
    server: Server, apis: list[Api], mongo_uri: str
) -> None:
    one = apis[0]
    user = await one.sign_up("of-both")
    admin = one.as_master()
    role = ok(await admin.post("/roles", {"name": "both", "ACL": {}}))["objectId"]
    acl = {"role:both": {"read": True}}
    secret = ok(await admin.post("/classes/Secret", {"ACL": acl}))["objectId"]
    await one.create("LivePeer", n=0)
    peer_server = await asyncio.to_thread(
        start_peer, {**SERVE_OPTIONS, "databaseURI": mongo_uri, "cacheTTL": 1}
    )
    try:
        async with (
            httpx.AsyncClient(base_url=peer_server.url, timeout=30) as client,
            subscriber_per_worker(server, "LivePeer") as at,
        ):
            peer = Api(client)
            made = await peer.create("LivePeer", n=1)
            ok(await peer.put(f"/classes/LivePeer/{made}", {"n": 2}))
            ok(await peer.delete(f"/classes/LivePeer/{made}"))
            for subscriber in at.values():
                for op in ("create", "update", "delete"):
                    await _heard_all(subscriber, [made], op)

            async def may_read(api: Api) -> bool:
                answer = await api.as_user(user.session_token).get(f"/classes/Secret/{secret}")
                return answer.status_code == 200

            async def is_in(api: Api) -> bool:
                answer = await api.as_user(user.session_token).get("/users/me")
                return answer.status_code == 200

            # Its workers are all "others": the client in front is the peer's own.
            member = {"users": {"__op": "AddRelation", "objects": [user.pointer()]}}
            async with turning(may_read, [peer, *apis], granted=True):
                ok(await peer.as_master().put(f"/roles/{role}", member))
            async with turning(is_in, [peer, *apis], granted=False):
                ok(await peer.as_user(user.session_token).post("/logout"))
    finally:
        await asyncio.to_thread(peer_server.stop)
