"""Clients that send half, or without end, or read nothing, and what the log says of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from uvicorn import Config
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect

from server import protocol
from server.protocol import BoundedProtocol
from tests.harness.api import APP_ID, MASTER_KEY, Api, ok
from tests.harness.mongo import TestMongo
from tests.harness.processes import ROOT, Server, start_pestle

PAUSE = 0.3
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A bare application behind the protocol, which waits `PAUSE` for those who pause."""
    monkeypatch.setattr(protocol, "MAX_PAUSE_S", PAUSE)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        # Longer than a client may pause: what the server takes is its own affair.
        await asyncio.sleep(2 * PAUSE)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    config = Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(config, state, {}), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _sent(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What is answered to these bytes until the server hangs up or says no more for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(10 * PAUSE):
            return await reader.read(100)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_endless_headers_are_refused(port: int) -> None:
    one_value = [b"X-A: ", *[b"a" * 65536] * 4]
    many = [b"".join(b"X-%d-%d: a\r\n" % (i, k) for k in range(5000)) for i in range(4)]
    for endless in (one_value, many):
        answer = await _sent(port, HEAD, *endless, pause=0.01)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"PO",
        HEAD,
        HEAD + b"Content-Length: 10\r\n\r\n",
        HEAD + b"Content-Length: 9\r\n\r\nabc",
    ],
    ids=["nothing", "a word", "half a head", "no body", "half a body"],
)
async def test_half_a_request_is_hung_up_on(port: int, half: bytes) -> None:
    assert await _sent(port, half) == b""


async def test_a_head_in_drops_is_hung_up_on(port: int) -> None:
    drops = [HEAD[:20], *[b"X-A: b\r\n"] * 10]
    assert await _sent(port, *drops, b"\r\n", pause=PAUSE / 3) == b""


async def test_a_slow_body_that_goes_on_is_served(port: int) -> None:
    parts = [HEAD + b"Content-Length: 6\r\n\r\n", *[b"x"] * 6]
    assert (await _sent(port, *parts, pause=PAUSE / 2)).startswith(b"HTTP/1.1 200")


async def test_a_connection_between_requests_is_kept(port: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(request)
        assert b"200" in await reader.readuntil(b"done")
        await asyncio.sleep(2 * PAUSE)
    writer.close()


# ---- the whole server -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(mongo: TestMongo) -> Iterator[Server]:
    """The root app with a talkative log."""
    database = mongo.new_database()
    server = start_pestle(
        {
            "appId": APP_ID,
            "masterKey": MASTER_KEY + "-hush",
            "databaseURI": mongo.uri(database),
            "schemaPath": str(ROOT / "schema.json"),
            "cloud": str(ROOT / "cloud" / "main.py"),
            "logLevel": "debug",
            "liveQuery": {"classNames": ["_User", "_Session", "PatientProfile", "Prescription"]},
        },
        workers=1,
    )
    yield server
    server.stop()
    mongo.drop(database)


@pytest.fixture
async def anyone(server: Server) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        yield Api(client, master_key=MASTER_KEY + "-hush")


async def test_the_log_tells_no_secret_and_no_lies(server: Server, anyone: Api) -> None:
    alice = await anyone.sign_up("alice", "word-hush")
    await anyone.post("/login", {"username": "alice", "password": "wrong-hush"})
    await anyone.get("/login", {"username": "alice", "password": "word-hush"})
    ok(await anyone.as_master().get("/users"))
    ok(await alice.put(f"/users/{alice.id}", {"password": "word2-hush"}))
    await alice.post("/classes/Prescription", {"medicationName": "drug-hush", "dosage": 5})
    await anyone.post("/functions/calculateCopay", {"medicationId": "param-hush"})
    for name in ("A%0a2026-01-01 INFO forged", "A%0d2026-01-01 INFO forged", "A%1b[31mred"):
        await anyone.get(f"/classes/{name.replace(' ', '%20')}")
    log = server.output
    assert "forged" in log, "the names were to be logged"
    assert "-hush" not in log
    assert alice.session_token not in log
    assert "\x1b" not in log
    assert not [line for line in log.splitlines() if line.startswith("2026-01-01 INFO forged")]


class _Listener:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, **frame: Any) -> dict[str, Any]:
        await self._socket.send(json.dumps(frame))
        return await self.hear(5)

    async def subscribe(self, number: int, class_name: str, where: Any, **more: Any) -> Any:
        query = {"className": class_name, "where": where, **more}
        return await self.say(op="subscribe", requestId=number, query=query)

    async def hear(self, seconds: float) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            return dict(json.loads(await self._socket.recv()))


@pytest.fixture
async def socket(server: Server) -> AsyncIterator[ClientConnection]:
    async with connect("ws" + server.url.removeprefix("http")) as client:
        yield client


async def test_what_live_query_refuses(socket: ClientConnection, anyone: Api) -> None:
    listener = _Listener(socket)
    bob = await anyone.sign_up("bob")
    connected = await listener.say(
        op="connect",
        applicationId=APP_ID,
        masterKey=MASTER_KEY + "-hush",
        sessionToken=bob.session_token,
    )
    assert connected["op"] == "connected"
    for number, (class_name, where, more, code) in enumerate(
        [
            ("AuditLog", {}, {}, 119),
            ("_Hooks", {}, {}, 119),
            ("_SCHEMA", {}, {}, 119),
            ("_Installation", {}, {}, 119),
            ("_User", {"email": {"$regex": "^a"}}, {}, 119),
            ("_User", {"$or": [{"$nor": [{"email": "x"}]}]}, {}, 119),
            ("_User", {}, {"watch": ["email"]}, 119),
            ("_User", {"username": {"$regex": "("}}, {}, 102),
        ]
    ):
        answer = await listener.subscribe(number, class_name, where, **more)
        assert (answer["op"], answer.get("code")) == ("error", code), (class_name, where, answer)


async def test_no_event_tells_of_another_s(socket: ClientConnection, anyone: Api) -> None:
    """Neither whole objects nor matches on what may not be asked about."""
    listener = _Listener(socket)
    carol, dave = await anyone.sign_up("carol"), await anyone.sign_up("dave")
    await listener.say(op="connect", applicationId=APP_ID, sessionToken=dave.session_token)
    for number, (class_name, where) in enumerate(
        [
            ("PatientProfile", {}),
            ("PatientProfile", {"$or": [{"_rperm": {"$exists": True}}, {"isActive": True}]}),
            ("_Session", {}),
            ("_User", {"_hashed_password": {"$exists": True}}),
            ("_User", {"$nor": [{"_hashed_password": "x"}]}),
            ("_User", {"objectId": carol.id}),
        ]
    ):
        await listener.subscribe(number, class_name, where)
    await carol.create("PatientProfile", medicalRecordNumber="MRN-1", displayName="Carol")
    ok(await carol.put(f"/users/{carol.id}", {"nick": "x"}))
    ok(await dave.put(f"/users/{dave.id}", {"nick": "x"}))
    await anyone.log_in("carol")
    with pytest.raises(TimeoutError):
        raise AssertionError(await listener.hear(0.5))


async def test_patterns_that_never_end_hold_nobody_up(
    socket: ClientConnection, anyone: Api
) -> None:
    listener = _Listener(socket)
    erin = await anyone.sign_up("erin")
    await listener.say(op="connect", applicationId=APP_ID, sessionToken=erin.session_token)
    for number, pattern in enumerate(["^(a+)+$", "(a|a)*b", "(.*)*x", "([a-z]+)*$"] * 10):
        where = {"medicationName": {"$regex": f"{pattern}{'z' * number}"}}
        await listener.subscribe(number, "Prescription", where)
    await erin.create("PatientProfile", medicalRecordNumber="MRN-2", displayName="Erin")
    loop = asyncio.get_running_loop()
    await erin.create("Prescription", medicationName="a" * 190 + "!", dosage="1")
    begun = loop.time()
    assert (await anyone.get("/health")).status_code == 200
    found = await erin.find("Prescription", {"medicationName": {"$regex": "^(a+)+$"}})
    assert loop.time() - begun < 5 and found == []


async def test_a_crowd_of_slow_sockets_keeps_nobody_out(server: Server, anyone: Api) -> None:
    head = b"POST /parse/classes/X HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
    crowd = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(300)]
    try:
        for number, (_, writer) in enumerate(crowd):
            writer.write(head + (b"\r\n{" if number % 2 else b""))
        async with asyncio.timeout(5):
            assert (await anyone.get("/health")).status_code == 200
            ok(await anyone.as_master().get("/users"))
    finally:
        for _, writer in crowd:
            writer.close()


async def test_half_a_body_is_not_saved(server: Server, anyone: Api) -> None:
    """Bytes that would do by themselves are not what the client announced."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = json.dumps({"username": "half", "password": "x"}).encode()
    writer.write(
        b"POST /parse/users HTTP/1.1\r\nHost: x\r\nX-Parse-Application-Id: app\r\n"
        b"Content-Length: %d\r\n\r\n" % (len(body) + 5) + body
    )
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.3)
    assert await anyone.as_master().find("_User", {"username": "half"}) == []
