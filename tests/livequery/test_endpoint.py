"""Real sockets on a real ASGI server; changes are told by hand."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from livequery.endpoint import LiveQueryServer
from livequery.push import PushProtocol, text_frame
from server.schema.classes import DEFAULT_FIELDS, ClassSchema, Schema
from server.settings import LiveQueryOptions, Settings
from server.storage.changes import LOST, Change
from server.values import Field
from tests.livequery.test_fanout import FakeResolver

WAIT = 5.0
BASE = {"_id": "n1", "_created_at": datetime(2026, 1, 1), "_updated_at": datetime(2026, 1, 1)}


class FakeFeed:
    def __init__(self) -> None:
        self.imaged: list[str] = []
        self._tell: Callable[[Change], None] | None = None

    def subscribe(
        self,
        on_change: Callable[[Change], None],
        on_state: Callable[[bool], None] | None = None,
    ) -> None:
        self._tell = on_change

    async def ensure_images(self, class_names: Iterable[str]) -> None:
        self.imaged += class_names

    def insert(self, class_name: str = "Note", **fields: Any) -> None:
        self.tell(Change(class_name, "insert", "n1", None, {**BASE, **fields}))

    def tell(self, change: Change) -> None:
        assert self._tell is not None
        self._tell(change)


class FakeSchema:
    def __init__(self) -> None:
        note = ClassSchema("Note", {**DEFAULT_FIELDS, "score": Field("Number")})
        user = ClassSchema("_User", DEFAULT_FIELDS, protected_fields={"*": ("email",)})
        closed = ClassSchema("Closed", DEFAULT_FIELDS, clp={"find": {}})
        self.current = Schema({one.name: one for one in (note, user, closed)})

    async def get(self) -> Schema:
        return self.current


@dataclass
class Server:
    url: str
    live: LiveQueryServer
    feed: FakeFeed
    resolver: FakeResolver
    sockets: list[ClientConnection] = field(default_factory=list)

    async def open(self, **options: Any) -> ClientConnection:
        """A client that has connected."""
        client = await connect(self.url, compression=None, **options)
        self.sockets.append(client)
        await say(client, {"op": "connect", "applicationId": "app"})
        assert (await hear(client))["op"] == "connected"
        return client


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while True:
            if check():
                return
            await asyncio.sleep(0.01)


async def say(client: ClientConnection, frame: dict[str, Any]) -> None:
    await client.send(json.dumps(frame))


async def hear(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(WAIT):
        return dict(json.loads(await client.recv()))


async def subscribe(
    client: ClientConnection,
    where: dict[str, Any] | None = None,
    *,
    class_name: str = "Note",
    request_id: int = 1,
    **members: Any,
) -> dict[str, Any]:
    query = {"className": class_name, "where": where or {}}
    await say(client, {"op": "subscribe", "requestId": request_id, "query": query, **members})
    return await hear(client)


@asynccontextmanager
async def serving(
    *, queue_limit: int = 1_000_000, ping: float | None = None, ws: Any = PushProtocol
) -> AsyncIterator[Server]:
    feed, resolver = FakeFeed(), FakeResolver()
    settings = Settings(
        app_id="app",
        master_key="mk",
        live_query=LiveQueryOptions(class_names=("Note", "_User", "_Session", ".*Live")),
    )
    live = LiveQueryServer(settings, FakeSchema(), resolver, feed, queue_limit=queue_limit)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        live,
        ws=ws,
        ws_per_message_deflate=False,
        ws_ping_interval=ping,
        ws_ping_timeout=ping,
        lifespan="off",
        log_level="error",
    )
    http = uvicorn.Server(config)
    task = asyncio.create_task(http.serve([listener]))
    server = Server(f"ws://127.0.0.1:{listener.getsockname()[1]}/parse", live, feed, resolver)
    try:
        await until(lambda: http.started)
        yield server
    finally:
        for client in server.sockets:
            await client.close()
        await live.stop()
        http.should_exit = True
        await task
        listener.close()


@pytest.fixture(params=[PushProtocol, "websockets-sansio"], ids=["push", "plain"])
def ws(request: pytest.FixtureRequest) -> Any:
    """Pestle's own WebSocket protocol, and that of any ASGI server."""
    return request.param


@pytest.fixture
async def server(ws: Any) -> AsyncIterator[Server]:
    async with serving(ws=ws) as server:
        yield server


@pytest.mark.parametrize("path", ["/", "/parse", "/some/where/else"])
async def test_any_path_is_served(server: Server, path: str) -> None:
    server.url = server.url.removesuffix("/parse") + path
    client = await server.open()
    assert (await subscribe(client))["op"] == "subscribed"


async def test_events_come_in_order(server: Server) -> None:
    client = await server.open()
    await subscribe(client, {"score": {"$gte": 0}})
    for score in range(50):
        server.feed.insert(score=score)
    scores = [(await hear(client))["object"]["score"] for _ in range(50)]
    assert scores == list(range(50))


async def test_classes_that_are_not_live_are_silent(server: Server) -> None:
    client = await server.open()
    for number, name in enumerate(("Silent", "Notes", "xNote", "NoteLive")):
        frame = await subscribe(client, class_name=name, request_id=number)
        assert frame["op"] == "subscribed"
    for name in ("Silent", "Notes", "xNote", "NoteLive"):
        server.feed.insert(name)
    assert (await hear(client))["object"]["className"] == "NoteLive"


async def test_images_are_kept_for_live_classes_that_exist(server: Server) -> None:
    client = await server.open()
    for name in ("Note", "Note", "Silent", "NewLive"):
        await subscribe(client, class_name=name)
    assert server.feed.imaged == ["Note"]


async def test_a_subscription_can_be_replaced_and_ended(server: Server) -> None:
    client = await server.open()
    await subscribe(client, {"score": 1})
    await subscribe(client, {"score": 2})
    server.feed.insert(score=1)
    server.feed.insert(score=2)
    assert (await hear(client))["object"]["score"] == 2
    query = {"className": "Note", "where": {"score": 3}}
    await say(client, {"op": "update", "requestId": 1, "query": query})
    assert (await hear(client))["op"] == "subscribed"
    server.feed.insert(score=2)
    server.feed.insert(score=3)
    assert (await hear(client))["object"]["score"] == 3
    await say(client, {"op": "unsubscribe", "requestId": 1})
    assert (await hear(client))["op"] == "unsubscribed"
    server.feed.insert(score=3)
    await say(client, {"op": "unsubscribe", "requestId": 1})
    assert (await hear(client))["op"] == "error"


@pytest.mark.parametrize(
    ("class_name", "where", "code"),
    [
        ("Note", {"text": {"$regex": "("}}, 102),
        ("Note", {"text": {"$regex": 5}}, 102),
        ("Note", {"$or": 5}, 102),
        ("Closed", {}, 119),
        ("_Session", {}, 209),
        ("_Installation", {}, 119),
        ("_User", {"email": "a@b.c"}, 119),
        ("_User", {"$or": [{"$and": [{"email": {"$exists": True}}]}]}, 119),
        ("_SCHEMA", {}, 119),
    ],
)
async def test_refused_subscriptions(
    server: Server, class_name: str, where: dict[str, Any], code: int
) -> None:
    client = await server.open()
    frame = await subscribe(client, where, class_name=class_name, request_id=7)
    assert (frame["op"], frame["code"], frame["requestId"]) == ("error", code, 7)
    assert frame["reconnect"] is False
    assert (await subscribe(client))["op"] == "subscribed"


@pytest.mark.parametrize(
    "where",
    [
        {"p": {"$inQuery": {"className": "A", "where": {}}}},
        {"$relatedTo": {"object": {}, "key": "k"}},
        {"score": {"$bogus": 1}},
        {"score": {"nested": 1}},
        {"_hashed_password": {"$exists": True}},
    ],
)
async def test_what_cannot_be_watched_never_matches(server: Server, where: dict[str, Any]) -> None:
    client = await server.open()
    assert (await subscribe(client, where))["op"] == "subscribed"
    await subscribe(client, {"score": 2}, request_id=2)
    server.feed.insert(score=1, _hashed_password="x", p=1)
    server.feed.insert(score=2)
    assert (await hear(client))["requestId"] == 2


async def test_watching_protected_fields_is_refused(server: Server) -> None:
    client = await server.open()
    query = {"className": "_User", "where": {}, "watch": ["email"]}
    await say(client, {"op": "subscribe", "requestId": 1, "query": query})
    assert (await hear(client))["code"] == 119


async def test_sessions_of_the_subscription_and_of_the_connection(server: Server) -> None:
    server.resolver.log_in("r:1", "u1")
    client = await server.open()
    assert (await subscribe(client, sessionToken="r:bad"))["op"] == "subscribed"
    await subscribe(client, request_id=2, sessionToken="r:1")
    server.feed.insert(_rperm=["u1"])
    assert (await hear(client))["requestId"] == 2


async def test_garbage_does_not_end_the_connection(server: Server) -> None:
    client = await server.open()
    for text in ("", "{", "[1", b"\xff\xfe", b'{"op":', "\0"):
        await client.send(text)
    await say(client, {"op": "nope"})
    assert (await hear(client))["code"] == 1
    assert (await subscribe(client))["op"] == "subscribed"


async def test_a_client_that_goes_leaves_nothing_behind(server: Server) -> None:
    client = await server.open()
    await subscribe(client)
    await client.close()
    await until(lambda: "Note" not in server.live._subscriptions)
    await until(lambda: not server.live._connections)


async def test_a_client_that_does_not_read_is_dropped_and_holds_nobody_up(ws: Any) -> None:
    async with serving(queue_limit=200_000, ws=ws) as server:
        slow = await server.open(max_queue=1)
        quick = await server.open()
        for client in (slow, quick):
            await subscribe(client)
        slow.transport.pause_reading()
        async with asyncio.timeout(4 * WAIT):
            while len(server.live._connections) > 1:
                for _ in range(10):
                    server.feed.insert(text="x" * 100_000)
                for _ in range(10):
                    await hear(quick)
        server.feed.insert(score=5)
        assert (await hear(quick))["object"]["score"] == 5


async def test_shutdown_tells_clients_to_go_away(server: Server) -> None:
    client = await server.open()
    await server.live.stop()
    with pytest.raises(ConnectionClosed) as closed:
        await hear(client)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001


async def test_clients_start_anew_when_changes_were_lost(server: Server) -> None:
    client = await server.open()
    await subscribe(client)
    server.feed.tell(Change("", LOST, None, None, None))
    with pytest.raises(ConnectionClosed) as closed:
        await hear(client)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
    assert (await subscribe(await server.open()))["op"] == "subscribed"


async def test_a_client_that_misses_a_pong_is_closed() -> None:
    async with serving(ping=0.2) as server:
        alive, dead = await server.open(), await server.open()
        dead.transport.pause_reading()
        await until(lambda: len(server.live._connections) == 1)
        assert (await subscribe(alive))["op"] == "subscribed"
        dead.transport.abort()


async def test_an_oversized_frame_closes_the_connection(server: Server) -> None:
    client = await server.open()
    await client.send(" " * 1_100_000)
    with pytest.raises(ConnectionClosed) as closed:
        await hear(client)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70000])
async def test_pushed_frames_are_read_whole(size: int) -> None:
    async with serving() as server:
        client = await server.open()
        await subscribe(client)
        server.feed.insert(text="ä" * size)
        assert (await hear(client))["object"]["text"] == "ä" * size
    assert len(text_frame(b"x" * size)) in (size + 2, size + 4, size + 10)
