"""Webhooks: payloads, answers and what may go wrong on the way, with a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any

import pytest

from server.access.caller import ANONYMOUS, MASTER, Caller, Context
from server.errors import ParseError
from server.triggers.calls import FunctionCall, Kind, TriggerCall, TriggerResult
from server.triggers.registry import Triggers
from server.triggers.webhooks import Webhook, Webhooks
from server.values import loads

CTX = Context(ANONYMOUS, "http://test", "ii", {"x-a": "b"}, "1.2.3.4", {"k": 1})


class HookServer:
    """Answers every POST with ``answer`` and keeps what it was sent."""

    def __init__(self) -> None:
        self.answer: bytes = b'{"success": {"ok": 1}}'
        self.content_type = "application/json"
        self.status = "200 OK"
        self.more_headers = ""
        self.delay_s = 0.0
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((first, headers, loads(body)))
        await asyncio.sleep(self.delay_s)
        writer.write(
            f"HTTP/1.1 {self.status}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.answer)}\r\n{self.more_headers}"
            "Connection: close\r\n\r\n".encode()
            + self.answer
        )
        writer.close()


@pytest.fixture
async def hook_server() -> AsyncIterator[HookServer]:
    served = HookServer()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    served.url = f"http://{host}:{port}"
    yield served
    server.close()
    await server.wait_closed()


class FakeHooks:
    """The ``_Hooks`` collection."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.broken = False

    async def find(self, class_name: str, filter: Mapping[str, Any], /) -> list[dict[str, Any]]:
        assert class_name == "_Hooks"
        if self.broken:
            raise ParseError(1, "Database error")
        return [dict(document) for document in self.documents]

    async def update_one(
        self,
        class_name: str,
        filter: Mapping[str, Any],
        update: Mapping[str, Any],
        /,
        *,
        upsert: bool,
    ) -> int:
        found = [d for d in self.documents if filter.items() <= d.items()]
        if not found and upsert:
            self.documents.append({**filter, **update["$set"]})
        for document in found[:1]:
            document.update(update["$set"])
        return len(found[:1])

    async def delete(self, class_name: str, filter: Mapping[str, Any], /) -> int:
        kept = [d for d in self.documents if not filter.items() <= d.items()]
        deleted = len(self.documents) - len(kept)
        self.documents = kept
        return deleted


class Hooked:
    """Triggers with webhooks on one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = FakeHooks()
        self.triggers = Triggers(time_limit_s=2)
        self.webhooks = Webhooks(
            self.database,
            self.triggers,
            webhook_key="wk",
            time_limit_s=0.5,
            max_answer_bytes=10_000,
        )

    async def call(self, params: dict[str, Any] | None = None, ctx: Context = CTX) -> Any:
        await self.webhooks.save(Webhook(self.url + "/f", function_name="f"))
        return await self.triggers.call_function(FunctionCall("f", params or {}, ctx))

    async def run(self, kind: Kind, class_name: str = "Note", **members: Any) -> TriggerResult:
        hook = Webhook(self.url + "/t", class_name=class_name, trigger_name=kind.value)
        await self.webhooks.save(hook)
        members.setdefault("ctx", CTX)
        return await self.triggers.run(kind, TriggerCall(kind, class_name, **members))


@pytest.fixture
async def hooked(hook_server: HookServer) -> AsyncIterator[Hooked]:
    hooked = Hooked(hook_server.url)
    yield hooked
    await hooked.webhooks.stop()


COMMON = {
    "master": False,
    "isReadOnly": False,
    "headers": {"x-a": "b"},
    "ip": "1.2.3.4",
    "installationId": "ii",
    "context": {"k": 1},
    "log": {},
}


async def test_the_payload_of_a_function(hooked: Hooked, hook_server: HookServer) -> None:
    iso = "2020-01-01T00:00:00.000Z"
    date = {"__type": "Date", "iso": iso}
    geo = {"__type": "GeoPoint", "latitude": 1, "longitude": 2}
    file = {"__type": "File", "name": "n.txt", "url": "http://u/n.txt"}
    pointer = {"__type": "Pointer", "className": "X", "objectId": "1"}
    params = {"x": 1, "d": date, "l": [{"a": date}], "g": geo, "f": file, "p": pointer}
    assert await hooked.call(params) == {"ok": 1}
    line, headers, payload = hook_server.requests[0]
    assert line == "POST /f HTTP/1.1"
    assert headers["x-parse-webhook-key"] == "wk"
    assert headers["content-type"] == "application/json"
    assert payload == {
        **COMMON,
        "functionName": "f",
        "params": {
            "x": 1,
            "d": iso,
            "l": [{"a": iso}],
            "g": geo,
            "f": file,
            "p": {"objectId": "1"},
        },
    }


async def test_the_payloads_of_saves(hooked: Hooked, hook_server: HookServer) -> None:
    hook_server.answer = b"{}"
    user = Caller(user={"objectId": "u", "username": "ann"}, user_id="u", session_token="r:1")
    ctx = Context(user, "http://test")
    await hooked.run(Kind.BEFORE_SAVE, ctx=ctx, object={"a": 1}, body={"a": 1})
    payload = hook_server.requests[0][2]
    assert payload == {
        "triggerName": "beforeSave",
        "object": {"a": 1, "className": "Note"},
        "master": False,
        "isReadOnly": False,
        "headers": {},
        "ip": "",
        "log": {},
        "context": {},
        "user": {"objectId": "u", "username": "ann", "sessionToken": "r:1"},
    }
    increment = {"__op": "Increment", "amount": 2}
    stored = {"objectId": "n", "n": 1, "at": datetime(2020, 1, 1)}
    await hooked.run(
        Kind.BEFORE_SAVE,
        object={**stored, "n": 3, "k": {"j": 4}},
        original=stored,
        body={"n": increment, "k.j": 4},
    )
    payload = hook_server.requests[1][2]
    at = {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"}
    shown = {"objectId": "n", "at": at, "className": "Note"}
    assert payload["object"] == {**shown, "n": increment, "k": {"j": 4}}
    assert payload["original"] == {**shown, "n": 1}


async def test_the_payloads_of_finds(hooked: Hooked, hook_server: HookServer) -> None:
    hook_server.answer = b'{"success": [{"objectId": "n", "af": true}]}'
    master = Context(MASTER, "http://test")
    query = {"where": {"a": 1}, "limit": 3}
    await hooked.run(Kind.BEFORE_FIND, ctx=master, query=query, is_get=True)
    payload = hook_server.requests[0][2]
    assert payload["query"] == query
    assert (payload["count"], payload["isGet"]) == (False, True)
    assert (payload["master"], payload["installationId"]) == (True, "cloud")
    result = await hooked.run(Kind.AFTER_FIND, query=query, objects=[{"objectId": "n"}])
    payload = hook_server.requests[1][2]
    assert payload["object"] is None
    assert payload["objects"] == [{"objectId": "n", "className": "Note"}]
    assert result.objects == [{"objectId": "n", "af": True}]


@pytest.mark.parametrize(
    ("answer", "content_type", "expected"),
    [
        (b'{"success": 5}', "application/json", 5),
        (b'{"success": null}', "application/json", None),
        (b"{}", "application/json", None),
        (b"", "application/json", None),
        (b"nope {", "application/json", None),
        (b'{"success": [1]}', "text/plain", [1]),
    ],
)
async def test_answers(
    hooked: Hooked, hook_server: HookServer, answer: bytes, content_type: str, expected: Any
) -> None:
    hook_server.answer, hook_server.content_type = answer, content_type
    assert await hooked.call() == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"error": "no"}', "no"),
        (b'{"error": {"code": 999, "message": "mm"}}', "mm"),
        (b'{"error": {"code": 999, "x": 1}}', {"code": 999, "x": 1}),
        (b"<html>", {"error": "Malformed response", "code": -1}),
        (b'{"success": "' + b"x" * 10_000 + b'"}', "The webhook's answer is too large."),
    ],
)
async def test_errors(
    hooked: Hooked, hook_server: HookServer, answer: bytes, expected: Any
) -> None:
    hook_server.answer, hook_server.content_type = answer, "text/html"
    for kind in (None, Kind.BEFORE_SAVE, Kind.BEFORE_DELETE):
        with pytest.raises(ParseError) as caught:
            await (hooked.run(kind, object={}) if kind else hooked.call())
        assert (caught.value.code, caught.value.message) == (141, expected)


async def test_a_redirect_is_not_followed(hooked: Hooked, hook_server: HookServer) -> None:
    hook_server.status = "302 Found"
    hook_server.more_headers = f"Location: {hook_server.url}/elsewhere\r\n"
    with pytest.raises(ParseError, match="redirect"):
        await hooked.call()
    assert len(hook_server.requests) == 1


async def test_no_answer_in_time(hooked: Hooked, hook_server: HookServer) -> None:
    hook_server.delay_s = 1.0
    with pytest.raises(ParseError, match="did not answer in time"):
        await hooked.call()


async def test_nobody_there() -> None:
    hooked = Hooked("http://127.0.0.1:1")
    with pytest.raises(ParseError) as caught:
        await hooked.call()
    assert (caught.value.code, caught.value.message) == (141, "The webhook could not be reached.")
    await hooked.webhooks.stop()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b'{"success": {"a": 1, "added": "yes"}}', {"a": 1, "added": "yes"}),
        (b'{"success": {}}', {}),
        (b"{}", None),
        (
            b'{"success": {"objectId": "n", "createdAt": "x", "updatedAt": "x",'
            b' "className": "Note", "a": 2}}',
            {"a": 2},
        ),
    ],
)
async def test_before_save_has_the_last_word(
    hooked: Hooked, hook_server: HookServer, answer: bytes, body: Any
) -> None:
    hook_server.answer = answer
    result = await hooked.run(Kind.BEFORE_SAVE, object={"a": 1, "b": 2}, body={"a": 1, "b": 2})
    assert result.body == body


async def test_after_save(hooked: Hooked, hook_server: HookServer) -> None:
    result = await hooked.run(Kind.AFTER_SAVE, object={"a": 1})
    assert result.response == {"ok": 1}
    hook_server.answer = b'{"error": "no"}'
    assert await hooked.run(Kind.AFTER_SAVE, object={"a": 1}) == TriggerResult()


@pytest.mark.parametrize("answer", [b"{}", b'{"success": 5}', b'{"success": [5]}'])
async def test_after_find_must_answer_objects(
    hooked: Hooked, hook_server: HookServer, answer: bytes
) -> None:
    hook_server.answer = answer
    with pytest.raises(ParseError, match="array of objects"):
        await hooked.run(Kind.AFTER_FIND, query={}, objects=[])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing tells when a reload is done
            await asyncio.sleep(0.005)


async def test_changes_by_other_processes(hooked: Hooked) -> None:
    hooked.database.documents.append({"_id": 1, "functionName": "g", "url": "http://h/g"})
    hooked.webhooks.invalidate()
    hooked.webhooks.invalidate()
    await until(lambda: hooked.triggers.function("g") is not None)
    hooked.database.broken = True
    hooked.database.documents.clear()
    hooked.webhooks.invalidate()
    await asyncio.sleep(0.02)
    assert hooked.triggers.function("g") is not None  # the last known ones stay
    hooked.database.broken = False
    hooked.webhooks.invalidate()
    await until(lambda: hooked.triggers.function("g") is None)


async def test_documents_that_mean_nothing_are_passed_over(hooked: Hooked) -> None:
    hooked.database.documents += [
        {"functionName": "a", "url": 5},
        {"functionName": 5, "url": "http://h"},
        {"className": "Note", "triggerName": "bogus", "url": "http://h"},
        {"className": "_Session", "triggerName": "beforeSave", "url": "http://h"},
        {"url": "http://h"},
        {"functionName": "good", "url": "http://h"},
    ]
    await hooked.webhooks.load()
    assert hooked.triggers.function("good") is not None
    assert hooked.triggers.function("a") is None
    assert [hook.function_name for hook in await hooked.webhooks.all()] == ["good"]
