"""Pharmacy benefits: plans, co-pays and secure messages, with an audit trail.

The template's `schema.json` says nothing about rights, so each hook sets the ACL itself.
Providers are the members of the role ``provider``, whom the master key puts there.
"""

from __future__ import annotations

from datetime import UTC, datetime

from server import cloud

CATALOGUE = ("InsurancePlan", "CopayDetails", "Medication")


def refuse(message: str) -> cloud.Error:
    return cloud.Error(119, message)


@cloud.on_start
async def make_role() -> None:
    query = cloud.Query("_Role").equal_to("name", "provider")
    if await query.first(use_master_key=True) is None:
        role = cloud.Role("provider", cloud.ACL().set_role_read_access("provider"))
        await role.save(use_master_key=True)


async def profile_of(user: cloud.Object | None) -> cloud.Object | None:
    if user is None:
        return None
    return await cloud.Query("PatientProfile").equal_to("user", user).first(use_master_key=True)


@cloud.before_save("PatientProfile", require_user=True)
async def check_profile(request: cloud.Trigger) -> None:
    profile = request.object
    if request.original is None and profile.get("user") is None:
        profile["user"] = request.user
    if profile.get("insurancePlans") is None:
        profile["insurancePlans"] = []
    owner = (request.original or profile)["user"].id
    if profile["user"].id != owner or not (request.master or request.user.id == owner):
        raise refuse("A profile belongs to its own user.")
    profile.acl = cloud.ACL.private(owner).set_role_read_access("provider")


async def keep_plans_in_step(request: cloud.Trigger) -> None:
    """Mirror a profile's ``insurancePlans`` in each plan's relation ``patients``."""
    now = {plan.id for plan in request.object["insurancePlans"]}
    before = {plan.id for plan in request.original["insurancePlans"]} if request.original else set()
    for plan_id in now ^ before:
        plan = cloud.Object.pointer("InsurancePlan", plan_id)
        if plan_id in now:
            plan.relation("patients").add(request.object)
        else:
            plan.relation("patients").remove(request.object)
        await plan.save(use_master_key=True)


@cloud.before_save("Message", require_user=True)
async def check_message(request: cloud.Trigger) -> None:
    message = request.object
    if request.original is None:
        message["from"] = request.user or message["from"]
        message["sentAt"] = datetime.now(UTC)
        message["isRead"] = False
        mine = await profile_of(request.user)
        if mine is not None:
            message["patient"] = mine
    elif set(message.dirty_keys) != {"isRead"} or request.user.id != message["to"].id:
        raise refuse("The recipient marks a message as read; nothing else changes.")
    message.acl = cloud.ACL.private(message["to"].id).set_read_access(message["from"].id)


def catalogue(class_name: str) -> None:
    @cloud.before_save(class_name, require_any_user_roles=["provider"])
    async def check(request: cloud.Trigger) -> None:
        request.object.acl = cloud.ACL.private("role:provider").set_public_read_access()


for name in CATALOGUE:
    catalogue(name)


@cloud.define("calculateCopay", require_user=True, fields={"medicationId": str})
async def calculate_copay(request: cloud.Request) -> cloud.Object:
    """The lowest CopayDetails among the plans of the calling patient."""
    medication = await cloud.Query("Medication").get(request.params["medicationId"])
    profile = await profile_of(request.user)
    plan_ids = [plan.id for plan in profile["insurancePlans"]] if profile else []
    plans = await cloud.Query("InsurancePlan").contained_in("objectId", plan_ids).find()
    listed = [copay.id for plan in plans for copay in plan.get("copayAmounts", [])]
    copays = cloud.Query("CopayDetails").equal_to("medication", medication)
    found = await copays.contained_in("objectId", listed).ascending("amount").first()
    if found is None:
        raise cloud.Error(142, f"None of your plans covers {medication['medicationName']}.")
    return found


async def record(request: cloud.Trigger, action: str) -> None:
    """One AuditLog entry. What the master key does by itself has no actor, and leaves none."""
    if request.user is None:
        return
    entry = cloud.Object(
        "AuditLog",
        actor=request.user,
        entityType=request.object.class_name,
        entityId=request.object.id,
        action=action,
        summary=f"{action} {request.object.class_name}",
    )
    entry.acl = cloud.ACL()
    await entry.save(use_master_key=True)


def audit(class_name: str) -> None:
    @cloud.after_save(class_name)
    async def saved(request: cloud.Trigger) -> None:
        await record(request, "create" if request.original is None else "update")
        if class_name == "PatientProfile":
            await keep_plans_in_step(request)

    @cloud.after_delete(class_name)
    async def deleted(request: cloud.Trigger) -> None:
        await record(request, "delete")


for name in ("PatientProfile", "Message", *CATALOGUE):
    audit(name)


@cloud.before_save("AuditLog")
async def append_only(request: cloud.Trigger) -> None:
    if request.original is not None or not request.master:
        raise refuse("The audit trail is written by the server and never changed.")


@cloud.before_delete("AuditLog")
async def never_deleted(request: cloud.Trigger) -> None:
    raise refuse("The audit trail is never deleted.")
