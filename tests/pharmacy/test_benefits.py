"""Plans, co-pays and the formulary: exact to the cent, and the caller's own."""

from __future__ import annotations

from typing import Any

import pytest

from server.values import pointer, random_string
from tests.harness.api import Api, assert_parse_error, ok
from tests.pharmacy.conftest import Patient, new_user


async def new_medication(provider: Api) -> tuple[str, str]:
    """Id and name."""
    name = f"Drug {random_string(8)}"
    return await provider.create("Medication", medicationName=name), name


async def new_plan(provider: Api, medication: str, *amounts: float) -> tuple[str, list[str]]:
    """A plan and its CopayDetails."""
    copays = [
        await provider.create(
            "CopayDetails", medication=pointer("Medication", medication), amount=amount
        )
        for amount in amounts
    ]
    plan = await provider.create(
        "InsurancePlan",
        provider="Acme",
        planName="Plan",
        copayAmounts=[pointer("CopayDetails", copay) for copay in copays],
    )
    return plan, copays


async def join(patient: Patient, *plans: str) -> None:
    body = {"insurancePlans": [pointer("InsurancePlan", plan) for plan in plans]}
    ok(await patient.api.put(f"/classes/PatientProfile/{patient.profile}", body))


async def copay(who: Api, medication: str, **params: Any) -> dict[str, Any]:
    body = {"medicationId": medication, **params}
    return dict(ok(await who.post("/functions/calculateCopay", body))["result"])


async def test_the_lowest_amount_of_the_callers_plans(
    alice: Patient, mallory: Patient, provider: Api
) -> None:
    medication, name = await new_medication(provider)
    other, _ = await new_medication(provider)
    gold, (dear, cheap) = await new_plan(provider, medication, 10.1, 10.09)
    basic, _ = await new_plan(provider, medication, 10.11)
    foreign, _ = await new_plan(provider, medication, 0.01)
    unrelated, _ = await new_plan(provider, other, 0)
    await join(alice, gold, basic, unrelated)
    await join(mallory, foreign)

    found = await copay(alice.api, medication)
    assert found["__type"] == "Object" and found["className"] == "CopayDetails"
    assert (found["objectId"], found["amount"]) == (cheap, 10.09)
    assert (await copay(alice.api, medication, planId=basic))["amount"] == 10.11

    stored = await alice.api.find("CoPayCalculation", order="createdAt", include="user")
    assert [(row["drug"], row["coPayAmount"]) for row in stored] == [(name, 10.09), (name, 10.11)]
    assert stored[0]["user"]["user"]["objectId"] == alice.api.id
    assert stored[0]["calculatedAt"]["__type"] == "Date"
    assert await mallory.api.find("CoPayCalculation", {"drug": name}) == []
    body = {"medicationId": medication, "planId": foreign}
    assert_parse_error(await alice.api.post("/functions/calculateCopay", body), 142)


async def test_what_is_refused(anyone: Api, alice: Patient, provider: Api) -> None:
    medication, name = await new_medication(provider)
    path = "/functions/calculateCopay"
    body = {"medicationId": medication}
    login = "Validation failed. Please login to continue."
    assert_parse_error(await anyone.post(path, body), 142, text=login)
    assert_parse_error(await alice.api.post(path, {"medicationId": "nosuchone"}), 101)
    for params in ({}, {"medicationId": 5}, {"medicationId": {"$ne": 1}}, {**body, "planId": 5}):
        assert_parse_error(await alice.api.post(path, params), 142)
    uncovered = f"None of your insurance plans covers {name}."
    assert_parse_error(await alice.api.post(path, body), 142, text=uncovered)
    nobody = await new_user(anyone, "nobody")
    assert_parse_error(await nobody.post(path, body), 142)
    assert await alice.api.find("CoPayCalculation") == []


async def test_the_formulary_decides(alice: Patient, provider: Api, anyone: Api) -> None:
    medication, name = await new_medication(provider)
    plan, _ = await new_plan(provider, medication, 5)
    await join(alice, plan)

    async def coverage() -> Any:
        body = {"medicationId": medication}
        return ok(await alice.api.post("/functions/checkFormulary", body))["result"]

    assert await coverage() == {"covered": False, "tier": None}
    assert (await copay(alice.api, medication))["amount"] == 5
    row = await provider.create("Formulary", drug=name.upper(), covered=True, tier="2")
    assert await coverage() == {"covered": True, "tier": "2"}
    assert (await copay(alice.api, medication))["amount"] == 5
    ok(await provider.put(f"/classes/Formulary/{row}", {"covered": False}))
    assert await coverage() == {"covered": False, "tier": "2"}
    answer = await alice.api.post("/functions/calculateCopay", {"medicationId": medication})
    assert_parse_error(answer, 142, text=f"{name} is not covered: the formulary excludes it.")
    unknown = {"medicationId": "nosuchone"}
    assert_parse_error(await alice.api.post("/functions/checkFormulary", unknown), 101)
    assert_parse_error(await anyone.post("/functions/checkFormulary", unknown), 142)


@pytest.mark.parametrize("amount", [0, 0.01, 0.1, 0.29, 1.1, 19.99, 4503599.62, 999999.99])
async def test_sums_of_whole_cents(alice: Patient, provider: Api, amount: float) -> None:
    medication, _ = await new_medication(provider)
    if amount > 1_000_000:
        fields = {"medication": pointer("Medication", medication), "amount": amount}
        assert_parse_error(await provider.post("/classes/CopayDetails", fields), 142)
        return
    plan, _ = await new_plan(provider, medication, amount)
    await join(alice, plan)
    assert (await copay(alice.api, medication))["amount"] == amount


@pytest.mark.parametrize("amount", [-1, 0.001, 10.005, 1e9, None])
async def test_sums_that_are_refused(provider: Api, amount: float | None) -> None:
    medication, _ = await new_medication(provider)
    fields = {"medication": pointer("Medication", medication), "amount": amount}
    assert_parse_error(await provider.post("/classes/CopayDetails", fields), 142)


async def test_the_catalogue_is_kept_by_staff(
    anyone: Api, alice: Patient, provider: Api, admin: Api
) -> None:
    medication, name = await new_medication(provider)
    path = f"/classes/Medication/{medication}"
    assert ok(await alice.api.get(path))["medicationName"] == name
    assert_parse_error(await anyone.get(path), 101)
    for class_name, fields in (
        ("Medication", {"medicationName": "x"}),
        ("Formulary", {"drug": "x"}),
        ("InsurancePlan", {"provider": "x", "planName": "x"}),
        ("CopayDetails", {"medication": pointer("Medication", medication), "amount": 1}),
    ):
        assert_parse_error(await alice.api.post(f"/classes/{class_name}", fields), 119)
        created = await provider.create(class_name, **fields)
        answer = await alice.api.put(f"/classes/{class_name}/{created}", fields)
        assert_parse_error(answer, 119)
        assert_parse_error(await provider.delete(f"/classes/{class_name}/{created}"), 119)
        ok(await admin.delete(f"/classes/{class_name}/{created}"))
    wrong = {"provider": "x", "planName": "x", "copayAmounts": [pointer("CopayDetails", "nosuch")]}
    assert_parse_error(await provider.post("/classes/InsurancePlan", wrong), 142)
    hidden = {"ACL": {provider.id: {"read": True}}}
    ok(await provider.put(path, hidden))
    ok(await alice.api.get(path))


async def test_calculations_are_written_by_the_server(alice: Patient, provider: Api) -> None:
    mine = await alice.api.create("UserProfile", fullName="Alice")
    fields = {"user": pointer("UserProfile", mine), "drug": "x", "coPayAmount": 0}
    for who in (alice.api, provider):
        assert_parse_error(await who.post("/classes/CoPayCalculation", fields), 119)
