"""``/roles`` over HTTP: what a role must have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.api import Api, assert_parse_error, ok

READABLE = {"*": {"read": True}}


async def test_a_role_is_made_read_and_renamed(api: Api) -> None:
    master = api.as_master()
    answer = await master.post("/roles", {"name": "staff", "ACL": READABLE})

    role_id = answer.json()["objectId"]
    assert answer.status_code == 201
    assert answer.headers["location"].endswith(f"/classes/_Role/{role_id}")
    role = ok(await api.get(f"/roles/{role_id}"))
    assert role["users"] == {"__type": "Relation", "className": "_User"}
    assert role["roles"] == {"__type": "Relation", "className": "_Role"}
    ok(await master.put(f"/roles/{role_id}", {"name": "crew"}))
    assert [item["name"] for item in ok(await api.get("/roles"))["results"]] == ["crew"]


@pytest.mark.parametrize("path", ["/roles", "/classes/_Role"])
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "name is required."),
        ({"ACL": {}}, "name is required."),
        ({"name": "", "ACL": {}}, "name is required."),
        ({"name": None, "ACL": {}}, "name is required."),
        ({"name": {"__op": "Delete"}, "ACL": {}}, "name is required."),
        ({"name": "a"}, "ACL is required."),
        ({"name": "a", "ACL": None}, "ACL is required."),
        ({"name": "a", "ACL": {"__op": "Delete"}}, "ACL is required."),
        ({"name": 5, "ACL": {}}, None),
    ],
)
async def test_a_role_needs_name_and_acl(api: Api, path: str, body: Any, text: str | None) -> None:
    assert_parse_error(await api.as_master().post(path, body), 111, text=text)


async def test_names_are_unique(api: Api) -> None:
    master = api.as_master()
    ok(await master.post("/roles", {"name": "staff", "ACL": {}}))

    assert_parse_error(await master.post("/roles", {"name": "staff", "ACL": {}}), 137)


@pytest.mark.parametrize(
    "body", [{"name": None}, {"name": ""}, {"name": {"__op": "Delete"}}, {"ACL": None}]
)
async def test_name_and_acl_cannot_be_taken_away(api: Api, body: Any) -> None:
    """The peer lets the master key set both to null."""
    master = api.as_master()
    role = ok(await master.post("/roles", {"name": "staff", "ACL": READABLE}))

    assert_parse_error(await master.put(f"/roles/{role['objectId']}", body), 111)


async def test_only_who_the_acl_names_changes_a_role(api: Api) -> None:
    alice, bob = await api.sign_up("alice"), await api.sign_up("bob")
    acl = {**READABLE, alice.id: {"write": True}}
    path = f"/roles/{ok(await alice.post('/roles', {'name': 'staff', 'ACL': acl}))['objectId']}"
    join = {"users": {"__op": "AddRelation", "objects": [bob.pointer()]}}

    for caller in (bob, api):
        assert_parse_error(await caller.put(path, join), 101)
        assert_parse_error(await caller.delete(path), 101)
    ok(await alice.put(path, join))


async def test_membership_counts_at_once(api: Api) -> None:
    """Inherited as well: who is in ``junior`` has what ``staff`` has."""
    alice = await api.sign_up("alice")
    master = api.as_master()
    note = await master.create("Note", ACL={"role:staff": {"read": True}})
    junior = await master.create("_Role", name="junior", ACL=READABLE)
    contained = {"__type": "Pointer", "className": "_Role", "objectId": junior}
    staff = await master.create("_Role", name="staff", ACL=READABLE)
    assert_parse_error(await alice.get(f"/classes/Note/{note}"), 101)

    add_role = {"roles": {"__op": "AddRelation", "objects": [contained]}}
    add_user = {"users": {"__op": "AddRelation", "objects": [alice.pointer()]}}
    ok(await master.put(f"/roles/{staff}", add_role))
    ok(await master.put(f"/roles/{junior}", add_user))
    ok(await alice.get(f"/classes/Note/{note}"))

    ok(await master.delete(f"/roles/{junior}"))
    assert_parse_error(await alice.get(f"/classes/Note/{note}"), 101)
