"""All about users, put together: the rules of the special classes and the log-in."""

from __future__ import annotations

from server.access.callers import CallerResolver
from server.accounts.auth_data import AuthData
from server.accounts.login import Hooks, Login, Objects
from server.accounts.passwords import Passwords
from server.accounts.providers import Providers
from server.accounts.roles import RoleRules
from server.accounts.sessions import ClassMaker, SessionRules, Sessions
from server.accounts.users import UserRules
from server.objects.rules import NoRules
from server.settings import Settings
from server.storage.mongo import Database


class Accounts:
    """Made before the object store, which needs `rules`; then told of it by `attach`.

    ``rules``: class name to the rules of ``_User``, ``_Session`` and ``_Role``.
    ``login``: there once `attach` was called. ``sessions.extend`` is for
    `CallerResolver.on_use` when ``extendSessionOnUse`` is on.
    """

    login: Login

    def __init__(
        self,
        database: Database,
        classes: ClassMaker,
        resolver: CallerResolver,
        settings: Settings,
    ) -> None:
        self._database = database
        self._resolver = resolver
        self.passwords = Passwords()
        self.providers = Providers(
            settings.auth, enable_anonymous_users=settings.enable_anonymous_users
        )
        self.sessions = Sessions(database, classes, resolver, settings)
        self._auth_data = AuthData(database, self.providers)
        self._user_rules = UserRules(
            database, self.sessions, self.passwords, self._auth_data, resolver, settings
        )
        self.rules: dict[str, NoRules] = {
            "_User": self._user_rules,
            "_Session": SessionRules(self.sessions, resolver),
            "_Role": RoleRules(resolver),
        }

    def attach(self, objects: Objects, hooks: Hooks) -> None:
        """Join with the object store and the hooks; call it once, before the first request."""
        self.login = Login(
            self._database,
            objects,
            hooks,
            self.sessions,
            self.passwords,
            self._auth_data,
            self._resolver,
        )
        self._user_rules.log_in = self.login.log_in_by_auth_data

    def close(self) -> None:
        """Stop the password threads."""
        self.passwords.close()
