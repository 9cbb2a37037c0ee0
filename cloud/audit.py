"""The audit trail: one AuditLog entry per write, log-in and function call.

An entry names who did what to which object, and which fields changed; it never holds a value.
The class is append-only in `schema.json`, so what is written here stays.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from cloud import guards
from server import cloud

Rule: TypeAlias = Callable[[cloud.Trigger], Awaitable[None]]
Function: TypeAlias = Callable[[cloud.Request], Awaitable[Any]]

SYSTEM = "system:pestle"

_CHANGED = "audit.changed"
_MAX_SUMMARY = 500

# SECURITY: not the request's context, which a client can fill.
_acting: ContextVar[str | None] = ContextVar("acting", default=None)


def audited(
    class_name: str,
    *,
    check: Rule,
    after: Rule | None = None,
    check_delete: Rule | None = None,
) -> None:
    """Hook up one pharmacy class: its rules, and an entry for every write.

    Args:
        check: Runs before each save: refuses, fills what the server sets, grants the rights.
        after: Runs after each save, once the entry is written.
        check_delete: Runs before each delete.
    """

    @cloud.before_save(class_name)
    async def rules(request: cloud.Trigger) -> None:
        await check(request)
        request.context[_CHANGED] = sorted(guards.changed_fields(request))

    @cloud.after_save(class_name)
    async def saved(request: cloud.Trigger) -> None:
        action = "create" if request.original is None else "update"
        await _record_write(request, action, request.context.get(_CHANGED, ()))
        if after is not None:
            await after(request)

    if check_delete is not None:
        cloud.before_delete(class_name)(check_delete)

    @cloud.after_delete(class_name)
    async def deleted(request: cloud.Trigger) -> None:
        await _record_write(request, "delete", ())


def audited_function(
    name: str, *, required: Collection[str], optional: Collection[str] = ()
) -> Callable[[Function], Function]:
    """Define a cloud function with text parameters for people with a session.

    Each call leaves an entry; a refused one with the error's code.
    """

    def define(function: Function) -> Function:
        @cloud.define(name, require_user=True)
        async def recorded(request: cloud.Request) -> Any:
            names = (*required, *optional)
            outcome: dict[str, Any] = {"fields": [n for n in names if n in request.params]}
            try:
                _check_params(request.params, required, optional)
                return await function(request)
            except cloud.Error as error:
                outcome["errorCode"] = error.code
                raise
            finally:
                actor = request.user.id if request.user else None
                await record(actor, "Function", name, "call", f"call {name}", outcome)

        return recorded

    return define


def _check_params(
    params: Mapping[str, Any], required: Collection[str], optional: Collection[str]
) -> None:
    # Not the declarative validator: it lets everything of the master key through.
    for name in required:
        if params.get(name) is None:
            raise guards.invalid(f"Validation failed. Please specify data for {name}.")
    for name in (*required, *optional):
        if not isinstance(params.get(name, ""), str | None):
            raise guards.invalid(f"Validation failed. Invalid type for {name}. Expected: string")


async def record(
    actor_id: str | None,
    entity_type: str,
    entity_id: str,
    action: str,
    summary: str,
    metadata: Mapping[str, Any],
) -> None:
    """Append one entry. Without an actor (the master key) it is the system's user."""
    actor_id = actor_id or _acting.get() or await system_user_id()
    entry = cloud.Object(
        "AuditLog",
        actor=cloud.Object.pointer("_User", actor_id),
        entityType=entity_type,
        entityId=entity_id,
        action=action,
        summary=summary[:_MAX_SUMMARY],
        metadata=dict(metadata),
    )
    guards.grant(entry, read=["role:admin"])
    await entry.save(use_master_key=True)


async def save_as_server(request: cloud.Trigger | cloud.Request, obj: cloud.Object) -> None:
    """Save with the master key, in the name of the person whose request led to it."""
    token = _acting.set(request.user.id if request.user else _acting.get())
    try:
        await obj.save(use_master_key=True)
    finally:
        _acting.reset(token)


async def system_user_id() -> str:
    """The id of the user who stands for the server; made when missing, nobody can log in as it."""
    query = cloud.Query("_User").equal_to("username", SYSTEM)
    user = await query.first(use_master_key=True)
    if user is None:
        user = await _make_system_user(query)
    return user.id


async def _make_system_user(query: cloud.Query) -> cloud.Object:
    user = cloud.Object("_User", username=SYSTEM, password=secrets.token_urlsafe(48))
    guards.grant(user, read=["role:admin"])
    try:
        await user.save(use_master_key=True)
    except cloud.Error:
        # Another worker was faster.
        made = await query.first(use_master_key=True)
        if made is None:
            raise
        return made
    return user


async def _record_write(request: cloud.Trigger, action: str, changed: Collection[str]) -> None:
    obj = request.object
    summary = f"{action} {obj.class_name}" + (f": {', '.join(changed)}" if changed else "")
    actor = request.user.id if request.user else None
    await record(actor, obj.class_name, obj.id, action, summary, {"fields": list(changed)})
