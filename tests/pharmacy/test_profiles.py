"""PatientProfile, UserProfile and Provider: whose they are and what their owner may change."""

from __future__ import annotations

import pytest

from server.values import pointer, random_string
from tests.harness.api import Api, assert_parse_error, ok
from tests.pharmacy.conftest import Patient, new_user, order_delivery, prescribe


async def test_the_profile_is_the_callers_own(alice: Patient) -> None:
    profile = ok(await alice.api.get(f"/classes/PatientProfile/{alice.profile}"))
    assert profile["user"]["objectId"] == alice.api.id
    assert profile["isActive"] is True
    assert profile["insurancePlans"] == []
    assert "*" not in profile["ACL"]


async def test_nobody_makes_a_profile_for_another(anyone: Api, alice: Patient) -> None:
    user = await new_user(anyone, "bob")
    fields = {
        "user": user.pointer(),
        "medicalRecordNumber": f"MRN-{random_string(8)}",
        "displayName": "Bob",
    }
    assert_parse_error(await alice.api.post("/classes/PatientProfile", fields), 119)
    assert_parse_error(await anyone.post("/classes/PatientProfile", fields), 101)
    ok(await user.post("/classes/PatientProfile", {**fields, "isActive": False}))
    assert (await user.find("PatientProfile"))[0]["isActive"] is True
    again = {**fields, "medicalRecordNumber": f"MRN-{random_string(8)}"}
    assert_parse_error(await user.post("/classes/PatientProfile", again), 137)


@pytest.mark.parametrize("user", ["abc", 5, {}, pointer("_Role", "x"), {"__type": "Pointer"}])
async def test_a_user_that_is_no_user(anyone: Api, user: object) -> None:
    api = await new_user(anyone, "bob")
    fields = {"user": user, "medicalRecordNumber": "M", "displayName": "Bob"}
    answer = await api.post("/classes/PatientProfile", fields)
    assert answer.status_code == 400, answer.text


async def test_another_patient_neither_reads_nor_writes_it(
    alice: Patient, mallory: Patient, provider: Api
) -> None:
    path = f"/classes/PatientProfile/{alice.profile}"
    for who in (mallory.api, provider):
        assert_parse_error(await who.get(path), 101)
        assert_parse_error(await who.put(path, {"displayName": "X"}), 101)
        assert await who.find("PatientProfile", {"objectId": alice.profile}) == []


async def test_what_the_patient_cannot_change(alice: Patient, mallory: Patient) -> None:
    path = f"/classes/PatientProfile/{alice.profile}"
    for change in (
        {"user": mallory.api.pointer()},
        {"medicalRecordNumber": "MRN-OTHER"},
        {"isActive": False},
    ):
        assert_parse_error(await alice.api.put(path, change), 119)
    ok(await alice.api.put(path, {"careTeam": [mallory.api.pointer()], "displayName": "Al"}))
    ok(await alice.api.put(path, {"ACL": {"*": {"read": True}}}))
    profile = ok(await alice.api.get(path))
    assert profile["displayName"] == "Al"
    assert set(profile["ACL"]) == {alice.api.id, "role:admin"}
    assert_parse_error(await alice.api.put(path, {"newColumn": 1}), 119)


async def test_without_portal_access_nothing_is_ordered(alice: Patient, admin: Api) -> None:
    prescription = pointer("Prescription", await prescribe(alice))
    ok(await admin.put(f"/classes/PatientProfile/{alice.profile}", {"isActive": False}))
    order = {"medicationName": "Ibuprofen", "dosage": "1"}
    assert_parse_error(await alice.api.post("/classes/Prescription", order), 119)
    delivery = {"prescription": prescription, "deliveryAddress": "1 Main Street"}
    assert_parse_error(await alice.api.post("/classes/Delivery", delivery), 119)
    letter = {"conversationId": "c", "body": "Hi", "to": admin.pointer()}
    assert_parse_error(await alice.api.post("/classes/Message", letter), 119)


async def test_the_care_team_reads_the_profile(alice: Patient, provider: Api) -> None:
    delivery = await order_delivery(alice)
    ok(await provider.put(f"/classes/Delivery/{delivery}", {"status": "out_for_delivery"}))
    profile = ok(await provider.get(f"/classes/PatientProfile/{alice.profile}"))
    assert profile["displayName"] == "alice"
    path = f"/classes/PatientProfile/{alice.profile}"
    assert_parse_error(await provider.put(path, {"displayName": "X"}), 101)


async def test_plans_and_their_patients_stay_in_step(alice: Patient, provider: Api) -> None:
    gold, basic = [
        await provider.create("InsurancePlan", provider="Acme", planName=name)
        for name in ("Gold", "Basic")
    ]
    path = f"/classes/PatientProfile/{alice.profile}"

    async def plans() -> set[str]:
        found = await alice.api.find("InsurancePlan", {"patients": alice.pointer})
        return {plan["objectId"] for plan in found}

    ok(await alice.api.put(path, {"insurancePlans": [pointer("InsurancePlan", gold)]}))
    assert await plans() == {gold}
    add = {"__op": "AddUnique", "objects": [pointer("InsurancePlan", basic)]}
    ok(await alice.api.put(path, {"insurancePlans": add}))
    assert await plans() == {gold, basic}
    ok(await alice.api.put(path, {"insurancePlans": [pointer("InsurancePlan", basic)]}))
    assert await plans() == {basic}

    for wrong in ("x", ["x"], [pointer("InsurancePlan", "nosuch")], [pointer("_User", "x")]):
        assert_parse_error(await alice.api.put(path, {"insurancePlans": wrong}), 142)
    patients = {"__op": "AddRelation", "objects": [alice.pointer]}
    answer = await provider.put(f"/classes/InsurancePlan/{gold}", {"patients": patients})
    assert_parse_error(answer, 119)


async def test_a_user_profile_is_its_users(alice: Patient, mallory: Patient) -> None:
    mine = await alice.api.create("UserProfile", fullName="Alice", insuranceInfo={"id": "7"})
    assert_parse_error(await mallory.api.get(f"/classes/UserProfile/{mine}"), 101)
    foreign = {"fullName": "A", "user": alice.api.pointer()}
    assert_parse_error(await mallory.api.post("/classes/UserProfile", foreign), 119)


async def test_providers_are_listed_for_patients(
    alice: Patient, provider: Api, anyone: Api
) -> None:
    listed = await provider.create("Provider", pharmacyDetails="Corner pharmacy")
    assert ok(await alice.api.get(f"/classes/Provider/{listed}"))["user"]["objectId"] == provider.id
    assert_parse_error(await anyone.get(f"/classes/Provider/{listed}"), 101)
    assert_parse_error(await alice.api.post("/classes/Provider", {}), 119)
