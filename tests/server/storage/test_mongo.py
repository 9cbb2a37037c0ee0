"""The database as the floors above see it: whole results, Parse's errors, transactions."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from bson import DatetimeMS

from server.errors import Code, ParseError
from server.storage.mongo import Database, DuplicateValue, Session
from tests.harness.mongo import TestMongo


@pytest.fixture(scope="module", params=["lane", "driver"])
async def database(mongo: TestMongo, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """Once with the direct connections, once with the driver alone, as where there is a log-in."""
    name = mongo.new_database()
    database = Database.connect(mongo.uri(name), prefix="app_")
    if request.param == "driver":
        await database.close()
        driver = Database.connect(mongo.uri(name)).client
        database = Database(driver, name, "app_", has_lane=False)
    yield database
    await database.close()
    mongo.drop(name)


def code_of(refused: pytest.ExceptionInfo[ParseError]) -> int:
    return refused.value.code


async def test_find_gets_everything_in_order(database: Database) -> None:
    """Beyond the first batch, too."""
    await database.raw["app_Many"].insert_many([{"_id": i, "even": not i % 2} for i in range(2500)])
    found = await database.find("Many", {}, sort={"_id": -1})
    assert [document["_id"] for document in found] == list(range(2499, -1, -1))
    some = await database.find("Many", {"even": True}, sort={"_id": 1}, skip=1, limit=1200)
    assert [document["_id"] for document in some] == list(range(2, 2402, 2))
    assert len(await database.find("Many", {}, limit=-3)) == 3
    assert await database.count("Many", {}) == 2500
    assert await database.count("Many", {"even": True}) == 1250
    assert await database.count("Many", {"_id": -1}) == 0
    assert await database.find_one("Many", {"_id": 7}, projection={"_id": 1}) == {"_id": 7}
    assert await database.find_one("Many", {"_id": -1}) is None
    assert await database.find("Nowhere", {}) == []


async def test_writes_tell_what_they_did(database: Database) -> None:
    await database.insert("Thing", {"_id": "w", "n": 1})
    assert await database.find_and_update("Thing", {"_id": "w"}, {"$inc": {"n": 2}}) == {
        "_id": "w", "n": 3,
    }  # fmt: skip
    assert await database.find_and_update("Thing", {"_id": "none"}, {"$inc": {"n": 2}}) is None
    assert await database.update_one("Thing", {"_id": "w2"}, {"$set": {"n": 1}}, upsert=True) == 0
    assert await database.update_many("Thing", {"n": {"$gt": 0}}, {"$set": {"n": 5}}) == 2
    assert await database.delete("Thing", {"_id": "none"}) == 0
    assert await database.delete("Thing", {"n": 5}) == 1
    assert await database.delete("Thing", {}, many=True) == 1


async def test_whole_doubles_are_whole_numbers(database: Database) -> None:
    await database.insert("Thing", {"_id": "d", "n": 5.0, "list": [1.0, 1.5, 2.0**40]})
    found = await database.find_one("Thing", {"_id": "d"})
    assert found is not None and repr(found["list"] + [found["n"]]) == "[1, 1.5, 1099511627776, 5]"


async def test_a_date_beyond_python_does_not_make_its_object_unreadable(database: Database) -> None:
    beyond = DatetimeMS(8_640_000_000_000_000)
    await database.raw["app_Thing"].insert_one({"_id": "far", "when": beyond})
    found = await database.find_one("Thing", {"_id": "far"})
    assert found is not None and found["when"].year == datetime.max.year


async def test_a_duplicate_names_the_keys(database: Database) -> None:
    await database.raw["app_Unique"].create_index([("a", 1), ("b", 1)], unique=True)
    await database.insert("Unique", {"_id": 1, "a": 1, "b": 1})
    await database.insert("Unique", {"_id": 2, "a": 1, "b": 2})
    with pytest.raises(DuplicateValue) as refused:
        await database.insert("Unique", {"_id": 3, "a": 1, "b": 1})
    assert refused.value.fields == ("a", "b")
    with pytest.raises(DuplicateValue):
        await database.find_and_update("Unique", {"_id": 2}, {"$set": {"b": 1}})
    with pytest.raises(DuplicateValue) as refused:
        await database.insert("Unique", {"_id": 1})
    assert refused.value.fields == ("_id",)
    assert code_of(refused) == Code.DUPLICATE_VALUE


UPDATES: list[dict[str, Any]] = [
    {"$inc": {"text": 1}},
    {"$push": {"text": 1}},
    {"$addToSet": {"n": {"$each": [1]}}},
    {"$set": {"n.x": 1}},
    {"$set": {"o": {}, "o.k": 1}},
    {"$set": {"o.": 1}},
    {"$set": {"list.x": 1}},
    {"$set": {"place": [2000, 1000]}},
    {"$bogus": {"n": 1}},
]


@pytest.mark.parametrize("update", UPDATES, ids=str)
async def test_an_update_that_mongodb_refuses_is_the_clients_fault(
    database: Database, update: dict[str, Any]
) -> None:
    await database.raw["app_Refuses"].create_index([("place", "2d")])
    before = {"_id": "x", "text": "t", "n": 1, "o": {"k": 0}, "list": [1]}
    await database.raw["app_Refuses"].replace_one({"_id": "x"}, before, upsert=True)
    with pytest.raises(ParseError) as refused:
        await database.find_and_update("Refuses", {"_id": "x"}, update)
    assert code_of(refused) == Code.INVALID_QUERY
    assert await database.find_one("Refuses", {"_id": "x"}) == before


FINDS: list[dict[str, Any]] = [
    {"filter": {"a": {"$regex": "("}}},
    {"filter": {"a": {"$bogus": 1}}},
    {"filter": {"a": {"$in": 1}}},
    {"filter": {"place": {"$nearSphere": [1, 1]}}},
    {"filter": {}, "sort": {f"o.{i}": 1 for i in range(40)}},
    {"filter": {}, "hint": "nowhere"},
    {"filter": {}, "projection": {"a": 1, "b": 0}},
]


@pytest.mark.parametrize("find", FINDS, ids=str)
async def test_a_find_that_mongodb_refuses_is_the_clients_fault(
    database: Database, find: dict[str, Any]
) -> None:
    await database.raw["app_Finds"].replace_one({"_id": 1}, {"a": "x"}, upsert=True)
    with pytest.raises(ParseError) as refused:
        await database.find("Finds", **find)
    assert code_of(refused) == Code.INVALID_QUERY


@pytest.mark.parametrize(
    "document",
    [{"_id": "big", "a": "x" * 17_000_000}, {"_id": "nul", "a\0b": 1}, {"_id": "int", "a": 2**70}],
    ids=["too large", "a NUL in a key", "an integer of 71 bits"],
)
async def test_what_cannot_be_stored_is_refused(
    database: Database, document: dict[str, Any]
) -> None:
    with pytest.raises(ParseError) as refused:
        await database.insert("Thing", document)
    assert code_of(refused) in (Code.INVALID_QUERY, Code.INVALID_JSON)
    assert await database.find_one("Thing", {"_id": document["_id"]}) is None


# ---- transactions -------------------------------------------------------------------------


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    async def work(session: Session) -> None:
        await database.insert("Tx", {"_id": "one"}, session=session)
        assert await database.find_one("Tx", {"_id": "one"}, session=session)
        assert await database.find_one("Tx", {"_id": "one"}) is None
        raise ParseError(Code.VALIDATION_ERROR, "no")

    with pytest.raises(ParseError, match="no"):
        await database.run_transaction(work)
    assert await database.find("Tx", {}) == []


async def test_a_conflict_is_tried_again(database: Database) -> None:
    await database.insert("Counter", {"_id": "c", "n": 0})
    attempts = 0

    async def add() -> None:
        async def work(session: Session) -> None:
            nonlocal attempts
            attempts += 1
            found = await database.find_one("Counter", {"_id": "c"}, session=session)
            assert found is not None
            await asyncio.sleep(0.005)
            await database.find_and_update(
                "Counter", {"_id": "c"}, {"$set": {"n": found["n"] + 1}}, session=session
            )

        await database.run_transaction(work)

    await asyncio.gather(add(), add(), add())
    assert await database.find_one("Counter", {"_id": "c"}) == {"_id": "c", "n": 3}
    assert attempts > 3


async def test_a_transaction_reads_where_it_writes(database: Database) -> None:
    """A read preference is the client's wish; MongoDB refuses it in a transaction."""

    async def work(session: Session) -> int:
        return await database.count("Many2", {}, read_preference="SECONDARY", session=session)

    assert await database.run_transaction(work) == 0


# ---- an outage ----------------------------------------------------------------------------


@pytest.mark.slow
async def test_increments_are_counted_once_when_mongod_is_killed() -> None:
    """Every acknowledged one, and of those that failed none twice."""
    with TestMongo() as own:
        database = Database.connect(own.uri("killed"))
        await database.insert("Counter", {"_id": "c", "n": 0})
        answers: list[int] = []
        answered: asyncio.Queue[int] = asyncio.Queue()
        is_over = False

        async def add() -> int:
            failed = 0
            while not is_over:
                try:
                    found = await database.find_and_update(
                        "Counter", {"_id": "c"}, {"$inc": {"n": 1}}
                    )
                except ParseError:
                    failed += 1
                else:
                    assert found is not None
                    answers.append(found["n"])
                    answered.put_nowait(found["n"])
            return failed

        async def more(count: int) -> None:
            async with asyncio.timeout(60):
                for _ in range(count):
                    await answered.get()

        adders = [asyncio.create_task(add()) for _ in range(8)]
        for _ in range(2):
            await more(200)
            assert own.embedded.pid is not None
            os.kill(own.embedded.pid, signal.SIGKILL)
            await more(250)
        is_over = True
        failed = sum(await asyncio.gather(*adders))
        found = await database.find_one("Counter", {"_id": "c"})
        await database.close()
    assert found is not None
    assert len(set(answers)) == len(answers)
    assert len(answers) <= found["n"] <= len(answers) + failed
