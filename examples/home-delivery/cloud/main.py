"""Home delivery: a patient orders, a provider delivers, the patient signs; all of it is audited.

The template's `schema.json` says nothing about rights, so each hook sets the ACL itself.
Providers are the members of the role ``provider``, whom the master key puts there.
"""

from __future__ import annotations

from datetime import UTC, datetime

from server import cloud

MOVES = {"pending": ["out_for_delivery"], "out_for_delivery": ["delivered", "failed"]}
AUDITED = ("PatientProfile", "Prescription", "Delivery", "Signature", "Notification")


def refuse(message: str) -> cloud.Error:
    return cloud.Error(119, message)


@cloud.on_start
async def make_role() -> None:
    query = cloud.Query("_Role").equal_to("name", "provider")
    if await query.first(use_master_key=True) is None:
        role = cloud.Role("provider", cloud.ACL().set_role_read_access("provider"))
        await role.save(use_master_key=True)


def is_provider(request: cloud.Trigger) -> bool:
    return request.master or "provider" in request.roles


async def profile_of(user: cloud.Object | None) -> cloud.Object | None:
    if user is None:
        return None
    return await cloud.Query("PatientProfile").equal_to("user", user).first(use_master_key=True)


async def share(obj: cloud.Object, profile: cloud.Object) -> None:
    """The patient and the providers read and write it; whatever ACL was sent is gone."""
    profile = await cloud.Query("PatientProfile").get(profile.id, use_master_key=True)
    rights = {"read": True, "write": True}
    obj.acl = cloud.ACL({profile["user"].id: rights, "role:provider": rights})


@cloud.before_save("PatientProfile", require_user=True)
async def check_profile(request: cloud.Trigger) -> None:
    profile = request.object
    if request.original is None and profile.get("user") is None:
        profile["user"] = request.user
    owner = (request.original or profile)["user"].id
    if profile["user"].id != owner or not (request.master or request.user.id == owner):
        raise refuse("A profile belongs to its own user.")
    profile.acl = cloud.ACL.private(owner).set_role_read_access("provider")


@cloud.before_save("Prescription", require_user=True)
async def check_prescription(request: cloud.Trigger) -> None:
    prescription, provider = request.object, is_provider(request)
    mine = await profile_of(request.user)
    if prescription.get("patient") is None and mine is not None:
        prescription["patient"] = mine
    if prescription.get("patient") is None:
        raise cloud.Error(142, "patient is required")
    if not provider and (mine is None or prescription["patient"].id != mine.id):
        raise refuse("'patient' must be your own profile.")
    if prescription.get("status") is None or (request.original is None and not provider):
        prescription["status"] = "pending"
    if request.original is not None and not provider and "status" in prescription.dirty_keys:
        raise refuse("Only a provider moves a prescription on.")
    await share(prescription, prescription["patient"])


@cloud.before_save("Delivery", require_user=True)
async def check_delivery(request: cloud.Trigger) -> None:
    delivery, original = request.object, request.original
    delivery.revert("deliveredAt")
    # With the caller's own rights: an order of somebody else does not exist (101).
    prescription = await cloud.Query("Prescription").get(delivery["prescription"].id)
    if original is None:
        delivery["status"] = "pending"
    elif delivery["prescription"].id != original["prescription"].id:
        raise refuse("A delivery stays with its prescription.")
    elif delivery["status"] != original["status"]:
        if not is_provider(request):
            raise refuse("Only a provider moves a delivery.")
        if delivery["status"] not in MOVES.get(original["status"], []):
            raise cloud.Error(142, f"A delivery that is {original['status']} cannot move there.")
        if delivery["status"] == "delivered":
            delivery["deliveredAt"] = datetime.now(UTC)
    await share(delivery, prescription["patient"])


@cloud.before_save("Signature", require_user=True)
async def check_signature(request: cloud.Trigger) -> None:
    signature = request.object
    if request.original is not None:
        raise refuse("A signature does not change.")
    delivery = await cloud.Query("Delivery").include("prescription").get(signature["delivery"].id)
    patient = delivery["prescription"]["patient"]
    mine = await profile_of(request.user)
    if mine is None or mine.id != patient.id:
        raise refuse("Only the patient signs for a delivery.")
    if delivery["status"] not in ("out_for_delivery", "delivered"):
        raise cloud.Error(142, "There is nothing to sign for yet.")
    given = cloud.Query("Signature").equal_to("delivery", delivery)
    if await given.first(use_master_key=True) is not None:
        raise cloud.Error(137, "This delivery is signed for.")
    await share(signature, patient)


@cloud.before_save("Notification")
async def check_notification(request: cloud.Trigger) -> None:
    if not request.master and (
        request.original is None or set(request.object.dirty_keys) != {"isRead"}
    ):
        raise refuse("Notifications come from the server; only isRead changes.")
    await share(request.object, request.object["patient"])


async def tell_patient(request: cloud.Trigger) -> None:
    delivery = request.object
    if request.original is None or delivery["status"] == request.original["status"]:
        return
    prescription = await cloud.Query("Prescription").get(
        delivery["prescription"].id, use_master_key=True
    )
    text = f"Your delivery is now: {delivery['status'].replace('_', ' ')}."
    news = cloud.Object("Notification", patient=prescription["patient"], message=text, isRead=False)
    await news.save(use_master_key=True)


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
        if class_name == "Delivery":
            await tell_patient(request)

    @cloud.after_delete(class_name)
    async def deleted(request: cloud.Trigger) -> None:
        await record(request, "delete")


for name in AUDITED:
    audit(name)


@cloud.before_save("AuditLog")
async def append_only(request: cloud.Trigger) -> None:
    if request.original is not None or not request.master:
        raise refuse("The audit trail is written by the server and never changed.")


@cloud.before_delete("AuditLog")
async def never_deleted(request: cloud.Trigger) -> None:
    raise refuse("The audit trail is never deleted.")
