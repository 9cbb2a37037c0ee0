"""``kill -9`` of a worker and of mongod under load loses nothing acknowledged, and no event."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.usage import process_of_connection
from tests.conftest import SERVE_OPTIONS
from tests.harness.api import APP_ID
from tests.harness.mongo import TestMongo
from tests.harness.processes import PATIENCE_S, Server, start_pestle

pytestmark = pytest.mark.slow

WRITERS = 6
DATABASE = "killed"


@dataclass
class Listener:
    """A LiveQuery client: what it was told of, by object id, and which worker it is at."""

    worker: int
    socket: ClientConnection
    heard: Counter[str] = field(default_factory=Counter)

    async def listen(self) -> None:
        try:
            async for frame in self.socket:
                message = json.loads(frame)
                if message["op"] == "create":
                    self.heard[message["object"]["objectId"]] += 1
        except ConnectionClosed:
            return


class Load:
    """Writers who go on whatever happens, and remember what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self.acknowledged: set[str] = set()
        self.refused = 0
        self._server = server
        self._going = True
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]

    async def stop(self) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Wait until so many more writes are acknowledged."""
        wanted = len(self.acknowledged) + count
        limit = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < wanted:
            assert time.monotonic() < limit, f"stuck at {len(self.acknowledged)} writes"
            await asyncio.sleep(0.02)

    async def _write(self, number: int) -> None:
        headers = {"X-Parse-Application-Id": APP_ID}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S) as client:
            while self._going:
                try:
                    answer = await client.post(
                        self._server.url + "/classes/Load", json={"writer": number}
                    )
                except httpx.HTTPError:
                    self.refused += 1
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 201:
                    self.acknowledged.add(answer.json()["objectId"])
                else:
                    self.refused += 1
                    await asyncio.sleep(0.05)


@pytest.fixture
async def own_mongo() -> AsyncIterator[TestMongo]:
    """A MongoDB that may be killed; its keeper starts it again."""
    with TestMongo() as mongo:
        yield mongo


async def test_kill_a_worker_then_mongod(own_mongo: TestMongo) -> None:
    options = {
        **SERVE_OPTIONS,
        "databaseURI": own_mongo.uri(DATABASE),
        "liveQuery": {"classNames": ["Load"]},
    }
    server = await asyncio.to_thread(start_pestle, options, workers=2)
    try:
        async with AsyncExitStack() as stack:
            workers = _children(server.pid)
            assert len(workers) == 2
            load = Load(server)
            await _create_one(server)
            listeners = await _listeners(stack, server, workers)
            listening = [asyncio.create_task(one.listen()) for one in listeners]
            load.start()
            await load.more(200)

            os.kill(workers[0], signal.SIGKILL)
            await load.more(200)
            mongod = own_mongo.embedded.pid
            assert mongod is not None
            os.kill(mongod, signal.SIGKILL)
            await load.more(200)
            await load.stop()

            stored = await asyncio.to_thread(_stored_ids, own_mongo)
            assert load.acknowledged <= stored, "an acknowledged write is lost"
            survivors = [one for one in listeners if one.worker == workers[1]]
            for one in survivors:
                await _heard(one, len(stored))
                assert set(one.heard) == stored, "an event is lost, or of something never stored"
                assert set(one.heard.values()) == {1}, "an event came twice"
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
    finally:
        server.stop()


async def _listeners(stack: AsyncExitStack, server: Server, workers: list[int]) -> list[Listener]:
    """Clients subscribed to everything, until each worker has one."""
    listeners: list[Listener] = []
    for _ in range(100):
        socket = await stack.enter_async_context(connect(server.url.replace("http", "ws")))
        client_port = socket.local_address[1]
        worker = process_of_connection(server.port, client_port, set(workers))
        assert worker is not None
        for frame in (
            {"op": "connect", "applicationId": APP_ID},
            {
                "op": "subscribe",
                "requestId": 1,
                "query": {"className": "Load", "where": {"x": {"$exists": False}}},
            },
        ):
            await socket.send(json.dumps(frame))
            assert json.loads(await socket.recv())["op"] in ("connected", "subscribed")
        listeners.append(Listener(worker, socket))
        if {one.worker for one in listeners} == set(workers):
            return listeners
    raise AssertionError("one worker takes all connections")


async def _create_one(server: Server) -> None:
    """The class stands before anybody listens; this object is nobody's event."""
    async with httpx.AsyncClient(headers={"X-Parse-Application-Id": APP_ID}) as client:
        answer = await client.post(server.url + "/classes/Load", json={"x": 1})
        assert answer.status_code == 201


async def _heard(listener: Listener, count: int) -> None:
    for _ in range(int(PATIENCE_S / 0.05)):
        if len(listener.heard) >= count:
            break
        await asyncio.sleep(0.05)
    # One too many would come now.
    await asyncio.sleep(0.3)


def _stored_ids(mongo: TestMongo) -> set[str]:
    with MongoClient[dict[str, Any]](mongo.uri()) as client:
        return {found["_id"] for found in client[DATABASE]["Load"].find({"x": None})}


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]
