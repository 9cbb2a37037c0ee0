"""Users as a class: sign-up, update and deletion of ``_User``, beside what any object has."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from server.access.acl import can_write
from server.access.caller import Context
from server.access.callers import CallerResolver
from server.accounts import auth_data as linking
from server.accounts.auth_data import STORED_PREFIX, AuthData
from server.accounts.passwords import Passwords
from server.accounts.providers import unsupported
from server.accounts.sessions import CLOUD_INSTALLATION, Sessions, created_with
from server.errors import Code, Forbidden, ParseError
from server.objects.rules import NoRules, Saved, Write
from server.settings import Settings
from server.storage.documents import encode_acl
from server.storage.mongo import Database
from server.values import StoredDocument, WireObject, random_string

CLASS = "_User"
PASSWORD_KEY = "_hashed_password"
# As the indexes ``case_insensitive_username`` and ``case_insensitive_email``.
_CASE_INSENSITIVE = {"locale": "en_US", "strength": 2}
_EMAIL = re.compile(r".+@.+", re.DOTALL)
_RESET_KEYS = frozenset(("_perishable_token", "_perishable_token_expires_at"))
_FULL = {"read": True, "write": True}

LogInByAuthData = Callable[[Context, StoredDocument, WireObject], Awaitable[Saved]]


def username_missing() -> ParseError:
    return ParseError(Code.USERNAME_MISSING, "bad or missing username")


def username_taken() -> ParseError:
    return ParseError(Code.USERNAME_TAKEN, "Account already exists for this username.")


def email_taken() -> ParseError:
    return ParseError(Code.EMAIL_TAKEN, "Account already exists for this email address.")


class UserRules(NoRules):
    """The rules of ``_User``.

    ``log_in``: answers a sign-up whose auth data belong to a known user; set by `Accounts`.
    """

    needs_original = True
    needs_document = True
    log_in: LogInByAuthData

    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        passwords: Passwords,
        auth_data: AuthData,
        resolver: CallerResolver,
        settings: Settings,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._passwords = passwords
        self._auth_data = auth_data
        self._resolver = resolver
        self._settings = settings

    def missing(self, ctx: Context, object_id: str) -> ParseError:
        """206 for users: whether somebody else's account exists is not told."""
        if ctx.caller.is_privileged:
            return super().missing(ctx, object_id)
        if ctx.caller.user_id is None:
            return Forbidden(f"Cannot modify user {object_id}.", Code.SESSION_MISSING)
        return Forbidden("Insufficient auth.", Code.SESSION_MISSING)

    def duplicate(self, error: ParseError, stored_keys: tuple[str, ...]) -> ParseError:
        """The same words as for a name found taken before the write."""
        for key in stored_keys:
            if key == "username":
                return username_taken()
            if key == "email":
                return email_taken()
            if key.startswith(STORED_PREFIX):
                return linking.already_linked()
        return error

    # ---- before hooks -------------------------------------------------------------------------

    async def check(self, ctx: Context, write: Write) -> None:
        """Who may write, names and passwords given, auth data checked by their providers.

        Raises 200, 201 (sign-up without them), 206 (not one's own), 119 (``emailVerified``),
        and for auth data 208, 252, 162 and what providers raise.
        """
        # A client may send back the token it was given; it is not a column.
        write.body = {k: v for k, v in write.body.items() if k != "sessionToken"}
        for name in write.body:
            if name.startswith("authData."):
                raise ParseError(Code.INVALID_KEY_NAME, f"Invalid field name: {name}.")
        if write.is_new:
            _require_credentials(write.body)
        else:
            self._require_writer(ctx, write)
            if write.body.get("authData", 0) in (None, ""):
                raise unsupported()
        if "authData" in write.body:
            await self._check_auth_data(ctx, write)
        if write.answer is None and "emailVerified" in write.body and not ctx.caller.is_privileged:
            raise Forbidden("Clients aren't allowed to manually update email verification.")

    def _require_writer(self, ctx: Context, write: Write) -> None:
        object_id = write.object_id or ""
        if ctx.caller.is_privileged:
            return
        if ctx.caller.user_id is None or not can_write(write.original or {}, ctx.caller):
            raise self.missing(ctx, object_id)

    async def _check_auth_data(self, ctx: Context, write: Write) -> None:
        given = linking.read(write.body["authData"])
        if not given:
            del write.body["authData"]
            return
        users = await self._auth_data.find_users(given, ctx)
        found = users[0] if users else None
        owner_id = ctx.caller.user_id if write.is_new else write.object_id
        is_others = found is not None and owner_id is not None and found["_id"] != owner_id
        if len(users) > 1 or is_others:
            # SECURITY: only who can prove to hold the id is told that somebody else has it.
            await self._auth_data.check(ctx, given, found, is_login=False)
            raise linking.already_linked()
        if found is not None and write.is_new:
            write.answer = await self.log_in(ctx, found, given)
            return
        if found is not None:
            given = linking.changed(given, linking.stored_auth_data(found))
            if not given:
                del write.body["authData"]
                return
        checked = await self._auth_data.check(ctx, given, write.original, is_login=False)
        write.body["authData"] = checked.data
        write.response["authDataResponse"] = checked.response

    # ---- before the write ---------------------------------------------------------------------

    async def complete(self, ctx: Context, write: Write) -> None:
        """Names are free, the password is hashed, the user may use the own object.

        Raises 202, 203 (taken), 125 (not an address), 201 (a password that is none), 208.
        """
        # SECURITY: neither is ever stored under its own name.
        write.stored_unset |= {"password", "authData"}
        await self._complete_auth_data(ctx, write)
        if write.is_new and not write.body.get("username"):
            username = random_string(25)
            write.stored_set["username"] = write.response["username"] = username
        await self._require_free_names(ctx, write)
        self._complete_acl(ctx, write)
        if "password" in write.body:
            await self._hash_password(write)
        if not write.is_new and (PASSWORD_KEY in write.stored_set or "email" in write.body):
            # A mail that was sent to reset the old password must not reset the new one.
            write.stored_unset |= _RESET_KEYS

    async def _complete_auth_data(self, ctx: Context, write: Write) -> None:
        if "authData" not in write.body:
            return
        auth_data = linking.read(write.body.pop("authData"))
        if any(not linking.is_name(name) for name in auth_data):
            raise unsupported()
        # Once more, as a hook may have changed it, or another request been quicker.
        users = await self._auth_data.find_users(auth_data, ctx)
        if any(user["_id"] != write.object_id for user in users):
            raise linking.already_linked()
        to_set, to_unset = linking.storage_changes(auth_data)
        write.stored_set |= to_set
        if not write.is_new:
            write.stored_unset |= to_unset

    async def _require_free_names(self, ctx: Context, write: Write) -> None:
        username, email = write.body.get("username"), write.body.get("email")
        if "username" in write.body and not isinstance(username, str | None):
            raise username_missing()
        if email and email != {"__op": "Delete"}:
            if not isinstance(email, str) or not _EMAIL.fullmatch(email):
                raise ParseError(Code.INVALID_EMAIL_ADDRESS, "Email address format is invalid.")
        checks = [
            self._require_free(ctx, write, key, value, taken)
            for key, value, taken in (
                ("username", username, username_taken),
                ("email", email, email_taken),
            )
            if isinstance(value, str) and value
        ]
        # A session of the driver serves one operation at a time.
        if ctx.session is None:
            await asyncio.gather(*checks)
        else:
            for check in checks:
                await check

    async def _require_free(
        self,
        ctx: Context,
        write: Write,
        key: str,
        value: str,
        taken: Callable[[], ParseError],
    ) -> None:
        if write.original is not None and write.original.get(key) == value:
            return
        found = await self._database.find_one(
            CLASS,
            {key: value, "_id": {"$ne": write.object_id}},
            projection={"_id": 1},
            collation=_CASE_INSENSITIVE,
            session=ctx.session,
        )
        if found is not None:
            raise taken()

    def _complete_acl(self, ctx: Context, write: Write) -> None:
        if not write.is_new and ("ACL" not in write.body or ctx.caller.is_privileged):
            return
        acl = write.body.get("ACL")
        if not isinstance(acl, dict) or "__op" in acl:
            is_public = write.is_new and not self._settings.enforce_private_users
            acl = {"*": {"read": True}} if is_public else {}
        write.stored_set |= encode_acl({**acl, str(write.object_id): _FULL})

    async def _hash_password(self, write: Write) -> None:
        password = write.body.pop("password")
        if not isinstance(password, str):
            raise ParseError(Code.PASSWORD_MISSING, "password is required")
        write.stored_set[PASSWORD_KEY] = await self._passwords.hash(password)

    # ---- after the write ----------------------------------------------------------------------

    async def after(self, ctx: Context, write: Write) -> None:
        """A session for a new user; after a password change the old sessions end."""
        user_id = str(write.object_id)
        start = len(STORED_PREFIX)
        providers = [key[start:] for key in write.stored_set if key.startswith(STORED_PREFIX)]
        if write.is_new:
            # Who is logged in and makes a user by auth data does not become that user.
            if ctx.caller.user_id is None or not providers:
                how = created_with("signup", "password")
                if providers:
                    how = created_with("login", ",".join(providers))
                await self._start_session(ctx, write, user_id, how)
            return
        self._resolver.forget_user(user_id)
        if PASSWORD_KEY not in write.stored_set:
            return
        if self._settings.revoke_session_on_password_reset:
            await self._sessions.end_all(user_id, ctx.session)
        # SECURITY: whom an ACL lets change somebody else's password does not get a session of
        # that user.
        if not ctx.caller.is_privileged and ctx.caller.user_id == user_id:
            await self._start_session(ctx, write, user_id, None)

    async def _start_session(
        self, ctx: Context, write: Write, user_id: str, how: WireObject | None
    ) -> None:
        if ctx.installation_id == CLOUD_INSTALLATION:
            return
        session = await self._sessions.create(
            user_id, how, installation_id=ctx.installation_id, transaction=ctx.session
        )
        write.response["sessionToken"] = session["sessionToken"]

    async def before_delete(self, ctx: Context, object_id: str, document: StoredDocument) -> None:
        """Raises 206 for callers who may not write the user."""
        if ctx.caller.is_privileged:
            return
        if ctx.caller.user_id is None:
            raise ParseError(Code.SESSION_MISSING, "Insufficient auth to delete user")
        if not can_write(document, ctx.caller):
            raise self.missing(ctx, object_id)

    async def after_delete(self, ctx: Context, object_id: str, document: StoredDocument) -> None:
        await self._sessions.end_all(object_id, ctx.session)


def _require_credentials(body: WireObject) -> None:
    if linking.names_somebody(body.get("authData")):
        return
    for name, error in (
        ("username", username_missing()),
        ("password", ParseError(Code.PASSWORD_MISSING, "password is required")),
    ):
        value = body.get(name)
        if not isinstance(value, str) or not value:
            raise error
