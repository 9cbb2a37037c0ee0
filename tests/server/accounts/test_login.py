"""The order of a log-in and a log-out, as hooks see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from server.accounts.providers import AuthProvider
from server.app import App, create_app
from server.errors import ParseError
from server.settings import Settings
from server.triggers.calls import Kind, TriggerCall, TriggerResult
from server.triggers.registry import Registrations, TriggerEntry
from tests.harness.api import Api, assert_parse_error, ok

CALLS: list[TriggerCall] = []
PLACES = (
    (Kind.BEFORE_LOGIN, "_User"),
    (Kind.AFTER_LOGIN, "_User"),
    (Kind.AFTER_LOGOUT, "_Session"),
    (Kind.BEFORE_SAVE, "_User"),
    (Kind.AFTER_SAVE, "_User"),
    (Kind.AFTER_FIND, "_User"),
)


async def _record(call: TriggerCall) -> TriggerResult | None:
    CALLS.append(call)
    if call.kind is Kind.BEFORE_LOGIN and (call.object or {}).get("banned"):
        raise ParseError(141, "banned")
    return None


def _seen() -> list[str]:
    kinds = [str(call.kind) for call in CALLS]
    CALLS.clear()
    return kinds


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[App]:
    app = create_app(replace(settings, auth={"mine": {"module": AuthProvider}}))
    await app.prepare()
    await app.start()
    triggers = {place: TriggerEntry(*place, _record, "test") for place in PLACES}
    app.triggers.replace(Registrations(triggers=triggers))
    CALLS.clear()
    yield app
    await app.stop()


@pytest.fixture
async def hooked(app: App) -> AsyncIterator[Api]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/parse") as client:
        yield Api(client)


async def test_sign_up_is_a_save_and_no_log_in(hooked: Api) -> None:
    await hooked.sign_up("alice")

    assert _seen() == ["beforeSave", "afterSave"]


async def test_log_in_runs_its_hooks_around_the_session(hooked: Api) -> None:
    await hooked.sign_up("alice", "p", email="a@b")
    _seen()

    user = ok(await hooked.post("/login", {"username": "alice", "password": "p"}))

    before, after = CALLS[0], CALLS[1]
    assert _seen() == ["beforeLogin", "afterLogin", "afterFind"]
    assert before.object is not None and after.object is not None
    assert before.object["email"] == "a@b"
    assert before.object["className"] == "_User"
    assert "sessionToken" not in before.object
    assert before.ctx.caller.user is None
    assert after.object["sessionToken"] == user["sessionToken"]
    assert after.ctx.caller.user_id == user["objectId"]
    assert "password" not in str(before.object)


async def test_a_refused_log_in_makes_no_session(hooked: Api) -> None:
    await hooked.sign_up("mallory", "p", banned=True)
    _seen()

    refused = await hooked.post("/login", {"username": "mallory", "password": "p"})

    assert_parse_error(refused, 141, text="banned")
    assert _seen() == ["beforeLogin"]
    assert len(await hooked.as_master().find("_Session")) == 1


async def test_a_wrong_password_runs_no_hook(hooked: Api) -> None:
    await hooked.sign_up("alice", "p")
    _seen()

    await hooked.post("/login", {"username": "alice", "password": "q"})
    assert _seen() == []


async def test_log_in_by_auth_data_runs_the_login_hooks(hooked: Api) -> None:
    """The peer leaves out afterLogin here and runs afterSave instead, though nothing is saved."""
    body: dict[str, Any] = {"authData": {"mine": {"id": "1"}}}
    ok(await hooked.post("/users", body))
    assert _seen() == ["beforeSave", "afterSave"]

    ok(await hooked.post("/users", body))
    assert _seen() == ["beforeLogin", "afterLogin", "afterFind"]


async def test_log_out_runs_its_hook_with_the_session(hooked: Api) -> None:
    alice = await hooked.sign_up("alice")
    _seen()

    ok(await alice.post("/logout"))

    (call,) = CALLS
    assert _seen() == ["afterLogout"]
    assert call.object is not None
    assert call.object["className"] == "_Session"
    assert call.object["user"] == alice.pointer()
    assert call.ctx.caller.user_id == alice.id
    ok(await hooked.post("/logout"))
    assert _seen() == []


async def test_a_user_class_that_refuses_get_answers_the_id_alone(app: App, hooked: Api) -> None:
    alice = await hooked.sign_up("alice", "p")
    nobody: dict[str, Any] = {"classLevelPermissions": {"get": {}, "create": {"*": True}}}
    ok(await hooked.as_master().put("/schemas/_User", nobody))

    user = ok(await hooked.post("/login", {"username": "alice", "password": "p"}))

    assert user.keys() == {"objectId", "sessionToken"}
    assert user["objectId"] == alice.id
