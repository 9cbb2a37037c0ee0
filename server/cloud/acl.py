"""Who may read and write one object, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from server.values import WireObject

if TYPE_CHECKING:
    from server.cloud.people import Role, User

Who: TypeAlias = "User | Role | str"
_Right: TypeAlias = Literal["read", "write"]

PUBLIC = "*"


class ACL:
    """Rights by user id, ``role:Name`` and ``*``. Empty: nobody but the master key.

    ``who`` is a `User`, a `Role`, or one of these keys. Changes to ``obj.acl`` count as changes
    of the object.
    """

    wire_type = "ACL"

    def __init__(self, rights: Mapping[str, Mapping[str, bool]] | None = None) -> None:
        self._rights: dict[str, dict[str, bool]] = {
            key: {right: True for right, on in given.items() if on}
            for key, given in (rights or {}).items()
        }

    @classmethod
    def private(cls, who: Who) -> ACL:
        """Read and write for one user or role only."""
        return cls().set_read_access(who).set_write_access(who)

    def set_read_access(self, who: Who, allowed: bool = True) -> ACL:
        return self._set(who, "read", allowed)

    def set_write_access(self, who: Who, allowed: bool = True) -> ACL:
        return self._set(who, "write", allowed)

    def set_role_read_access(self, role: Role | str, allowed: bool = True) -> ACL:
        return self._set(_role_key(role), "read", allowed)

    def set_role_write_access(self, role: Role | str, allowed: bool = True) -> ACL:
        return self._set(_role_key(role), "write", allowed)

    def set_public_read_access(self, allowed: bool = True) -> ACL:
        return self._set(PUBLIC, "read", allowed)

    def set_public_write_access(self, allowed: bool = True) -> ACL:
        return self._set(PUBLIC, "write", allowed)

    def has_read_access(self, who: Who) -> bool:
        """Whether this very key has the right; public and role rights are not counted in."""
        return "read" in self._rights.get(_key(who), {})

    def has_write_access(self, who: Who) -> bool:
        return "write" in self._rights.get(_key(who), {})

    def to_json(self) -> WireObject:
        return {key: dict(rights) for key, rights in self._rights.items() if rights}

    def to_wire(self, *, full: bool) -> WireObject:
        return self.to_json()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ACL) and other.to_json() == self.to_json()

    def __repr__(self) -> str:
        return f"ACL({self.to_json()!r})"

    def _set(self, who: Who, right: _Right, allowed: bool) -> ACL:
        rights = self._rights.setdefault(_key(who), {})
        if allowed:
            rights[right] = True
        else:
            rights.pop(right, None)
        return self


def _key(who: Who) -> str:
    if isinstance(who, str):
        return who
    return who.acl_key


def _role_key(role: Role | str) -> str:
    return f"role:{role}" if isinstance(role, str) else role.acl_key
