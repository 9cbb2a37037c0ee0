"""Prescriptions: whose they are, how they move and who sees them."""

from __future__ import annotations

import pytest

from server.values import pointer
from tests.harness.api import Api, assert_parse_error, ok
from tests.pharmacy.conftest import Patient, appoint, new_user, order_delivery, prescribe

ORDER = {"medicationName": "Ibuprofen", "dosage": "400 mg"}


async def test_patient_status_and_rights_are_filled_in(alice: Patient) -> None:
    acl = {"*": {"read": True, "write": True}}
    created = ok(await alice.api.post("/classes/Prescription", {**ORDER, "ACL": acl}))
    stored = ok(await alice.api.get(f"/classes/Prescription/{created['objectId']}"))
    assert stored["patient"]["objectId"] == alice.profile
    assert stored["status"] == "pending"
    assert set(stored["ACL"]) == {alice.api.id, "role:provider", "role:admin"}


async def test_what_is_refused_at_creation(
    anyone: Api, alice: Patient, mallory: Patient, provider: Api
) -> None:
    path = "/classes/Prescription"
    assert_parse_error(await anyone.post(path, ORDER), 101)
    assert_parse_error(await mallory.api.post(path, {**ORDER, "patient": alice.pointer}), 119)
    assert_parse_error(await alice.api.post(path, {**ORDER, "provider": provider.pointer()}), 119)
    for status in ("active", "completed", "nonsense", 5, ["pending"]):
        assert_parse_error(await alice.api.post(path, {**ORDER, "status": status}), 142)
    for patient in ("x", 5, {}, pointer("_User", alice.api.id), {"__type": "Pointer"}):
        answer = await alice.api.post(path, {**ORDER, "patient": patient})
        assert answer.status_code == 400, answer.text
    nobody = await new_user(anyone, "nobody")
    assert_parse_error(await nobody.post(path, ORDER), 142)
    assert_parse_error(await alice.api.post(path, {"dosage": "1"}), 142)


async def test_another_patient_has_no_part_in_it(alice: Patient, mallory: Patient) -> None:
    path = f"/classes/Prescription/{await prescribe(alice)}"
    assert_parse_error(await mallory.api.get(path), 101)
    assert_parse_error(await mallory.api.put(path, {"dosage": "1 kg"}), 101)
    assert_parse_error(await mallory.api.delete(path), 101)
    assert await mallory.api.find("Prescription") == []
    assert await mallory.api.find("Prescription", {"patient": alice.pointer}) == []


async def test_a_provider_writes_one_for_a_patient(alice: Patient, provider: Api) -> None:
    fields = {**ORDER, "patient": alice.pointer, "status": "active", "provider": provider.pointer()}
    prescription = await provider.create("Prescription", **fields)
    assert ok(await alice.api.get(f"/classes/Prescription/{prescription}"))["status"] == "active"
    assert ok(await provider.get(f"/classes/PatientProfile/{alice.profile}"))
    wrong = {**fields, "provider": alice.api.pointer()}
    assert_parse_error(await provider.post("/classes/Prescription", wrong), 142)


async def test_a_provider_takes_it_on(anyone: Api, alice: Patient, provider: Api) -> None:
    path = f"/classes/Prescription/{await prescribe(alice)}"
    other = await appoint(anyone, "olga", "provider")
    assert ok(await other.get(path))["status"] == "pending"
    ok(await provider.put(path, {"status": "active"}))
    assert ok(await provider.get(path))["provider"]["objectId"] == provider.id
    assert_parse_error(await other.get(path), 101)
    ok(await provider.put(path, {"provider": other.pointer()}))
    assert ok(await other.get(path))["status"] == "active"
    assert_parse_error(await provider.get(path), 101)


async def test_its_way(alice: Patient, provider: Api) -> None:
    path = f"/classes/Prescription/{await prescribe(alice)}"
    ok(await alice.api.put(path, {"dosage": "200 mg"}))
    assert_parse_error(await alice.api.put(path, {"status": "active"}), 119)
    assert_parse_error(await alice.api.put(path, {"patient": {"__op": "Delete"}}), 119)
    assert_parse_error(await provider.put(path, {"status": "completed"}), 142)
    ok(await provider.put(path, {"status": "active"}))
    assert_parse_error(await alice.api.put(path, {"dosage": "1 kg"}), 119)
    assert_parse_error(await alice.api.put(path, {"status": "cancelled"}), 119)
    assert_parse_error(await alice.api.delete(path), 142)
    ok(await provider.put(path, {"status": "completed"}))
    for status in ("pending", "active", "cancelled"):
        assert_parse_error(await provider.put(path, {"status": status}), 142)


async def test_cancelled_and_deleted_by_the_patient(alice: Patient) -> None:
    cancelled = await prescribe(alice)
    ok(await alice.api.put(f"/classes/Prescription/{cancelled}", {"status": "cancelled"}))
    delivery = {"prescription": pointer("Prescription", cancelled), "deliveryAddress": "1 Main St"}
    assert_parse_error(await alice.api.post("/classes/Delivery", delivery), 142)

    deleted = await prescribe(alice)
    ok(await alice.api.delete(f"/classes/Prescription/{deleted}"))
    delivered = await prescribe(alice)
    await order_delivery(alice, delivered)
    assert_parse_error(await alice.api.delete(f"/classes/Prescription/{delivered}"), 142)


@pytest.mark.parametrize("operation", ["Increment", "Add", "AddUnique", "Remove"])
async def test_operations_that_make_no_sense(alice: Patient, operation: str) -> None:
    path = f"/classes/Prescription/{await prescribe(alice)}"
    for field in ("status", "patient", "medicationName"):
        change = {"__op": operation, "amount": 1, "objects": ["active"]}
        answer = await alice.api.put(path, {field: change})
        assert answer.status_code == 400, answer.text
    assert ok(await alice.api.get(path))["status"] == "pending"
