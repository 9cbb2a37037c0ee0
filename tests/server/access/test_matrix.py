"""Who may do what: every caller, every operation, every form of permission, over REST.

Parse Server gives the same table, but that its maintenance key does not count past an ACL and
that some pointer permissions for addField end in its 500.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from server.values import pointer
from tests.harness.api import Api, ok
from tests.harness.app import app_on
from tests.harness.mongo import TestMongo

PUBLIC = {"*": True}
OPEN: dict[str, Any] = dict.fromkeys(
    ("find", "get", "count", "create", "update", "delete", "addField"), PUBLIC
)
LOGGED_IN: dict[str, Any] = dict.fromkeys(OPEN, {"requiresAuthentication": True})
CLOSED: dict[str, Any] = dict.fromkeys(OPEN, {})
ALL = "nobr"


@dataclass(frozen=True)
class Rights:
    """Permissions, and who may do what by them.

    The letters are callers: ``n`` nobody, ``o`` the owner, ``b`` another user, ``r`` a member of
    ``Child``, which stands in ``Parent``. ``owner``: ids that stand for ``{owner}`` and the like.
    """

    name: str
    clp: dict[str, Any] | None = None
    acl: dict[str, Any] | None = None
    get: str = ALL
    find: str = ALL
    count: str = ALL
    create: str = ALL
    update: str = ALL
    delete: str = ALL
    add_field: str = ALL


def acl(name: str, rights: dict[str, Any], *, read: str, write: str) -> Rights:
    return Rights(f"ACL {name}", None, rights, read, read, read, ALL, write, write, write)


def clp(name: str, clp: dict[str, Any], **may: str) -> Rights:
    return Rights(f"CLP {name}", clp, None, **may)


def every(letters: str) -> dict[str, str]:
    return dict.fromkeys(
        ("get", "find", "count", "create", "update", "delete", "add_field"), letters
    )


POINTERS = {"pointerFields": ["owner"]}
ARRAYS = {"pointerFields": ["owners"]}
RW = {"read": True, "write": True}

TABLE = [
    Rights("nothing said"),
    acl("public", {"*": RW}, read=ALL, write=ALL),
    acl("public reads", {"*": {"read": True}}, read=ALL, write=""),
    acl("public writes", {"*": {"write": True}}, read="", write=ALL),
    acl("of nobody", {}, read="", write=""),
    acl("of the owner", {"{owner}": RW}, read="o", write="o"),
    acl("owner reads, other writes", {"{owner}": {"read": True}, "{other}": {"write": True}},
        read="o", write="b"),
    acl("of a role", {"role:Child": RW}, read="r", write="r"),
    acl("of the role's parent", {"role:Parent": RW}, read="r", write="r"),
    acl("of a role that does not exist", {"role:Nope": RW}, read="", write=""),
    acl("public reads, role writes", {"*": {"read": True}, "role:Parent": {"write": True}},
        read=ALL, write="r"),
    acl("of a member by false", {"{owner}": {"read": False, "write": False}}, read="", write=""),
    clp("open", OPEN, **every(ALL)),
    clp("closed", CLOSED, **every("")),
    clp("for who is logged in", LOGGED_IN, **every("obr")),
    clp("for one user", dict.fromkeys(OPEN, {"{owner}": True}), **every("o")),
    clp("for a role", dict.fromkeys(OPEN, {"role:Child": True}), **every("r")),
    clp("for the role's parent", dict.fromkeys(OPEN, {"role:Parent": True}), **every("r")),
    clp("no find", {**OPEN, "find": {}}, **{**every(ALL), "find": ""}),
    clp("no get", {**OPEN, "get": {}}, **{**every(ALL), "get": ""}),
    clp("no count", {**OPEN, "count": {}}, **{**every(ALL), "count": ""}),
    clp("no create", {**OPEN, "create": {}}, **{**every(ALL), "create": ""}),
    clp("no update", {**OPEN, "update": {}}, **{**every(ALL), "update": "", "add_field": ""}),
    clp("no delete", {**OPEN, "delete": {}}, **{**every(ALL), "delete": ""}),
    clp("no addField", {**OPEN, "addField": {}}, **{**every(ALL), "add_field": ""}),
    clp("pointerFields", {**dict.fromkeys(OPEN, POINTERS), "create": PUBLIC},
        **{**every("o"), "create": ALL}),
    clp("pointerFields of an array", {**dict.fromkeys(OPEN, ARRAYS), "create": PUBLIC},
        **{**every("o"), "create": ALL}),
    clp("pointerFields for reads",
        {**OPEN, "find": POINTERS, "get": POINTERS, "count": POINTERS},
        **{**every(ALL), "find": "o", "get": "o", "count": "o"}),
    clp("readUserFields", {**CLOSED, "readUserFields": ["owner"]},
        **{**every(""), "find": "o", "get": "o", "count": "o"}),
    clp("writeUserFields", {**CLOSED, "writeUserFields": ["owner"]},
        **{**every(""), "update": "o", "delete": "o", "add_field": "o"}),
    clp("both UserFields with an array",
        {**CLOSED, "readUserFields": ["owners"], "writeUserFields": ["owners"]},
        **{**every("o"), "create": ""}),
    clp("pointerFields or a role",
        {**dict.fromkeys(OPEN, {**POINTERS, "role:Parent": True}), "create": PUBLIC},
        **{**every("or"), "create": ALL}),
    clp("logged in and pointerFields",
        {**dict.fromkeys(OPEN, {**POINTERS, "requiresAuthentication": True}), "create": PUBLIC},
        **{**every("o"), "create": ALL}),
    Rights("CLP and ACL both hold", LOGGED_IN, {"{owner}": RW, "role:Child": {"read": True}},
           "or", "or", "or", "obr", "o", "o", "o"),
    Rights("pointerFields and ACL both hold", {**OPEN, "get": POINTERS, "find": POINTERS},
           {"{other}": RW}, "", "", "b", ALL, "b", "b", "b"),
]  # fmt: skip

READS = ("get", "find", "count")


class World:
    """A server with its people."""

    def __init__(self, anyone: Api) -> None:
        self.master = anyone.as_master()
        self.callers = {
            "n": anyone,
            "m": self.master,
            "R": anyone.with_headers({"X-Parse-Master-Key": "ro"}),
            "M": anyone.with_headers({"X-Parse-Maintenance-Key": "mt"}),
        }
        self.ids: dict[str, str] = {}

    async def populate(self) -> None:
        anyone = self.callers["n"]
        for letter, name in (("o", "owner"), ("b", "other"), ("r", "member")):
            self.callers[letter] = await anyone.sign_up(name)
            self.ids[name] = self.callers[letter].id
        users = {"__op": "AddRelation", "objects": [pointer("_User", self.ids["member"])]}
        child = await self._role("Child", users=users)
        roles = {"__op": "AddRelation", "objects": [pointer("_Role", child)]}
        parent = await self._role("Parent", roles=roles)
        # A circle must neither hang nor grant.
        loop = {"__op": "AddRelation", "objects": [pointer("_Role", parent)]}
        ok(await self.master.put(f"/roles/{child}", {"roles": loop}))

    async def _role(self, name: str, **members: Any) -> str:
        body = {"name": name, "ACL": {"*": {"read": True}}, **members}
        return str(ok(await self.master.post("/roles", body))["objectId"])

    def named(self, value: Any) -> Any:
        """The same with the users' ids for ``{owner}`` and the like."""
        if isinstance(value, dict):
            return {key.format(**self.ids): self.named(item) for key, item in value.items()}
        return value

    async def make_class(self, name: str, clp: dict[str, Any] | None) -> None:
        columns = {
            "n": {"type": "Number"},
            "owner": {"type": "Pointer", "targetClass": "_User"},
            "owners": {"type": "Array"},
        }
        body: dict[str, Any] = {"className": name, "fields": columns}
        if clp is not None:
            body["classLevelPermissions"] = self.named(clp)
        ok(await self.master.post(f"/schemas/{name}", body))

    def row(self, rights: Rights) -> dict[str, Any]:
        owner = pointer("_User", self.ids["owner"])
        fields: dict[str, Any] = {"n": 1, "owner": owner, "owners": [owner]}
        if rights.acl is not None:
            fields["ACL"] = self.named(rights.acl)
        return fields

    async def make_object(self, class_name: str, rights: Rights) -> str:
        return await self.master.create(class_name, **self.row(rights))

    async def may(
        self, letter: str, operation: str, class_name: str, rights: Rights, shown: str
    ) -> bool:
        """Whether a caller got through with an operation: reads of ``shown``, or a fresh object."""
        path = f"/classes/{class_name}"
        caller = self.callers[letter]
        if operation == "create":
            return _went_well(await caller.post(path, self.row(rights)))
        one = shown if operation in READS else await self.make_object(class_name, rights)
        match operation:
            case "get":
                return _went_well(await caller.get(f"{path}/{one}"))
            case "find":
                where = {"objectId": {"$in": [one]}}
                answer = await caller.get(path, {"where": where})
                return _went_well(answer) and len(answer.json()["results"]) == 1
            case "count":
                where = {"objectId": {"$in": [one]}}
                answer = await caller.get(path, {"where": where, "count": "1", "limit": "0"})
                return _went_well(answer) and answer.json()["count"] == 1
            case "update":
                answer = await caller.put(f"{path}/{one}", {"n": 2})
                return await self._changed(answer, path, one, {"n": 2})
            case "add_field":
                column = f"fresh_{letter}"
                answer = await caller.put(f"{path}/{one}", {column: 2})
                return await self._changed(answer, path, one, {column: 2})
            case _:
                answer = await caller.delete(f"{path}/{one}")
                is_gone = (await self.master.get(f"{path}/{one}")).status_code == 404
                assert is_gone == _went_well(answer)
                return is_gone

    async def _changed(
        self, answer: httpx.Response, path: str, one: str, fields: dict[str, Any]
    ) -> bool:
        row = ok(await self.master.get(f"{path}/{one}"))
        is_changed = fields.items() <= row.items()
        assert is_changed == _went_well(answer), answer.text
        return is_changed


def _went_well(answer: httpx.Response) -> bool:
    assert answer.status_code < 500, answer.text
    return answer.status_code < 300


@pytest.fixture(scope="module")
async def world(mongo: TestMongo) -> AsyncIterator[World]:
    keys = {"read_only_master_key": "ro", "maintenance_key": "mt"}
    async with app_on(mongo, allow_client_class_creation=False, **keys) as anyone:
        world = World(anyone)
        await world.populate()
        yield world


@pytest.mark.parametrize("rights", TABLE, ids=lambda rights: rights.name)
async def test_rights(world: World, rights: Rights) -> None:
    await check_rights(world, rights, f"C{TABLE.index(rights)}")


async def check_rights(world: World, rights: Rights, class_name: str) -> None:
    await world.make_class(class_name, rights.clp)
    shown = await world.make_object(class_name, rights)
    wrong = []
    for operation in (*READS, "create", "update", "delete", "add_field"):
        granted = set(getattr(rights, operation)) | set("mM")
        if operation in READS:
            granted.add("R")
        for letter in "nobrmRM":
            may = await world.may(letter, operation, class_name, rights, shown)
            if may != (letter in granted):
                verb = "may not" if letter in granted else "may"
                wrong.append(f"{letter} {verb} {operation}")
    assert not wrong, f"{rights.name}: {wrong}"
