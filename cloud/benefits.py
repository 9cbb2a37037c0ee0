"""What a plan pays: Medication, CopayDetails, InsurancePlan and Formulary, kept by staff.

Who may write them is said by the class-level permissions of `schema.json`.
"""

from __future__ import annotations

from cloud import guards
from cloud.audit import audited
from server import cloud


async def check_plain(request: cloud.Trigger) -> None:
    _grant_catalogue(request.object)


async def check_plan(request: cloud.Trigger) -> None:
    plan, changed = request.object, guards.changed_fields(request)
    if "patients" in changed and not request.master:
        raise guards.forbidden("patients follows PatientProfile.insurancePlans.")
    if "copayAmounts" in changed:
        ids = guards.pointed(plan, "copayAmounts", "CopayDetails")
        if await cloud.Query("CopayDetails").contained_in("objectId", ids).count() != len(ids):
            raise guards.invalid("copayAmounts must name existing CopayDetails.")
    _grant_catalogue(plan)


async def check_formulary(request: cloud.Trigger) -> None:
    drug = request.object.get("drug")
    if isinstance(drug, str):
        request.object["drugKey"] = drug_key(drug)
    _grant_catalogue(request.object)


def drug_key(name: str) -> str:
    """How a drug's name is compared: without case and outer or doubled spaces."""
    return " ".join(name.casefold().split())


async def formulary_of(drug: str) -> cloud.Object | None:
    """The Formulary's newest word on a drug, `None` when it is not listed."""
    rows = cloud.Query("Formulary").equal_to("drugKey", drug_key(drug)).descending("updatedAt")
    return await rows.first()


def _grant_catalogue(obj: cloud.Object) -> None:
    guards.grant(obj, write=["role:provider", "role:admin"], read=["*"])


audited("Medication", check=check_plain)
audited("CopayDetails", check=check_plain)
audited("InsurancePlan", check=check_plan)
audited("Formulary", check=check_formulary)
