"""From tokens to callers: roles to the end, expiry, and a cache that is never behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from server.access.callers import ROLES_IN_ROLES, USERS_IN_ROLES, CallerResolver
from server.errors import Code, ParseError
from server.storage.mongo import Database
from server.values import utc_now
from tests.harness.mongo import TestMongo

TOKEN = "r:0123456789abcdef0123456789abcdef"


class World:
    """A user ``ann`` with a session, and a resolver whose change feed is the test's hand."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.resolver = CallerResolver(database, lambda user: {"objectId": user["_id"]})
        self.resolver.trusted = True

    async def populate(self) -> None:
        await self.database.insert("_User", {"_id": "ann", "username": "ann"})
        await self.add_session(TOKEN, 3600)

    async def add_session(self, token: str, seconds: float, user: str = "ann") -> str:
        session = {
            "_id": "s" + token[-6:],
            "_session_token": token,
            "_p_user": f"_User${user}",
            "expiresAt": utc_now() + timedelta(seconds=seconds),
        }
        await self.database.insert("_Session", session)
        return str(session["_id"])

    async def add_role(
        self, name: str, *, users: tuple[str, ...] = (), roles: tuple[str, ...] = ()
    ) -> None:
        await self.database.insert("_Role", {"_id": name, "name": name})
        for join, members in ((USERS_IN_ROLES, users), (ROLES_IN_ROLES, roles)):
            for member in members:
                row = {"_id": f"{name}-{member}", "owningId": name, "relatedId": member}
                await self.database.insert(join, row)


@pytest.fixture
async def world(mongo: TestMongo, database_uri: str) -> AsyncIterator[World]:
    database = Database.connect(database_uri)
    world = World(database)
    await world.populate()
    yield world
    await database.close()


async def test_a_token_is_a_user(world: World) -> None:
    caller = await world.resolver.resolve(TOKEN)
    assert caller.user_id == "ann" and caller.session_token == TOKEN
    assert caller.entities == ("*", "ann") and not caller.is_privileged


@pytest.mark.parametrize(
    "token", ["", "r:", "r:unknown", "x\0", "a b", "r:" + "a" * 300, "ünï", '{"$ne":1}', "\n"]
)
async def test_no_such_session(world: World, token: str) -> None:
    with pytest.raises(ParseError) as refused:
        await world.resolver.resolve(token)
    assert refused.value.code == Code.INVALID_SESSION_TOKEN


async def test_a_session_of_nobody(world: World) -> None:
    await world.add_session("r:orphan", 60, user="gone")
    await world.database.insert("_Session", {"_id": "x", "_session_token": "r:odd", "_p_user": 5})
    for token in ("r:orphan", "r:odd"):
        with pytest.raises(ParseError) as refused:
            await world.resolver.resolve(token)
        assert refused.value.code == Code.INVALID_SESSION_TOKEN


async def test_an_expired_session_ends_though_it_was_cached(world: World) -> None:
    await world.add_session("r:short", 0.2)
    assert (await world.resolver.resolve("r:short")).user_id == "ann"
    await asyncio.sleep(0.25)
    with pytest.raises(ParseError, match="expired") as refused:
        await world.resolver.resolve("r:short")
    assert refused.value.code == Code.INVALID_SESSION_TOKEN


async def test_roles_to_the_end_and_round_in_circles(world: World) -> None:
    await world.add_role("r0", users=("ann",), roles=("r9",))
    for number in range(1, 10):
        await world.add_role(f"r{number}", roles=(f"r{number - 1}",))
    await world.add_role("apart", users=("ben",), roles=("elsewhere",))
    assert await world.resolver.roles_of("ann") == {f"r{number}" for number in range(10)}


async def test_a_role_that_is_gone_neither_counts_nor_leads_on(world: World) -> None:
    await world.add_role("low", users=("ann",))
    await world.add_role("middle", roles=("low",))
    await world.add_role("high", roles=("middle",))
    assert await world.resolver.roles_of("ann") == {"low", "middle", "high"}
    await world.database.delete("_Role", {"_id": "middle"})
    assert await world.resolver.roles_of("ann") == {"low"}


async def reads(world: World) -> list[str]:
    """What a resolve asks the database for."""
    asked: list[str] = []
    find = world.database.find

    async def counted(class_name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(class_name)
        return await find(class_name, *args, **kwargs)

    world.database.find = counted  # type: ignore[method-assign]
    try:
        await world.resolver.resolve(TOKEN)
    finally:
        world.database.find = find  # type: ignore[method-assign]
    return asked


async def test_a_cached_caller_costs_no_round_trip(world: World) -> None:
    assert "_Session" in await reads(world)
    assert await reads(world) == []


@pytest.mark.parametrize(
    ("collection", "op", "key", "after"),
    [
        ("_Session", "delete", "sabcdef", None),
        ("_Session", "update", "sabcdef", None),
        ("_Session", "drop", None, None),
        ("_User", "update", "ann", None),
        ("_User", "delete", "ann", None),
        ("_User", "drop", None, None),
        ("_Role", "update", "any", None),
        ("_Role", "delete", "any", None),
        (USERS_IN_ROLES, "insert", "row", {"relatedId": "ann"}),
        (USERS_IN_ROLES, "delete", "row", None),
        (ROLES_IN_ROLES, "insert", "row", {"relatedId": "any"}),
        (ROLES_IN_ROLES, "delete", "row", None),
    ],
)
async def test_a_change_that_matters_is_asked_for_anew(
    world: World, collection: str, op: str, key: str | None, after: dict[str, Any] | None
) -> None:
    await reads(world)
    world.resolver.on_change(collection, op, key, after)
    assert await reads(world) != []


@pytest.mark.parametrize(
    ("collection", "op", "key", "after"),
    [
        ("_User", "update", "ben", None),
        ("_Session", "delete", "other", None),
        ("_Session", "insert", "new", None),
        ("_Role", "insert", "new", None),
        (USERS_IN_ROLES, "insert", "row", {"relatedId": "ben"}),
    ],
)
async def test_a_change_of_others_forgets_nothing(
    world: World, collection: str, op: str, key: str, after: dict[str, Any] | None
) -> None:
    await reads(world)
    world.resolver.on_change(collection, op, key, after)
    assert await reads(world) == []


async def test_nothing_is_kept_or_used_while_the_feed_is_down(world: World) -> None:
    await reads(world)
    world.resolver.trusted = False
    assert await reads(world) != []
    assert await reads(world) != []
    world.resolver.forget_all()
    world.resolver.trusted = True
    assert await reads(world) != []


async def test_a_change_reported_during_a_read_is_not_overwritten_by_it(world: World) -> None:
    """The read may have seen the state of before."""
    find = world.database.find

    async def interrupted(class_name: str, *args: Any, **kwargs: Any) -> Any:
        rows = await find(class_name, *args, **kwargs)
        if class_name == "_User":
            world.resolver.on_change("_User", "update", "ann", None)
        return rows

    world.database.find = interrupted  # type: ignore[method-assign]
    await world.resolver.resolve(TOKEN)
    world.database.find = find  # type: ignore[method-assign]
    assert await reads(world) != []
