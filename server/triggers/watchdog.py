"""Ends an ``async def`` hook that blocks the event loop, so that its worker serves on.

A coroutine that never awaits (``while True: pass``, ``time.sleep``) cannot be cancelled: the loop
that would cancel it does not run. While a hook has the loop, `steps` holds its deadline. A daemon
thread looks at it a few times a second and, once it has passed, signals the main thread; the
signal's handler raises `HookTimeout` there, but only out of the app's own code. Raised inside the
server or the loop it could break their state, so then the next look tries again.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

_SERVER = str(Path(__file__).resolve().parents[1]) + "/"
_LOOK_EVERY_S = 0.2
_SIGNAL = getattr(signal, "SIGALRM", None)  # no such signal, and no watchdog, on Windows


class HookTimeout(BaseException):
    """Cloud code ran longer than it may. Not an ``Exception``: cloud code rarely catches it."""


class Steps:
    """The deadline of the hook that runs on the loop at this moment, ``inf`` between hooks."""

    __slots__ = ("deadline",)

    def __init__(self) -> None:
        self.deadline = inf

    def enter(self, deadline: float) -> float:
        """A hook gets the loop; gives what `leave` needs. A hook inside it may not last longer."""
        outer = self.deadline
        self.deadline = min(outer, deadline)
        return outer

    def leave(self, outer: float) -> None:
        self.deadline = outer


steps = Steps()


class Watchdog:
    """Watches the main thread of a worker. `start` does nothing in any other thread."""

    def __init__(self, is_cloud_code: Callable[[str], bool]) -> None:
        """``is_cloud_code``: whether a source file, by its absolute path, is the app's own."""
        self._is_cloud_code = is_cloud_code
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._previous_handler: Any = None

    def start(self) -> None:
        main = threading.main_thread()
        if self._thread or _SIGNAL is None or threading.current_thread() is not main:
            return
        self._stopped.clear()
        self._previous_handler = signal.signal(_SIGNAL, self._interrupt)
        self._thread = threading.Thread(
            target=self._watch, args=(main.ident,), name="cloud-watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        if self._thread is None or _SIGNAL is None:
            return
        self._stopped.set()
        self._thread.join()
        self._thread = None
        signal.signal(_SIGNAL, self._previous_handler or signal.SIG_IGN)

    def _watch(self, main_thread: int) -> None:
        while not self._stopped.wait(_LOOK_EVERY_S):
            if time.monotonic() > steps.deadline and _SIGNAL is not None:
                signal.pthread_kill(main_thread, _SIGNAL)

    def _interrupt(self, _signal: int, frame: FrameType | None) -> None:
        if time.monotonic() <= steps.deadline:
            return  # it ended between the look and the signal
        while frame is not None:
            path = frame.f_code.co_filename
            if self._is_cloud_code(path):
                raise HookTimeout
            if path.startswith(_SERVER):
                return
            frame = frame.f_back
