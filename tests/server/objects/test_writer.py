"""Saving: every operation and every type, as read back, and what a refused write leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.values import pointer
from tests.harness.api import Api, assert_parse_error, ok

DATE = {"__type": "Date", "iso": "2026-02-03T04:05:06.789Z"}
TYPES: dict[str, Any] = {
    "string": "ünï✓",
    "number": 1.5,
    "whole": 7,
    "large": 2**40,
    "negative": -(2**33),
    "yes": True,
    "date": DATE,
    "list": [1, "x", None, {"k": [True]}, DATE, pointer("Thing", "abc")],
    "object": {"a": {"b": 1, "when": DATE}, "n": None},
    "owner": pointer("_User", "someone"),
    "place": {"__type": "GeoPoint", "latitude": 1.5, "longitude": -2},
    "area": {"__type": "Polygon", "coordinates": [[0, 0], [0, 1], [1, 1], [0, 0]]},
    "raw": {"__type": "Bytes", "base64": "AAH+"},
}


async def test_every_type_there_and_back(api: Api) -> None:
    one = await api.create("Types", **TYPES)
    row = ok(await api.get(f"/classes/Types/{one}"))
    assert {name: row[name] for name in TYPES} == TYPES
    changed = ok(await api.put(f"/classes/Types/{one}", TYPES))
    assert set(changed) == {"updatedAt"}
    again = ok(await api.get(f"/classes/Types/{one}"))
    assert {name: again[name] for name in TYPES} == TYPES


def op(name: str, **rest: Any) -> dict[str, Any]:
    return {"__op": name, **rest}


def items(name: str, *objects: Any) -> dict[str, Any]:
    return op(name, objects=list(objects))


MISSING = object()
P1, P2 = pointer("Thing", "1"), pointer("Thing", "2")

# name, the value before, the operation, the value after; the answer carries it where it says so
OPERATIONS: list[tuple[str, Any, Any, Any, bool]] = [
    ("Increment", 5, op("Increment", amount=2), 7, True),
    ("Increment by a part", 1, op("Increment", amount=-0.5), 0.5, True),
    ("Increment of nothing", MISSING, op("Increment", amount=3), 3, True),
    ("Add", [1], items("Add", 1, 2), [1, 1, 2], True),
    ("Add to nothing", MISSING, items("Add", "a"), ["a"], True),
    ("AddUnique", [1, 2], items("AddUnique", 2, 3), [1, 2, 3], True),
    ("AddUnique of a pointer", [P1], items("AddUnique", P1, P2), [P1, P2], True),
    ("AddUnique of an object", [{"a": 1}], items("AddUnique", {"a": 1}), [{"a": 1}], True),
    ("Remove", [1, 2, 1, 3], items("Remove", 1, 9), [2, 3], True),
    ("Remove of a pointer", [P1, P2], items("Remove", P1), [P2], True),
    ("Delete", "x", op("Delete"), MISSING, False),
    ("Delete of nothing", MISSING, op("Delete"), MISSING, False),
    ("null", "x", None, None, False),
    ("a plain value", "x", "y", "y", False),
]


@pytest.mark.parametrize("case", OPERATIONS, ids=lambda case: case[0])
async def test_operations(api: Api, case: Any) -> None:
    name, before, operation, after, is_told = case
    class_name = f"Op{OPERATIONS.index(case)}"
    fields = {"other": 1} if before is MISSING else {"v": before, "other": 1}
    one = await api.create(class_name, **fields)
    answer = ok(await api.put(f"/classes/{class_name}/{one}", {"v": operation}))
    assert answer.get("v", MISSING) == (after if is_told else MISSING)
    row = ok(await api.get(f"/classes/{class_name}/{one}"))
    assert row.get("v", MISSING) == after
    assert row["other"] == 1 and row["updatedAt"] == answer["updatedAt"] > row["createdAt"]


async def test_operations_below_a_key(api: Api) -> None:
    one = await api.create("Deep", o={"n": 1, "list": ["a"], "gone": 1, "kept": {"x": 1}}, l=[5, 6])
    body = {
        "o.n": op("Increment", amount=2),
        "o.list": items("Add", "b"),
        "o.gone": op("Delete"),
        "o.new.deep": {"y": DATE},
        "l.1": 7,
    }
    answer = ok(await api.put(f"/classes/Deep/{one}", body))
    assert answer["o"] == {"n": 3, "list": ["a", "b"]}
    row = ok(await api.get(f"/classes/Deep/{one}"))
    assert row["l"] == [5, 7]
    assert row["o"] == {
        "n": 3, "list": ["a", "b"], "kept": {"x": 1}, "new": {"deep": {"y": DATE}},
    }  # fmt: skip


async def test_operations_of_a_create(api: Api) -> None:
    body = {
        "n": op("Increment", amount=2), "l": items("Add", 1, 1), "u": items("AddUnique", 1),
        "r": items("Remove", 1), "d": op("Delete"),
    }  # fmt: skip
    answer = ok(await api.post("/classes/Fresh", body))
    row = ok(await api.get(f"/classes/Fresh/{answer['objectId']}"))
    assert [row.get(name) for name in "nlurd"] == [2, [1, 1], [1], [], None]
    assert answer["n"] == 2


async def test_many_increments_count_exactly(api: Api) -> None:
    one = await api.create("Counter", n=0)
    body = {"n": op("Increment", amount=1)}
    answers = await asyncio.gather(*(api.put(f"/classes/Counter/{one}", body) for _ in range(100)))
    assert sorted(ok(answer)["n"] for answer in answers) == list(range(1, 101))


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("another type", {"n": "x"}, 111),
    ("a nested reserved key", {"o": {"$where": 1}}, 121),
    ("an internal key", {"_wperm": ["*"]}, 105),
    ("an internal key by an operation", {"_rperm": items("Add", "*")}, 105),
    ("an internal key below", {"_acl.x": 1}, 105),
    ("a pointer column's stored key", {"_p_owner": "_User$x"}, 105),
    ("ACL below", {"ACL.x": True}, 111),
    ("a bad ACL", {"ACL": {"u": "rw"}}, 123),
    ("an operation on ACL", {"ACL": op("Increment", amount=1)}, 111),
    ("a text below a number", {"n.x": 1}, 111),
    ("an unknown operation", {"n": op("Multiply", amount=2)}, 108),
    ("two ways to one key", {"o": {"x": 1}, "o.y": 2}, 102),
    ("__proto__", {"__proto__": {"a": 1}}, 105),
    ("constructor below", {"o": {"x": {"constructor": 1}}}, 105),
    ("a name with a newline", {"a\n": 1}, 105),
]


@pytest.mark.parametrize(("name", "body", "code"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_a_refused_update_changes_nothing(
    api: Api, name: str, body: dict[str, Any], code: int
) -> None:
    one = await api.create("Whole", n=1, o={"k": 1}, s="x")
    before = ok(await api.get(f"/classes/Whole/{one}"))
    assert_parse_error(await api.put(f"/classes/Whole/{one}", {"s": "y", **body}), code)
    assert ok(await api.get(f"/classes/Whole/{one}")) == before


@pytest.mark.parametrize(("name", "body", "code"), REFUSED, ids=[row[0] for row in REFUSED])
async def test_a_refused_create_makes_nothing(
    api: Api, name: str, body: dict[str, Any], code: int
) -> None:
    await api.create("Whole2", n=1, o={"k": 1}, s="x")
    answer = await api.post("/classes/Whole2", {"s": "refused", **body})
    assert answer.status_code == 400, answer.text
    assert await api.find("Whole2", {"s": "refused"}) == []


async def test_times_and_ids_are_the_servers(api: Api) -> None:
    one = await api.create("Times", createdAt=DATE, updatedAt=DATE)
    row = ok(await api.get(f"/classes/Times/{one}"))
    assert row["createdAt"] == row["updatedAt"] != DATE["iso"]
    ok(await api.put(f"/classes/Times/{one}", {"objectId": "other", "createdAt": DATE}))
    again = ok(await api.get(f"/classes/Times/{one}"))
    assert again["createdAt"] == row["createdAt"] and again["objectId"] == one
    assert_parse_error(await api.post("/classes/Times", {"objectId": "mine"}), 105)


async def test_what_an_update_may_not_see_it_does_not_tell(api: Api) -> None:
    """Write without read: an Increment by 0 would be a read."""
    nothing = {"n": op("Increment", amount=0)}
    master = api.as_master()
    one = await master.create("WriteOnly", n=42, ACL={"*": {"write": True}})
    assert set(ok(await api.put(f"/classes/WriteOnly/{one}", nothing))) == {"updatedAt"}
    assert ok(await master.put(f"/classes/WriteOnly/{one}", nothing))["n"] == 42
    clp = {"update": {"*": True}, "create": {"*": True}, "get": {}, "find": {}}
    body = {"className": "NoGet", "classLevelPermissions": clp, "fields": {"n": {"type": "Number"}}}
    ok(await master.post("/schemas/NoGet", body))
    one = await master.create("NoGet", n=42)
    assert set(ok(await api.put(f"/classes/NoGet/{one}", nothing))) == {"updatedAt"}
    made = ok(await api.post("/classes/NoGet", {"n": op("Increment", amount=5)}))
    assert made["n"] == 5


async def test_a_stranger_changes_no_schema_by_a_refused_create(api: Api) -> None:
    master = api.as_master()
    clp = {"create": {}, "addField": {"*": True}, "find": {"*": True}}
    ok(await master.post("/schemas/Shut", {"className": "Shut", "classLevelPermissions": clp}))
    assert_parse_error(await api.post("/classes/Shut", {"fresh": 1}), 119)
    assert "fresh" not in ok(await master.get("/schemas/Shut"))["fields"]


async def test_nor_by_a_refused_update(api: Api) -> None:
    """Neither of an object that is locked or missing, nor where only owners may add columns."""
    master = api.as_master()
    user = await api.sign_up("columns")
    locked = await master.create("Locked2", n=1, ACL={"*": {"read": True}})
    for one in (locked, "nothere"):
        assert_parse_error(await api.put(f"/classes/Locked2/{one}", {"fresh": 1}), 101)
    assert "fresh" not in ok(await master.get("/schemas/Locked2"))["fields"]
    everybody = {"*": True}
    clp = {"update": everybody, "get": everybody, "addField": {"pointerFields": ["owner"]}}
    fields = {"owner": {"type": "Pointer", "targetClass": "_User"}}
    body = {"className": "Adds", "classLevelPermissions": clp, "fields": fields}
    ok(await master.post("/schemas/Adds", body))
    others = await master.create("Adds")
    own = await master.create("Adds", owner=user.pointer())
    assert_parse_error(await user.put(f"/classes/Adds/{others}", {"fresh": 1}), 101)
    assert "fresh" not in ok(await master.get("/schemas/Adds"))["fields"]
    ok(await user.put(f"/classes/Adds/{own}", {"fresh": 1}))
    assert ok(await master.get("/schemas/Adds"))["fields"]["fresh"] == {"type": "Number"}


async def test_what_read_only_keys_may_not(api: Api) -> None:
    one = await api.create("Locked", n=1)
    reader = api.with_headers({"X-Parse-Master-Key": "ro"})
    assert ok(await reader.get(f"/classes/Locked/{one}"))["n"] == 1
    for refused in (
        await reader.post("/classes/Locked", {}),
        await reader.put(f"/classes/Locked/{one}", {"n": 2}),
        await reader.delete(f"/classes/Locked/{one}"),
    ):
        assert_parse_error(refused, 119)
    assert ok(await api.get(f"/classes/Locked/{one}"))["n"] == 1


async def test_the_maintenance_key_sees_and_restores(api: Api) -> None:
    keeper = api.with_headers({"X-Parse-Maintenance-Key": "mt"})
    user = await api.sign_up("kept")
    row = ok(await keeper.get(f"/classes/_User/{user.id}"))
    assert row["_hashed_password"].startswith("$2")
    assert "_hashed_password" not in (await api.as_master().get(f"/classes/_User/{user.id}")).text
    body = {"objectId": "restored", "createdAt": DATE, "updatedAt": DATE}
    ok(await keeper.post("/classes/Restored", body))
    restored = ok(await api.get("/classes/Restored/restored"))
    assert restored["createdAt"] == restored["updatedAt"] == DATE["iso"]
