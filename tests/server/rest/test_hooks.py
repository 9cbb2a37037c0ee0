"""``/hooks``: declaring webhooks, who may, and that they are in force at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import Api, assert_parse_error, ok

URL = "http://127.0.0.1:9/hook"
FUNCTION = {"functionName": "hf", "url": URL}
TRIGGER = {"className": "Note", "triggerName": "beforeSave", "url": URL}


@pytest.fixture
def master(api: Api) -> Api:
    return api.as_master()


async def test_functions(master: Api) -> None:
    answer = await master.post("/hooks/functions", FUNCTION)
    assert (answer.status_code, answer.json()) == (200, FUNCTION)
    assert_parse_error(
        await master.post("/hooks/functions", FUNCTION),
        143,
        text="function name: hf already exists",
    )
    assert ok(await master.get("/hooks/functions")) == [FUNCTION]
    assert ok(await master.get("/hooks/functions/hf")) == FUNCTION
    assert ok(await master.get("/hooks/triggers")) == []
    changed = {**FUNCTION, "url": URL + "2"}
    assert ok(await master.put("/hooks/functions/hf", {"url": URL + "2"})) == changed
    assert ok(await master.get("/hooks/functions")) == [changed]
    assert ok(await master.put("/hooks/functions/hf", {"__op": "Delete"})) == {}
    assert_parse_error(await master.put("/hooks/functions/hf", {"__op": "Delete"}), 101)
    missing = "no function named: hf is defined"
    assert_parse_error(await master.get("/hooks/functions/hf"), 143, text=missing)
    assert_parse_error(await master.put("/hooks/functions/hf", {"url": URL}), 143, text=missing)


async def test_triggers(master: Api) -> None:
    answer = await master.post("/hooks/triggers", TRIGGER)
    assert (answer.status_code, answer.json()) == (200, TRIGGER)
    assert_parse_error(
        await master.post("/hooks/triggers", TRIGGER),
        143,
        text="class Note already has trigger beforeSave",
    )
    path = "/hooks/triggers/Note/beforeSave"
    assert ok(await master.get(path)) == TRIGGER
    assert ok(await master.get("/hooks/triggers")) == [TRIGGER]
    assert ok(await master.get("/hooks/functions")) == []
    assert ok(await master.put(path, {"url": URL + "2"})) == {**TRIGGER, "url": URL + "2"}
    missing = "class Note does not exist"
    other = "/hooks/triggers/Note/beforeDelete"
    assert_parse_error(await master.get(other), 143, text=missing)
    assert_parse_error(await master.put(other, {"url": URL}), 143, text=missing)
    assert ok(await master.put(path, {"__op": "Delete"})) == {}
    assert ok(await master.get("/hooks/triggers")) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"functionName": "a"},
        {"functionName": "a", "url": 5},
        {"functionName": "a", "url": "file:///etc/passwd"},
        {"functionName": 5, "url": URL},
        {"url": URL},
        {"className": "T", "triggerName": "beforeSave"},
        {"className": "T", "triggerName": "bogus", "url": URL},
        {"className": "_Session", "triggerName": "beforeSave", "url": URL},
        {"className": "T", "triggerName": "beforeLogin", "url": URL},
    ],
)
async def test_bad_declarations(master: Api, body: Any) -> None:
    for path in ("/hooks/functions", "/hooks/triggers"):
        answer = await master.post(path, body)
        assert_parse_error(answer, 143, text="invalid hook declaration")


async def test_both_routes_take_both_kinds(master: Api) -> None:
    assert ok(await master.post("/hooks/functions", TRIGGER)) == TRIGGER
    assert ok(await master.post("/hooks/triggers", FUNCTION)) == FUNCTION


async def test_only_with_the_master_key(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, read_only_master_key="ro"))
    user = await api.sign_up("ann")
    for caller in (api, user):
        for method, path in (
            ("GET", "/hooks/functions"),
            ("POST", "/hooks/functions"),
            ("PUT", "/hooks/functions/hf"),
            ("GET", "/hooks/triggers/Note/beforeSave"),
            ("POST", "/hooks/triggers"),
        ):
            assert_parse_error(await caller.request(method, path, FUNCTION), None)
    reader = api.with_headers({"X-Parse-Master-Key": "ro"})
    assert ok(await reader.get("/hooks/functions")) == []
    assert_parse_error(await reader.post("/hooks/functions", FUNCTION), 119)
    assert_parse_error(await reader.put("/hooks/functions/hf", {"__op": "Delete"}), 119)


class Answering:
    """A webhook server; ``answers`` by path."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.payloads: list[dict[str, Any]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = (line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        size = next(int(value) for name, value in lines if name.lower() == "content-length")
        self.payloads.append(json.loads(await reader.readexactly(size)))
        body = json.dumps(self.answers[head.split()[1]]).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        writer.close()


@pytest.fixture
async def webhook() -> AsyncIterator[Answering]:
    answering = Answering()
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    answering.url = f"http://{host}:{port}"
    yield answering
    server.close()
    await server.wait_closed()


async def test_a_function_elsewhere(master: Api, api: Api, webhook: Answering) -> None:
    webhook.answers["/f"] = {"success": {"sum": 3}}
    ok(await master.post("/hooks/functions", {**FUNCTION, "url": webhook.url + "/f"}))
    assert ok(await api.post("/functions/hf", {"a": 1})) == {"result": {"sum": 3}}
    assert webhook.payloads[0]["params"] == {"a": 1}
    webhook.answers["/f"] = {"error": "no"}
    assert_parse_error(await api.post("/functions/hf"), 141, text="no")
    ok(await master.put("/hooks/functions/hf", {"__op": "Delete"}))
    assert_parse_error(await api.post("/functions/hf"), 141, text='Invalid function: "hf"')


async def test_before_save_elsewhere_has_the_last_word(
    master: Api, api: Api, webhook: Answering
) -> None:
    ok(await master.post("/hooks/triggers", {**TRIGGER, "url": webhook.url + "/b"}))
    webhook.answers["/b"] = {"success": {"a": 1, "added": "yes"}}
    note = ok(await api.post("/classes/Note", {"a": 1, "b": 2}))
    assert note["added"] == "yes"
    path = f"/classes/Note/{note['objectId']}"
    stored = ok(await api.get(path))
    assert (stored["a"], stored["added"]) == (1, "yes")
    assert "b" not in stored
    webhook.answers["/b"] = {"success": {"c": 5, "objectId": "x", "className": "Note"}}
    increment = {"__op": "Increment", "amount": 1}
    assert ok(await api.put(path, {"a": increment}))["c"] == 5
    assert webhook.payloads[-1]["object"]["a"] == increment
    assert webhook.payloads[-1]["original"]["a"] == 1
    stored = ok(await api.get(path))
    assert (stored["a"], stored["added"], stored["c"]) == (1, "yes", 5)
    webhook.answers["/b"] = {}
    assert ok(await api.put(path, {"a": increment}))["a"] == 2
    webhook.answers["/b"] = {"error": {"code": 7, "message": "refused"}}
    assert_parse_error(await api.put(path, {"a": 9}), 141, text="refused")


async def test_a_declaration_by_another_process(
    make_api: MakeApi, settings: Settings, webhook: Answering
) -> None:
    one, other = await make_api(settings), await make_api(settings)
    webhook.answers["/f"] = {"success": 1}
    hook = {**FUNCTION, "url": webhook.url + "/f"}
    ok(await one.as_master().post("/hooks/functions", hook))
    async with asyncio.timeout(5):
        while (await other.post("/functions/hf")).status_code != 200:  # noqa: ASYNC110 - it polls
            await asyncio.sleep(0.01)
