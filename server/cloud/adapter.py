"""Turns marked functions into handlers of `server.triggers`: wire terms outside, Python inside."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from server.cloud.backend import Backend, running_in
from server.cloud.codec import encode
from server.cloud.marks import Mark
from server.cloud.objects import Object, pending_changes
from server.cloud.query import Query
from server.cloud.requests import Request, Trigger
from server.errors import Code
from server.triggers.calls import (
    FunctionCall,
    FunctionHandler,
    Kind,
    TriggerCall,
    TriggerHandler,
    TriggerResult,
)
from server.triggers.registry import FunctionEntry, Registrations, TriggerEntry
from server.triggers.runner import as_parse_error
from server.triggers.threads import call_in_thread
from server.values import WireObject


def registrations(marks: Iterable[Mark], backend: Backend) -> Registrations:
    """Handlers for the marks, which name each place once."""
    triggers: dict[tuple[Kind, str], TriggerEntry] = {}
    functions: dict[str, FunctionEntry] = {}
    for mark in marks:
        origin = f"{Path(mark.file).name}:{mark.line} {mark.function.__name__}"
        if isinstance(mark.kind, Kind):
            triggers[mark.kind, mark.target] = TriggerEntry(
                mark.kind, mark.target, _trigger_handler(mark, backend), origin, mark.rules
            )
        elif mark.kind == "function":
            functions[mark.target] = FunctionEntry(
                mark.target, _function_handler(mark, backend), origin, mark.rules
            )
    return Registrations(triggers, functions)


def called(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Call an ``async def`` here and a ``def`` in a thread."""
    if inspect.iscoroutinefunction(function):
        return function

    async def call(*args: Any) -> Any:
        result = await call_in_thread(function, *args)
        return await result if inspect.isawaitable(result) else result

    return call


def _checked(mark: Mark) -> Callable[[Any], Awaitable[None]] | None:
    """The validator function of a mark; what it raises becomes 142."""
    if mark.check is None:
        return None
    check = called(mark.check)

    async def run(request: Any) -> None:
        try:
            await check(request)
        except Exception as error:
            raise as_parse_error(error, Code.VALIDATION_ERROR, "Validation failed.") from error

    return run


def _function_handler(mark: Mark, backend: Backend) -> FunctionHandler:
    function, check = called(mark.function), _checked(mark)

    async def handle(call: FunctionCall) -> Any:
        request = Request(call)
        with running_in(backend, call.ctx):
            if check is not None:
                await check(request)
            return encode(await function(request), full=True)

    return handle


def _trigger_handler(mark: Mark, backend: Backend) -> TriggerHandler:
    function, check = called(mark.function), _checked(mark)

    async def handle(call: TriggerCall) -> TriggerResult | None:
        request = Trigger(call)
        with running_in(backend, call.ctx):
            if check is not None:
                await check(request)
            answer = await function(request)
        call.ctx.cloud.update(request.context)
        reader = _READERS.get(call.kind)
        return reader(request, call, answer) if reader else None

    return handle


def _before_save(request: Trigger, call: TriggerCall, _answer: Any) -> TriggerResult | None:
    if request._object is None:
        return None
    body = pending_changes(request._object)
    return None if body == call.body else TriggerResult(body=dict(body))


def _after_save(request: Trigger, _call: TriggerCall, answer: Any) -> TriggerResult | None:
    if isinstance(answer, dict):
        return TriggerResult(response=encode(answer, full=True))
    changed = pending_changes(request._object) if request._object is not None else None
    if not changed:
        return None
    fields = request.object.to_json()
    return TriggerResult(echo={key: fields[key] for key in changed if key in fields})


def _before_find(request: Trigger, call: TriggerCall, answer: Any) -> TriggerResult | None:
    if isinstance(answer, Object):
        answer = [answer]
    if isinstance(answer, list):
        return TriggerResult(objects=_rows(answer, "beforeFind"))
    if isinstance(answer, Query):
        return TriggerResult(query=answer.to_params())
    if request._query is None:
        return None
    params = request._query.to_params()
    return None if params == call.query else TriggerResult(query=params)


def _after_find(request: Trigger, _call: TriggerCall, answer: Any) -> TriggerResult | None:
    if answer is None and request._objects is None:
        return None
    if answer is None:
        answer = request.objects
    if not isinstance(answer, list):
        raise TypeError("afterFind must return a list of objects, or nothing.")
    return TriggerResult(objects=_rows(answer, "afterFind"))


def _rows(objects: list[Any], name: str) -> list[WireObject]:
    for item in objects:
        if not isinstance(item, Object):
            raise TypeError(f"{name} must return cloud.Objects, not a {type(item).__name__}.")
    return [{**item.to_json(), "className": item.class_name} for item in objects]


_READERS: dict[Kind, Callable[[Trigger, TriggerCall, Any], TriggerResult | None]] = {
    Kind.BEFORE_SAVE: _before_save,
    Kind.AFTER_SAVE: _after_save,
    Kind.BEFORE_FIND: _before_find,
    Kind.AFTER_FIND: _after_find,
}
