"""Who sends a request: application id, keys and session, from headers or the SDK's body form."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from server.access.caller import ANONYMOUS, MAINTENANCE, MASTER, READ_ONLY_MASTER, Caller, Context
from server.access.callers import INVALID_SESSION, CallerResolver
from server.errors import ParseError, invalid_json, unauthorized
from server.settings import Settings
from server.values import loads

_BODY_FORM: Mapping[str, str] = {
    "_ApplicationId": "x-parse-application-id",
    "_JavaScriptKey": "x-parse-javascript-key",
    "_ClientKey": "x-parse-client-key",
    "_RestAPIKey": "x-parse-rest-api-key",
    "_MasterKey": "x-parse-master-key",
    "_MaintenanceKey": "x-parse-maintenance-key",
    "_SessionToken": "x-parse-session-token",
    "_InstallationId": "x-parse-installation-id",
    "_ClientVersion": "x-parse-client-version",
}
_DROPPED = ("_RevocableSession", "_noBody", "_method")


@lru_cache(maxsize=64)
def _networks(ranges: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in ranges)


@lru_cache(maxsize=4096)
def is_in_ranges(address: str, ranges: tuple[str, ...]) -> bool:
    """Whether an IP address is in one of these ranges; an IPv4 in IPv6 form counts as IPv4."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any((mapped or ip) in network for network in _networks(ranges))


def _same(given: str, key: str | None) -> bool:
    """SECURITY: constant time, so that a key cannot be guessed letter by letter."""
    return bool(key) and hmac.compare_digest(given.encode(), str(key).encode())


class Identifier:
    """Reads identities by the app's settings."""

    def __init__(self, settings: Settings, resolver: CallerResolver) -> None:
        self._settings = settings
        self._resolver = resolver
        self._client_keys = tuple(
            (header, key)
            for header, key in (
                ("x-parse-client-key", settings.client_key),
                ("x-parse-javascript-key", settings.javascript_key),
                ("x-parse-rest-api-key", settings.rest_api_key),
                ("x-parse-windows-key", settings.dot_net_key),
            )
            if key
        )

    def knows_app(self, headers: Mapping[str, str]) -> bool:
        return headers.get("x-parse-application-id") == self._settings.app_id

    def read_basic(self, headers: dict[str, str]) -> None:
        """``Authorization: Basic appId:masterKey``, or ``appId:javascript-key=KEY``."""
        scheme, _, encoded = headers["authorization"].partition(" ")
        if scheme.lower() != "basic":
            return
        try:
            text = base64.b64decode(encoded).decode()
        except (binascii.Error, ValueError):
            return
        app_id, _, secret = text.partition(":")
        if app_id != self._settings.app_id:
            return
        headers["x-parse-application-id"] = app_id
        name, _, value = secret.partition("=")
        if name == "javascript-key":
            headers["x-parse-javascript-key"] = value
        elif secret:
            headers["x-parse-master-key"] = secret

    def read_body_form(self, headers: dict[str, str], body: dict[str, Any]) -> None:
        """Move the SDK's underscore members to where headers are; the body keeps the rest.

        Raises 403 where a member is not text.
        """
        for member, header in _BODY_FORM.items():
            value = body.pop(member, None)
            if value is None:
                continue
            if not isinstance(value, str):
                raise unauthorized()
            headers[header] = value
        for member in _DROPPED:
            body.pop(member, None)

    async def identify(
        self, headers: Mapping[str, str], ip: str, path: str, *, is_public: bool
    ) -> Caller:
        """The caller. Raises 403 for a bad app id, client key or address, 209 for a bad session."""
        if is_public and not self.knows_app(headers):
            return ANONYMOUS
        if not self.knows_app(headers):
            raise unauthorized()
        privileged = self._privileged(headers, ip)
        if privileged is not None:
            return privileged
        if self._client_keys and not any(
            _same(headers.get(header, ""), key) for header, key in self._client_keys
        ):
            raise unauthorized()
        token = headers.get("x-parse-session-token")
        # WIRE: the JS SDK sends an old token along with a log-in; it says nothing then.
        if not token or path in ("/login", "/login/"):
            return ANONYMOUS
        try:
            return await self._resolver.resolve(token)
        except ParseError as error:
            # WIRE: this one route words the refusal of an unknown token itself.
            if path == "/sessions/me" and error.message == INVALID_SESSION:
                return ANONYMOUS
            raise

    def _privileged(self, headers: Mapping[str, str], ip: str) -> Caller | None:
        """A caller with one of the great keys. A wrong key is no error, the wrong place is."""
        settings = self._settings
        maintenance = headers.get("x-parse-maintenance-key")
        if maintenance and _same(maintenance, settings.maintenance_key):
            return _from(ip, settings.maintenance_key_ips, MAINTENANCE)
        master = headers.get("x-parse-master-key")
        if not master:
            return None
        if _same(master, settings.master_key):
            return _from(ip, settings.master_key_ips, MASTER)
        if _same(master, settings.read_only_master_key):
            return _from(ip, settings.read_only_master_key_ips, READ_ONLY_MASTER)
        return None


def _from(ip: str, ranges: tuple[str, ...], caller: Caller) -> Caller:
    if not is_in_ranges(ip, ranges):
        raise unauthorized()
    return caller


def cloud_context(headers: Mapping[str, str], body_context: Any) -> dict[str, Any]:
    """The context for hooks. Raises 107 where it is not an object."""
    given: Any = body_context
    if given is None:
        given = headers.get("x-parse-cloud-context")
    if given is None:
        return {}
    if isinstance(given, str):
        try:
            given = loads(given)
        except ValueError:
            given = None
    if not isinstance(given, dict):
        raise invalid_json("Invalid object for context.")
    return given


def make_context(
    caller: Caller, headers: Mapping[str, str], ip: str, mount_url: str, context: dict[str, Any]
) -> Context:
    return Context(
        caller=caller,
        mount_url=mount_url,
        installation_id=headers.get("x-parse-installation-id"),
        headers=headers,
        ip=ip,
        cloud=context,
    )
