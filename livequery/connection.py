"""The outgoing side of one connection: a bounded queue and the task that empties it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

MAX_QUEUED = 4 * 1_048_576
"""Characters that may wait for a slow client before it is dropped."""


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
