"""``/batch``: one answer per request, and transactions that are all or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.harness.api import Api, assert_parse_error, ok


def request(method: str, path: str, body: Any = None) -> dict[str, Any]:
    return {"method": method, "path": "/parse" + path, "body": {} if body is None else body}


async def batch(api: Api, *requests: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return list(ok(await api.post("/batch", {"requests": list(requests), **more})))


async def transaction(api: Api, *requests: dict[str, Any]) -> Any:
    return await api.post("/batch", {"requests": list(requests), "transaction": True})


async def test_each_request_has_its_own_answer(api: Api) -> None:
    one = await api.create("Note", n=1)
    answers = await batch(
        api,
        request("POST", "/classes/Note", {"n": 2}),
        request("PUT", f"/classes/Note/{one}", {"n": {"__op": "Increment", "amount": 1}}),
        request("PUT", "/classes/Note/nothere", {"n": 1}),
        request("GET", "/classes/Note?where=%7B%22n%22%3A99%7D"),
        request("POST", "/classes/Note", {"n": "text"}),
        request("POST", "/functions/nothere"),
        request("GET", "/schemas"),
    )
    assert set(answers[0]["success"]) == {"objectId", "createdAt"}
    assert answers[1]["success"]["n"] == 2
    assert answers[2] == {"error": {"code": 101, "error": "Object not found."}}
    assert answers[3] == {"success": {"results": []}}
    assert answers[4]["error"]["code"] == 111
    assert answers[5]["error"]["code"] == 141
    assert answers[6]["error"]["code"] == 119
    assert len(await api.find("Note")) == 2


async def test_the_caller_is_the_batchs(api: Api) -> None:
    user = await api.sign_up("ann")
    mine = {"ACL": {user.id: {"read": True, "write": True}}, "n": 1}
    (made,) = await batch(user, request("POST", "/classes/Note", mine))
    path = f"/classes/Note/{made['success']['objectId']}"
    assert (await batch(api, request("GET", path)))[0]["error"]["code"] == 101
    assert (await batch(user, request("GET", path)))[0]["success"]["n"] == 1
    # A key in a sub-request is just a bad name.
    smuggled = request("PUT", path, {"_MasterKey": "mk", "n": 2})
    assert (await batch(api, smuggled))[0]["error"]["code"] in (101, 105)
    assert ok(await user.get(path))["n"] == 1


async def test_a_post_in_disguise(api: Api) -> None:
    one = await api.create("Note", n=1)
    path = f"/classes/Note/{one}"
    answers = await batch(api, request("POST", path, {"_method": "PUT", "n": 5}))
    assert "updatedAt" in answers[0]["success"]
    assert ok(await api.get(path))["n"] == 5


NESTED = [
    "/parse/batch", "/parse/batch/", "/parse//batch", "/parse/BATCH", "/parse/Batch//",
    "/parse///batch?x=1",
]  # fmt: skip


@pytest.mark.parametrize("path", NESTED)
async def test_no_batch_in_a_batch(shared_api: Api, path: str) -> None:
    inner = {"requests": [request("POST", "/classes/Nested", {})]}
    for outer in (
        {"method": "POST", "path": path, "body": inner},
        {"method": "post", "path": path, "body": inner},
    ):
        answer = await shared_api.post("/batch", {"requests": [outer]})
        assert_parse_error(answer, 107, text="nested batch requests are not allowed")
    assert await shared_api.find("Nested") == []


@pytest.mark.parametrize(
    "body",
    [
        {}, {"requests": 5}, {"requests": {}}, {"requests": [5]}, {"requests": [{}]},
        {"requests": [{"path": 5}]}, {"requests": [{"path": "/classes/Note", "method": "POST"}]},
        {"requests": [{"path": "/parse/nothing", "method": "GET"}]},
        {"requests": [{"path": "http://[bad/parse/classes/Note", "method": "GET"}]},
        {"requests": [{"path": "/parse/classes/Note", "method": {"a": 1}}]},
        {"requests": [{"path": "/parse/files/x.txt", "method": "POST", "body": "x"}]},
        {"requests": [request("POST", "/classes/Bad", {}), {"path": "/nowhere"}]},
    ],
    ids=str,
)  # fmt: skip
async def test_a_malformed_batch_does_nothing(shared_api: Api, body: Any) -> None:
    assert_parse_error(await shared_api.post("/batch", body), 107)
    assert await shared_api.find("Bad") == []


async def test_a_file_is_no_json(api: Api) -> None:
    user = await api.sign_up("ann")
    made = ok(
        await user.request(
            "POST", "/files/a.txt", content=b"hi", headers={"Content-Type": "text/plain"}
        )
    )
    (answer,) = await batch(user, request("GET", f"/files/app/{made['name']}"))
    assert answer["error"]["code"] == 107


# ---- transactions -------------------------------------------------------------------------


async def test_all_of_a_transaction(api: Api) -> None:
    one = await api.create("Note", n=1)
    answer = await transaction(
        api,
        request("POST", "/classes/Note", {"n": 2}),
        request("PUT", f"/classes/Note/{one}", {"n": {"__op": "Increment", "amount": 9}}),
        request("GET", "/classes/Note?count=1&order=n&limit=5"),
        request("DELETE", f"/classes/Note/{one}"),
    )
    results = ok(answer)
    assert results[1]["success"]["n"] == 10
    # It sees what it did, and whole numbers are whole.
    found = results[2]["success"]
    assert found["count"] == 2 and [row["n"] for row in found["results"]] == [2, 10]
    assert ".0" not in answer.text.replace(":00.0", "")
    assert [row["n"] for row in await api.find("Note")] == [2]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (request("PUT", "/classes/Note/nothere", {"n": 1}), 101),
        (request("POST", "/classes/Note", {"n": "text"}), 111),
        (request("POST", "/classes/Note", {"o": {"$bad": 1}}), 121),
        (request("POST", "/classes/Note", {"big": ["x" * 1_000_000] * 17}), None),
        (request("POST", "/users", {"username": "ann", "password": "x"}), 202),
        (request("DELETE", "/classes/Note/nothere"), 101),
        (request("POST", "/functions/nothere"), 141),
    ],
    ids=["missing", "type", "nested key", "too large", "taken name", "delete missing", "function"],
)
async def test_nothing_of_a_transaction_that_fails(api: Api, bad: Any, code: int | None) -> None:
    await api.sign_up("ann")
    one = await api.create("Note", n=1)
    related = {"__op": "AddRelation", "objects": [
        {"__type": "Pointer", "className": "Note", "objectId": one}]}  # fmt: skip
    answer = await transaction(
        api,
        request("POST", "/classes/Note", {"n": 2, "others": related}),
        request("PUT", f"/classes/Note/{one}", {"n": 3}),
        request("POST", "/users", {"username": "tom", "password": "x"}),
        bad,
        request("POST", "/classes/Note", {"n": 4}),
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert code is None or answer.json()["code"] == code
    master = api.as_master()
    assert [row["n"] for row in await master.find("Note")] == [1]
    assert [row["username"] for row in await master.find("_User")] == ["ann"]
    assert len(await master.find("_Session")) == 1


async def test_transactions_in_conflict_all_come_through(api: Api) -> None:
    one = await api.create("Counter", n=0)
    add = {"n": {"__op": "Increment", "amount": 1}}
    requests = (
        request("PUT", f"/classes/Counter/{one}", add),
        request("POST", "/classes/Mark", {"n": 1}),
    )
    answers = await asyncio.gather(*(transaction(api, *requests) for _ in range(4)))
    done = [answer for answer in answers if answer.status_code == 200]
    assert len(done) >= 3
    # Those that gave up did nothing, those that came through did it once.
    assert ok(await api.get(f"/classes/Counter/{one}"))["n"] == len(done)
    assert len(await api.find("Mark")) == len(done)


async def test_a_transaction_obeys_rights(api: Api) -> None:
    locked = await api.as_master().create("Note", n=1, ACL={"*": {"read": True}})
    answer = await transaction(
        api,
        request("POST", "/classes/Note", {"n": 2}),
        request("PUT", f"/classes/Note/{locked}", {"n": 3}),
    )
    assert_parse_error(answer, 101)
    assert [row["n"] for row in await api.find("Note")] == [1]
