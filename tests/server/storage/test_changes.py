"""The change feed on a real mongod: complete, in order, once, and honest about breaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from server.storage.changes import LOST, Change, ChangeFeed
from server.storage.embedded import EmbeddedMongo
from server.storage.mongo import Database


@pytest.fixture(scope="module")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMongo]:
    with EmbeddedMongo(tmp_path_factory.mktemp("changes")) as running:
        yield running


@pytest.fixture
async def database(mongo: EmbeddedMongo) -> AsyncIterator[Database]:
    connected = Database.connect(mongo.uri, prefix="p_")
    yield connected
    await connected.client.drop_database(connected.raw.name)
    await connected.close()


class Reader:
    """What a feed told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.states: list[bool] = []
        self.times: list[float] = []
        self._told = asyncio.Event()

    def on_change(self, change: Change) -> None:
        self.changes.append(change)
        self.times.append(time.perf_counter())
        self._told.set()

    async def until(self, condition: Callable[[], bool], limit_s: float = 20) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():
                self._told.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._told.wait(), 0.02)


@pytest.fixture
async def reader() -> Reader:
    return Reader()


@pytest.fixture
async def feed(database: Database, reader: Reader) -> AsyncIterator[ChangeFeed]:
    names = ["Note", "_Session", re.compile(r"_Join:.*:_Role")]
    feed = ChangeFeed(database, collections=lambda: names, without_inserts=["_User"])
    feed.subscribe(reader.on_change, reader.states.append)
    await feed.ensure_images(["Note"])
    await feed.start()
    assert feed.is_live
    yield feed
    await feed.stop()


async def test_each_kind_of_write_with_its_images(
    database: Database, feed: ChangeFeed, reader: Reader
) -> None:
    await database.insert("Note", {"_id": "a", "stars": 1})
    await database.insert("Unwatched", {"_id": "x"})
    await database.raw["Note"].insert_one({"_id": "no prefix"})
    await database.update_one("Note", {"_id": "a"}, {"$set": {"stars": 2}})
    await database.delete("Note", {"_id": "a"})
    await database.insert("_Session", {"_id": "s"})
    await database.update_one("_Session", {"_id": "s"}, {"$set": {"x": 1}})
    await database.insert("_User", {"_id": "u"})
    await database.delete("_User", {"_id": "u"})
    await database.insert("_Join:users:_Role", {"_id": "j"})
    await database.drop("Note")
    await reader.until(lambda: len(reader.changes) == 8)
    assert reader.changes == [
        Change("Note", "insert", "a", None, {"_id": "a", "stars": 1}),
        Change("Note", "update", "a", {"_id": "a", "stars": 1}, {"_id": "a", "stars": 2}),
        Change("Note", "delete", "a", {"_id": "a", "stars": 2}, None),
        Change("_Session", "insert", "s", None, {"_id": "s"}),
        Change("_Session", "update", "s", None, None),
        Change("_User", "delete", "u", None, None),
        Change("_Join:users:_Role", "insert", "j", None, {"_id": "j"}),
        Change("Note", "drop", None, None, None),
    ]


async def test_a_change_arrives_at_once_when_idle(
    database: Database, feed: ChangeFeed, reader: Reader
) -> None:
    delays = []
    for number in range(30):
        await database.insert("Note", {"_id": number})
        written = time.perf_counter()
        await reader.until(lambda count=number + 1: len(reader.times) == count)
        delays.append(reader.times[-1] - written)
    assert statistics.median(delays) < 0.02


async def test_images_can_be_ensured_again_and_for_collections_that_exist(
    database: Database, feed: ChangeFeed
) -> None:
    await database.insert("Plain", {"_id": 1})
    await asyncio.gather(*(feed.ensure_images(["Plain", "New", "Note"]) for _ in range(4)))
    found = {info["name"]: info async for info in await database.raw.list_collections()}
    for name in ("p_Plain", "p_New", "p_Note"):
        assert found[name]["options"]["changeStreamPreAndPostImages"] == {"enabled": True}


@pytest.mark.slow
async def test_a_killed_mongod_costs_no_change_and_doubles_none(
    mongo: EmbeddedMongo, database: Database, feed: ChangeFeed, reader: Reader
) -> None:
    acknowledged: list[int] = []

    async def write() -> None:
        for number in range(600):
            await database.insert("Note", {"_id": number, "at": number})
            acknowledged.append(number)

    writing = asyncio.create_task(write())
    for at in (150, 400):
        await reader.until(lambda at=at: len(acknowledged) > at)
        assert mongo.pid is not None
        os.kill(mongo.pid, signal.SIGKILL)
        broken = len(reader.states)
        await reader.until(lambda count=broken: len(reader.states) > count)
        assert not feed.is_live
    await writing
    await reader.until(lambda: len(reader.changes) >= len(acknowledged) and feed.is_live)
    assert [change.key for change in reader.changes] == acknowledged
    assert reader.states == [True, False, True, False, True]


async def test_a_dropped_database_is_told_and_the_stream_goes_on(
    database: Database, feed: ChangeFeed, reader: Reader
) -> None:
    await database.insert("Note", {"_id": 1})
    await database.client.drop_database(database.raw.name)
    await reader.until(lambda: bool(reader.changes) and reader.changes[-1].op == "invalidate")
    await reader.until(lambda: feed.is_live)
    await database.insert("Note", {"_id": 2})
    await reader.until(lambda: reader.changes[-1].key == 2)


def reader_token(feed: ChangeFeed) -> str:
    return str(feed._token["_data"])


async def test_a_forgotten_place_starts_anew_and_tells_so(
    database: Database, feed: ChangeFeed, reader: Reader
) -> None:
    await database.insert("Note", {"_id": "before"})
    await reader.until(lambda: bool(reader.changes))
    await feed.stop()
    # The same place at a second the oplog does not reach back to.
    feed._token = {"_data": "8200000001" + reader_token(feed)[10:]}
    await feed.start()
    await reader.until(lambda: feed.is_live)
    assert reader.states == [True, False, True]
    # Who must know of every change is told that some may have gone by.
    assert reader.changes[-1] == Change("", LOST, None, None, None)
    await database.insert("Note", {"_id": "after"})
    await reader.until(lambda: bool(reader.changes) and reader.changes[-1].key == "after")


async def test_a_failing_reader_does_not_harm_the_others(
    database: Database, feed: ChangeFeed, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(change: Change) -> None:
        raise RuntimeError("a bug")

    later = Reader()
    feed.subscribe(fail)
    feed.subscribe(later.on_change)
    await database.insert("Note", {"_id": 1})
    await later.until(lambda: len(later.changes) == 1)
    assert len(reader.changes) == 1
    assert "a bug" in caplog.text


async def test_an_event_too_large_for_mongodb_ends_no_stream_for_ever(
    database: Database, feed: ChangeFeed, reader: Reader
) -> None:
    large: dict[str, Any] = {"_id": "large", "text": "x" * (9 << 20)}
    await database.insert("Note", large)
    await database.update_one("Note", {"_id": "large"}, {"$set": {"stars": 1}})
    await reader.until(lambda: False in reader.states and feed.is_live)
    await database.insert("Note", {"_id": "after"})
    await reader.until(lambda: bool(reader.changes) and reader.changes[-1].key == "after")


async def test_without_mongodb_start_returns_and_nothing_is_trusted(tmp_path: Path) -> None:
    uri = f"mongodb://{str(tmp_path / 'none.sock').replace('/', '%2F')}/parse"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri, serverSelectionTimeoutMS=300)
    feed = ChangeFeed(Database(client, "parse"), collections=lambda: ["Note"])
    await feed.start()
    assert not feed.is_live
    await feed.stop()
    await client.close()
