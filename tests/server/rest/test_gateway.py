"""From bytes to an answer: bodies, paths, override methods, CORS, and requests that break off."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest

from server.app import App, create_app
from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import APP_ID, Api, assert_parse_error, ok


async def test_paths(api: Api) -> None:
    one = await api.create("Note", n=1)
    for path in (
        "/classes/Note/", "http://test/parse//classes/Note", "/Classes/Note",
        "/classes/Note?limit=1",
        "/classes/Note/?limit=1",
    ):  # fmt: skip
        assert ok(await api.get(path))["results"][0]["objectId"] == one
    assert (await api.client.get("http://test/other/classes/Note")).status_code == 404
    assert (await api.client.get("http://test/parsed/classes/Note")).status_code == 404


async def test_unknown_routes_answer_a_page(shared_api: Api) -> None:
    answer = await shared_api.get("/<script>")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script>" not in answer.text
    assert answer.headers["content-security-policy"] == "default-src 'none'"


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 201), (b"{}", 201), (b"{", 400), (b"5", 400), (b'"x"', 400), (b"null", 400),
     (b'{"a":"\xff"}', 400), (b'{"n":1e999}', 400), (b"[]", 201), (b"[1]", 400)],
)  # fmt: skip
async def test_bodies(shared_api: Api, content: bytes, status: int) -> None:
    answer = await shared_api.request("POST", "/classes/Note", content=content)
    assert answer.status_code == status, answer.text


async def test_the_content_type_does_not_matter_for_json(shared_api: Api) -> None:
    for content_type in ("text/plain", "application/json", "application/x-www-form-urlencoded"):
        answer = await shared_api.request(
            "POST", "/classes/Note", {"n": 1}, headers={"Content-Type": content_type}
        )
        assert answer.status_code == 201


async def test_large_bodies_are_refused(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, max_upload_size=1000))
    answer = await api.post("/classes/Note", {"text": "x" * 2000})
    assert answer.status_code == 413

    async def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100

    answer = await api.client.post(
        "/classes/Note", content=pieces(), headers={"X-Parse-Application-Id": APP_ID}
    )
    assert answer.status_code == 413
    assert await api.find("Note") == []


async def test_override_methods(shared_api: Api) -> None:
    one = await shared_api.create("Note", n=1)
    path = f"/classes/Note/{one}"
    assert ok(await shared_api.post(path, {"_method": "GET"}))["n"] == 1
    ok(await shared_api.post(path, {"_method": "put", "n": 2}))
    assert ok(await shared_api.get(path))["n"] == 2
    # Only a POST is another method in disguise.
    answer = await shared_api.put(path, {"_method": "DELETE"})
    assert_parse_error(answer, 105)
    ok(await shared_api.post(path, {"_method": "DELETE"}))
    assert_parse_error(await shared_api.get(path), 101)
    assert (await shared_api.post(path, {"_method": "TRACE"})).status_code == 404


async def test_cors(make_api: MakeApi, settings: Settings) -> None:
    listed = ("https://a.example", "https://b.example")
    api = await make_api(replace(settings, allow_origin=listed, allow_headers=("X-Mine",)))
    for origin, allowed in (
        ("https://b.example", "https://b.example"),
        ("https://evil.example", "https://a.example"),
        (None, "https://a.example"),
    ):
        headers = {"Origin": origin} if origin else {}
        for method in ("OPTIONS", "GET"):
            answer = await api.request(method, "/classes/Note", headers=headers)
            assert answer.headers["access-control-allow-origin"] == allowed
            assert "X-Mine" in answer.headers["access-control-allow-headers"]
    # A preflight carries no keys.
    answer = await api.client.options("/classes/Note")
    assert answer.status_code == 200
    assert "X-Parse-Session-Token" in answer.headers["access-control-allow-headers"]


async def test_every_origin_by_default(shared_api: Api) -> None:
    answer = await shared_api.with_headers({"Origin": "https://x.example"}).get("/classes/Nothing")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert (await shared_api.get("/nothing")).headers["access-control-allow-origin"] == "*"


@pytest.fixture
async def app(settings: Settings) -> Any:
    app = create_app(settings)
    await app.prepare()
    await app.start()
    yield app
    await app.stop()


async def send(app: App, headers: dict[str, str], messages: list[dict[str, Any]]) -> list[Any]:
    """What an app answers when a request's body comes in these pieces."""
    sent: list[Any] = []

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    async def keep(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/parse/classes/Cut", "query_string": b"",
        "raw_path": b"/parse/classes/Cut", "client": ("127.0.0.1", 1), "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await app(scope, receive, keep)
    return sent


@pytest.mark.parametrize(
    "pieces",
    [
        [{"type": "http.disconnect"}],
        [{"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.disconnect"}],
    ],
    ids=["before its body", "within its body"],
)
async def test_a_request_that_breaks_off_makes_nothing(
    app: App, pieces: list[dict[str, Any]]
) -> None:
    headers = {"x-parse-application-id": APP_ID, "content-length": "100"}
    answer = await send(app, headers, list(pieces))
    assert answer[0]["status"] == 400
    whole = [{"type": "http.request", "body": b'{"n"', "more_body": True},
             {"type": "http.request", "body": b":1}", "more_body": False}]  # fmt: skip
    assert (await send(app, headers, whole))[0]["status"] == 201
    # The whole one alone is there.
    get = {**headers, "x-parse-master-key": "mk"}
    body = [{"type": "http.request", "body": b'{"_method":"GET","count":1,"limit":0}'}]
    assert b'"count":1' in (await send(app, get, body))[1]["body"]


async def test_a_bug_of_ours_tells_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from server.objects.store import ObjectStore

    async def broken(*_: Any) -> None:
        raise KeyError("a secret of the server")

    monkeypatch.setattr(ObjectStore, "find", broken)
    answer = await api.get("/classes/Note")
    assert answer.status_code == 500
    assert answer.json() == {"code": 1, "error": "Internal server error."}
    assert "a secret of the server" in caplog.text


async def test_health_and_server_info(shared_api: Api) -> None:
    assert (await shared_api.client.get("/health")).json() == {"status": "ok"}
    assert (await shared_api.get("/serverInfo")).status_code == 403
    info = ok(await shared_api.as_master().get("/serverInfo"))
    assert info["parseServerVersion"] and info["features"]["schemas"]["addField"]


@pytest.mark.parametrize(
    ("encoding", "content", "status"),
    [
        ("gzip", gzip.compress(b'{"n":7}'), 201),
        ("deflate", zlib.compress(b'{"n":7}'), 201),
        ("identity", b'{"n":7}', 201),
        ("br", b'{"n":7}', 415),
        ("gzip", b'{"n":7}', 400),
        ("gzip", gzip.compress(b'{"n":7}')[:-4], 400),
        # Unpacked no further than maxUploadSize.
        ("gzip", gzip.compress(b" " * (64 << 20)), 413),
    ],
    ids=["gzip", "deflate", "identity", "unknown", "not packed", "cut off", "bomb"],
)
async def test_compressed_bodies(
    shared_api: Api, encoding: str, content: bytes, status: int
) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    answer = await shared_api.post("/classes/Packed", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 201:
        found = await shared_api.get(f"/classes/Packed/{ok(answer)['objectId']}")
        assert ok(found)["n"] == 7
