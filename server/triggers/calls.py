"""What a hook is told and what it answers, in wire terms: Python hooks and webhooks share them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from server.access.caller import Context
from server.values import WireObject


class Kind(StrEnum):
    """The triggers of a class, by Parse's names."""

    BEFORE_SAVE = "beforeSave"
    AFTER_SAVE = "afterSave"
    BEFORE_DELETE = "beforeDelete"
    AFTER_DELETE = "afterDelete"
    BEFORE_FIND = "beforeFind"
    AFTER_FIND = "afterFind"
    BEFORE_LOGIN = "beforeLogin"
    AFTER_LOGIN = "afterLogin"
    AFTER_LOGOUT = "afterLogout"


@dataclass(slots=True)
class TriggerCall:
    """One event at a class.

    ``object``: the wire object: stored fields with the request's changes applied (beforeSave),
    as it now stands (others). ``original``: as stored before (updates only).
    ``body``: beforeSave only: the request's own changes, operations as ``{"__op": ...}``.
    ``query``: find triggers: REST parameters (``where`` an object, ``limit``, ``order``, ...).
    """

    kind: Kind
    class_name: str
    ctx: Context
    object: WireObject | None = None
    original: WireObject | None = None
    body: WireObject = field(default_factory=dict)
    query: dict[str, Any] | None = None
    objects: list[WireObject] | None = None
    count: bool = False
    is_get: bool = False


@dataclass(slots=True)
class TriggerResult:
    """What a hook answers; ``None`` members change nothing.

    ``body``: beforeSave: the changes to write instead of the request's.
    ``query``: beforeFind: the parameters to use instead.
    ``objects``: beforeFind: answer these instead of querying; afterFind: answer these.
    ``response``: afterSave: replaces the whole response body.
    ``echo``: afterSave: fields set on the object, added to the response though not stored.
    """

    body: WireObject | None = None
    query: dict[str, Any] | None = None
    objects: list[WireObject] | None = None
    response: WireObject | None = None
    echo: WireObject | None = None


@dataclass(slots=True)
class FunctionCall:
    """A call of a cloud function. ``params`` are plain JSON, as the client sent them."""

    name: str
    params: dict[str, Any]
    ctx: Context


TriggerHandler: TypeAlias = Callable[[TriggerCall], Awaitable[TriggerResult | None]]
FunctionHandler: TypeAlias = Callable[[FunctionCall], Awaitable[Any]]
