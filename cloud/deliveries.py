"""Deliveries: their way to the patient, the notification of each move and the signature."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cloud import accounts, guards, profiles
from cloud.audit import audited, save_as_server
from server import cloud

_MOVES: guards.Moves = {
    "pending": ("out_for_delivery",),
    "out_for_delivery": ("delivered", "failed"),
}
_FINAL = frozenset({"delivered", "failed"})
_SIGNABLE = frozenset({"out_for_delivery", "delivered"})
_PATIENT_CHANGES = frozenset({"deliveryAddress", "expectedDeliveryDate"})

# Longer than any save: by then a move that was begun and is not done was cut off by a crash.
_MOVE_TAKES = timedelta(seconds=60)

# No word about the medication: a notification may show on a locked screen.
_NEWS = {
    "out_for_delivery": "Your delivery is on its way.",
    "delivered": "Your delivery has arrived.",
    "failed": "Your delivery could not be handed over.",
}


async def check(request: cloud.Trigger) -> None:
    guards.keep(request, "deliveredAt")
    if request.original is None:
        await _check_new(request)
        owner = await profiles.owner_of(request.object)
    else:
        owner = await profiles.owner_of(request.original)
        await _check_change(request, owner)
    guards.grant_parties(request.object, owner)


async def _check_new(request: cloud.Trigger) -> None:
    delivery = request.object
    ordered = guards.needed(delivery, "prescription", "Prescription")
    # With the caller's own rights: what they may not see does not exist (101).
    prescription = await cloud.Query("Prescription").get(ordered.id)
    if prescription["status"] not in ("pending", "active"):
        raise guards.invalid(f"A prescription that is {prescription['status']} is not delivered.")
    delivery["patient"] = prescription["patient"]
    guards.starts_as(delivery, "pending")
    if not accounts.is_staff(request):
        await profiles.own_profile(request)
        guards.keep(request, "provider", "trackingNumber")
    if delivery.get("provider") is not None:
        await accounts.check_provider(delivery)
    elif prescription.get("provider") is not None:
        delivery["provider"] = prescription["provider"]


async def _check_change(request: cloud.Trigger, owner: str) -> None:
    delivery, changed = request.object, guards.changed_fields(request)
    assert request.original is not None
    if changed & {"prescription", "patient"}:
        raise guards.forbidden("A delivery stays with its prescription.")
    if "status" in changed:
        await _check_move(request)
    elif changed and request.original["status"] in _FINAL and not request.master:
        raise guards.invalid(f"A delivery that is {delivery['status']} no longer changes.")
    if accounts.is_staff(request):
        if "provider" in changed:
            await accounts.check_provider(delivery)
        return
    guards.must_be(request, owner)
    guards.only(changed, _PATIENT_CHANGES, "A patient changes the address and the date only.")
    if changed and delivery["status"] != "pending":
        raise guards.forbidden("A delivery on its way is changed by its provider only.")


async def _check_move(request: cloud.Trigger) -> None:
    """One step on the way, by a provider (or a service with the master key)."""
    if not request.master and accounts.PROVIDER not in request.roles:
        raise guards.forbidden("Only a provider moves a delivery.")
    move = guards.check_move(request, _MOVES)
    assert move is not None
    accounts.take_on(request)
    if move[1] == "delivered":
        request.object["deliveredAt"] = datetime.now(UTC)
    await _claim_move(request, *move)


async def _claim_move(request: cloud.Trigger, old: str, new: str) -> None:
    """Note the move in the delivery's history, whose unique ``step`` lets one of two people win."""
    step = f"{request.object.id}:{old}"
    move = cloud.Object("DeliveryMove", delivery=request.object, status=new, step=step)
    try:
        await save_as_server(request, move)
    except cloud.Error as error:
        if error.code != guards.DUPLICATE:
            raise
        query = cloud.Query("DeliveryMove").equal_to("step", step).equal_to("status", new)
        begun = await query.first(use_master_key=True)
        if begun is None or datetime.now(UTC) - begun.created_at < _MOVE_TAKES:
            raise guards.invalid("Somebody else has just moved this delivery.") from error


async def check_history(request: cloud.Trigger) -> None:
    await _grant_proof(request.object)


async def tell_patient(request: cloud.Trigger) -> None:
    """A Notification for each move; the provider who took it on gets to see the profile."""
    await profiles.share_with_provider(request)
    delivery = request.object
    if request.original is None or delivery["status"] == request.original["status"]:
        return
    news = cloud.Object(
        "Notification",
        patient=delivery["patient"],
        delivery=delivery,
        message=_NEWS[delivery["status"]],
        isRead=False,
    )
    await save_as_server(request, news)


async def check_delete(request: cloud.Trigger) -> None:
    if request.object.get("status") != "pending":
        raise guards.invalid("Only a pending delivery can be deleted.")


async def check_notification(request: cloud.Trigger) -> None:
    if request.original is not None and not request.master:
        changed = guards.changed_fields(request)
        guards.only(changed, {"isRead"}, "Only isRead of a notification changes.")
    guards.grant(request.object, write=[await profiles.owner_of(request.object)])


async def check_signature(request: cloud.Trigger) -> None:
    """Given once (the class's unique index), by the patient, when there is something to sign for.

    Nobody changes a signature, the master key included.
    """
    signature = request.object
    if request.original is not None:
        guards.only(guards.changed_fields(request), (), "A signature does not change.")
        await _grant_proof(signature)
        return
    if not isinstance(signature.get("signatureImage"), cloud.File):
        raise guards.invalid("signatureImage must be a file.")
    signed = guards.needed(signature, "delivery", "Delivery")
    delivery = await cloud.Query("Delivery").get(signed.id)
    owner = await profiles.owner_of(delivery)
    if not request.master and owner != request.user.id:
        raise guards.forbidden("Only the patient signs for a delivery.")
    if delivery["status"] not in _SIGNABLE:
        raise guards.invalid(f"A delivery that is {delivery['status']} cannot be signed for.")
    await _grant_proof(signature)


async def _grant_proof(proof: cloud.Object) -> None:
    """What happened with a delivery is read by its patient, its provider and admins."""
    proven = guards.needed(proof, "delivery", "Delivery")
    delivery = await cloud.Query("Delivery").get(proven.id, use_master_key=True)
    provider = delivery.get("provider")
    worker = [] if provider is None else [provider.id]
    guards.grant(proof, read=[await profiles.owner_of(delivery), *worker, "role:admin"])


audited("Delivery", check=check, after=tell_patient, check_delete=check_delete)
audited("DeliveryMove", check=check_history)
audited("Notification", check=check_notification)
audited("Signature", check=check_signature)
