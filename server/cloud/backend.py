"""What the object API of cloud code stands on, and for whom it acts.

Wiring makes one `Backend`; around every hook the adapter puts it, with the hook's context, into a
context variable. So `cloud.Query` needs no argument that says where and as whom to look.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from server.access.caller import MASTER, Caller, Context
from server.objects.query import Query
from server.objects.rules import Saved
from server.triggers.registry import Triggers
from server.values import WireObject


class Objects(Protocol):
    """The part of the object store that cloud code uses."""

    async def find(self, ctx: Context, class_name: str, query: Query) -> dict[str, Any]: ...
    async def get(self, ctx: Context, class_name: str, query: Query) -> WireObject: ...
    async def create(self, ctx: Context, class_name: str, body: WireObject) -> Saved: ...
    async def update(
        self, ctx: Context, class_name: str, object_id: str, body: WireObject
    ) -> WireObject: ...
    async def delete(self, ctx: Context, class_name: str, object_id: str) -> WireObject: ...


class Files(Protocol):
    """The part of the file store that cloud code uses."""

    async def create(
        self, ctx: Context, name: str, data: bytes, content_type: str | None
    ) -> WireObject:
        """``{"name": ..., "url": ...}``: the name it got."""

    async def read(self, ctx: Context, name: str) -> bytes:
        """All bytes of a file. Raises 153 when there is none."""


class Resolver(Protocol):
    """Tells whose session a token is of."""

    async def resolve(self, token: str, /) -> Caller: ...


@dataclass(frozen=True)
class Backend:
    """All that cloud code reaches of the server."""

    objects: Objects
    triggers: Triggers
    resolver: Resolver
    files: Files | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The hook that runs: its server and its caller."""

    backend: Backend
    ctx: Context

    async def acting(
        self,
        use_master_key: bool,
        session_token: str | None,
        context: dict[str, Any] | None = None,
    ) -> Context:
        """The context of one operation: the hook's caller, the master key, or a session's user."""
        if use_master_key:
            caller = MASTER
        elif session_token is not None:
            caller = await self.backend.resolver.resolve(session_token)
        else:
            caller = self.ctx.caller
        return self.ctx.acting_as(caller, context)


_current: ContextVar[Running] = ContextVar("running_hook")


@contextmanager
def running_in(backend: Backend, ctx: Context) -> Iterator[None]:
    """Inside the block, cloud code acts on this server, as this caller by default."""
    token = _current.set(Running(backend, ctx))
    try:
        yield
    finally:
        _current.reset(token)


def running() -> Running:
    """The hook that runs. Raises RuntimeError outside of hooks."""
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError(
            "cloud.Query, cloud.Object.save() and the like work only while a hook, a function or"
            " an on_start of the app runs; move this call into one."
        ) from None
