"""Profiles: PatientProfile, UserProfile and Provider, each belonging to one account."""

from __future__ import annotations

from cloud import accounts, guards
from cloud.audit import audited, save_as_server
from server import cloud

_STAFF_ONLY = frozenset({"medicalRecordNumber", "isActive"})


async def own_profile(request: cloud.Trigger | cloud.Request) -> cloud.Object | None:
    """The caller's PatientProfile (119 when its portal access is switched off)."""
    profile = await profile_of(request.user)
    if profile is not None and not profile.get("isActive"):
        raise guards.forbidden("Your portal access is not active.")
    return profile


async def profile_of(user: cloud.Object | None) -> cloud.Object | None:
    if user is None:
        return None
    return await cloud.Query("PatientProfile").equal_to("user", user).first(use_master_key=True)


async def owner_of(obj: cloud.Object) -> str:
    """The user id of an object's ``patient``."""
    patient = guards.needed(obj, "patient", "PatientProfile")
    profile = await cloud.Query("PatientProfile").get(patient.id, use_master_key=True)
    return profile["user"].id


async def set_patient(request: cloud.Trigger) -> cloud.Object:
    """Check or fill a new object's ``patient``; returns the profile.

    A patient can only name their own profile, staff any.
    """
    obj, given = request.object, guards.pointer(request.object, "patient", "PatientProfile")
    mine = await own_profile(request)
    if mine is not None and (given is None or given.id == mine.id):
        obj["patient"] = mine
        return mine
    if given is None:
        raise guards.invalid("patient is required: you have no PatientProfile yet.")
    if not accounts.is_staff(request):
        raise guards.forbidden("'patient' must be your own profile.")
    return await cloud.Query("PatientProfile").get(given.id, use_master_key=True)


async def share_with_provider(request: cloud.Trigger) -> None:
    """Let the ``provider`` who works on an object read its patient's profile."""
    provider = request.object.get("provider")
    before = request.original.get("provider") if request.original else None
    if provider is None or (before is not None and before.id == provider.id):
        return
    profile = cloud.Object.pointer("PatientProfile", request.object["patient"].id)
    profile.add_unique("careTeam", provider)
    await save_as_server(request, profile)


async def _check_profile(request: cloud.Trigger) -> None:
    profile, changed = request.object, guards.changed_fields(request)
    staff = accounts.is_staff(request)
    await _check_owner(request, staff=staff)
    if not staff and request.original is not None and changed & _STAFF_ONLY:
        raise guards.forbidden("Only staff changes medicalRecordNumber and isActive.")
    if not staff and request.original is None:
        profile["isActive"] = True
    if not request.master:
        guards.keep(request, "careTeam")
    if "insurancePlans" in changed:
        await _check_plans(profile)
    team = guards.pointed(profile, "careTeam", "_User")
    guards.grant(profile, write=[profile["user"].id, "role:admin"], read=team)


async def _check_owner(request: cloud.Trigger, *, staff: bool) -> None:
    """``user`` is the caller, unless staff makes the profile; it never changes."""
    profile = request.object
    if request.original is not None:
        if "user" in guards.changed_fields(request):
            raise guards.forbidden("A profile stays with its user.")
        return
    if profile.get("user") is None and request.user is not None:
        profile["user"] = request.user
    owner = guards.needed(profile, "user", "_User")
    if not staff and owner.id != request.user.id:
        raise guards.forbidden("A profile is made by its own user.")


async def _check_plans(profile: cloud.Object) -> None:
    plans = guards.pointed(profile, "insurancePlans", "InsurancePlan")
    found = await cloud.Query("InsurancePlan").contained_in("objectId", plans).count()
    if found != len(plans):
        raise guards.invalid("insurancePlans must name existing plans, each once.")


async def _keep_plans_in_step(request: cloud.Trigger) -> None:
    """Mirror ``insurancePlans`` in each InsurancePlan's relation ``patients``."""
    now = {plan.id for plan in (request.object.get("insurancePlans") or [])}
    before = (request.original and request.original.get("insurancePlans")) or []
    gone = {plan.id for plan in before} - now
    if now == {plan.id for plan in before}:
        return
    for plan_id in now | gone:
        plan = cloud.Object.pointer("InsurancePlan", plan_id)
        patients = plan.relation("patients")
        if plan_id in now:
            patients.add(request.object)
        else:
            patients.remove(request.object)
        await save_as_server(request, plan)


async def _check_user_profile(request: cloud.Trigger) -> None:
    await _check_owner(request, staff=accounts.is_staff(request))
    guards.grant(request.object, write=[request.object["user"].id], read=["role:admin"])


async def _check_provider(request: cloud.Trigger) -> None:
    admin = request.master or accounts.ADMIN in request.roles
    await _check_owner(request, staff=admin)
    guards.grant(request.object, write=[request.object["user"].id, "role:admin"], read=["*"])


audited("PatientProfile", check=_check_profile, after=_keep_plans_in_step)
audited("UserProfile", check=_check_user_profile)
audited("Provider", check=_check_provider)
