"""assignRole: who becomes a patient, provider or admin, and what a provider leaves behind."""

from __future__ import annotations

from typing import Any

from cloud import accounts, audit, guards
from server import cloud


@audit.audited_function("assignRole", required=["userId", "role"])
async def assign_role(request: cloud.Request) -> dict[str, Any]:
    """Make somebody a patient, provider or admin, and nothing else any more.

    Who stops being a provider loses all they worked on; should that take longer than a function
    may, the call can be repeated and goes on where it ended.

    Params: ``{"userId": str, "role": "patient" | "provider" | "admin"}``, answered as they are.
    Errors: 119 when the caller is no admin (or has the read-only key), 101 for an unknown user,
    142 for an unknown role.
    """
    user_id, role = request.params["userId"], request.params["role"]
    if not request.master and accounts.ADMIN not in request.roles:
        raise guards.forbidden("Only an admin assigns roles.")
    if request.is_read_only:
        # SECURITY: what this function saves, it saves with the full master key.
        raise guards.forbidden("The read-only master key assigns no roles.")
    if role not in accounts.ROLES:
        raise guards.invalid(f"Unknown role. It is one of: {', '.join(accounts.ROLES)}.")
    user = await cloud.Query("_User").get(user_id, use_master_key=True)
    if user.get("username") == audit.SYSTEM:
        raise guards.forbidden("This account takes no role.")
    # The new role first: two calls at once may leave somebody without one, never with two.
    for name in sorted(accounts.ROLES, key=lambda name: name != role):
        await accounts.set_membership(name, user_id, member=name == role)
    if role != accounts.PROVIDER:
        await _release(request, user)
    return {"userId": user_id, "role": role}


async def _release(request: cloud.Request, user: cloud.Object) -> None:
    """Take somebody out of all they worked on, and so out of its access lists."""
    for class_name in ("Prescription", "Delivery"):
        work = cloud.Query(class_name).equal_to("provider", user)
        async for obj in work.each(use_master_key=True):
            obj.unset("provider")
            await audit.save_as_server(request, obj)
            await _renew_proofs(request, obj)
    profiles = cloud.Query("PatientProfile").equal_to("careTeam", user)
    async for profile in profiles.each(use_master_key=True):
        profile.remove("careTeam", user)
        await audit.save_as_server(request, profile)


async def _renew_proofs(request: cloud.Request, delivery: cloud.Object) -> None:
    if delivery.class_name != "Delivery":
        return
    for class_name in ("DeliveryMove", "Signature"):
        proofs = cloud.Query(class_name).equal_to("delivery", delivery)
        async for proof in proofs.each(use_master_key=True):
            # Its hook sets the rights anew, by the delivery's present provider.
            await audit.save_as_server(request, proof)
