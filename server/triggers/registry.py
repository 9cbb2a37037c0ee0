"""All hooks and functions of the app, and the way to run them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from server.access.caller import Caller, Context
from server.errors import Code, ParseError
from server.triggers.calls import (
    FunctionCall,
    FunctionHandler,
    Kind,
    TriggerCall,
    TriggerHandler,
    TriggerResult,
)
from server.triggers.runner import run_hook
from server.triggers.validators import Validator, validate
from server.values import WireObject

logger = logging.getLogger(__name__)

Place: TypeAlias = tuple[Kind, str]

_OWN_CLASS = {
    Kind.BEFORE_LOGIN: "_User",
    Kind.AFTER_LOGIN: "_User",
    Kind.AFTER_LOGOUT: "_Session",
}


def place_problem(kind: Kind, class_name: str) -> str | None:
    """Why a class cannot have this trigger; ``None`` when it can."""
    own_class = _OWN_CLASS.get(kind)
    if own_class and class_name != own_class:
        return f"{kind} is for the class {own_class} only"
    if class_name == "_Session" and kind is not Kind.AFTER_LOGOUT:
        return "the class _Session takes afterLogout only"
    if class_name == "_PushStatus" and kind is Kind.BEFORE_SAVE:
        return "the class _PushStatus takes no beforeSave"
    return None


@dataclass(frozen=True, slots=True)
class TriggerEntry:
    """``origin`` is for log lines: ``cloud/main.py:12 check_stars``, or a webhook's URL."""

    kind: Kind
    class_name: str
    handler: TriggerHandler
    origin: str
    validator: Validator | None = None


@dataclass(frozen=True, slots=True)
class FunctionEntry:
    name: str
    handler: FunctionHandler
    origin: str
    validator: Validator | None = None


@dataclass(frozen=True)
class Registrations:
    """What one load of the cloud code, or of the webhooks, brought."""

    triggers: Mapping[Place, TriggerEntry] = field(default_factory=dict)
    functions: Mapping[str, FunctionEntry] = field(default_factory=dict)


class Triggers:
    """Hooks and functions by place. A webhook takes the place of Python code while it exists."""

    def __init__(self, *, time_limit_s: float = 15.0) -> None:
        self._time_limit_s = time_limit_s
        self._code = Registrations()
        self._webhooks = Registrations()
        self._triggers: Mapping[Place, TriggerEntry] = {}
        self._functions: Mapping[str, FunctionEntry] = {}

    def replace(self, registrations: Registrations) -> None:
        """Put these in the place of all Python hooks, at once."""
        self._code = registrations
        self._join()

    def replace_webhooks(self, registrations: Registrations) -> None:
        self._webhooks = registrations
        self._join()

    def _join(self) -> None:
        self._triggers = {**self._code.triggers, **self._webhooks.triggers}
        self._functions = {**self._code.functions, **self._webhooks.functions}

    def has(self, kind: Kind, class_name: str) -> bool:
        """Whether this class has this trigger. PERF: one dictionary look-up."""
        return (kind, class_name) in self._triggers

    def function(self, name: str) -> FunctionEntry | None:
        return self._functions.get(name)

    async def run(self, kind: Kind, call: TriggerCall) -> TriggerResult:
        """Run the trigger of this place, if there is one.

        Raises:
            ParseError: What the hook or its validator raised. Errors of afterSave are logged and
                not raised: the object is saved.
        """
        entry = self._triggers.get((kind, call.class_name))
        if entry is None:
            return TriggerResult()
        place = f"{kind} {call.class_name} ({entry.origin})"
        try:
            return await run_hook(place, _run_trigger(entry, call), self._time_limit_s)
        except ParseError as error:
            if kind is not Kind.AFTER_SAVE:
                raise
            logger.warning("%s failed with code %d; the object is saved", place, error.code)
            return TriggerResult()

    async def call_function(self, call: FunctionCall) -> Any:
        """The function's result in wire terms, ``None`` when it has none.

        Raises:
            ParseError: 141 ``Invalid function`` for an unknown name; what the function raised.
        """
        entry = self._functions.get(call.name)
        if entry is None:
            raise ParseError(Code.SCRIPT_FAILED, f'Invalid function: "{call.name}"')
        place = f"function {call.name} ({entry.origin})"
        return await run_hook(
            place, _run_function(entry, call), self._time_limit_s, "Script failed."
        )


async def _run_trigger(entry: TriggerEntry, call: TriggerCall) -> TriggerResult:
    rules = entry.validator
    body = call.body
    if rules is not None:
        await validate(rules, call.ctx, _TriggerSubject(call))
        if rules.skip_with_master_key and call.ctx.caller.is_master:
            return TriggerResult()
    result = await entry.handler(call) or TriggerResult()
    if result.body is None and call.body is not body:
        result.body = call.body
    return result


async def _run_function(entry: FunctionEntry, call: FunctionCall) -> Any:
    if entry.validator is not None:
        await validate(entry.validator, call.ctx, _FunctionSubject(call))
    return await entry.handler(call)


class _FunctionSubject:
    """The parameters of a function call."""

    new_user = None
    is_object = False
    is_update = False

    def __init__(self, call: FunctionCall) -> None:
        self._call = call

    @property
    def values(self) -> Mapping[str, Any]:
        return self._call.params

    def set(self, key: str, value: Any) -> None:
        self._call.params = {**self._call.params, key: value}

    def revert(self, key: str) -> None:
        raise AssertionError("parameters have no earlier value")


class _TriggerSubject:
    """The object of a trigger. Changes replace ``call.body``, so that they can be noticed."""

    is_object = True

    def __init__(self, call: TriggerCall) -> None:
        self._call = call

    @property
    def values(self) -> Mapping[str, Any]:
        return self._call.object or {}

    @property
    def is_update(self) -> bool:
        return self._call.original is not None

    @property
    def new_user(self) -> WireObject | None:
        call = self._call
        signing_up = call.class_name == "_User" and call.kind is Kind.BEFORE_SAVE
        return call.object if signing_up and call.original is None else None

    def set(self, key: str, value: Any) -> None:
        self._call.object = {**self.values, key: value}
        self._call.body = {**self._call.body, key: value}

    def revert(self, key: str) -> None:
        call = self._call
        if not any(name.split(".", 1)[0] == key for name in call.body):
            return
        call.body = {k: v for k, v in call.body.items() if k.split(".", 1)[0] != key}
        call.object = {k: v for k, v in self.values.items() if k != key}
        if call.original is not None and key in call.original:
            call.object[key] = call.original[key]


def signed_in_user(caller: Caller) -> WireObject:
    """The caller's user as hooks get it: with the token of the session."""
    user = caller.user or {}
    return {**user, "sessionToken": caller.session_token} if caller.session_token else user


def caller_members(ctx: Context) -> WireObject:
    """What every hook is told of its caller, by Parse's names."""
    members: WireObject = {
        "master": ctx.caller.is_master,
        "isReadOnly": ctx.caller.is_read_only,
        "headers": dict(ctx.headers),
        "ip": ctx.ip,
    }
    installation_id = ctx.installation_id or ("cloud" if ctx.caller.is_master else None)
    if installation_id:
        members["installationId"] = installation_id
    return members
