"""Logging in and out: by password, by auth data, as another user, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from server.access.caller import MASTER, Context
from server.access.callers import CallerResolver, invalid_session_token
from server.accounts import auth_data as linking
from server.accounts.auth_data import AuthData, Checked, is_locked_out
from server.accounts.passwords import Passwords
from server.accounts.sessions import CLASS as SESSION
from server.accounts.sessions import Sessions, created_with, no_session
from server.accounts.users import CLASS, PASSWORD_KEY
from server.errors import Code, Forbidden, ParseError, object_not_found
from server.objects.query import Query
from server.objects.rules import Saved
from server.storage.mongo import Database
from server.triggers.calls import Kind, TriggerCall, TriggerResult
from server.values import StoredDocument, WireObject


class Objects(Protocol):
    """The part of the object store needed here."""

    async def get(self, ctx: Context, class_name: str, query: Query) -> WireObject: ...

    async def render(
        self, ctx: Context, class_name: str, document: StoredDocument
    ) -> WireObject: ...


class Hooks(Protocol):
    """The part of the trigger registry needed here."""

    def has(self, kind: Kind, class_name: str) -> bool: ...

    async def run(self, kind: Kind, call: TriggerCall) -> TriggerResult: ...


def _wrong_credentials() -> ParseError:
    """SECURITY: one answer for unknown users, wrong passwords and locked accounts."""
    return object_not_found("Invalid username/password.")


class Login:
    """Log-ins and log-outs."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        hooks: Hooks,
        sessions: Sessions,
        passwords: Passwords,
        auth_data: AuthData,
        resolver: CallerResolver,
    ) -> None:
        self._database = database
        self._objects = objects
        self._hooks = hooks
        self._sessions = sessions
        self._passwords = passwords
        self._auth_data = auth_data
        self._resolver = resolver

    # ---- in -----------------------------------------------------------------------------------

    async def log_in(self, ctx: Context, params: Mapping[str, Any]) -> WireObject:
        """Log in by password.

        Args:
            params: ``username`` and/or ``email``, ``password``, and ``authData`` for a second
                factor. An e-mail address may stand for the username.
        Returns:
            The user as it sees itself, with ``sessionToken``.
        Raises:
            ParseError: 200, 201 (something is missing), 101 (no such user and password), -1 (a
                second factor is missing), what a provider or a beforeLogin hook raises.
        """
        user = await self._authenticate(ctx, params)
        given = params.get("authData")
        self._auth_data.require_additional(given, user)
        checked: Checked | None = None
        if given:
            auth_data = linking.read(given)
            checked = await self._auth_data.check(ctx, auth_data, user, is_login=True)
        await self._before_login(ctx, user)
        if checked is not None:
            await self._store(user, checked)
        answer = await self._enter(ctx, user, created_with("login", "password"))
        if checked is not None:
            answer["authDataResponse"] = checked.response
        return answer

    async def log_in_by_auth_data(
        self, ctx: Context, user: StoredDocument, auth_data: WireObject
    ) -> Saved:
        """Answer a sign-up with the known user who owns its auth data.

        The providers are asked always, unless the user of the session sends nothing new.
        """
        await self._before_login(ctx, user)
        self._auth_data.require_additional(auth_data, user)
        is_self = ctx.caller.user_id == user["_id"] or ctx.caller.is_master
        response: WireObject | None = None
        if not is_self or linking.changed(auth_data, linking.stored_auth_data(user)):
            checked = await self._auth_data.check(ctx, auth_data, user, is_login=True)
            await self._store(user, checked)
            response = checked.response
        answer = await self._enter(ctx, user, created_with("login", ",".join(auth_data)))
        if response is not None:
            answer["authDataResponse"] = response
        return Saved(user["_id"], answer, status=200)

    async def log_in_as(self, ctx: Context, user_id: Any) -> WireObject:
        """A session of any user, for the master key. Of the hooks, only afterLogin runs: it may
        keep account of log-ins, while none may refuse the master key.

        Raises 119 for other callers, 162 without a user id, 101 for an unknown one.
        """
        if not ctx.caller.is_master:
            raise Forbidden("master key is required")
        if ctx.caller.is_read_only:
            raise Forbidden("read-only masterKey isn't allowed to login as another user.")
        if not user_id:
            raise ParseError(Code.INVALID_VALUE, "userId must not be empty, null, or undefined")
        user = None
        if isinstance(user_id, str):
            user = await self._database.find_one(CLASS, {"_id": user_id})
        if user is None:
            raise object_not_found("user not found")
        session = await self._sessions.create(
            user["_id"],
            created_with("login", "masterkey"),
            installation_id=ctx.installation_id,
        )
        await self._after_login(ctx, user, session["sessionToken"])
        answer = await self._objects.render(ctx, CLASS, user)
        answer["sessionToken"] = session["sessionToken"]
        return answer

    async def verify_password(self, ctx: Context, params: Mapping[str, Any]) -> WireObject:
        """As `log_in`, but without a session: the user, or a refusal."""
        user = await self._authenticate(ctx, params)
        asking = ctx
        if not ctx.caller.is_privileged:
            asking = ctx.acting_as(await self._resolver.for_user(user["_id"]), ctx.cloud)
        return await self._as_seen(asking, user)

    async def me(self, ctx: Context) -> WireObject:
        """The user of the request's session, with ``sessionToken``. Raises 209 without one."""
        token = ctx.caller.session_token
        user_id = ctx.caller.user_id
        if token is None:
            # The master key takes precedence over a session, which is then not resolved.
            token = ctx.headers.get("x-parse-session-token")
            if token and ctx.caller.is_privileged:
                user_id = (await self._resolver.resolve(token)).user_id
        if not token or user_id is None:
            raise no_session()
        try:
            user = await self._objects.get(ctx, CLASS, Query.for_get(user_id, {}))
        except ParseError as error:
            if error.code == Code.OBJECT_NOT_FOUND:
                raise invalid_session_token() from error
            raise
        user["sessionToken"] = token
        return user

    async def upgrade(self, ctx: Context) -> WireObject:
        """Another session for the caller, who may have come with a token of old. 101: nobody."""
        user_id = ctx.caller.user_id
        if user_id is None:
            raise object_not_found("invalid session")
        session = await self._sessions.create(
            user_id, created_with("upgrade"), installation_id=ctx.installation_id
        )
        token = ctx.caller.session_token
        if token and not token.startswith("r:"):
            await self._database.update_one(
                CLASS, {"_id": user_id}, {"$unset": {"_session_token": ""}}
            )
            self._resolver.forget_token(token)
        return session

    # ---- out ----------------------------------------------------------------------------------

    async def log_out(self, ctx: Context) -> None:
        """End the request's session; without one there is nothing to do."""
        token = ctx.caller.session_token
        session = await self._sessions.find(token) if token else None
        if session is None:
            return
        await self._sessions.end(session)
        if self._hooks.has(Kind.AFTER_LOGOUT, SESSION):
            ended = await self._objects.render(ctx.acting_as(MASTER), SESSION, session)
            ended["className"] = SESSION
            call = TriggerCall(Kind.AFTER_LOGOUT, SESSION, ctx, object=ended)
            await self._hooks.run(Kind.AFTER_LOGOUT, call)

    # ---- steps --------------------------------------------------------------------------------

    async def _authenticate(self, ctx: Context, params: Mapping[str, Any]) -> StoredDocument:
        username, email = params.get("username"), params.get("email")
        password = params.get("password")
        if not username and not email:
            raise ParseError(Code.USERNAME_MISSING, "username/email is required.")
        if not password:
            raise ParseError(Code.PASSWORD_MISSING, "password is required.")
        # SECURITY: only text may reach the filter, or an operator in place of it would match.
        for value in (username, email):
            if value and not isinstance(value, str):
                raise _wrong_credentials()
        if not isinstance(password, str):
            raise _wrong_credentials()
        user = await self._find_by_name(username, email)
        hashed = user.get(PASSWORD_KEY) if user is not None else None
        is_right = await self._passwords.verify(
            password, hashed if isinstance(hashed, str) else None
        )
        if user is None or not is_right:
            raise _wrong_credentials()
        if is_locked_out(user) and not ctx.caller.is_master:
            raise _wrong_credentials()
        return user

    async def _find_by_name(self, username: Any, email: Any) -> StoredDocument | None:
        names: dict[str, Any]
        if username and email:
            names = {"username": username, "email": email}
        elif email:
            names = {"email": email}
        else:
            names = {"$or": [{"username": username}, {"email": username}]}
        found = await self._database.find(CLASS, names, limit=2)
        if len(found) > 1:
            # The name of one user is the address of another: the name wins.
            found = [user for user in found if user.get("username") == username]
        return found[0] if found else None

    async def _before_login(self, ctx: Context, user: StoredDocument) -> None:
        if self._hooks.has(Kind.BEFORE_LOGIN, CLASS):
            seen = await self._objects.render(ctx.acting_as(MASTER), CLASS, user)
            seen["className"] = CLASS
            call = TriggerCall(Kind.BEFORE_LOGIN, CLASS, ctx, object=seen)
            await self._hooks.run(Kind.BEFORE_LOGIN, call)

    async def _enter(self, ctx: Context, user: StoredDocument, how: WireObject) -> WireObject:
        """Session, afterLogin, and the user read anew: hooks may have changed it."""
        session = await self._sessions.create(user["_id"], how, installation_id=ctx.installation_id)
        token = session["sessionToken"]
        entered = ctx.acting_as(await self._resolver.resolve(token), ctx.cloud)
        await self._after_login(entered, user, token)
        answer = await self._as_seen(ctx if ctx.caller.is_privileged else entered, user)
        answer["sessionToken"] = token
        return answer

    async def _after_login(self, ctx: Context, user: StoredDocument, token: str) -> None:
        if self._hooks.has(Kind.AFTER_LOGIN, CLASS):
            seen = await self._objects.render(ctx.acting_as(MASTER), CLASS, user)
            seen |= {"className": CLASS, "sessionToken": token}
            call = TriggerCall(Kind.AFTER_LOGIN, CLASS, ctx, object=seen)
            await self._hooks.run(Kind.AFTER_LOGIN, call)

    async def _as_seen(self, ctx: Context, user: StoredDocument) -> WireObject:
        """The user as the caller may see it; the mere id when that is not at all."""
        try:
            return await self._objects.get(ctx, CLASS, Query.for_get(user["_id"], {}))
        except ParseError:
            return {"objectId": user["_id"]}

    async def _store(self, user: StoredDocument, checked: Checked) -> None:
        """Save what providers want kept; a code that was used meanwhile is refused (141)."""
        stored = linking.stored_auth_data(user)
        to_set, to_unset = linking.storage_changes(
            {
                name: data
                for name, data in checked.data.items()
                if data != stored.get(name) and linking.is_name(name)
            }
        )
        if not to_set and not to_unset:
            return
        unused = {
            linking.STORED_PREFIX + name: stored.get(name)
            for name in checked.consumed
            if linking.STORED_PREFIX + name in to_set
        }
        update: dict[str, Any] = {}
        if to_set:
            update["$set"] = to_set
        if to_unset:
            update["$unset"] = dict.fromkeys(to_unset, "")
        if not await self._database.update_one(CLASS, {"_id": user["_id"], **unused}, update):
            raise ParseError(Code.SCRIPT_FAILED, "Invalid auth data")
        self._resolver.forget_user(user["_id"])
