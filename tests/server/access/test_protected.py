"""Protected fields: hidden in every answer, and not to be found out by asking in other ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from server.values import pointer
from tests.harness.api import Api, assert_parse_error, ok
from tests.harness.app import app_on
from tests.harness.mongo import TestMongo

OPEN: dict[str, Any] = dict.fromkeys(
    ("find", "get", "count", "create", "update", "delete", "addField"), {"*": True}
)
FIELDS = ("secret", "half", "name")


@dataclass
class World:
    anyone: Api
    owner: Api
    other: Api
    member: Api
    master: Api


@pytest.fixture(scope="module")
async def world(mongo: TestMongo) -> AsyncIterator[World]:
    async with app_on(mongo) as anyone:
        owner, other, member = [await anyone.sign_up(name) for name in ("own", "oth", "mem")]
        master = anyone.as_master()
        users = {"__op": "AddRelation", "objects": [member.pointer()]}
        ok(await master.post("/roles", {"name": "Staff", "ACL": {}, "users": users}))
        yield World(anyone, owner, other, member, master)


async def make(world: World, class_name: str, protected: dict[str, Any]) -> str:
    """A class with protected fields, and one object that belongs to the owner."""
    columns = {
        "secret": {"type": "Number"},
        "half": {"type": "String"},
        "name": {"type": "String"},
        "list": {"type": "Array"},
        "owner": {"type": "Pointer", "targetClass": "_User"},
        "owners": {"type": "Array"},
    }
    clp = {**OPEN, "protectedFields": protected}
    body = {"className": class_name, "fields": columns, "classLevelPermissions": clp}
    ok(await world.master.post(f"/schemas/{class_name}", body))
    mine = world.owner.pointer()
    return await world.master.create(
        class_name, secret=42, half="h", name="n", list=["s"], owner=mine, owners=[mine]
    )


# name, protectedFields, and what nobody, owner, other, member see
FORMS: list[tuple[str, dict[str, Any], str, str, str, str]] = [
    ("everybody", {"*": ["secret", "half"]}, "n", "n", "n", "n"),
    ("nobody", {}, "shn", "shn", "shn", "shn"),
    ("only the public", {"*": ["secret", "half"], "authenticated": []}, "n", "shn", "shn", "shn"),
    ("logged-in see half", {"*": ["secret", "half"], "authenticated": ["secret"]},
     "n", "hn", "hn", "hn"),
    ("a role sees all", {"*": ["secret", "half"], "role:Staff": []}, "n", "n", "n", "shn"),
    ("sets are intersected", {"*": ["secret"], "authenticated": ["half"]},
     "hn", "shn", "shn", "shn"),
    ("userField", {"*": ["secret", "half"], "userField:owner": ["half"]}, "n", "sn", "n", "n"),
    ("userField of an array", {"*": ["secret", "half"], "userField:owners": []},
     "n", "shn", "n", "n"),
    ("two userFields", {"*": ["secret", "half"], "userField:owner": ["half"],
                        "userField:owners": ["secret"]}, "n", "shn", "n", "n"),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form[0])
async def test_who_sees_what(world: World, form: Any) -> None:
    name, protected, *seen = form
    class_name = f"P{FORMS.index(form)}"
    one = await make(world, class_name, protected)
    callers = (world.anyone, world.owner, world.other, world.member)
    for caller, letters in zip(callers, seen, strict=True):
        expected = {field for field in FIELDS if field[0] in letters}
        got = ok(await caller.get(f"/classes/{class_name}/{one}"))
        found = (await caller.find(class_name))[0]
        chosen = (await caller.find(class_name, keys="secret,half,name"))[0]
        holder = await world.master.create(f"Holder{class_name}", target=pointer(class_name, one))
        included = ok(
            await caller.get(f"/classes/Holder{class_name}/{holder}", {"include": "target"})
        )
        for view in (got, found, chosen, included["target"]):
            assert {field for field in FIELDS if field in view} == expected
        # A column that was read only to decide is not part of the answer.
        assert "owner" not in chosen and "owners" not in chosen
    whole = ok(await world.master.get(f"/classes/{class_name}/{one}"))
    assert set(FIELDS) <= set(whole)


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("where", {"where": {"secret": 42}}),
    ("where $gt", {"where": {"secret": {"$gt": 1}}}),
    ("where $exists", {"where": {"secret": {"$exists": True}}}),
    ("where below it", {"where": {"secret.x": 1}}),
    ("$or", {"where": {"$or": [{"name": "n"}, {"secret": 42}]}}),
    ("$and in $nor", {"where": {"$nor": [{"$and": [{"secret": 42}]}]}}),
    ("count", {"where": {"secret": 42}, "count": "1", "limit": "0"}),
    ("$inQuery", {"where": {"secret": {"$inQuery": {"className": "P", "where": {}}}}}),
    (
        "$select for it",
        {"where": {"secret": {"$select": {"query": {"className": "P"}, "key": "name"}}}},
    ),
    ("order", {"order": "secret"}),
    ("order down", {"order": "name,-secret"}),
    ("order below it", {"order": "secret.x"}),
    ("order with a plus", {"order": "+secret"}),
]


@pytest.fixture(scope="module")
async def hidden(world: World) -> str:
    return await make(
        world, "Hidden", {"*": ["secret", "half", "list"], "userField:owner": ["half"]}
    )


@pytest.mark.parametrize(("name", "params"), WAYS, ids=[way[0] for way in WAYS])
async def test_not_to_be_asked_for(
    world: World, hidden: str, name: str, params: dict[str, Any]
) -> None:
    for caller in (world.anyone, world.other, world.owner):
        assert_parse_error(await caller.get("/classes/Hidden", params), 119)
    answer = await world.master.get("/classes/Hidden", params)
    assert "Permission denied" not in answer.text


async def test_not_through_a_sub_query(world: World, hidden: str) -> None:
    await world.master.create("Holder2", target=pointer("Hidden", hidden), number=42)
    inner = {"className": "Hidden", "where": {"secret": 42}}
    for name in ("$inQuery", "$notInQuery"):
        where = {"target": {name: inner}}
        assert_parse_error(await world.other.get("/classes/Holder2", {"where": where}), 119)
    select = {"query": {"className": "Hidden"}, "key": "secret"}
    assert await world.other.find("Holder2", {"number": {"$select": select}}) == []
    assert len(await world.owner.find("Holder2", {"number": {"$select": select}})) == 1
    assert len(await world.master.find("Holder2", {"number": {"$select": select}})) == 1


async def test_not_through_the_echo_of_an_operation(world: World, hidden: str) -> None:
    body = {
        "secret": {"__op": "Increment", "amount": 0},
        "list": {"__op": "AddUnique", "objects": []},
    }
    answer = ok(await world.other.put(f"/classes/Hidden/{hidden}", body))
    assert set(answer) == {"updatedAt"}
    answer = ok(await world.owner.put(f"/classes/Hidden/{hidden}", body))
    assert answer["secret"] == 42 and answer["list"] == ["s"]


async def test_not_through_redirect_or_relation(world: World, hidden: str) -> None:
    relation = {"__op": "AddRelation", "objects": [pointer("Hidden", hidden)]}
    box = await world.master.create("Box", one=pointer("Hidden", hidden), many=relation)
    related = {"object": pointer("Box", box), "key": "many"}
    for params in (
        {"redirectClassNameForKey": "one"},
        {"redirectClassNameForKey": "many"},
    ):
        found = ok(await world.other.get("/classes/Box", params))["results"]
        assert [row["name"] for row in found] == ["n"]
        assert "secret" not in found[0]
        asked = {**params, "where": {"secret": 42}}
        assert_parse_error(await world.other.get("/classes/Box", asked), 119)
    found = await world.other.find("Hidden", {"$relatedTo": related})
    assert len(found) == 1 and "secret" not in found[0]


async def test_a_hidden_relation_tells_nothing(world: World) -> None:
    clp = {**OPEN, "protectedFields": {"*": ["members"]}}
    columns = {"members": {"type": "Relation", "targetClass": "_User"}}
    body = {"className": "Club", "fields": columns, "classLevelPermissions": clp}
    ok(await world.master.post("/schemas/Club", body))
    add = {"__op": "AddRelation", "objects": [world.other.pointer()]}
    club = await world.master.create("Club", members=add)
    related = {"$relatedTo": {"object": pointer("Club", club), "key": "members"}}
    assert_parse_error(await world.other.get("/users", {"where": related}), 119)
    where = {"members": world.other.pointer()}
    assert_parse_error(await world.other.get("/classes/Club", {"where": where}), 119)
    assert len(await world.master.find("_User", related)) == 1


async def test_e_mail_addresses_are_protected_unless_ones_own(world: World) -> None:
    user = await world.anyone.sign_up("mail", email="m@example.com", ACL={"*": {"read": True}})
    for caller in (world.anyone, world.other):
        seen = ok(await caller.get(f"/users/{user.id}"))
        assert "email" not in seen and "m@example.com" not in str(seen)
        where = {"objectId": user.id, "email": "m@example.com"}
        assert_parse_error(await caller.get("/users", {"where": where}), 119)
        assert_parse_error(await caller.get("/users", {"order": "-email"}), 119)
    assert ok(await user.get(f"/users/{user.id}"))["email"] == "m@example.com"
    assert len(await user.find("_User", {"objectId": user.id, "email": "m@example.com"})) == 1
