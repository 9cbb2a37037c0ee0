"""What cloud functions and triggers are given: `cloud.Request` and `cloud.Trigger`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from server.access.caller import Context
from server.cloud.codec import decode_params
from server.cloud.objects import Object, changing, from_wire
from server.cloud.people import User
from server.cloud.query import Query, from_params
from server.triggers.calls import FunctionCall, Kind, TriggerCall
from server.triggers.registry import signed_in_user

log = logging.getLogger("cloud")


class _FromCaller:
    """Who asks, and from where."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._user: User | None = None
        self.context: dict[str, Any] = dict(ctx.cloud)
        """What the client, or an earlier hook of this operation, handed on."""
        self.log = log
        """The app's log. Never log tokens, passwords or what patients wrote."""

    @property
    def user(self) -> User | None:
        """Who is logged in."""
        caller = self._ctx.caller
        if self._user is None and caller.user is not None:
            made = from_wire("_User", signed_in_user(caller))
            assert isinstance(made, User)
            self._user = made
        return self._user

    @property
    def roles(self) -> frozenset[str]:
        """The names of the user's roles, inherited ones included."""
        return self._ctx.caller.roles

    @property
    def master(self) -> bool:
        """Whether the request came with the master key."""
        return self._ctx.caller.is_master

    @property
    def is_read_only(self) -> bool:
        """Whether that was the read-only master key."""
        return self._ctx.caller.is_read_only

    @property
    def installation_id(self) -> str | None:
        return self._ctx.installation_id or ("cloud" if self.master else None)

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, names in lower case."""
        return self._ctx.headers

    @property
    def ip(self) -> str:
        return self._ctx.ip


class Request(_FromCaller):
    """One call of a cloud function."""

    def __init__(self, call: FunctionCall) -> None:
        super().__init__(call.ctx)
        self.function_name = call.name
        self.params: dict[str, Any] = decode_params(call.params)
        """What the client sent; dates, files and pointers as Python values."""


class Trigger(_FromCaller):
    """One event at a class. Which members it has depends on the trigger."""

    def __init__(self, call: TriggerCall) -> None:
        super().__init__(call.ctx)
        self._call = call
        self._object: Object | None = None
        self._original: Object | None = None
        self._query: Query[Object] | None = None
        self._objects: list[Object] | None = None

    @property
    def trigger_name(self) -> str:
        """``beforeSave``, ``afterFind``, ..."""
        return self._call.kind.value

    @property
    def class_name(self) -> str:
        return self._call.class_name

    @property
    def object(self) -> Object:
        """The object that is saved, deleted or logs in; the session after a log-out."""
        if self._object is None:
            self._object = self._made_object()
        return self._object

    def _made_object(self) -> Object:
        call = self._call
        if call.object is None:
            raise AttributeError(f"{call.kind} has no object.")
        if call.kind is Kind.BEFORE_SAVE:
            made = changing(call.class_name, call.original or {}, call.object, call.body)
            made.existed = call.original is not None
            return made
        made = from_wire(call.class_name, call.object)
        made.existed = call.kind is not Kind.AFTER_SAVE or call.original is not None
        return made

    @property
    def original(self) -> Object | None:
        """The object as it was stored before an update; ``None`` for a create."""
        if self._original is None and self._call.original is not None:
            self._original = from_wire(self._call.class_name, self._call.original)
            self._original.existed = True
        return self._original

    @property
    def query(self) -> Query[Object]:
        """The query of a find trigger. before_find may change it."""
        if self._query is None:
            if self._call.query is None:
                raise AttributeError(f"{self._call.kind} has no query.")
            self._query = from_params(self._call.class_name, self._call.query)
        return self._query

    @property
    def objects(self) -> list[Object]:
        """The objects that were found. after_find may change them and the list."""
        if self._objects is None:
            if self._call.objects is None:
                raise AttributeError(f"{self._call.kind} has no objects.")
            rows = self._call.objects
            self._objects = [from_wire(self._call.class_name, row) for row in rows]
        return self._objects

    @objects.setter
    def objects(self, objects: list[Object]) -> None:
        self._objects = objects

    @property
    def count(self) -> bool:
        """Whether the client asks for the count, too."""
        return self._call.count

    @property
    def is_get(self) -> bool:
        """Whether one object is asked for by its id."""
        return self._call.is_get
