"""Roles: what ``_Role`` asks of its objects."""

from __future__ import annotations

from server.access.caller import Context
from server.access.callers import CallerResolver
from server.errors import Code, ParseError
from server.objects.rules import NoRules, Write
from server.values import StoredDocument, WireObject

REQUIRED = ("name", "ACL")


class RoleRules(NoRules):
    """A role has a name and an ACL; its name is unique (by the index ``name_1``)."""

    def __init__(self, resolver: CallerResolver) -> None:
        self._resolver = resolver

    async def check(self, ctx: Context, write: Write) -> None:
        """Raises 111 for a role without name or ACL."""
        _require(write)

    async def complete(self, ctx: Context, write: Write) -> None:
        """Again: a hook may have taken them away."""
        _require(write)

    async def after(self, ctx: Context, write: Write) -> None:
        # This worker must not wait for the change feed to tell it of its own writes.
        self._resolver.forget_all()

    async def after_delete(self, ctx: Context, object_id: str, document: StoredDocument) -> None:
        self._resolver.forget_all()


def _require(write: Write) -> None:
    for name in REQUIRED:
        if (write.is_new or name in write.body) and not _has(write.body, name):
            raise ParseError(Code.INCORRECT_TYPE, f"{name} is required.")


def _has(body: WireObject, name: str) -> bool:
    value = body.get(name)
    if name == "ACL":
        return isinstance(value, dict) and "__op" not in value
    is_deleted = isinstance(value, dict) and value.get("__op") == "Delete"
    return value is not None and value != "" and not is_deleted
