"""Puts users into roles straight in the database: how the first admin is made."""

from __future__ import annotations

from server.storage.mongo import Database


class UnknownMember(Exception):
    """There is no such user or role; the text names it."""


async def add_to_role(database: Database, role: str, username: str) -> bool:
    """Make a user a direct member of a role. ``False``: the user was one already.

    Raises:
        UnknownMember: No such user or role.
    """
    row = await _membership(database, role, username)
    changed = await database.update_one(_JOIN, row, {"$set": row}, upsert=True)
    return changed == 0


async def remove_from_role(database: Database, role: str, username: str) -> bool:
    """The opposite of `add_to_role`. ``False``: the user was no direct member."""
    row = await _membership(database, role, username)
    return await database.delete(_JOIN, row, many=True) > 0


_JOIN = "_Join:users:_Role"


async def _membership(database: Database, role: str, username: str) -> dict[str, str]:
    """The row of the relation that says this user is in this role."""
    found_role = await database.find_one("_Role", {"name": role}, projection={"_id": 1})
    if found_role is None:
        names = [row["name"] for row in await database.find("_Role", {}, projection={"name": 1})]
        raise UnknownMember(f"no role {role!r}; there are: {', '.join(sorted(names)) or 'none'}")
    user = await database.find_one("_User", {"username": username}, projection={"_id": 1})
    if user is None:
        raise UnknownMember(f"no user with the username {username!r}; sign up first")
    return {"owningId": found_role["_id"], "relatedId": user["_id"]}
