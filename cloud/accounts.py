"""Accounts and roles: the roles exist, everybody starts as a patient, log-ins are recorded."""

from __future__ import annotations

from cloud import audit, guards
from server import cloud

PATIENT, PROVIDER, ADMIN = ROLES = ("patient", "provider", "admin")


@cloud.on_start
async def prepare() -> None:
    """Make the roles and the system's user where they are missing."""
    for name in ROLES:
        if await _role(name) is None:
            role = cloud.Role(name)
            # SECURITY: no write right at all: only the master key touches who is in a role.
            guards.grant(role, read=[f"role:{name}", f"role:{ADMIN}"])
            await role.save(use_master_key=True)
    await audit.system_user_id()


@cloud.after_save("_User")
async def newcomer_is_patient(request: cloud.Trigger) -> None:
    if request.original is None and request.object.get("username") != audit.SYSTEM:
        await set_membership(PATIENT, request.object.id, member=True)


@cloud.before_login
async def system_stays_out(request: cloud.Trigger) -> None:
    if request.object.get("username") == audit.SYSTEM:
        raise guards.forbidden("This account cannot log in.")


@cloud.after_login
async def logged_in(request: cloud.Trigger) -> None:
    """One entry for each log-in; who logs in as somebody else by the master key is the system."""
    user = request.object
    actor = None if request.master else user.id
    await audit.record(actor, "_User", user.id, "login", "login", {})


@cloud.before_delete("_User")
async def system_stays(request: cloud.Trigger) -> None:
    if request.object.get("username") == audit.SYSTEM:
        raise guards.forbidden("The audit trail needs this account.")


def is_staff(request: cloud.Trigger | cloud.Request) -> bool:
    """Whether a provider, an admin or the master key asks."""
    return request.master or not request.roles.isdisjoint((PROVIDER, ADMIN))


async def check_provider(obj: cloud.Object) -> None:
    """Whoever an object's ``provider`` names must be in that role (142)."""
    provider = guards.pointer(obj, "provider", "_User")
    if provider is None:
        return
    query = cloud.Query("_Role").equal_to("name", PROVIDER).equal_to("users", provider)
    if await query.first(use_master_key=True) is None:
        raise guards.invalid("'provider' must be somebody in the role provider.")


def take_on(request: cloud.Trigger) -> None:
    """Whoever moves an object that nobody works on yet is its ``provider`` from now on."""
    if request.object.get("provider") is None and PROVIDER in request.roles:
        request.object["provider"] = request.user


async def _role(name: str) -> cloud.Object | None:
    return await cloud.Query("_Role").equal_to("name", name).first(use_master_key=True)


async def set_membership(name: str, user_id: str, *, member: bool) -> None:
    """Put a user into a role, or take them out of it."""
    role = await _role(name)
    if role is None:
        raise guards.invalid(f"The role {name} does not exist.")
    users, user = role.relation("users"), cloud.Object.pointer("_User", user_id)
    if member:
        users.add(user)
    else:
        users.remove(user)
    await role.save(use_master_key=True)
