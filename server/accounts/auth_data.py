"""What clients send as ``authData``: finding its user, having providers check it, storing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.access.caller import Context
from server.accounts.providers import ANONYMOUS, AuthRequest, Providers, unsupported
from server.errors import Code, ParseError
from server.storage.documents import encode_nested
from server.storage.mongo import Database
from server.values import StoredDocument, WireObject

STORED_PREFIX = "_auth_data_"
_MOST_PROVIDERS = 50


@dataclass(slots=True)
class Checked:
    """``data``: provider to what is to be stored, ``None`` to unlink. ``response``: for clients.

    ``consumed``: providers that changed what they keep, such as one-time codes.
    """

    data: WireObject = field(default_factory=dict)
    response: WireObject = field(default_factory=dict)
    consumed: set[str] = field(default_factory=set)


def storage_changes(auth_data: WireObject) -> tuple[dict[str, Any], set[str]]:
    """The storage keys to set, and those to unset, for ``{provider: data or None}``."""
    to_set = {
        STORED_PREFIX + name: encode_nested(data)
        for name, data in auth_data.items()
        if data is not None
    }
    return to_set, {STORED_PREFIX + name for name, data in auth_data.items() if data is None}


def already_linked() -> ParseError:
    """The provider's id belongs to another user."""
    return ParseError(Code.ACCOUNT_ALREADY_LINKED, "this auth is already used")


def stored_auth_data(user: StoredDocument) -> WireObject:
    """``{provider: data}`` of a stored user; nulls left by old SDKs are dropped."""
    start = len(STORED_PREFIX)
    return {
        key[start:]: value
        for key, value in user.items()
        if key.startswith(STORED_PREFIX) and value is not None
    }


def read(value: Any) -> WireObject:
    """``authData`` of a body as a dict. Raises 252 when it is none, 111 for other types."""
    if value is None or value == "" or isinstance(value, str):
        raise unsupported()
    if not isinstance(value, dict):
        kind = "Array" if isinstance(value, list) else "Number"
        kind = "Boolean" if isinstance(value, bool) else kind
        raise ParseError(
            Code.INCORRECT_TYPE,
            f"schema mismatch for _User.authData; expected Object but got {kind}",
        )
    if "__op" in value or len(value) > _MOST_PROVIDERS:
        raise unsupported()
    return value


def names_somebody(auth_data: Any) -> bool:
    """Whether some provider comes with data: then neither username nor password is needed."""
    return isinstance(auth_data, dict) and any(
        isinstance(data, dict) and data for data in auth_data.values()
    )


def changed(auth_data: WireObject, stored: Mapping[str, Any]) -> WireObject:
    """The providers whose data say something that is not stored yet.

    A client may send back what it was shown, which can be a part of what is stored: no change.
    """
    return {
        name: data
        for name, data in auth_data.items()
        if data is None or (name != ANONYMOUS and not _is_part(data, stored.get(name)))
    }


def _is_part(data: Any, stored: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(stored, dict):
        return False
    return all(key in stored and stored[key] == value for key, value in data.items())


class AuthData:
    """The steps that need the database or the providers."""

    def __init__(self, database: Database, providers: Providers) -> None:
        self._database = database
        self._providers = providers

    async def find_users(self, auth_data: WireObject, ctx: Context) -> list[StoredDocument]:
        """At most two users who own one of the ids. Raises 162 for an id that is not text.

        Users locked out by an empty ACL are found by the master key only.
        """
        clauses = []
        for name, data in auth_data.items():
            if data is None or self._providers.get(name) is None:
                continue
            if not isinstance(data, dict):
                raise _invalid_id(name)
            identity = data.get("id")
            if identity is None or identity == "":
                continue
            if not isinstance(identity, str):
                raise _invalid_id(name)
            clauses.append({f"{STORED_PREFIX}{name}.id": identity})
        if not clauses:
            return []
        found = await self._database.find("_User", {"$or": clauses}, limit=2, session=ctx.session)
        if ctx.caller.is_privileged:
            return found
        return [user for user in found if not is_locked_out(user)]

    async def check(
        self, ctx: Context, auth_data: WireObject, user: StoredDocument | None, *, is_login: bool
    ) -> Checked:
        """Have each provider check its data, by name, so that errors do not depend on order.

        Raises 252 for an unknown provider, and what providers raise.
        """
        checked = Checked()
        stored = stored_auth_data(user) if user else {}
        for name in sorted(auth_data):
            data = auth_data[name]
            if data is None and is_name(name):
                checked.data[name] = None
                continue
            provider = self._providers.get(name)
            if provider is None:
                raise unsupported()
            if not isinstance(data, dict):
                raise _invalid_id(name)
            step = "setUp" if name not in stored else "login" if is_login else "update"
            answer = await provider.validate(data, AuthRequest(ctx, step, user))
            if answer.response is not None:
                checked.response[name] = answer.response
            if not answer.do_not_save:
                checked.data[name] = data if answer.save is None else answer.save
            if answer.save is not None:
                checked.consumed.add(name)
        return checked

    def require_additional(self, auth_data: Any, user: StoredDocument) -> None:
        """Refuse a log-in that lacks a second factor its user has set up (-1)."""
        given = auth_data if isinstance(auth_data, dict) else {}
        missing = []
        for name in stored_auth_data(user):
            provider = self._providers.get(name)
            if provider is None:
                continue
            if provider.policy in ("solo", "additional") and given.get(name):
                return
            if provider.policy == "additional":
                missing.append(name)
        if missing:
            names = ",".join(missing)
            raise ParseError(Code.OTHER_CAUSE, f"Missing additional authData {names}")


def is_name(name: str) -> bool:
    """Whether this can be a provider's name: it becomes part of a storage key."""
    return name.isascii() and name.replace("_", "").replace("-", "").isalnum()


def is_locked_out(user: StoredDocument) -> bool:
    """Whether the user's ACL lets nobody in: such a user cannot log in."""
    has_acl = "_rperm" in user or "_wperm" in user
    return has_acl and not user.get("_rperm") and not user.get("_wperm")


def _invalid_id(name: str) -> ParseError:
    return ParseError(Code.INVALID_VALUE, f"Invalid authData id for provider '{name}'.")
