"""The decorators of cloud code. They mark functions; `server.cloud.loader` collects the marks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

from server.cloud.objects import Object, class_name_of
from server.cloud.requests import Request, Trigger
from server.triggers.calls import Kind
from server.triggers.registry import place_problem
from server.triggers.validators import Roles, Validator, validator

OnRequest = TypeVar("OnRequest", bound=Callable[[Request], Any])
OnTrigger = TypeVar("OnTrigger", bound=Callable[[Trigger], Any])
OnStart = TypeVar("OnStart", bound=Callable[[], Any])
Anything = TypeVar("Anything", bound=Callable[..., Any])


class Rules(TypedDict, total=False):
    """What a hook demands before it runs; the master key is exempt.

    ``require_user``: somebody is logged in. ``require_master``: the master key.
    ``require_any_user_roles``, ``require_all_user_roles``: names, or a function that gives them.
    ``require_user_keys``: fields that the user must have set, or ``{field: {"options": ...}}``.
    ``fields``: names that must be given, or ``{name: str}``, ``{name: str | None}`` (optional),
    ``{name: {"type", "required", "default", "constant", "options", "error"}}``. They are the
    parameters of a function and the fields of a trigger's object.
    ``validator``: a function of the request that raises to refuse, for the master key too.
    ``skip_with_master_key``: the trigger does not run for the master key.
    ``validate_master_key``: the master key is not exempt.
    """

    require_user: bool
    require_master: bool
    require_any_user_roles: Roles
    require_all_user_roles: Roles
    require_user_keys: Iterable[str] | Mapping[str, Any]
    fields: Iterable[str] | Mapping[str, Any]
    validator: Callable[[Any], Any]
    skip_with_master_key: bool
    validate_master_key: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """One use of a decorator. ``target``: the name of the function, or of the trigger's class."""

    kind: Kind | Literal["function", "start"]
    target: str
    function: Callable[..., Any]
    rules: Validator | None
    check: Callable[[Any], Any] | None
    file: str
    line: int

    @property
    def place(self) -> str:
        match self.kind:
            case "function":
                return f"the function {self.target!r}"
            case "start":
                return f"on_start {self.function.__name__}"
        return f"{self.kind} of {self.target}"


collected: ContextVar[list[Mark] | None] = ContextVar("collected_marks", default=None)
"""Where marks go while the loader imports an app; outside of that, decorators do nothing."""


def _mark(
    kind: Kind | Literal["function", "start"],
    target: str,
    function: Anything,
    rules: Rules | None = None,
) -> Anything:
    if not callable(function):
        raise TypeError(f"A function is expected to be decorated, not {function!r}.")
    given: dict[str, Any] = dict(rules or {})
    check = given.pop("validator", None)
    demands = validator(**given)
    marks = collected.get()
    if marks is not None:
        code = getattr(inspect.unwrap(function), "__code__", None)
        marks.append(
            Mark(
                kind,
                target,
                function,
                None if demands.is_empty else demands,
                check,
                code.co_filename if code else "?",
                code.co_firstlineno if code else 0,
            )
        )
    return function


@overload
def define(function: OnRequest, /) -> OnRequest: ...
@overload
def define(name: str | None = None, **rules: Unpack[Rules]) -> Callable[[OnRequest], OnRequest]: ...
def define(name: Any = None, **rules: Unpack[Rules]) -> Any:
    """A cloud function: ``Parse.Cloud.run("name", params)``; its own name unless one is given.

    What it returns is the result: JSON, dates, objects and all else that a field can hold.
    """
    if name is not None and not isinstance(name, str):
        return _mark("function", name.__name__, name)

    def decorate(function: OnRequest) -> OnRequest:
        return _mark("function", name or function.__name__, function, rules)

    return decorate


def _trigger(
    kind: Kind, target: str | type[Object], rules: Rules
) -> Callable[[OnTrigger], OnTrigger]:
    name = class_name_of(target)
    problem = place_problem(kind, name)
    if problem:
        raise ValueError(problem)

    def decorate(function: OnTrigger) -> OnTrigger:
        return _mark(kind, name, function, rules)

    return decorate


def before_save(
    class_name: str | type[Object], **rules: Unpack[Rules]
) -> Callable[[OnTrigger], OnTrigger]:
    """Before an object is created or updated: change ``request.object``, or raise to refuse."""
    return _trigger(Kind.BEFORE_SAVE, class_name, rules)


def after_save(
    class_name: str | type[Object], **rules: Unpack[Rules]
) -> Callable[[OnTrigger], OnTrigger]:
    """After it was stored. Errors are logged only; a returned dict replaces the response."""
    return _trigger(Kind.AFTER_SAVE, class_name, rules)


def before_delete(
    class_name: str | type[Object], **rules: Unpack[Rules]
) -> Callable[[OnTrigger], OnTrigger]:
    """Before an object is deleted; raise to refuse."""
    return _trigger(Kind.BEFORE_DELETE, class_name, rules)


def after_delete(
    class_name: str | type[Object], **rules: Unpack[Rules]
) -> Callable[[OnTrigger], OnTrigger]:
    """After it was deleted. Errors reach the client, though the object is gone."""
    return _trigger(Kind.AFTER_DELETE, class_name, rules)


def before_find(
    class_name: str | type[Object], **rules: Unpack[Rules]
) -> Callable[[OnTrigger], OnTrigger]:
    """Before a find or get: change ``request.query``, return another query, or the objects."""
    return _trigger(Kind.BEFORE_FIND, class_name, rules)


def after_find(
    class_name: str | type[Object], **rules: Unpack[Rules]
) -> Callable[[OnTrigger], OnTrigger]:
    """After a find or get: change ``request.objects``, or return the list to answer."""
    return _trigger(Kind.AFTER_FIND, class_name, rules)


@overload
def before_login(function: OnTrigger, /) -> OnTrigger: ...
@overload
def before_login(**rules: Unpack[Rules]) -> Callable[[OnTrigger], OnTrigger]: ...
def before_login(function: Any = None, /, **rules: Unpack[Rules]) -> Any:
    """The password was right; raise to refuse the log-in. ``request.object`` is the user."""
    return _login_trigger(Kind.BEFORE_LOGIN, "_User", function, rules)


@overload
def after_login(function: OnTrigger, /) -> OnTrigger: ...
@overload
def after_login(**rules: Unpack[Rules]) -> Callable[[OnTrigger], OnTrigger]: ...
def after_login(function: Any = None, /, **rules: Unpack[Rules]) -> Any:
    """The session was made. ``request.object`` is the user."""
    return _login_trigger(Kind.AFTER_LOGIN, "_User", function, rules)


@overload
def after_logout(function: OnTrigger, /) -> OnTrigger: ...
@overload
def after_logout(**rules: Unpack[Rules]) -> Callable[[OnTrigger], OnTrigger]: ...
def after_logout(function: Any = None, /, **rules: Unpack[Rules]) -> Any:
    """The session, ``request.object``, was deleted."""
    return _login_trigger(Kind.AFTER_LOGOUT, "_Session", function, rules)


def _login_trigger(kind: Kind, class_name: str, function: Any, rules: Rules) -> Any:
    decorate: Callable[[Any], Any] = _trigger(kind, class_name, rules)
    return decorate if function is None else decorate(function)


def on_start(function: OnStart) -> OnStart:
    """Runs at each start of the server, in one process, before it serves.

    Nobody calls it, so it acts with the master key. It must be safe to run again: make roles
    that are missing, and the like.
    """
    return _mark("start", "", function)
