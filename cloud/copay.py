"""What a medication costs the caller: the functions calculateCopay and checkFormulary."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cloud import benefits, guards, profiles
from cloud.audit import audited, audited_function, save_as_server
from server import cloud


@audited_function("calculateCopay", required=["medicationId"], optional=["planId"])
async def calculate_copay(request: cloud.Request) -> cloud.Object:
    """The lowest co-pay of the caller's plans for a medication; stores a CoPayCalculation.

    Params: ``{"medicationId": str, "planId"?: str}``; ``planId`` asks one plan of the caller only.
    Returns: The CopayDetails object.
    Errors: 101 for an unknown medication; 142 when no plan or not the formulary covers it.
    """
    medication = await cloud.Query("Medication").get(request.params["medicationId"])
    drug = medication["medicationName"]
    profile = await profiles.own_profile(request)
    if profile is None:
        raise guards.invalid("You have no patient profile yet, so there is no plan to ask.")
    plans = _plans_to_ask(profile, request.params.get("planId"))
    formulary = await benefits.formulary_of(drug)
    if formulary is not None and not formulary.get("covered"):
        raise guards.invalid(f"{drug} is not covered: the formulary excludes it.")
    copay = await _lowest_copay(medication, plans)
    if copay is None:
        raise guards.invalid(f"None of your insurance plans covers {drug}.")
    await _store(request, profile, drug, copay["amount"])
    return copay


@audited_function("checkFormulary", required=["medicationId"])
async def check_formulary(request: cloud.Request) -> dict[str, Any]:
    """Whether the formulary covers a medication: ``{"covered": bool, "tier": str | None}``.

    A drug that is not listed is not covered. Errors: 101 for an unknown medication.
    """
    medication = await cloud.Query("Medication").get(request.params["medicationId"])
    row = await benefits.formulary_of(medication["medicationName"])
    if row is None:
        return {"covered": False, "tier": None}
    return {"covered": bool(row.get("covered")), "tier": row.get("tier")}


def _plans_to_ask(profile: cloud.Object, plan_id: str | None) -> list[str]:
    plans = [plan.id for plan in profile.get("insurancePlans") or []]
    if plan_id is None:
        return plans
    if plan_id not in plans:
        raise guards.invalid("That insurance plan is not one of yours.")
    return [plan_id]


async def _lowest_copay(medication: cloud.Object, plan_ids: list[str]) -> cloud.Object | None:
    plans = await cloud.Query("InsurancePlan").contained_in("objectId", plan_ids).find()
    listed = [copay.id for plan in plans for copay in plan.get("copayAmounts") or []]
    # Exact though amounts are doubles: each is the double nearest to a sum of whole cents, so
    # they are ordered and equal just as those sums are.
    copays = cloud.Query("CopayDetails").equal_to("medication", medication)
    return await copays.contained_in("objectId", listed).ascending("amount").first()


async def _store(request: cloud.Request, profile: cloud.Object, drug: str, amount: float) -> None:
    calculation = cloud.Object(
        "CoPayCalculation",
        user=await _user_profile(request, profile),
        drug=drug,
        coPayAmount=amount,
        calculatedAt=datetime.now(UTC),
    )
    await save_as_server(request, calculation)


async def _user_profile(request: cloud.Request, profile: cloud.Object) -> cloud.Object:
    """The caller's UserProfile, made from their PatientProfile when missing."""
    user = profile["user"]
    query = cloud.Query("UserProfile").equal_to("user", user)
    found = await query.first(use_master_key=True)
    if found is not None:
        return found
    made = cloud.Object("UserProfile", user=user, fullName=profile["displayName"])
    try:
        await save_as_server(request, made)
    except cloud.Error as error:
        # Another call of the same person was faster.
        if error.code != guards.DUPLICATE:
            raise
        return await query.first(use_master_key=True) or made
    return made


async def check_calculation(request: cloud.Trigger) -> None:
    user = guards.needed(request.object, "user", "UserProfile")
    profile = await cloud.Query("UserProfile").get(user.id, use_master_key=True)
    guards.grant(request.object, read=[profile["user"].id, "role:admin"])


audited("CoPayCalculation", check=check_calculation)
