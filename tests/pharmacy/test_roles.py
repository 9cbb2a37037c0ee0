"""Who becomes what: sign-up, assignRole, and the roles' own rights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from server.values import pointer, random_string
from tests.harness.api import Api, assert_parse_error, ok
from tests.harness.processes import Process
from tests.pharmacy.conftest import Patient, move, new_user, order_delivery, prescribe


async def members(master: Api, role: str) -> set[str]:
    found = await master.find("_Role", {"name": role})
    relation = {"object": pointer("_Role", found[0]["objectId"]), "key": "users"}
    return {user["objectId"] for user in await master.find("_User", {"$relatedTo": relation})}


async def roles_of(master: Api, user: Api) -> set[str]:
    found = await master.find("_Role", {"users": user.pointer()})
    return {role["name"] for role in found}


async def test_the_roles_exist_and_who_signs_up_is_a_patient(anyone: Api, master: Api) -> None:
    roles = {role["name"] for role in await master.find("_Role")}
    assert roles == {"patient", "provider", "admin"}

    user = await new_user(anyone, "newcomer")
    assert await roles_of(master, user) == {"patient"}


async def test_an_admin_appoints_and_dismisses(anyone: Api, master: Api, admin: Api) -> None:
    user = await new_user(anyone, "peter")
    body = {"userId": user.id, "role": "provider"}
    assert ok(await admin.post("/functions/assignRole", body)) == {"result": body}
    assert await roles_of(master, user) == {"provider"}
    ok(await user.post("/classes/Medication", {"medicationName": "Ibuprofen"}))

    ok(await admin.post("/functions/assignRole", {"userId": user.id, "role": "patient"}))
    assert await roles_of(master, user) == {"patient"}
    answer = await user.post("/classes/Medication", {"medicationName": "Ibuprofen"})
    assert_parse_error(answer, 119)


async def test_the_first_admin_is_made_by_a_command(
    pharmacy_uri: str, anyone: Api, tmp_path: Path
) -> None:
    name = f"first-{random_string(8)}"
    user = await anyone.sign_up(name)
    body = {"userId": user.id, "role": "provider"}
    assert_parse_error(await user.post("/functions/assignRole", body), 119)
    command = [sys.executable, "-m", "server.cli", "role", "add", "admin", name]
    environment = {"PARSE_SERVER_DATABASE_URI": pharmacy_uri, "PESTLE_DATA_DIR": str(tmp_path)}
    process = Process(command, env=environment)
    assert process.wait() == 0, process.output
    process.stop()
    ok(await user.post("/functions/assignRole", body))


async def test_nobody_else_appoints(
    anyone: Api, master: Api, alice: Patient, provider: Api
) -> None:
    for who in (alice.api, provider):
        for role in ("provider", "admin"):
            body = {"userId": who.id, "role": role}
            assert_parse_error(await who.post("/functions/assignRole", body), 119)
    body = {"userId": alice.api.id, "role": "provider"}
    assert_parse_error(await anyone.post("/functions/assignRole", body), 142)
    assert await roles_of(master, alice.api) == {"patient"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"role": "provider"}, 142),
        ({"userId": 5, "role": "provider"}, 142),
        ({"userId": {"$ne": ""}, "role": "provider"}, 142),
        ({"userId": "nosuchuser", "role": "provider"}, 101),
        ({"userId": "nosuchuser", "role": "emperor"}, 142),
    ],
)
async def test_bad_parameters(master: Api, admin: Api, body: dict[str, object], code: int) -> None:
    for who in (master, admin):
        assert_parse_error(await who.post("/functions/assignRole", body), code)


async def test_roles_are_edited_by_the_master_key_only(
    master: Api, alice: Patient, provider: Api, admin: Api
) -> None:
    role = (await master.find("_Role", {"name": "provider"}))[0]["objectId"]
    for who in (alice.api, provider, admin):
        add = {"users": {"__op": "AddRelation", "objects": [who.pointer()]}}
        assert_parse_error(await who.put(f"/classes/_Role/{role}", add), 119)
        assert_parse_error(await who.delete(f"/classes/_Role/{role}"), 119)
    assert alice.api.id not in await members(master, "provider")


async def test_the_system_account_is_out_of_reach(anyone: Api, master: Api, admin: Api) -> None:
    system = (await master.find("_User", {"username": "system:pestle"}))[0]
    body = {"username": "system:pestle", "password": "secret"}
    assert_parse_error(await anyone.post("/login", body), 101)
    assert_parse_error(await anyone.post("/users", body), 202)
    ok(await master.put(f"/users/{system['objectId']}", {"password": "secret"}))
    assert_parse_error(await anyone.post("/login", body), 119)
    assert_parse_error(await master.delete(f"/users/{system['objectId']}"), 119)
    assign = {"userId": system["objectId"], "role": "admin"}
    assert_parse_error(await admin.post("/functions/assignRole", assign), 119)


async def test_who_is_dismissed_loses_the_work(
    alice: Patient, provider: Api, admin: Api, master: Api
) -> None:
    done, begun = await order_delivery(alice), await order_delivery(alice)
    await move(provider, done, "out_for_delivery", "delivered")
    await move(provider, begun, "out_for_delivery")
    mine = await prescribe(alice)
    ok(await provider.put(f"/classes/Prescription/{mine}", {"status": "active"}))
    classes = ("Delivery", "DeliveryMove", "Prescription", "PatientProfile")
    for class_name in classes:
        assert await provider.find(class_name) != []

    ok(await admin.post("/functions/assignRole", {"userId": provider.id, "role": "patient"}))
    for class_name in classes:
        assert await provider.find(class_name) == []
    answer = await provider.put(f"/classes/Delivery/{begun}", {"status": "delivered"})
    assert_parse_error(answer, 101)
    acl = ok(await master.get(f"/classes/Delivery/{done}"))["ACL"]
    assert set(acl) == {alice.api.id, "role:admin"}
    acl = ok(await master.get(f"/classes/Delivery/{begun}"))["ACL"]
    assert set(acl) == {alice.api.id, "role:admin", "role:provider"}
