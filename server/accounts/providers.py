"""Authentication providers: who may vouch for a user through ``authData``."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.access.caller import Context
from server.errors import Code, ParseError
from server.values import StoredDocument, WireObject

_log = logging.getLogger(__name__)

ANONYMOUS = "anonymous"
_TIME_LIMIT_S = 15.0


def unsupported() -> ParseError:
    """The provider is unknown or switched off."""
    return ParseError(Code.UNSUPPORTED_SERVICE, "This authentication method is unsupported.")


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """What a provider is told beside the auth data.

    ``user``: the stored user this is about; ``None`` at sign-up.
    ``step``: ``setUp`` (the user has no data of this provider yet), ``login`` or ``update``.
    """

    ctx: Context
    step: str
    user: StoredDocument | None = None


@dataclass(frozen=True, slots=True)
class Validated:
    """A provider's consent. Any member may be left out.

    ``response``: told to the client under ``authDataResponse.<provider>``.
    ``save``: stored instead of what the client sent. ``do_not_save``: keep what is stored.
    """

    response: WireObject | None = None
    save: WireObject | None = None
    do_not_save: bool = False


class AuthProvider:
    """Base of providers; an object with some of these methods will do as well.

    Methods may be plain functions: they then run in a thread and may block. They refuse by
    raising `server.errors.ParseError`; any other exception is logged, and the client sees 141.

    ``policy``: ``default``; ``solo`` (enough alone at log-in); ``additional`` (a user who has
    it must give it at every log-in, beside the password).
    """

    policy = "default"

    async def validate_app_id(
        self, app_ids: Any, auth_data: WireObject, options: Mapping[str, Any]
    ) -> None:
        """Refuse tokens made for other apps. Called when the options have ``appIds``."""

    async def validate_auth_data(
        self, auth_data: WireObject, options: Mapping[str, Any], request: AuthRequest
    ) -> Validated | None:
        """Refuse data that does not prove who the client is.

        ``validate_set_up``, ``validate_login`` and ``validate_update``, where a provider has
        them, are called instead in their step.
        """
        return None


class AnonymousProvider(AuthProvider):
    """Users who are known only by an id their client made up."""


_STEP_METHODS = {
    "setUp": "validate_set_up",
    "login": "validate_login",
    "update": "validate_update",
}


class Provider:
    """One configured provider: its implementation and options."""

    def __init__(self, name: str, implementation: Any, options: Mapping[str, Any]) -> None:
        self.name = name
        self.policy: str = getattr(implementation, "policy", "default")
        self._implementation = implementation
        self._options = options

    async def validate(self, auth_data: WireObject, request: AuthRequest) -> Validated:
        """Ask the provider. Raises its `ParseError`, or 141 when it fails otherwise."""
        try:
            async with asyncio.timeout(_TIME_LIMIT_S):
                return await self._validate(auth_data, request)
        except ParseError:
            raise
        except Exception as error:
            _log.exception("auth provider %s failed in step %s", self.name, request.step)
            raise ParseError(Code.SCRIPT_FAILED, "Auth failed. Unknown error.") from error

    async def _validate(self, auth_data: WireObject, request: AuthRequest) -> Validated:
        method = getattr(self._implementation, _STEP_METHODS[request.step], None)
        if method is None:
            method = self._implementation.validate_auth_data
        app_ids = self._options.get("appIds")
        check_app = getattr(self._implementation, "validate_app_id", None)
        if app_ids and check_app is not None:
            await _call(check_app, app_ids, auth_data, self._options)
        answer = await _call(method, auth_data, self._options, request)
        return answer if isinstance(answer, Validated) else Validated()


async def _call(method: Any, *arguments: Any) -> Any:
    if inspect.iscoroutinefunction(method):
        return await method(*arguments)
    return await asyncio.to_thread(method, *arguments)


class Providers:
    """All providers of the settings' ``auth``, and ``anonymous``."""

    def __init__(self, auth: Mapping[str, Any], *, enable_anonymous_users: bool = True) -> None:
        """Load them.

        ``auth``: provider name to options; ``module`` is a class, an object or
        ``"package.module:Name"``; ``enabled: False`` switches the provider off.

        Raises:
            ValueError: A module cannot be loaded; the text names the provider.
        """
        self._known: dict[str, Provider] = {}
        if enable_anonymous_users:
            self._known[ANONYMOUS] = Provider(ANONYMOUS, AnonymousProvider(), {})
        for name, options in auth.items():
            if not isinstance(options, Mapping) or options.get("enabled") is False:
                self._known.pop(name, None)
            elif (module := options.get("module")) is not None:
                self._known[name] = Provider(name, _load(name, module), options)

    @property
    def names(self) -> tuple[str, ...]:
        """The usable providers; ``_auth_data_<name>.id`` deserves a unique index for each."""
        return tuple(self._known)

    def get(self, name: str) -> Provider | None:
        return self._known.get(name)


def _load(name: str, module: Any) -> Any:
    if isinstance(module, str):
        path, _, attribute = module.partition(":")
        try:
            module = importlib.import_module(path)
            module = getattr(module, attribute) if attribute else module
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"auth.{name}.module cannot be loaded: {error}") from error
    implementation = module() if isinstance(module, type) else module
    if not callable(getattr(implementation, "validate_auth_data", None)):
        raise ValueError(f"auth.{name}.module has no validate_auth_data")
    return implementation
