"""``/files`` over HTTP: both forms of upload, ranges, deletion."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.harness.api import APP_ID, MASTER_KEY, Api, assert_parse_error, ok

TEXT = {"Content-Type": "text/plain"}


@pytest.fixture
async def alice(api: Api) -> AsyncIterator[Api]:
    yield await api.sign_up("alice")


async def _upload(
    caller: Api, name: str = "a.txt", content: bytes = b"hello world", **headers: str
) -> httpx.Response:
    sent = {**TEXT, **{key.replace("_", "-"): value for key, value in headers.items()}}
    return await caller.request("POST", f"/files/{name}", content=content, headers=sent)


async def _get(api: Api, url: str, **headers: str) -> httpx.Response:
    """As a browser does: no application id."""
    return await api.client.get(url, headers=headers)


async def _in_sdk_form(api: Api, name: str, body: dict[str, Any]) -> httpx.Response:
    content = json.dumps({"_ApplicationId": APP_ID, **body})
    return await api.client.post(f"/files/{name}", content=content, headers=TEXT)


async def test_upload_and_download(api: Api, alice: Api) -> None:
    answer = await _upload(alice, "a%20b.txt")

    saved = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == saved["url"]
    assert saved["name"].endswith("_a b.txt")
    assert saved["url"].endswith("_a%20b.txt")
    got = await _get(api, saved["url"])
    assert (got.status_code, got.content) == (200, b"hello world")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.headers["content-length"] == "11"
    assert got.headers["x-content-type-options"] == "nosniff"


async def test_the_form_of_the_js_sdk(api: Api, alice: Api) -> None:
    answer = await _in_sdk_form(
        api,
        "pixel",
        {
            "_SessionToken": alice.session_token,
            "_ContentType": "image/png",
            "base64": "aGk=",
            "fileData": {"metadata": {"m": "1"}, "tags": {"t": "1"}},
        },
    )

    saved = ok(answer)
    assert saved["name"].endswith("_pixel.png")
    got = await _get(api, saved["url"])
    assert (got.content, got.headers["content-type"]) == (b"hi", "image/png")
    metadata = await _get(api, f"/files/{APP_ID}/metadata/{saved['name']}")
    assert metadata.json() == {"metadata": {"m": "1"}}


@pytest.mark.parametrize("data", ["aGk", "aG\nk=", "data:text/plain;base64,aGk="])
async def test_base64_as_clients_write_it(api: Api, data: str) -> None:
    body = {"_MasterKey": MASTER_KEY, "base64": data}
    assert (await _get(api, ok(await _in_sdk_form(api, "a.txt", body))["url"])).content == b"hi"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"base64": ""}, 130),
        ({"base64": "%%%"}, 130),
        ({"base64": 5}, 130),
        ({"base64": {"a": 1}}, 130),
        ({}, 130),
        ({"base64": "aGk=", "fileData": {"metadata": 5}}, 107),
        ({"base64": "aGk=", "fileData": {"metadata": {"$x": 1}}}, 121),
        ({"base64": "aGk=", "fileData": {"directory": "../etc"}}, 122),
        ({"base64": "aGk=", "_MasterKey": None, "fileData": {}}, 130),
        ({"base64": "aGk=", "_MasterKey": 5}, None),
    ],
)
async def test_refused_sdk_forms(api: Api, body: dict[str, Any], code: int | None) -> None:
    refused = await _in_sdk_form(api, "a.txt", {"_MasterKey": MASTER_KEY, **body})
    assert_parse_error(refused, code)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (".hidden", 122),
        ("a%2Fb.txt", 122),
        ("a%00.txt", 122),
        ("%ff.txt", 122),
        ("x" * 129, 122),
        ("", 122),
        ("page.html", 130),
        ("drawing.svg", 130),
    ],
)
async def test_refused_names(alice: Api, name: str, code: int) -> None:
    assert_parse_error(await _upload(alice, name), code)


async def test_only_users_upload(api: Api, alice: Api) -> None:
    refused = await _upload(api)
    assert_parse_error(refused, 130, text="File upload by public is disabled.")
    guest = ok(await api.post("/users", {"authData": {"anonymous": {"id": "uuid"}}}))
    refused = await _upload(api.as_user(guest["sessionToken"]))
    assert_parse_error(refused, 130, text="File upload by anonymous user is disabled.")
    assert_parse_error(await _upload(api.as_user("r:dead")), 209)
    assert_parse_error(await _upload(alice, content=b""), 130, text="Invalid file upload.")


async def test_json_with_an_app_id_header_is_a_file(api: Api, alice: Api) -> None:
    content = b'{"base64":"aGk=","_ApplicationId":"app"}'
    saved = ok(await _upload(alice, "a.json", content))

    assert (await _get(api, saved["url"])).content == content


@pytest.mark.parametrize(
    ("asked", "content", "said"),
    [
        ("bytes=0-4", b"hello", "bytes 0-4/11"),
        ("bytes=6-", b"world", "bytes 6-10/11"),
        ("bytes=-5", b"world", "bytes 6-10/11"),
        ("bytes=0-99", b"hello world", "bytes 0-10/11"),
    ],
)
async def test_ranges(api: Api, alice: Api, asked: str, content: bytes, said: str) -> None:
    """The peer's ``Content-Range`` ends one byte too late."""
    got = await _get(api, ok(await _upload(alice))["url"], Range=asked)

    assert (got.status_code, got.content) == (206, content)
    assert got.headers["content-range"] == said
    assert got.headers["content-length"] == str(len(content))


async def test_a_range_outside_of_the_file(api: Api, alice: Api) -> None:
    got = await _get(api, ok(await _upload(alice))["url"], Range="bytes=11-")

    assert (got.status_code, got.content) == (416, b"")
    assert got.headers["content-range"] == "bytes */11"


async def test_a_large_file_comes_back_whole(api: Api, alice: Api) -> None:
    content = bytes(range(256)) * 4000
    saved = ok(await _upload(alice, "big.dat", content))

    assert (await _get(api, saved["url"])).content == content
    part = await _get(api, saved["url"], Range="bytes=261119-261121")
    assert part.content == content[261119:261122]


async def test_what_is_not_there(api: Api) -> None:
    missing = await _get(api, f"/files/{APP_ID}/nope.txt")
    assert (missing.status_code, missing.text) == (404, "File not found.")
    assert (await _get(api, f"/files/{APP_ID}/a%00b")).status_code == 404
    assert (await _get(api, f"/files/{APP_ID}/metadata/nope")).json() == {}
    assert_parse_error(await _get(api, "/files/other/a.txt"), None, 403)


async def test_deletion_is_for_the_master_key(api: Api, alice: Api) -> None:
    saved = ok(await _upload(alice))
    path = f"/files/{saved['name']}"

    for caller in (api, alice):
        assert_parse_error(await caller.delete(path), None, 403)
    gone = await api.as_master().delete(path)
    assert (gone.status_code, gone.content) == (200, b"")
    assert (await _get(api, saved["url"])).status_code == 404
    assert_parse_error(await api.as_master().delete(path), 153, text="FileNotFound")


async def test_files_in_directories(api: Api) -> None:
    headers = {"X_Parse_Upload_Mode": "stream", "X_Parse_File_Directory": "scans/2026"}
    saved = ok(await _upload(api.as_master(), **headers))

    assert saved["name"].startswith("scans/2026/")
    assert (await _get(api, saved["url"])).content == b"hello world"
    assert (await api.as_master().delete(f"/files/{saved['name']}")).status_code == 200


async def test_a_file_in_an_object_gets_its_url(api: Api, alice: Api) -> None:
    saved = ok(await _upload(alice))
    given = {"__type": "File", "name": saved["name"], "url": "http://evil.example.com/x"}
    note = await alice.create("Note", file=given)

    stored = ok(await alice.get(f"/classes/Note/{note}"))
    assert stored["file"] == {"__type": "File", **saved}
