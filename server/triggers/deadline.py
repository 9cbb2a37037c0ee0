"""Runs a coroutine within a time limit, whatever it does about it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

from server.triggers.watchdog import HookTimeout, steps

T = TypeVar("T")

_GRACE_S = 1.0
_MOST_CANCELS = 3


class Bounded(Generic[T]):
    """``await Bounded(coroutine, limit_s)``: its result, or `HookTimeout` after ``limit_s``.

    Past the limit the coroutine is cancelled, and has a second for its ``finally`` blocks. One
    that swallows cancellation again and again is abandoned. While it holds the loop, `steps`
    knows its deadline, for the watchdog. PERF: no task of its own; the caller's task runs it.
    """

    __slots__ = ("_cancels", "_coroutine", "_limit_s", "_timer")

    def __init__(self, coroutine: Coroutine[Any, Any, T], limit_s: float) -> None:
        self._coroutine = coroutine
        self._limit_s = limit_s
        self._cancels = 0
        self._timer: asyncio.TimerHandle | None = None

    def __await__(self) -> Generator[Any, None, T]:
        task = asyncio.current_task()
        assert task is not None  # a hook runs inside a request
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limit_s, self._expire, loop, task)
        outside = task.cancelling()
        try:
            return (yield from self._drive(time.monotonic() + self._limit_s))
        except asyncio.CancelledError as cancelled:
            if self._cancels and task.cancelling() - self._cancels <= outside:
                raise HookTimeout from cancelled
            raise
        except Exception as error:
            if self._cancels:
                raise HookTimeout from error
            raise
        finally:
            self._timer.cancel()
            for _ in range(self._cancels):
                task.uncancel()

    def _drive(self, deadline: float) -> Generator[Any, None, T]:
        """Step the coroutine by hand, so that each step is known to the watchdog."""
        coroutine = self._coroutine
        error: BaseException | None = None
        while True:
            outer = steps.enter(deadline)
            try:
                awaited = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                steps.leave(outer)
            error = None
            try:
                yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except asyncio.CancelledError as cancelled:
                if self._cancels >= _MOST_CANCELS:
                    with contextlib.suppress(RuntimeError):  # it ignores being closed, too
                        coroutine.close()
                    raise
                error = cancelled
            except BaseException as raised:
                error = raised

    def _expire(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        self._cancels += 1
        task.cancel()
        if self._cancels < _MOST_CANCELS:
            self._timer = loop.call_later(_GRACE_S, self._expire, loop, task)
