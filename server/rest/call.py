"""One REST request and its answer, free of HTTP: what a route handler gets and gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from server.access.caller import Context
from server.errors import Forbidden, master_key_required


@dataclass(slots=True)
class Call:
    """A request after its headers or in-body form were read.

    ``body``: the JSON body (``{}`` when there was none), for GETs too.
    ``query``: the URL's parameters as text. ``raw``: the body's bytes (files only).
    ``content_type``: the header's value, for ``raw``.
    """

    method: str
    path: str
    ctx: Context
    body: Any = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    raw: bytes = b""
    content_type: str = ""

    def params(self) -> dict[str, Any]:
        """Body and URL parameters in one; the URL wins."""
        body = self.body if isinstance(self.body, dict) else {}
        return {**body, **self.query} if self.query else body

    def require_master(self, *, write: bool = False) -> None:
        """Refuse anybody but the master key; with ``write`` the read-only one too."""
        if not self.ctx.caller.is_master:
            raise master_key_required()
        if write and self.ctx.caller.is_read_only:
            raise Forbidden("read-only masterKey isn't allowed to perform this operation.")


@dataclass(slots=True)
class Answer:
    """``body``: a JSON value, or ``bytes``/a stream of bytes with ``content_type`` set."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None


Handler: TypeAlias = Callable[..., Awaitable[Answer]]
"""``await handler(call, **path_parameters)``."""


@dataclass(frozen=True, slots=True)
class Route:
    """``Route("GET", "/classes/{class_name}/{object_id}", handler)``; a path without the mount.

    ``is_public``: served without an application id, as file downloads are.
    ``takes_bytes``: the body is not JSON unless it is the SDK's form; ``call.raw`` holds it.
    """

    method: str
    path: str
    handler: Handler
    is_public: bool = False
    takes_bytes: bool = False
