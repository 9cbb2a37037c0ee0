"""From a session token to a `Caller`: sessions, users and inherited roles, cached.

The cache is right because the change feed reports every write to ``_Session``, ``_User``,
``_Role`` and the role relations, of whichever process; while the feed is down, `trusted` is off
and every request asks the database.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.access.caller import PUBLIC, Caller
from server.errors import Code, ParseError
from server.storage.mongo import Database
from server.values import StoredDocument, WireObject, utc_now

USERS_IN_ROLES = "_Join:users:_Role"
ROLES_IN_ROLES = "_Join:roles:_Role"
INVALID_SESSION = "Invalid session token"
_CAPACITY = 20_000
_TOKEN = re.compile(r"[\x21-\x7e]{1,200}\Z")


def invalid_session_token() -> ParseError:
    return ParseError(Code.INVALID_SESSION_TOKEN, INVALID_SESSION)


@dataclass(frozen=True, slots=True)
class _Entry:
    caller: Caller
    session_id: str
    expires_at: datetime | None


class CallerResolver:
    """Resolves session tokens.

    Args:
        render_user: a stored ``_User`` document as its owner sees it.
        on_use: told of the session's id, expiry and token each time a session is used.
        is_expiring: whether sessions end at their ``expiresAt``.
    """

    def __init__(
        self,
        database: Database,
        render_user: Callable[[StoredDocument], WireObject],
        *,
        is_expiring: bool = True,
        on_use: Callable[[str, datetime], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._render_user = render_user
        self._is_expiring = is_expiring
        self.on_use = on_use
        self.trusted = False
        self.generation = 0
        self._entries: dict[str, _Entry] = {}
        self._tokens_by_session: dict[str, str] = {}
        self._tokens_by_user: dict[str, set[str]] = {}

    async def resolve(self, token: str) -> Caller:
        """The caller of a session. Raises 209: no such session, or an expired one."""
        entry = self._entries.get(token) if self.trusted else None
        if entry is None:
            entry = await self._load(token)
        if entry.expires_at is not None:
            if self._is_expiring and entry.expires_at < utc_now():
                raise ParseError(Code.INVALID_SESSION_TOKEN, "Session token is expired.")
            if self.on_use is not None:
                await self.on_use(entry.session_id, entry.expires_at)
        return entry.caller

    async def for_user(self, user_id: str, token: str | None = None) -> Caller:
        """A caller with the rights of a user, from the database. Raises 209: no such user."""
        document = await self._database.find_one("_User", {"_id": user_id})
        if document is None:
            raise invalid_session_token()
        return await self._make_caller(document, token)

    async def _load(self, token: str) -> _Entry:
        if not _TOKEN.match(token):
            raise invalid_session_token()
        generation = self.generation
        entry = await self._read(token)
        # A change that was reported while we read may be one that we did not see.
        if self.trusted and generation == self.generation:
            self._keep(token, entry)
        return entry

    async def _read(self, token: str) -> _Entry:
        if not token.startswith("r:"):
            return await self._read_legacy(token)
        session = await self._database.find_one("_Session", {"_session_token": token})
        owner = str((session or {}).get("_p_user") or "")
        if session is None or not owner.startswith("_User$"):
            raise invalid_session_token()
        user = await self._database.find_one("_User", {"_id": owner[6:]})
        if user is None:
            raise invalid_session_token()
        expires_at = session.get("expiresAt", session.get("_expiresAt"))
        if not isinstance(expires_at, datetime):
            expires_at = None
        return _Entry(await self._make_caller(user, token), session["_id"], expires_at)

    async def _read_legacy(self, token: str) -> _Entry:
        """Tokens of before revocable sessions stand in the user's document."""
        user = await self._database.find_one("_User", {"_session_token": token})
        if user is None:
            raise invalid_session_token()
        return _Entry(await self._make_caller(user, token), "", None)

    async def _make_caller(self, user: StoredDocument, token: str | None) -> Caller:
        roles = await self.roles_of(user["_id"])
        return Caller(
            user=self._render_user(user),
            user_id=user["_id"],
            session_token=token,
            roles=roles,
            entities=(PUBLIC, user["_id"], *(f"role:{name}" for name in sorted(roles))),
        )

    async def roles_of(self, user_id: str) -> frozenset[str]:
        """Names of all roles of a user: their own, and those that contain these, to the end.

        SECURITY: rows of a deleted role may remain; it then neither counts nor leads on.
        """
        names: set[str] = set()
        seen: set[str] = set()
        rows = await self._database.find(USERS_IN_ROLES, {"relatedId": user_id})
        while fresh := {row["owningId"] for row in rows} - seen:
            seen |= fresh
            roles = await self._database.find(
                "_Role", {"_id": {"$in": list(fresh)}}, projection={"name": 1}
            )
            names.update(role["name"] for role in roles if isinstance(role.get("name"), str))
            living = [role["_id"] for role in roles]
            rows = await self._database.find(ROLES_IN_ROLES, {"relatedId": {"$in": living}})
        return frozenset(names)

    # ---- the cache ----------------------------------------------------------------------------

    def _keep(self, token: str, entry: _Entry) -> None:
        while len(self._entries) >= _CAPACITY:
            self._forget(next(iter(self._entries)))
        self._entries[token] = entry
        if entry.session_id:
            self._tokens_by_session[entry.session_id] = token
        self._tokens_by_user.setdefault(entry.caller.user_id or "", set()).add(token)

    def _forget(self, token: str) -> None:
        entry = self._entries.pop(token, None)
        if entry is None:
            return
        self._tokens_by_session.pop(entry.session_id, None)
        user_id = entry.caller.user_id or ""
        tokens = self._tokens_by_user.get(user_id)
        if tokens is not None:
            tokens.discard(token)
            if not tokens:
                del self._tokens_by_user[user_id]

    def forget_session(self, session_id: str) -> None:
        """A session changed or ended."""
        self.generation += 1
        token = self._tokens_by_session.get(session_id)
        if token is not None:
            self._forget(token)

    def forget_token(self, token: str) -> None:
        self.generation += 1
        self._forget(token)

    def forget_user(self, user_id: str) -> None:
        """A user, or the roles of one user, changed."""
        self.generation += 1
        for token in tuple(self._tokens_by_user.get(user_id, ())):
            self._forget(token)

    def forget_all(self) -> None:
        """A role changed, or changes may have been missed."""
        self.generation += 1
        self._entries.clear()
        self._tokens_by_session.clear()
        self._tokens_by_user.clear()

    def on_change(self, collection: str, op: str, key: Any, after: StoredDocument | None) -> None:
        """A write reported by the change feed."""
        match collection:
            case "_Session":
                if op != "insert":
                    self._forget_changed(self.forget_session, key)
            case "_User":
                if op != "insert":
                    self._forget_changed(self.forget_user, key)
            case "_Join:users:_Role" if op == "insert" and after is not None:
                self.forget_user(str(after.get("relatedId")))
            case "_Role" if op == "insert":
                pass
            case "_Role" | "_Join:users:_Role" | "_Join:roles:_Role":
                self.forget_all()

    def _forget_changed(self, forget: Callable[[str], None], key: Any) -> None:
        if key is None:  # the collection was dropped
            self.forget_all()
        else:
            forget(str(key))
