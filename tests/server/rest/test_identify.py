"""Who asks: every form of headers and bodies, keys and where they may come from."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import httpx
import pytest

from server.rest.identify import is_in_ranges
from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import APP_ID, MASTER_KEY, Api, assert_parse_error, ok

KEYS = {
    "client_key": ("X-Parse-Client-Key", "_ClientKey", "ck"),
    "javascript_key": ("X-Parse-JavaScript-Key", "_JavaScriptKey", "jk"),
    "rest_api_key": ("X-Parse-REST-API-Key", "_RestAPIKey", "rk"),
    "dot_net_key": ("X-Parse-Windows-Key", None, "wk"),
}


def raw(api: Api) -> httpx.AsyncClient:
    """The client without headers of its own."""
    return api.client


async def body_form(api: Api, path: str, **members: Any) -> httpx.Response:
    """As the JavaScript SDK sends: everything in a POST of ``text/plain``."""
    body = {"_ApplicationId": APP_ID, **members}
    return await raw(api).post(path, json=body, headers={"Content-Type": "text/plain"})


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def is_master(api: Api, headers: dict[str, str]) -> bool:
    answer = await raw(api).get("/serverInfo", headers=headers)
    assert answer.status_code in (200, 403)
    return answer.status_code == 200


async def test_the_body_form_is_as_good_as_headers(api: Api) -> None:
    user = await api.sign_up("ann")
    made = await body_form(
        api, "/classes/Note", n=1, _SessionToken=user.session_token, _ClientVersion="js1",
        _InstallationId="i", ACL={user.id: {"read": True}},
    )  # fmt: skip
    one = ok(made)["objectId"]
    path = f"/classes/Note/{one}"
    assert_parse_error(await body_form(api, path, _method="GET"), 101)
    token = {"_SessionToken": user.session_token}
    assert ok(await body_form(api, path, _method="GET", **token))["n"] == 1
    found = ok(await body_form(api, "/classes/Note", _method="GET", where={"n": 1}, **token))
    assert [row["objectId"] for row in found["results"]] == [one]
    master = {"_MasterKey": MASTER_KEY}
    changed = await body_form(api, path, _method="PUT", n=2, _noBody=False, **master)
    assert set(ok(changed)) == {"updatedAt"}
    row = ok(await body_form(api, path, _method="GET", **master))
    assert row["n"] == 2 and not any(name.startswith("_") for name in row)
    ok(await body_form(api, path, _method="DELETE", **master))
    assert_parse_error(await body_form(api, path, _method="GET", **master), 101)


@pytest.mark.parametrize(
    "member",
    ["_ApplicationId", "_MasterKey", "_SessionToken", "_InstallationId", "_JavaScriptKey"],
)
@pytest.mark.parametrize("value", [5, {"$ne": None}, ["x"], True], ids=str)
async def test_members_that_are_no_text_are_refused(
    shared_api: Api, member: str, value: Any
) -> None:
    answer = await body_form(shared_api, "/classes/Note", _method="GET", **{member: value})
    assert answer.status_code == 403


async def test_keys_in_a_body_count_only_without_the_header(shared_api: Api) -> None:
    """Else a page could smuggle a key past whoever set the headers."""
    answer = await shared_api.post("/classes/Note", {"_MasterKey": MASTER_KEY})
    assert_parse_error(answer, 105)


async def test_app_id(shared_api: Api) -> None:
    for headers in ({}, {"X-Parse-Application-Id": "other"}, {"X-Parse-Application-Id": ""}):
        answer = await raw(shared_api).get("/classes/Note", headers=headers)
        assert answer.status_code == 403 and answer.json() == {"error": "unauthorized"}
    assert (await raw(shared_api).get("/health")).status_code == 200


async def test_basic(shared_api: Api) -> None:
    assert await is_master(shared_api, basic(f"{APP_ID}:{MASTER_KEY}"))
    for wrong in (f"{APP_ID}:wrong", f"other:{MASTER_KEY}", APP_ID, f"{APP_ID}:javascript-key=x"):
        assert not await is_master(shared_api, basic(wrong))
    for odd in ("Basic", "Basic !!!", "Basic /w==", "Bearer x"):
        assert not await is_master(shared_api, {"Authorization": odd})
    answer = await raw(shared_api).get("/classes/Note", headers=basic(f"{APP_ID}:"))
    assert answer.status_code == 200


async def test_wrong_keys_are_nobody(shared_api: Api) -> None:
    for header in ("X-Parse-Master-Key", "X-Parse-Maintenance-Key"):
        for key in ("wrong", "", MASTER_KEY + "x", "mk\xe9"):
            headers = {"X-Parse-Application-Id": APP_ID, header: key}
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            answer = await raw(shared_api).get("/serverInfo", headers=encoded)
            assert answer.status_code == 403


@pytest.mark.parametrize("name", KEYS)
async def test_a_client_key_is_asked_for(make_api: MakeApi, settings: Settings, name: str) -> None:
    header, member, key = KEYS[name]
    api = await make_api(replace(settings, **{name: key}))
    assert (await api.get("/classes/Note")).status_code == 403
    assert (await api.with_headers({header: "wrong"}).get("/classes/Note")).status_code == 403
    assert (await api.with_headers({header: key}).get("/classes/Note")).status_code == 200
    assert (await api.as_master().get("/classes/Note")).status_code == 200
    if member is not None:
        answer = await body_form(api, "/classes/Note", _method="GET", **{member: key})
        assert answer.status_code == 200
        answer = await body_form(api, "/classes/Note", _method="GET", **{member: "wrong"})
        assert answer.status_code == 403


async def test_any_one_of_the_client_keys_will_do(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, javascript_key="jk", rest_api_key="rk"))
    headers = basic(f"{APP_ID}:javascript-key=jk")
    assert (await raw(api).get("/classes/Note", headers=headers)).status_code == 200
    one = api.with_headers({"X-Parse-REST-API-Key": "rk"})
    assert (await one.get("/classes/Note")).status_code == 200


async def test_great_keys_count_only_where_they_may(make_api: MakeApi, settings: Settings) -> None:
    """The test's client is at 127.0.0.1."""
    there = ("10.0.0.0/8", "::1")
    api = await make_api(
        replace(
            settings,
            maintenance_key="mt",
            read_only_master_key="ro",
            master_key_ips=there,
            maintenance_key_ips=there,
            read_only_master_key_ips=("127.0.0.1",),
        )
    )
    for header, key in (("X-Parse-Master-Key", MASTER_KEY), ("X-Parse-Maintenance-Key", "mt")):
        answer = await api.with_headers({header: key}).get("/classes/Note")
        assert answer.status_code == 403 and answer.json() == {"error": "unauthorized"}
    assert (await api.with_headers({"X-Parse-Master-Key": "ro"}).get("/serverInfo")).is_success
    # Who is behind a proxy is asked only of proxies that are trusted.
    forged = api.as_master().with_headers({"X-Forwarded-For": "10.1.1.1"})
    assert (await forged.get("/classes/Note")).status_code == 403


async def test_behind_a_trusted_proxy(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(
        replace(
            settings, master_key_ips=("10.0.0.0/8",), trust_proxy=("127.0.0.0/8", "192.168.0.1")
        )
    )
    master = api.as_master()
    for hops, status in (
        ("10.1.1.1", 200),
        ("9.9.9.9", 403),
        ("10.1.1.1, 9.9.9.9", 403),
        ("9.9.9.9, 10.1.1.1", 200),
        ("10.1.1.1, 192.168.0.1", 200),
        ("nonsense", 403),
    ):
        answer = await master.with_headers({"X-Forwarded-For": hops}).get("/serverInfo")
        assert answer.status_code == status, hops


@pytest.mark.parametrize(
    ("address", "ranges", "is_in"),
    [
        ("127.0.0.1", ("127.0.0.1",), True),
        ("127.0.0.2", ("127.0.0.1",), False),
        ("10.2.3.4", ("10.0.0.0/8",), True),
        ("::ffff:10.2.3.4", ("10.0.0.0/8",), True),
        ("::1", ("127.0.0.1", "::1"), True),
        ("8.8.8.8", ("0.0.0.0/0",), True),
        ("::1", ("0.0.0.0/0",), False),
        ("2001:db8::1", ("::/0",), True),
        ("", ("0.0.0.0/0", "::/0"), False),
        ("localhost", ("0.0.0.0/0", "::/0"), False),
        ("127.0.0.1", (), False),
    ],
)
def test_ranges(address: str, ranges: tuple[str, ...], is_in: bool) -> None:
    assert is_in_ranges(address, ranges) is is_in


async def test_session_tokens(api: Api) -> None:
    user = await api.sign_up("ann")
    assert ok(await user.get("/users/me"))["objectId"] == user.id
    for token in ("r:00000000000000000000000000000000", "r:", "x", "null", "r:" + "a" * 500):
        answer = await api.as_user(token).get("/classes/Note")
        assert_parse_error(answer, 209)
    # An old token beside a log-in says nothing.
    body = {"username": "ann", "password": "secret"}
    assert (await api.as_user("r:dead").post("/login", body)).status_code == 200
    ok(await user.post("/logout"))
    assert_parse_error(await user.get("/classes/Note"), 209)


@pytest.mark.parametrize("context", ["nope", "[1]", "5", '"x"', "{"])
async def test_a_cloud_context_is_an_object(shared_api: Api, context: str) -> None:
    answer = await shared_api.with_headers({"X-Parse-Cloud-Context": context}).get("/classes/Note")
    assert_parse_error(answer, 107)
