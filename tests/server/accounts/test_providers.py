"""Auth providers: loading, which method is asked, and failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from server.access.caller import ANONYMOUS as NOBODY
from server.access.caller import Context
from server.accounts.providers import AuthProvider, AuthRequest, Providers, Validated
from server.errors import ParseError

CTX = Context(NOBODY, "http://test/parse")


class Recording(AuthProvider):
    """Tells which step it was asked in, and with which options."""

    async def validate_auth_data(
        self, auth_data: dict[str, Any], options: Mapping[str, Any], request: AuthRequest
    ) -> Validated | None:
        return Validated(response={"step": request.step, "secret": options.get("secret")})


class Stepwise(Recording):
    def validate_login(self, auth_data: Any, options: Any, request: AuthRequest) -> Validated:
        return Validated(response={"blocking": True})


class Broken(AuthProvider):
    async def validate_auth_data(self, *arguments: Any) -> Validated | None:
        raise KeyError("/etc/secret")


class AppOnly(AuthProvider):
    async def validate_app_id(self, app_ids: Any, auth_data: Any, options: Any) -> None:
        raise ParseError(101, f"not for {app_ids}")


async def _ask(module: Any, step: str = "setUp", **options: Any) -> Validated:
    provider = Providers({"mine": {"module": module, **options}}).get("mine")
    assert provider is not None
    return await provider.validate({"id": "1"}, AuthRequest(CTX, step))


async def test_a_provider_is_asked_with_its_options() -> None:
    answer = await _ask(Recording, secret="s")

    assert answer.response == {"step": "setUp", "secret": "s"}


async def test_a_step_of_its_own_is_asked_instead_and_may_block() -> None:
    assert (await _ask(Stepwise, "login")).response == {"blocking": True}
    assert (await _ask(Stepwise(), "update")).response == {"step": "update", "secret": None}


async def test_the_app_id_is_checked_only_where_there_are_app_ids() -> None:
    await _ask(AppOnly)
    with pytest.raises(ParseError, match="not for"):
        await _ask(AppOnly, appIds=["a"])


async def test_a_bug_in_a_provider_is_not_shown_to_clients(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ParseError) as refused:
        await _ask(Broken)

    assert (refused.value.code, refused.value.message) == (141, "Auth failed. Unknown error.")
    assert "/etc/secret" in caplog.text


def test_providers_are_found_by_path() -> None:
    path = "server.accounts.providers:AnonymousProvider"

    assert Providers({"mine": {"module": path}}).names == ("anonymous", "mine")


@pytest.mark.parametrize("module", ["no.such:Thing", "json:Nothing", "json", object()])
def test_a_provider_that_cannot_be_loaded_is_named(module: Any) -> None:
    with pytest.raises(ValueError, match=r"auth\.mine\.module"):
        Providers({"mine": {"module": module}})


def test_unknown_and_disabled_providers_are_none() -> None:
    auth = {"off": {"module": Recording, "enabled": False}, "facebook": {"appIds": ["1"]}}
    providers = Providers(auth, enable_anonymous_users=False)

    assert providers.names == ()
    assert providers.get("anonymous") is None
    assert Providers({"anonymous": {"enabled": False}}).get("anonymous") is None
