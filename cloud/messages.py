"""Messages between patients and pharmacy, read by the sender and the recipient only."""

from __future__ import annotations

from datetime import UTC, datetime

from cloud import accounts, guards, profiles
from cloud.audit import audited
from server import cloud


async def check(request: cloud.Trigger) -> None:
    message = request.object
    if request.original is None:
        await _check_new(request)
    else:
        changed = guards.changed_fields(request)
        guards.only(changed, {"isRead"}, "A message that is sent does not change.")
        if changed and not request.master and request.user.id != message["to"].id:
            raise guards.forbidden("Only the recipient marks a message as read.")
    guards.grant(message, write=[message["to"].id], read=[message["from"].id])


async def _check_new(request: cloud.Trigger) -> None:
    message = request.object
    if request.user is not None:
        message["from"] = request.user
    guards.needed(message, "from", "_User")
    recipient = guards.needed(message, "to", "_User")
    await cloud.Query("_User").get(recipient.id, use_master_key=True)
    message["sentAt"] = datetime.now(UTC)
    message["isRead"] = False
    attachments = message.get("attachments") or []
    if not isinstance(attachments, list) or not all(isinstance(a, cloud.File) for a in attachments):
        raise guards.invalid("attachments must be files.")
    await _check_patient(request)


async def _check_patient(request: cloud.Trigger) -> None:
    """A message is about its sender or recipient; staff may write about any patient."""
    message = request.object
    given = guards.pointer(message, "patient", "PatientProfile")
    mine = await profiles.own_profile(request)
    own = [mine or await profiles.profile_of(message["from"])]
    own.append(await profiles.profile_of(message["to"]))
    candidates = [profile for profile in own if profile is not None]
    if given is None:
        if not candidates:
            raise guards.invalid("patient is required: neither side has a PatientProfile.")
        message["patient"] = candidates[0]
    elif given.id not in [profile.id for profile in candidates]:
        if not accounts.is_staff(request):
            raise guards.forbidden("'patient' must be your own or the recipient's profile.")
        await cloud.Query("PatientProfile").get(given.id, use_master_key=True)


audited("Message", check=check)
