"""uvicorn's HTTP protocol, with bounds on what a slow or rude client may make it hold.

`BoundedProtocol` is named as uvicorn's ``http``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 128 * 1024
"""Bytes of a request's first line and headers; what is read beyond them in one go is let pass."""
MAX_PAUSE_S = 30.0
"""Seconds that a request's head may take, and that its body may stand still."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses endless headers (400) and hangs up on who begins a request and does not go on."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._is_in_head = True
        self._head_size = 0
        self._overdue: asyncio.TimerHandle | None = None
        self._expect_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._head_size = 0

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._expect_nothing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("Request header fields too large.")
            elif self._overdue is None and self._head_size:
                self._expect_more()
        elif self.cycle is not None and self.cycle.more_body:
            self._expect_nothing()
            self._expect_more()
        else:
            self._expect_nothing()

    def _expect_more(self) -> None:
        self._overdue = self.loop.call_later(MAX_PAUSE_S, self._hang_up)

    def _expect_nothing(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _hang_up(self) -> None:
        self._overdue = None
        self.transport.close()
