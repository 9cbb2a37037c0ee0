"""Prescriptions: asked for by a patient or written by a provider, worked on by one provider."""

from __future__ import annotations

from cloud import accounts, guards, profiles
from cloud.audit import audited
from server import cloud

_MOVES: guards.Moves = {"pending": ("active", "cancelled"), "active": ("completed", "cancelled")}
_CONTENT = frozenset({"medicationName", "dosage"})


async def check(request: cloud.Trigger) -> None:
    if request.original is None:
        await _check_new(request)
        owner = await profiles.owner_of(request.object)
    else:
        owner = await profiles.owner_of(request.original)
        await _check_change(request, owner)
    guards.grant_parties(request.object, owner)


async def _check_new(request: cloud.Trigger) -> None:
    prescription = request.object
    await profiles.set_patient(request)
    if accounts.is_staff(request):
        guards.starts_as(prescription, "pending", "active")
        await accounts.check_provider(prescription)
    else:
        guards.starts_as(prescription, "pending")
        if prescription.get("provider") is not None:
            raise guards.forbidden("Only staff says which provider works on a prescription.")


async def _check_change(request: cloud.Trigger, owner: str) -> None:
    prescription, changed = request.object, guards.changed_fields(request)
    assert request.original is not None
    move = guards.check_move(request, _MOVES)
    if "patient" in changed:
        raise guards.forbidden("A prescription stays with its patient.")
    if accounts.is_staff(request):
        if "provider" in changed:
            await accounts.check_provider(prescription)
        if move is not None:
            accounts.take_on(request)
        return
    guards.must_be(request, owner)
    guards.only(changed, _CONTENT | {"status"}, "A patient changes what is prescribed, or cancels.")
    if changed and request.original["status"] != "pending":
        raise guards.forbidden("A prescription in work is changed by its provider only.")
    if move is not None and move[1] != "cancelled":
        raise guards.forbidden("Only a provider moves a prescription on.")


async def check_delete(request: cloud.Trigger) -> None:
    prescription = request.object
    deliveries = cloud.Query("Delivery").equal_to("prescription", prescription)
    if await deliveries.first(use_master_key=True) is not None:
        raise guards.invalid("A prescription with deliveries cannot be deleted.")
    if prescription.get("status") != "pending" and not request.master:
        raise guards.invalid("Only a pending prescription can be deleted.")


audited("Prescription", check=check, after=profiles.share_with_provider, check_delete=check_delete)
