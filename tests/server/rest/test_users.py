"""``/users`` and log-in over HTTP: sign-up, passwords, auth data, who may change whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from server.accounts.providers import AuthProvider, AuthRequest, Validated
from server.errors import ParseError
from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import Api, assert_parse_error, ok


class Tokens(AuthProvider):
    """Vouches for everybody whose token is not ``bad``."""

    async def validate_auth_data(
        self, auth_data: dict[str, Any], options: Mapping[str, Any], request: AuthRequest
    ) -> Validated | None:
        if auth_data.get("token") == "bad":
            raise ParseError(101, "Tokens auth is invalid for this user.")
        return None


class OneTime(AuthProvider):
    """A second factor: a code that is good once."""

    policy = "additional"

    async def validate_set_up(self, auth_data: dict[str, Any], *rest: Any) -> Validated:
        return Validated(response={"code": "123"}, save={"code": "123"})

    async def validate_auth_data(
        self, auth_data: dict[str, Any], options: Any, request: AuthRequest
    ) -> Validated:
        assert request.user is not None
        if auth_data.get("code") != request.user["_auth_data_once"]["code"]:
            raise ParseError(141, "Wrong code")
        return Validated(save={"code": "used"})


@pytest.fixture
async def linked(make_api: MakeApi, settings: Settings) -> Api:
    """An app with two providers of its own."""
    auth = {"tokens": {"module": Tokens}, "once": {"module": OneTime}}
    return await make_api(replace(settings, auth=auth))


# ---- sign-up ------------------------------------------------------------------------------------


async def test_sign_up_answers_id_time_and_session(api: Api) -> None:
    answer = await api.post("/users", {"username": "alice", "password": "p", "nick": "al"})

    user = answer.json()
    assert answer.status_code == 201
    assert user.keys() == {"objectId", "createdAt", "sessionToken"}
    assert answer.headers["location"].endswith(f"/parse/users/{user['objectId']}")
    me = ok(await api.as_user(user["sessionToken"]).get("/users/me"))
    assert me["nick"] == "al"
    assert me["ACL"] == {user["objectId"]: {"read": True, "write": True}}
    assert "password" not in me


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 200),
        ({"username": "a"}, 201),
        ({"username": "", "password": "p"}, 200),
        ({"username": 5, "password": "p"}, 200),
        ({"username": {"__op": "Delete"}, "password": "p"}, 200),
        ({"username": {"__op": "SetOnInsert", "amount": "x"}, "password": "p"}, 200),
        ({"username": "a", "password": 5}, 201),
        ({"username": "a", "password": {"$gt": ""}}, 201),
        ({"username": "a", "password": "p", "email": "nobody"}, 125),
        ({"username": "a", "password": "p", "email": 5}, 111),
        (
            {
                "username": "a",
                "password": "p",
                "email": {"__op": "SetOnInsert", "amount": "a@b"},
            },
            108,
        ),
        ({"username": "a", "password": "p", "emailVerified": True}, 119),
        ({"username": "a", "password": "p", "_hashed_password": "x"}, 105),
        ({"username": "a", "password": "p", "_auth_data_tokens": {"id": "1"}}, 105),
        ({"username": "a", "password": "p", "authData.anonymous.id": "1"}, 105),
        ({"authData": {}}, 200),
        ({"authData": None}, 200),
        ({"authData": {"anonymous": {}}}, 200),
        ({"authData": {"facebook": {"id": "1"}}}, 252),
        ({"authData": {"a.b": {"id": "1"}}}, 252),
        ({"authData": {"anonymous": {"id": 5}}}, 162),
        ({"authData": {"anonymous": {"id": {"$ne": None}}}}, 162),
        ({"authData": {"anonymous": {"id": "1", "$where": "1"}}}, 121),
    ],
)
async def test_refused_sign_ups(api: Api, body: Any, code: int) -> None:
    assert_parse_error(await api.post("/users", body), code)


async def test_names_and_addresses_are_unique_in_any_case(api: Api) -> None:
    await api.sign_up("Snoopy", email="snoopy@example.com")

    assert_parse_error(await api.post("/users", {"username": "sNOOPY", "password": "p"}), 202)
    same_mail = {"username": "other", "password": "p", "email": "SNOOPY@example.com"}
    assert_parse_error(await api.post("/users", same_mail), 203)


async def test_of_sign_ups_at_once_with_one_name_one_succeeds(api: Api) -> None:
    body = {"username": "twin", "password": "p"}
    answers = await asyncio.gather(*(api.post("/users", body) for _ in range(6)))

    assert sorted(a.status_code for a in answers) == [201] + [400] * 5
    assert {a.json()["code"] for a in answers if a.status_code == 400} == {202}


async def test_public_users_when_privacy_is_off(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, enforce_private_users=False))
    alice = await api.sign_up("alice")

    seen = ok(await api.get(f"/users/{alice.id}"))
    assert seen["ACL"] == {"*": {"read": True}, alice.id: {"read": True, "write": True}}


async def test_an_installation_named_cloud_gets_no_session(api: Api) -> None:
    """As on the peer, where cloud code signs users up without logging them in."""
    cloud = api.with_headers({"X-Parse-Installation-Id": "cloud"})
    assert "sessionToken" not in ok(await cloud.post("/users", {"username": "a", "password": "p"}))


# ---- log-in -------------------------------------------------------------------------------------


async def test_log_in_by_name_address_and_get(api: Api) -> None:
    await api.sign_up("alice", "p", email="alice@example.com")

    for params in (
        {"username": "alice"},
        {"email": "alice@example.com"},
        {"username": "alice@example.com"},
        {"username": "alice", "email": "alice@example.com"},
    ):
        user = ok(await api.post("/login", {**params, "password": "p"}))
        assert user["email"] == "alice@example.com"
        assert user["sessionToken"].startswith("r:")
    user = ok(await api.get("/login", {"username": "alice", "password": "p"}))
    assert user["username"] == "alice"
    assert "password" not in user


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({}, 200, "username/email is required."),
        ({"password": "p"}, 200, "username/email is required."),
        ({"username": "alice"}, 201, "password is required."),
        ({"username": "alice", "password": ""}, 201, "password is required."),
        ({"username": "nobody", "password": "p"}, 101, "Invalid username/password."),
        ({"username": "alice", "password": "wrong"}, 101, "Invalid username/password."),
        ({"username": "ALICE", "password": "p"}, 101, "Invalid username/password."),
        ({"username": "alice", "password": 5}, 101, "Invalid username/password."),
        ({"username": "alice", "password": {"$ne": 1}}, 101, "Invalid username/password."),
        ({"username": {"$ne": 1}, "password": "p"}, 101, "Invalid username/password."),
        ({"username": {"$regex": "a"}, "password": "p"}, 101, "Invalid username/password."),
        ({"username": "alice", "email": "x@y", "password": "p"}, 101, None),
        ({"username": "al\0ice", "password": "p"}, 101, None),
    ],
)
async def test_refused_log_ins_do_not_tell_why(
    api: Api, body: Any, code: int, text: str | None
) -> None:
    await api.sign_up("alice", "p")

    assert_parse_error(await api.post("/login", body), code, text=text)


async def test_an_old_token_does_not_hinder_a_log_in(api: Api) -> None:
    """The JS SDK sends the token it had; it may be dead."""
    await api.sign_up("alice", "p")
    ok(await api.as_user("r:dead").post("/login", {"username": "alice", "password": "p"}))


async def test_a_user_whom_nobody_may_see_cannot_log_in(api: Api) -> None:
    alice = await api.sign_up("alice", "p")
    ok(await api.as_master().put(f"/users/{alice.id}", {"ACL": {}}))

    body = {"username": "alice", "password": "p"}
    assert_parse_error(await api.post("/login", body), 101, text="Invalid username/password.")
    assert ok(await api.as_master().post("/login", body))["sessionToken"]


async def test_verify_password_makes_no_session(api: Api) -> None:
    await api.sign_up("alice", "p")
    body = {"username": "alice", "password": "p"}

    assert "sessionToken" not in ok(await api.post("/verifyPassword", body))
    assert ok(await api.get("/verifyPassword", body))["username"] == "alice"
    assert_parse_error(await api.post("/verifyPassword", {**body, "password": "q"}), 101)
    assert len(await api.as_master().find("_Session")) == 1


async def test_log_in_as_is_for_the_master_key(api: Api) -> None:
    alice = await api.sign_up("alice")
    master = api.as_master()

    user = ok(await master.post("/loginAs", {"userId": alice.id}))
    session = ok(await api.as_user(user["sessionToken"]).get("/sessions/me"))
    assert session["createdWith"] == {"action": "login", "authProvider": "masterkey"}
    assert_parse_error(await alice.post("/loginAs", {"userId": alice.id}), 119)
    assert_parse_error(await master.post("/loginAs", {}), 162)
    for unknown in ("nobody", {"$ne": 1}, ["x"], 5):
        assert_parse_error(await master.post("/loginAs", {"userId": unknown}), 101)


async def test_log_ins_do_not_stall_other_requests(api: Api) -> None:
    await api.sign_up("alice", "p")
    body = {"username": "alice", "password": "p"}
    logins = asyncio.gather(*(api.post("/login", body) for _ in range(8)))
    slowest = 0.0
    while not logins.done():
        start = time.perf_counter()
        ok(await api.get("/health"))
        slowest = max(slowest, time.perf_counter() - start)
        await asyncio.sleep(0.005)
    assert all(answer.status_code == 200 for answer in await logins)
    assert slowest < 0.5


# ---- the user's own session ---------------------------------------------------------------------


async def test_me_and_the_own_row_carry_the_token(api: Api) -> None:
    alice = await api.sign_up("alice")
    bob = await api.sign_up("bob")

    assert ok(await alice.get("/users/me"))["sessionToken"] == alice.session_token
    assert ok(await alice.get(f"/users/{alice.id}"))["sessionToken"] == alice.session_token
    assert_parse_error(await bob.get(f"/users/{alice.id}"), 101)
    assert_parse_error(await api.get("/users/me"), 209)
    assert_parse_error(await api.as_user("r:dead").get("/users/me"), 209)


async def test_log_out_ends_the_session_at_once(api: Api) -> None:
    alice = await api.sign_up("alice")

    assert ok(await alice.post("/logout")) == {}
    assert_parse_error(await alice.get("/users/me"), 209)
    assert_parse_error(await alice.post("/logout"), 209)
    assert ok(await api.post("/logout")) == {}


# ---- changes ------------------------------------------------------------------------------------


async def test_nobody_changes_another_user(api: Api) -> None:
    alice = await api.sign_up("alice")
    bob = await api.sign_up("bob")

    for caller in (bob, api):
        for path in (f"/users/{alice.id}", f"/classes/_User/{alice.id}", "/users/nobody"):
            assert_parse_error(await caller.put(path, {"a": 1}), 206)
            assert_parse_error(await caller.delete(path), 206)
    assert_parse_error(await api.as_master().put("/users/nobody", {"a": 1}), 101)
    assert "a" not in ok(await alice.get("/users/me"))


async def test_a_new_password_ends_all_sessions_and_starts_one(api: Api) -> None:
    alice = await api.sign_up("alice", "old")
    other = await api.log_in("alice", "old")

    changed = ok(await alice.put(f"/users/{alice.id}", {"password": "new"}))

    assert changed.keys() == {"updatedAt", "sessionToken"}
    for old in (alice, other):
        assert_parse_error(await old.get("/users/me"), 209)
    session = ok(await api.as_user(changed["sessionToken"]).get("/sessions/me"))
    assert "createdWith" not in session
    assert_parse_error(await api.post("/login", {"username": "alice", "password": "old"}), 101)
    await api.log_in("alice", "new")


async def test_the_master_key_changes_a_password_without_a_session(api: Api) -> None:
    alice = await api.sign_up("alice")

    changed = ok(await api.as_master().put(f"/users/{alice.id}", {"password": "new"}))

    assert changed.keys() == {"updatedAt"}
    assert_parse_error(await alice.get("/users/me"), 209)


async def test_who_may_change_a_password_by_acl_does_not_become_the_user(api: Api) -> None:
    """The peer hands out a session of the changed user here."""
    alice = await api.sign_up("alice")
    bob = await api.sign_up("bob")
    ok(await alice.put(f"/users/{alice.id}", {"ACL": {bob.id: {"read": True, "write": True}}}))

    assert "sessionToken" not in ok(await bob.put(f"/users/{alice.id}", {"password": "new"}))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"password": None}, 201),
        ({"password": {"__op": "Delete"}}, 201),
        ({"password": 5}, 111),
        ({"username": {"__op": "Delete"}}, 200),
        ({"username": 5}, 111),
        ({"username": "BOB"}, 202),
        ({"email": "BOB@example.com"}, 203),
        ({"email": "x"}, 125),
        ({"emailVerified": True}, 119),
        ({"authData": None}, 252),
        ({"authData": "x"}, 252),
        ({"authData": 5}, 111),
        ({"authData": []}, 111),
        ({"authData": {"__op": "Delete"}}, 252),
        ({"authData": {"nope": {"id": "1"}}}, 252),
        ({"authData": {"anonymous": 5}}, 162),
        ({"authData.tokens": {"id": "1"}}, 105),
        ({"_perishable_token": "x"}, 105),
    ],
)
async def test_refused_changes(api: Api, body: Any, code: int) -> None:
    alice = await api.sign_up("alice")
    await api.sign_up("bob", email="bob@example.com")

    assert_parse_error(await alice.put(f"/users/{alice.id}", body), code)


async def test_no_password_is_stored_in_clear(api: Api, settings: Settings) -> None:
    alice = await api.sign_up("alice", "very secret")
    ok(await alice.put(f"/users/{alice.id}", {"password": "more secret"}))

    user = (await api.as_master().find("_User"))[0]
    assert "secret" not in str(user)
    async with AsyncMongoClient[dict[str, Any]](settings.database_uri) as client:
        stored = await client.get_default_database()["_User"].find_one({})
    assert stored is not None
    assert stored["_hashed_password"].startswith("$2b$10$")
    assert "password" not in stored
    assert "secret" not in str(stored)


async def test_a_user_keeps_the_right_to_the_own_row(api: Api) -> None:
    alice = await api.sign_up("alice")
    own = {alice.id: {"read": True, "write": True}}

    for acl in ({}, {"__op": "Delete"}, {"*": {"read": True}}):
        ok(await alice.put(f"/users/{alice.id}", {"ACL": acl}))
        public = {"*": {"read": True}} if "*" in acl else {}
        assert ok(await alice.get("/users/me"))["ACL"] == {**public, **own}


async def test_a_token_sent_back_is_not_stored(api: Api) -> None:
    alice = await api.sign_up("alice")
    ok(await alice.put(f"/users/{alice.id}", {"sessionToken": "r:chosen", "a": 1}))

    assert_parse_error(await api.as_user("r:chosen").get("/users/me"), 209)


async def test_a_deleted_user_has_no_sessions(api: Api) -> None:
    alice = await api.sign_up("alice")
    ok(await alice.delete(f"/users/{alice.id}"))

    assert_parse_error(await alice.get("/users/me"), 209)
    assert await api.as_master().find("_Session") == []


# ---- auth data ----------------------------------------------------------------------------------


def _tokens(identity: str, token: str = "good", **fields: Any) -> dict[str, Any]:
    return {"authData": {"tokens": {"id": identity, "token": token}}, **fields}


async def test_auth_data_sign_up_then_log_in(linked: Api) -> None:
    first = await linked.post("/users", _tokens("1"))
    second = await linked.post("/users", _tokens("1", "newer", ignored=True))

    made, found = first.json(), second.json()
    assert (first.status_code, second.status_code) == (201, 200)
    assert len(made["username"]) == 25
    assert made["authDataResponse"] == found["authDataResponse"] == {}
    assert found["objectId"] == made["objectId"]
    assert found["sessionToken"] != made["sessionToken"]
    assert found["authData"] == {"tokens": {"id": "1", "token": "newer"}}
    assert "ignored" not in found
    session = ok(await linked.as_user(found["sessionToken"]).get("/sessions/me"))
    assert session["createdWith"] == {"action": "login", "authProvider": "tokens"}


async def test_a_known_id_alone_does_not_log_in(linked: Api) -> None:
    ok(await linked.post("/users", _tokens("1")))

    assert_parse_error(await linked.post("/users", _tokens("1", "bad")), 101)


async def test_link_and_unlink(linked: Api) -> None:
    alice = await linked.sign_up("alice")
    bob = await linked.sign_up("bob")

    linked_now = ok(await alice.put(f"/users/{alice.id}", _tokens("1")))
    assert linked_now["authDataResponse"] == {}
    assert "sessionToken" not in linked_now
    assert_parse_error(await bob.put(f"/users/{bob.id}", _tokens("1")), 208)
    assert_parse_error(await bob.put(f"/users/{bob.id}", _tokens("1", "bad")), 101)
    assert_parse_error(await bob.post("/users", _tokens("1")), 208)
    ok(await alice.put(f"/users/{alice.id}", {"authData": {"tokens": None}}))
    assert "authData" not in ok(await alice.get("/users/me"))
    assert ok(await linked.post("/users", _tokens("1")))["objectId"] != alice.id


async def test_who_is_logged_in_stays_so_when_making_a_user(linked: Api) -> None:
    alice = await linked.sign_up("alice")
    assert "sessionToken" not in ok(await alice.post("/users", _tokens("9")))


async def test_sign_ups_at_once_with_one_identity_make_one_user(linked: Api) -> None:
    answers = await asyncio.gather(*(linked.post("/users", _tokens("1")) for _ in range(5)))

    assert {a.status_code for a in answers} <= {200, 201, 400}
    assert {a.json()["code"] for a in answers if a.status_code == 400} <= {208}
    assert len(await linked.as_master().find("_User")) == 1


async def test_an_anonymous_user_becomes_a_known_one(api: Api) -> None:
    guest = ok(await api.post("/users", {"authData": {"anonymous": {"id": "uuid"}}}))
    session = api.as_user(guest["sessionToken"])
    body = {"username": "alice", "password": "p", "authData": {"anonymous": None}}

    converted = ok(await session.put(f"/users/{guest['objectId']}", body))

    me = ok(await api.as_user(converted["sessionToken"]).get("/users/me"))
    assert me["username"] == "alice"
    assert "authData" not in me
    assert (await api.log_in("alice", "p")).id == guest["objectId"]


async def test_anonymous_users_can_be_switched_off(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, enable_anonymous_users=False))
    guest = {"authData": {"anonymous": {"id": "uuid"}}}

    assert_parse_error(await api.post("/users", guest), 252)


async def test_others_do_not_see_auth_data(linked: Api) -> None:
    made = ok(await linked.post("/users", _tokens("1", ACL={"*": {"read": True}})))
    bob = await linked.sign_up("bob")

    seen = ok(await bob.get(f"/users/{made['objectId']}"))
    assert "authData" not in seen
    # An id may be looked up, as on the peer; what goes with it cannot be found out by asking.
    probe = {"where": {"authData.tokens.token": {"$regex": "^g"}}}
    assert ok(await bob.get("/users", probe))["results"] == []
    assert_parse_error(await bob.get("/users", {"where": {"_auth_data_tokens.id": "1"}}), 105)


async def test_a_second_factor_is_asked_for_and_good_once(linked: Api) -> None:
    alice = await linked.sign_up("alice", "p")
    set_up = ok(await alice.put(f"/users/{alice.id}", {"authData": {"once": {"start": True}}}))
    assert set_up["authDataResponse"] == {"once": {"code": "123"}}
    login = {"username": "alice", "password": "p"}
    with_code = {**login, "authData": {"once": {"code": "123"}}}

    missing = await linked.post("/login", login)
    assert_parse_error(missing, -1, text="Missing additional authData once")
    answers = await asyncio.gather(*(linked.post("/login", with_code) for _ in range(4)))
    assert sorted(a.status_code for a in answers) == [200, 400, 400, 400]
    assert {a.json()["code"] for a in answers if a.status_code == 400} == {141}


async def test_mail_routes_say_that_there_is_no_mail(api: Api) -> None:
    """The peer answers 500 without a mail adapter."""
    for path in ("/requestPasswordReset", "/verificationEmailRequest"):
        assert_parse_error(await api.post(path, {"email": "a@b"}), 108)


async def test_a_sign_up_in_a_failed_transaction_leaves_nothing(api: Api) -> None:
    await api.sign_up("alice")
    requests = [
        {"method": "POST", "path": "/parse/users", "body": {"username": name, "password": "p"}}
        for name in ("bob", "alice")
    ]

    answer = await api.post("/batch", {"requests": requests, "transaction": True})

    assert answer.status_code == 400 or "error" in answer.text
    assert [user["username"] for user in await api.as_master().find("_User")] == ["alice"]
    assert len(await api.as_master().find("_Session")) == 1
