"""``/roles``: another name of ``/classes/_Role``."""

from __future__ import annotations

from server.rest.aliases import AliasResource


class RoleResource(AliasResource):
    """Roles as objects; what they must have is `server.accounts.roles.RoleRules`'."""

    class_name = "_Role"
    path = "/roles"
    location = "/classes/_Role"
