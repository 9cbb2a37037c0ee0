"""The outgoing side of one connection: a bounded queue and the task that empties it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

MAX_QUEUED = 4 * 1_048_576
"""Characters that may wait for a slow client before it is dropped."""


class Outgoing(Protocol):
    """Where a connection's frames go."""

    def offer(self, frame: str) -> None: ...

    def close(self) -> None: ...

    async def run(self) -> None: ...


class PushOutbox:
    """Frames are written at once; what waits for the client waits in its transport.

    Args:
        push: writes one text frame and tells how many bytes wait.
        on_overflow: as in `Outbox`.
    """

    def __init__(
        self,
        push: Callable[[bytes], int],
        on_overflow: Callable[[], None],
        *,
        limit: int = MAX_QUEUED,
    ) -> None:
        self._push = push
        self._on_overflow = on_overflow
        self._limit = limit
        self._closed = asyncio.Event()

    def offer(self, frame: str) -> None:
        """Write a frame; a client for which too much waits is dropped."""
        if not self._closed.is_set() and self._push(frame.encode()) > self._limit:
            self.close()
            self._on_overflow()

    def close(self) -> None:
        self._closed.set()

    async def run(self) -> None:
        await self._closed.wait()


class Outbox:
    """Frames on their way to one client. `offer` never waits.

    Args:
        send_text: sends one frame; may wait for the client to read.
        on_overflow: called once, when the client lags behind for good.
    """

    def __init__(
        self,
        send_text: Callable[[str], Awaitable[None]],
        on_overflow: Callable[[], None],
        *,
        limit: int = MAX_QUEUED,
    ) -> None:
        self._send_text = send_text
        self._on_overflow = on_overflow
        self._limit = limit
        self._frames: deque[str] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._is_closed = False

    def offer(self, frame: str) -> None:
        """Queue a frame; a client whose queue is full is dropped, and its frames with it."""
        if self._is_closed:
            return
        self._queued += len(frame)
        if self._queued > self._limit:
            self.close()
            self._on_overflow()
            return
        self._frames.append(frame)
        if len(self._frames) == 1:
            self._wake.set()

    def close(self) -> None:
        self._is_closed = True
        self._frames.clear()
        self._wake.set()

    async def run(self) -> None:
        """Send what is offered until `close`.

        PERF: one wake-up sends all frames that wait, which the event loop writes in one go.
        """
        frames = self._frames
        while not self._is_closed:
            await self._wake.wait()
            self._wake.clear()
            while frames:
                frame = frames[0]
                await self._send_text(frame)
                if frames:
                    # Not before: a frame on its way still counts, and keeps `offer` quiet.
                    frames.popleft()
                    self._queued -= len(frame)
