"""Runs plain ``def`` hooks in threads of their own."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from server.triggers.watchdog import HookTimeout

T = TypeVar("T")


async def call_in_thread(function: Callable[..., T], *args: Any) -> T:
    """``function(*args)`` in a new daemon thread, with the caller's context variables.

    Cancelled, it raises `HookTimeout` in the thread and goes on; a thread that sits in a system
    call ends when that returns. A thread per call, not a pool: hung hooks would clog a pool, and
    the interpreter waits for pool threads at exit.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def work() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(_succeed, answer, context.run(function, *args))
        except BaseException as error:
            settle = partial(_fail, answer, error)
        try:
            loop.call_soon_threadsafe(settle)
        except (RuntimeError, HookTimeout):
            return  # the loop is closed, or nobody waits any more

    thread = threading.Thread(target=work, name="cloud-hook", daemon=True)
    thread.start()
    try:
        return await answer
    except asyncio.CancelledError:
        _interrupt(thread)
        raise


def _succeed(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        # A future cannot carry StopIteration.
        stop = isinstance(error, StopIteration)
        answer.set_exception(RuntimeError("StopIteration") if stop else error)


def _interrupt(thread: threading.Thread) -> None:
    """Raise `HookTimeout` at the next Python instruction of a thread."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(HookTimeout)
        )
