"""The audit trail: complete, without values, for admins, and out of everybody's reach."""

from __future__ import annotations

from typing import Any

import pytest

from server.values import pointer, random_string
from tests.harness.api import Api, assert_parse_error, ok
from tests.pharmacy.conftest import Patient, move, new_patient, order_delivery, prescribe


async def entries(master: Api, entity_id: str, **where: Any) -> list[dict[str, Any]]:
    return await master.find("AuditLog", {"entityId": entity_id, **where}, order="createdAt")


async def test_one_entry_for_each_write(alice: Patient, master: Api) -> None:
    prescription = await prescribe(alice, dosage="SECRETDOSE")
    path = f"/classes/Prescription/{prescription}"
    ok(await alice.api.put(path, {"dosage": "OTHERDOSE", "medicationName": "Ibuprofen"}))
    assert_parse_error(await alice.api.put(path, {"status": "active"}), 119)
    ok(await alice.api.delete(path))

    found = await entries(master, prescription)
    assert [entry["action"] for entry in found] == ["create", "update", "delete"]
    assert {entry["entityType"] for entry in found} == {"Prescription"}
    assert {entry["actor"]["objectId"] for entry in found} == {alice.api.id}
    assert "dosage" in found[0]["metadata"]["fields"]
    assert found[1]["metadata"]["fields"] == ["dosage"]
    assert all(entry["summary"] for entry in found)
    assert "DOSE" not in repr(found)


async def test_what_a_transaction_takes_back_was_never_done(alice: Patient, master: Api) -> None:
    name = f"Drug {random_string(8)}"
    order = {"medicationName": name, "dosage": "1"}
    requests = [
        {"method": "POST", "path": "/parse/classes/Prescription", "body": order | change}
        for change in ({}, {"status": "active"})
    ]
    before = len(await master.find("AuditLog", {"actor": alice.api.pointer()}))
    body = {"requests": requests, "transaction": True}
    assert_parse_error(await alice.api.post("/batch", body), 142)
    assert await master.find("Prescription", {"medicationName": name}) == []
    assert len(await master.find("AuditLog", {"actor": alice.api.pointer()})) == before

    ok(await alice.api.post("/batch", {"requests": requests[:1] * 2, "transaction": True}))
    assert len(await alice.api.find("Prescription", {"medicationName": name})) == 2
    assert len(await master.find("AuditLog", {"actor": alice.api.pointer()})) == before + 2


async def test_what_the_server_writes_is_the_callers_deed(
    alice: Patient, provider: Api, master: Api
) -> None:
    delivery = await order_delivery(alice)
    await move(provider, delivery, "out_for_delivery")
    news = (await alice.api.find("Notification"))[0]["objectId"]
    assert [e["actor"]["objectId"] for e in await entries(master, news)] == [provider.id]
    found = await entries(master, delivery)
    assert [e["actor"]["objectId"] for e in found] == [alice.api.id, provider.id]
    assert found[1]["metadata"]["fields"] == ["provider", "status"]


async def test_without_a_user_the_system_acted(master: Api) -> None:
    medication = await master.create("Medication", medicationName="Ibuprofen")
    system = (await master.find("_User", {"username": "system:pestle"}))[0]["objectId"]
    found = await entries(master, medication)
    assert [entry["actor"]["objectId"] for entry in found] == [system]


async def test_a_client_cannot_forge_the_trail(anyone: Api, alice: Patient, master: Api) -> None:
    forged = {"audit.changed": ["lies"], "acting": "somebody"}
    order = {"medicationName": "Ibuprofen", "dosage": "1", "_context": forged}
    body = ok(await alice.api.post("/classes/Prescription", order))
    found = await entries(master, body["objectId"])
    assert "lies" not in found[0]["metadata"]["fields"]
    assert found[0]["actor"]["objectId"] == alice.api.id


async def test_log_ins(anyone: Api, master: Api) -> None:
    name = f"user-{random_string(8)}"
    user = await anyone.sign_up(name)
    assert await entries(master, user.id, action="login") == []
    await anyone.log_in(name)
    wrong = {"username": name, "password": "wrong"}
    assert_parse_error(await anyone.post("/login", wrong), 101)
    found = await entries(master, user.id, action="login")
    assert [entry["actor"]["objectId"] for entry in found] == [user.id]


async def test_log_ins_by_a_provider(anyone: Api, master: Api) -> None:
    body = {"authData": {"anonymous": {"id": random_string(20)}}}
    user = ok(await anyone.post("/users", body))["objectId"]
    assert ok(await anyone.post("/users", body))["objectId"] == user
    assert len(await entries(master, user, action="login")) == 1


async def test_log_ins_by_the_master_key(anyone: Api, master: Api) -> None:
    user = await anyone.sign_up(f"user-{random_string(8)}")
    ok(await master.post("/loginAs", {"userId": user.id}))
    (entry,) = await entries(master, user.id, action="login")
    assert entry["actor"]["objectId"] != user.id


async def test_function_calls_also_refused_ones(alice: Patient, master: Api) -> None:
    where = {"actor": alice.api.pointer()}
    body = {"medicationId": "SECRETMED", "SECRETKEY": 1}
    assert_parse_error(await alice.api.post("/functions/calculateCopay", body), 101)
    found = await entries(master, "calculateCopay", **where)
    assert [entry["action"] for entry in found] == ["call"]
    assert found[0]["metadata"] == {"fields": ["medicationId"], "errorCode": 101}
    assert "SECRET" not in repr(found)
    body = {"userId": alice.api.id, "role": "admin"}
    assert_parse_error(await alice.api.post("/functions/assignRole", body), 119)
    assert len(await entries(master, "assignRole", **where)) == 1


async def test_only_admins_read_it(
    anyone: Api, alice: Patient, provider: Api, admin: Api, master: Api
) -> None:
    prescription = await prescribe(alice)
    entry = (await admin.find("AuditLog", {"entityId": prescription}))[0]["objectId"]
    for who, code in ((anyone, 119), (alice.api, 119), (provider, 119)):
        assert_parse_error(await who.get("/classes/AuditLog"), code)
        assert_parse_error(await who.get(f"/classes/AuditLog/{entry}"), code)


def forged_entry(actor: Api) -> dict[str, Any]:
    return {
        "actor": actor.pointer(),
        "entityType": "X",
        "entityId": "x",
        "action": "x",
        "summary": "x",
    }


async def test_nobody_but_the_server_writes_it(
    alice: Patient, provider: Api, admin: Api, anyone: Api
) -> None:
    for who in (anyone, alice.api, provider, admin):
        assert_parse_error(await who.post("/classes/AuditLog", forged_entry(alice.api)), 119)


@pytest.fixture
async def entry(alice: Patient, master: Api) -> dict[str, Any]:
    """An entry as it stands; the fixture's caller checks that it still does."""
    return (await entries(master, await prescribe(alice)))[0]


async def test_nobody_changes_or_deletes_it(
    alice: Patient, provider: Api, admin: Api, master: Api, entry: dict[str, Any]
) -> None:
    path = f"/classes/AuditLog/{entry['objectId']}"
    for who in (alice.api, provider, admin, master):
        for change in (
            {"summary": "nothing happened"},
            {"metadata": {"__op": "Delete"}},
            {"metadata.fields": []},
            {"ACL": {"*": {"read": True}}},
            {},
        ):
            assert_parse_error(await who.put(path, change), 119)
        assert_parse_error(await who.delete(path), 119)
        override = {"_method": "DELETE"}
        assert_parse_error(await who.post(path, override), 119)
    assert ok(await master.get(path)) == entry


@pytest.mark.parametrize("transaction", [False, True])
async def test_no_batch_changes_it(master: Api, entry: dict[str, Any], transaction: bool) -> None:
    path = f"/parse/classes/AuditLog/{entry['objectId']}"
    for request in (
        {"method": "PUT", "path": path, "body": {"summary": "x"}},
        {"method": "DELETE", "path": path},
        {"method": "POST", "path": path, "body": {"_method": "DELETE"}},
    ):
        body = {"requests": [request], "transaction": transaction}
        answer = await master.post("/batch", body)
        assert answer.status_code == 400 or "error" in answer.json()[0], answer.text
    assert ok(await master.get(path.removeprefix("/parse"))) == entry


async def test_no_schema_change_takes_it_away(master: Api, entry: dict[str, Any]) -> None:
    drop = {"className": "AuditLog", "fields": {"summary": {"__op": "Delete"}}}
    assert (await master.delete("/purge/AuditLog")).status_code == 400
    assert (await master.delete("/schemas/AuditLog")).status_code == 400
    assert (await master.put("/schemas/AuditLog", drop)).status_code == 400
    assert ok(await master.get(f"/classes/AuditLog/{entry['objectId']}")) == entry


async def test_no_relation_or_include_shows_it(
    anyone: Api, alice: Patient, entry: dict[str, Any]
) -> None:
    bob = await new_patient(anyone, "bob")
    inner = {"where": {"entityType": "Prescription"}, "className": "AuditLog"}
    where = {"objectId": {"$select": {"query": inner, "key": "entityId"}}}
    answer = await bob.api.get("/classes/Prescription", {"where": where})
    assert answer.status_code == 400 or answer.json()["results"] == [], answer.text
    related = {"object": pointer("_User", alice.api.id), "key": "actor"}
    answer = await bob.api.get("/classes/AuditLog", {"where": {"$relatedTo": related}})
    assert answer.status_code in (400, 404)
