"""`cloud.User` and `cloud.Role`."""

from __future__ import annotations

from typing import Any

from server.cloud.acl import ACL
from server.cloud.objects import Object, Relation, classes


class User(Object):
    """A user. ``User(username=..., password=...)`` and `save` sign a new one up."""

    def __init__(self, **fields: Any) -> None:
        super().__init__("_User", **fields)

    @property
    def username(self) -> str | None:
        found: str | None = self.get("username")
        return found

    @property
    def email(self) -> str | None:
        found: str | None = self.get("email")
        return found

    @property
    def session_token(self) -> str | None:
        """The token of the session that the request came with."""
        found: str | None = self.get("sessionToken")
        return found

    @property
    def acl_key(self) -> str:
        """Its key in an ACL. Raises ValueError for a user who has no id yet."""
        object_id: str = self.to_pointer()["objectId"]
        return object_id


class Role(Object):
    """A role: ``Role("admin", ACL())``. Its members are those of its roles, too."""

    def __init__(self, name: str, acl: ACL | None = None, **fields: Any) -> None:
        super().__init__("_Role", name=name, ACL=acl or ACL(), **fields)

    @property
    def name(self) -> str:
        name: str = self["name"]
        return name

    @property
    def users(self) -> Relation:
        return self.relation("users")

    @property
    def roles(self) -> Relation:
        """Roles whose members are members of this one."""
        return self.relation("roles")

    @property
    def acl_key(self) -> str:
        return f"role:{self.name}"


classes["_User"] = User
classes["_Role"] = Role
