"""``/sessions`` over HTTP: one's own only, fixed members, expiry."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import Api, assert_parse_error, ok


async def _own(user: Api) -> dict[str, Any]:
    session: dict[str, Any] = ok(await user.get("/sessions/me"))
    return session


async def test_my_session(api: Api) -> None:
    alice = await api.sign_up("alice")

    session = await _own(alice)
    assert session["sessionToken"] == alice.session_token
    assert session["user"] == alice.pointer()
    assert session["createdWith"] == {"action": "signup", "authProvider": "password"}
    assert session["expiresAt"]["__type"] == "Date"
    assert "ACL" not in session


async def test_my_session_needs_a_token(api: Api) -> None:
    assert_parse_error(await api.get("/sessions/me"), 209, text="Session token required.")
    assert_parse_error(await api.as_user("r:dead").get("/sessions/me"), 209)


@pytest.mark.parametrize("path", ["/sessions", "/classes/_Session"])
async def test_users_see_their_own_sessions_only(api: Api, path: str) -> None:
    alice, bob = await api.sign_up("alice"), await api.sign_up("bob")
    await api.log_in("bob")
    theirs = await _own(bob)

    found = ok(await alice.get(path))["results"]
    assert [session["user"]["objectId"] for session in found] == [alice.id]
    for where in (
        {"user": bob.pointer()},
        {"$or": [{"user": bob.pointer()}, {"objectId": theirs["objectId"]}]},
        {"sessionToken": bob.session_token},
    ):
        assert ok(await alice.get(path, {"where": where}))["results"] == []
    assert bob.session_token not in (await alice.get(path, {"include": "user"})).text
    assert_parse_error(await api.get(path), 209)
    assert len(ok(await api.as_master().get(path))["results"]) == 3


async def test_nobody_touches_the_session_of_another(api: Api) -> None:
    alice, bob = await api.sign_up("alice"), await api.sign_up("bob")
    path = f"/sessions/{(await _own(bob))['objectId']}"

    assert_parse_error(await alice.get(path), 101)
    assert_parse_error(await alice.put(path, {"a": 1}), 101)
    assert_parse_error(await alice.delete(path), 101)
    for answer in (await api.get(path), await api.put(path, {"a": 1}), await api.delete(path)):
        assert_parse_error(answer, 209)
    assert "a" not in await _own(bob)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"ACL": {}}, "Cannot set ACL on a Session."),
        ({"user": None}, "Invalid key name: user"),
        ({"user": {"__op": "Delete"}}, "Invalid key name: user"),
        ({"installationId": "x"}, "Invalid key name: installationId"),
        ({"sessionToken": "r:x"}, "Invalid key name: sessionToken"),
        ({"expiresAt": {"__op": "Delete"}}, "Invalid key name: expiresAt"),
        ({"createdWith": {}}, "Invalid key name: createdWith"),
    ],
)
async def test_what_users_cannot_change(api: Api, body: Any, text: str) -> None:
    alice = await api.sign_up("alice")
    path = f"/sessions/{(await _own(alice))['objectId']}"

    assert_parse_error(await alice.put(path, body), 105, text=text)
    ok(await alice.put(path, {"device": "phone"}))
    assert (await _own(alice))["device"] == "phone"


async def test_the_master_key_may_change_owner_expiry_and_origin_only(api: Api) -> None:
    alice = await api.sign_up("alice")
    path = f"/sessions/{(await _own(alice))['objectId']}"
    master = api.as_master()

    ok(await master.put(path, {"createdWith": {"action": "x"}}))
    assert_parse_error(await master.put(path, {"installationId": "x"}), 105)
    assert_parse_error(await master.put(path, {"sessionToken": "r:x"}), 105)
    past = {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"}
    ok(await master.put(path, {"expiresAt": past}))
    refused = await alice.get("/users/me")
    assert_parse_error(refused, 209, text="Session token is expired.")


async def test_a_user_makes_a_session_of_the_servers_choosing(api: Api) -> None:
    alice, bob = await api.sign_up("alice"), await api.sign_up("bob")
    body = {
        "device": "tv",
        "sessionToken": "r:chosen",
        "user": bob.pointer(),
        "expiresAt": {"__type": "Date", "iso": "2999-01-01T00:00:00.000Z"},
        "createdWith": {"action": "login"},
    }

    answer = await alice.post("/sessions", body)

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"/classes/_Session/{made['objectId']}")
    assert made["user"] == alice.pointer()
    assert made["createdWith"] == {"action": "create"}
    assert made["device"] == "tv"
    session = await _own(api.as_user(made["sessionToken"]))
    assert session["user"] == alice.pointer()
    assert not session["expiresAt"]["iso"].startswith("2999")
    assert_parse_error(await api.as_user("r:chosen").get("/users/me"), 209)
    assert_parse_error(await api.post("/sessions", body), 209, text="Session token required.")
    assert_parse_error(await alice.post("/sessions", {"ACL": {}}), 105)


async def test_an_installation_has_one_session_of_a_user(api: Api) -> None:
    phone = api.with_headers({"X-Parse-Installation-Id": "phone"})
    first = ok(await phone.post("/users", {"username": "alice", "password": "p"}))
    tablet = await api.log_in("alice", "p")

    second = ok(await phone.post("/login", {"username": "alice", "password": "p"}))

    assert_parse_error(await api.as_user(first["sessionToken"]).get("/users/me"), 209)
    assert (await _own(api.as_user(second["sessionToken"])))["installationId"] == "phone"
    await _own(tablet)


async def test_deleting_the_own_session_ends_it_at_once(api: Api) -> None:
    alice = await api.sign_up("alice")
    ok(await alice.delete(f"/sessions/{(await _own(alice))['objectId']}"))

    assert_parse_error(await alice.get("/users/me"), 209)


async def test_upgrade_makes_another_session(api: Api) -> None:
    alice = await api.sign_up("alice")

    session = ok(await alice.post("/upgradeToRevocableSession"))

    assert session["createdWith"] == {"action": "upgrade"}
    await _own(api.as_user(session["sessionToken"]))
    await _own(alice)
    refused = await api.post("/upgradeToRevocableSession")
    assert_parse_error(refused, 101, text="invalid session")


async def test_sessions_end_after_their_length(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, session_length=1))
    alice = await api.sign_up("alice")
    await _own(alice)

    await asyncio.sleep(1.1)
    refused = await alice.get("/users/me")
    assert_parse_error(refused, 209, text="Session token is expired.")


async def test_sessions_for_ever(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, session_length=1, expire_inactive_sessions=False))
    alice = await api.sign_up("alice")

    assert "expiresAt" not in await _own(alice)


async def test_use_extends_a_session_past_half_its_length(
    make_api: MakeApi, settings: Settings
) -> None:
    changed = replace(settings, session_length=2, extend_session_on_use=True)
    api = await make_api(changed)
    alice = await api.sign_up("alice")
    for _ in range(3):
        await asyncio.sleep(1.2)
        ok(await alice.get("/users/me"))
