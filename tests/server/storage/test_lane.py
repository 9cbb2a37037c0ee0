"""The direct connections to MongoDB, when the way there is cut, silent, crowded or given up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, DocumentTooLarge, DuplicateKeyError

from server.storage import lane as lane_module
from server.storage.lane import Lane
from tests.harness.fleet import eventually
from tests.harness.mongo import TestMongo

MOST = 64


class Wire:
    """What lies between a lane and MongoDB; also stands in for the driver, which knows the way."""

    def __init__(self, path: Path, mongod: Path) -> None:
        self.path = path
        self.sent = 0
        self.open = 0
        self.most_open = 0
        self.replies_flow = asyncio.Event()
        self.replies_flow.set()
        self.loses_replies = False
        self._mongod = mongod
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Awaitable[tuple[str, int | None]]:
        async def know() -> tuple[str, int | None]:
            return str(self.path), None

        return know()

    async def mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        there, back = await asyncio.open_unix_connection(str(self._mongod))
        self._writers |= {writer, back}
        replies = asyncio.create_task(self._carry_back(there, writer))
        self._tasks.add(replies)
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                self.sent += 1
                back.write(data)
        self.open -= 1
        replies.cancel()
        for end in (writer, back):
            end.transport.abort()

    async def _carry_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                await self.replies_flow.wait()
                if self.loses_replies and b"hello" not in data and b"maxWireVersion" not in data:
                    self.loses_replies = False
                    writer.transport.abort()
                    return
                writer.write(data)


@pytest.fixture
async def wire(mongo: TestMongo, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    wire = Wire(mongo.embedded.socket_path.with_name("wire.sock"), mongo.embedded.socket_path)
    await wire.mend()
    yield wire
    await wire.close()


@pytest.fixture
async def lane(wire: Wire, database_name: str) -> AsyncIterator[Lane]:
    lane = Lane(wire, database_name, CodecOptions())  # type: ignore[arg-type]
    yield lane
    lane.close()


def increment(key: str = "x") -> dict[str, Any]:
    return {
        "findAndModify": "Thing",
        "query": {"_id": key},
        "update": {"$inc": {"n": 1}},
        "upsert": True,
        "new": True,
    }


def count_of(mongo: TestMongo, database: str, key: str = "x") -> int:
    with MongoClient[dict[str, Any]](mongo.uri()) as client:
        found = client[database]["Thing"].find_one({"_id": key})
    return int(found["n"]) if found else 0


def slow(seconds: float) -> dict[str, Any]:
    """A command that takes its time on the one document of its class."""
    return {
        "find": "Thing",
        "filter": {"$where": f"sleep({seconds * 1000:.0f}) || true"},
    }


async def test_a_write_whose_reply_is_lost_is_done_once(
    wire: Wire, lane: Lane, mongo: TestMongo, database_name: str
) -> None:
    await lane.run_write(increment())
    for expected in range(2, 6):
        wire.loses_replies = True
        reply = await lane.run_write(increment())
        assert reply["value"]["n"] == expected
        assert not wire.loses_replies
    assert count_of(mongo, database_name) == 5


async def test_an_outage_is_waited_for(wire: Wire, lane: Lane) -> None:
    await lane.run_write(increment())
    wire.cut()
    asked = [asyncio.create_task(lane.run_write(increment())) for _ in range(3 * MOST)]
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in asked)
    await wire.mend()
    replies = await asyncio.gather(*asked)
    assert sorted(reply["value"]["n"] for reply in replies) == list(range(2, 3 * MOST + 2))


async def test_a_primary_that_steps_down_is_waited_for(
    lane: Lane, mongo: TestMongo, database_name: str
) -> None:
    await lane.run_write(increment())
    is_going = True
    answered: list[int] = []

    async def write() -> None:
        while is_going:
            answered.append((await lane.run_write(increment()))["value"]["n"])

    def step_down() -> None:
        with MongoClient[dict[str, Any]](mongo.uri()) as client:
            client.admin.command("replSetStepDown", 1, force=True)

    async def is_beyond(count: int) -> bool:
        return len(answered) > count

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(write())
        await asyncio.to_thread(step_down)
        before = len(answered)
        await eventually(lambda: is_beyond(before + 50), "writes at the new primary")
        is_going = False
    assert sorted(answered) == list(range(2, len(answered) + 2))
    assert count_of(mongo, database_name) == len(answered) + 1


async def test_an_outage_that_does_not_end_is_told(
    wire: Wire, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "_RETRY_LIMIT_S", 0.4)
    await lane.run({"ping": 1})
    wire.cut()
    asked = [lane.run({"ping": 1}) for _ in range(3 * MOST)]
    since = time.monotonic()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, AutoReconnect) for answer in answers)
    assert time.monotonic() - since < 5
    await wire.mend()
    assert (await lane.run({"ping": 1}))["ok"]


async def test_a_silent_mongodb_is_told_to_all_and_a_mended_one_is_used(
    wire: Wire, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "_SILENCE_S", 0.1)
    monkeypatch.setattr(lane_module, "_CONNECT_LIMIT_S", 0.3)
    monkeypatch.setattr(lane_module, "_RETRY_LIMIT_S", 0.5)
    await lane.run_write(increment())
    wire.replies_flow.clear()
    asked = [lane.run({"ping": 1}) for _ in range(3 * MOST)]
    since = time.monotonic()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, AutoReconnect) for answer in answers)
    assert time.monotonic() - since < 5
    wire.replies_flow.set()
    assert (await lane.run_write(increment()))["value"]["n"] == 2


async def test_a_slow_command_is_not_taken_for_silence(
    wire: Wire, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "_SILENCE_S", 0.05)
    await lane.run_write(increment())
    reply = await lane.run(slow(0.6), retry=False)
    assert len(reply["cursor"]["firstBatch"]) == 1


async def test_a_crowd_shares_the_connections(wire: Wire, lane: Lane) -> None:
    replies = await asyncio.gather(*(lane.run_write(increment()) for _ in range(5 * MOST)))
    assert sorted(reply["value"]["n"] for reply in replies) == list(range(1, 5 * MOST + 1))
    assert wire.most_open <= MOST


async def test_commands_given_up_at_any_point_leak_nothing(
    wire: Wire, lane: Lane, mongo: TestMongo, database_name: str
) -> None:
    acknowledged = 0
    for round_ in range(12):
        tasks = [asyncio.create_task(lane.run_write(increment())) for _ in range(2 * MOST)]
        # While connecting, waiting for a connection, and waiting for the reply.
        for _ in range(round_ * 3):
            await asyncio.sleep(0)
        if round_ % 3 == 2:
            await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        acknowledged += sum(isinstance(answer, dict) for answer in done)
    # All connections can be had at once still, and all sessions give right answers.
    replies = await asyncio.gather(*(lane.run_write(increment()) for _ in range(3 * MOST)))
    counts = [reply["value"]["n"] for reply in replies]
    assert len(set(counts)) == len(counts)
    assert wire.open <= MOST
    assert count_of(mongo, database_name) >= acknowledged + len(counts)
    since = time.monotonic()
    await asyncio.gather(*(lane.run(slow(0.2), retry=False) for _ in range(MOST)))
    assert wire.open == MOST
    assert time.monotonic() - since < 0.2 * MOST


async def test_a_refused_write_is_not_repeated(
    wire: Wire, lane: Lane, mongo: TestMongo, database_name: str
) -> None:
    insert = {"insert": "Thing", "documents": [{"_id": "a"}]}
    await lane.run_write(dict(insert))
    sent = wire.sent
    with pytest.raises(DuplicateKeyError):
        await lane.run_write(dict(insert))
    assert wire.sent == sent + 1


async def test_a_command_too_large_for_mongodb_breaks_nothing(wire: Wire, lane: Lane) -> None:
    await lane.run({"ping": 1})
    with pytest.raises(DocumentTooLarge):
        await lane.run_write({"insert": "Thing", "documents": [{"a": b"x" * 50_000_000}]})
    assert (await lane.run({"ping": 1}))["ok"]
    assert wire.most_open == 1
