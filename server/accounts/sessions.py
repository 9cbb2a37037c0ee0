"""Sessions: making, ending and prolonging them, and what clients may do to ``_Session``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from server.access.caller import Context
from server.access.callers import CallerResolver
from server.errors import Code, Forbidden, ParseError, object_not_found
from server.objects.rules import NoRules, Write
from server.settings import Settings
from server.storage.mongo import Database
from server.values import (
    StoredDocument,
    WireObject,
    new_object_id,
    new_session_token,
    pointer,
    to_iso,
    utc_now,
)

CLASS = "_Session"
# Cloud code signs users up without logging them in.
CLOUD_INSTALLATION = "cloud"
_SERVER_CHOSEN = frozenset(("objectId", "user", "sessionToken", "expiresAt", "createdWith"))


class ClassMaker(Protocol):
    """The part of the schema registry needed here."""

    async def ensure_class(self, class_name: str) -> Any: ...


def no_session() -> ParseError:
    """The request needs a session and has none."""
    return Forbidden("Invalid session token", Code.INVALID_SESSION_TOKEN)


def created_with(action: str, auth_provider: str | None = None) -> WireObject:
    """``{"action": "login", "authProvider": "password"}``."""
    found: WireObject = {"action": action}
    if auth_provider:
        found["authProvider"] = auth_provider
    return found


class Sessions:
    """All of the server's own writes to ``_Session``."""

    def __init__(
        self,
        database: Database,
        classes: ClassMaker,
        resolver: CallerResolver,
        settings: Settings,
    ) -> None:
        self._database = database
        self._classes = classes
        self._resolver = resolver
        self._length = timedelta(seconds=settings.session_length)
        self._is_expiring = settings.expire_inactive_sessions
        self._id_size = settings.object_id_size
        self._has_class = False

    def expiry(self) -> datetime | None:
        """When a session made now ends; ``None``: never."""
        return utc_now() + self._length if self._is_expiring else None

    async def create(
        self,
        user_id: str,
        how: Mapping[str, Any] | None,
        *,
        installation_id: str | None = None,
        transaction: Any = None,
    ) -> WireObject:
        """Start a session; other sessions of the same user and installation end.

        Args:
            how: ``createdWith``: ``{"action": "login", "authProvider": "password"}``.
            transaction: the driver's session of the batch that this is part of.
        Returns:
            The session in wire form, ``sessionToken`` and ``objectId`` included.
        """
        if not self._has_class:
            await self._classes.ensure_class(CLASS)
            self._has_class = True
        now = utc_now()
        document: StoredDocument = {
            "_id": new_object_id(self._id_size),
            "_session_token": new_session_token(),
            "_p_user": f"_User${user_id}",
        }
        if how is not None:
            document["createdWith"] = dict(how)
        expires_at = self.expiry()
        if expires_at is not None:
            document["expiresAt"] = expires_at
        if installation_id:
            document["installationId"] = installation_id
        document["_created_at"] = document["_updated_at"] = now
        await self._database.insert(CLASS, document, session=transaction)
        await self.end_others(document, transaction)
        return _to_wire(document)

    async def end_others(self, session: StoredDocument, transaction: Any = None) -> None:
        """End the user's other sessions of the same installation."""
        installation_id, user = session.get("installationId"), session.get("_p_user")
        if installation_id and user:
            await self._delete(
                {
                    "_p_user": user,
                    "installationId": installation_id,
                    "_id": {"$ne": session["_id"]},
                },
                transaction,
            )

    async def find(self, token: str) -> StoredDocument | None:
        """The stored session of a token."""
        return await self._database.find_one(CLASS, {"_session_token": token})

    async def end(self, session: StoredDocument) -> None:
        await self._delete({"_id": session["_id"]})
        self._resolver.forget_token(str(session.get("_session_token")))

    async def end_all(self, user_id: str, transaction: Any = None) -> None:
        """End every session of a user."""
        await self._delete({"_p_user": f"_User${user_id}"}, transaction)
        self._resolver.forget_user(user_id)

    async def _delete(self, filter: Mapping[str, Any], transaction: Any = None) -> None:
        # This worker must not wait for the change feed to tell it of its own deletions.
        found = await self._database.find(
            CLASS, filter, projection={"_session_token": 1}, session=transaction
        )
        if found:
            ids = [session["_id"] for session in found]
            await self._database.delete(
                CLASS, {"_id": {"$in": ids}}, many=True, session=transaction
            )
        for session in found:
            self._resolver.forget_token(str(session.get("_session_token")))

    async def extend(self, session_id: str, expires_at: datetime) -> None:
        """Give a used session its full length again once half of it is gone."""
        now = utc_now()
        if not session_id or expires_at - now > self._length / 2:
            return
        await self._database.update_one(
            CLASS,
            {"_id": session_id},
            {"$set": {"expiresAt": now + self._length, "_updated_at": now}},
        )
        self._resolver.forget_session(session_id)


def _to_wire(document: StoredDocument) -> WireObject:
    session: WireObject = {
        "objectId": document["_id"],
        "sessionToken": document["_session_token"],
        "user": pointer("_User", document["_p_user"].partition("$")[2]),
    }
    for key in ("createdWith", "expiresAt", "installationId"):
        if key in document:
            session[key] = document[key]
    session["createdAt"] = session["updatedAt"] = to_iso(document["_created_at"])
    return session


class SessionRules(NoRules):
    """``_Session`` as a class: users see and change their own sessions only."""

    needs_original = True
    needs_document = True

    def __init__(self, sessions: Sessions, resolver: CallerResolver) -> None:
        self._sessions = sessions
        self._resolver = resolver

    async def check(self, ctx: Context, write: Write) -> None:
        """Raises 209 without a user, 105 for a field that clients may not set."""
        caller = ctx.caller
        if not caller.is_privileged and caller.user_id is None:
            raise ParseError(Code.INVALID_SESSION_TOKEN, "Session token required.")
        if "ACL" in write.body:
            raise ParseError(Code.INVALID_KEY_NAME, "Cannot set ACL on a Session.")
        if not write.is_new:
            _check_changes(ctx, write.body)
            if not _is_own(ctx, write.original or {}):
                raise object_not_found()
        elif not caller.is_privileged:
            write.body = {k: v for k, v in write.body.items() if k not in _SERVER_CHOSEN}

    async def complete(self, ctx: Context, write: Write) -> None:
        """A session that a user asks for: token, owner and expiry are the server's choice."""
        if not write.is_new or ctx.caller.is_privileged:
            return
        user_id = str(ctx.caller.user_id)
        chosen: WireObject = {
            "sessionToken": new_session_token(),
            "user": pointer("_User", user_id),
            "createdWith": created_with("create"),
        }
        expires_at = self._sessions.expiry()
        if expires_at is not None:
            chosen["expiresAt"] = expires_at
        write.stored_set |= {
            ("_session_token" if key == "sessionToken" else key): value
            for key, value in chosen.items()
            if key != "user"
        }
        write.stored_set["_p_user"] = f"_User${user_id}"
        write.response |= {**write.body, **chosen}

    async def after(self, ctx: Context, write: Write) -> None:
        if write.document is None:
            return
        if write.is_new:
            await self._sessions.end_others(write.document, ctx.session)
        else:
            self._resolver.forget_token(str(write.document.get("_session_token")))

    async def before_delete(self, ctx: Context, object_id: str, document: StoredDocument) -> None:
        """Raises 101 for somebody else's session, 209 without a user."""
        if not ctx.caller.is_privileged and ctx.caller.user_id is None:
            raise no_session()
        if not _is_own(ctx, document):
            raise object_not_found("Object not found for delete.")

    async def after_delete(self, ctx: Context, object_id: str, document: StoredDocument) -> None:
        self._resolver.forget_token(str(document.get("_session_token")))


def _is_own(ctx: Context, session: StoredDocument) -> bool:
    return ctx.caller.is_privileged or session.get("_p_user") == f"_User${ctx.caller.user_id}"


def _check_changes(ctx: Context, body: WireObject) -> None:
    caller = ctx.caller
    # ``createdWith.action`` is a part of ``createdWith``.
    names = {name.partition(".")[0] for name in body}
    refused = []
    if "user" in body and not caller.is_master:
        owner = body["user"]
        is_own = isinstance(owner, dict) and owner.get("objectId") == caller.user_id
        if not is_own or caller.user_id is None:
            refused.append("user")
    refused += [key for key in ("installationId", "sessionToken") if key in names]
    if not caller.is_privileged:
        refused += [key for key in ("expiresAt", "createdWith") if key in names]
    if refused:
        raise ParseError(Code.INVALID_KEY_NAME, f"Invalid key name: {refused[0]}")
