"""A hook that raises, hangs, blocks or calls itself for ever is contained."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from server.access.caller import ANONYMOUS, Context
from server.errors import ParseError
from server.triggers.calls import FunctionCall, Kind, TriggerCall, TriggerResult
from server.triggers.registry import FunctionEntry, Registrations, TriggerEntry, Triggers
from server.triggers.runner import MAX_DEPTH, as_parse_error, run_hook
from server.triggers.threads import call_in_thread
from server.triggers.watchdog import HookTimeout, Watchdog


async def failure(hook: Any, limit_s: float = 5.0) -> ParseError:
    with pytest.raises(ParseError) as caught:
        await run_hook("test", hook, limit_s)
    return caught.value


def raising(error: BaseException) -> Any:
    async def hook() -> None:
        raise error

    return hook()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Exception("no stars"), 141, "no stars"),
        (ValueError("bad"), 141, "bad"),
        (KeyError("stars"), 141, "stars"),
        (ParseError(101, "gone"), 101, "gone"),
        (Exception({"message": "m", "code": 7}), 141, "m"),
        (Exception({"a": 1}), 141, {"a": 1}),
        (Exception([1]), 141, [1]),
        (Exception(), 141, "Script failed. Unknown error."),
        (Exception(""), 141, "Script failed. Unknown error."),
        (FileNotFoundError(2, "No such file", "/srv/secret"), 141, "Script failed. Unknown error."),
    ],
)
async def test_what_a_hook_raises(error: Exception, code: int, message: Any) -> None:
    answer = await failure(raising(error))
    assert (answer.code, answer.message) == (code, message)


def test_other_codes_and_texts_for_nothing() -> None:
    error = as_parse_error(Exception(), 142, "Validation failed.")
    assert (error.code, error.message) == (142, "Validation failed.")


async def test_a_bug_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    await failure(raising(RuntimeError("boom")))
    record = caplog.records[-1]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "raising" not in record.getMessage()
    caplog.clear()
    await failure(raising(ParseError(142, "on purpose")))
    assert not caplog.records


async def test_waiting_past_the_limit_is_cancelled() -> None:
    cleaned = asyncio.Event()

    async def hook() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    started = time.monotonic()
    answer = await failure(hook(), 0.1)
    assert answer.code == 141
    assert "longer than 0.1 seconds" in answer.message
    assert cleaned.is_set()
    assert time.monotonic() - started < 2
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_hook_that_swallows_cancellation_is_abandoned() -> None:
    async def hook() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    answer = await failure(hook(), 0.05)
    assert "longer than" in answer.message
    await asyncio.sleep(0)  # this task goes on as if nothing had been


async def test_cancellation_from_outside_stays_cancellation() -> None:
    async def hook() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(run_hook("test", hook(), 5))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_result_passes_through_awaits() -> None:
    async def hook() -> int:
        await asyncio.sleep(0)
        return 5

    assert await run_hook("test", hook(), 1) == 5


async def test_errors_of_what_a_hook_awaits_can_be_caught_by_it() -> None:
    async def hook() -> str:
        waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(waited.set_exception, ValueError("late"))
        try:
            await waited
        except ValueError as error:
            return str(error)
        return "nothing"

    assert await run_hook("test", hook(), 1) == "late"


async def test_a_hook_that_calls_itself_for_ever() -> None:
    depth = 0

    async def hook() -> None:
        nonlocal depth
        depth += 1
        await run_hook("test", hook(), 5)

    answer = await failure(hook())
    assert answer.code == 141
    assert f"more than {MAX_DEPTH} levels deep" in answer.message
    assert depth == MAX_DEPTH
    depth = MAX_DEPTH - 1
    assert (await failure(hook())).code == 141  # the depth was counted down again


async def test_a_blocking_def_does_not_block_the_loop() -> None:
    def hook() -> int:
        time.sleep(0.2)
        return threading.get_ident()

    call = asyncio.create_task(call_in_thread(hook))
    ticks = 0
    while not call.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 5
    assert await call != threading.get_ident()


async def test_a_def_that_loops_for_ever_is_ended() -> None:
    ended = threading.Event()

    def hook() -> None:
        try:
            while True:
                pass
        except HookTimeout:
            ended.set()
            raise

    async def run() -> None:
        await call_in_thread(hook)

    answer = await failure(run(), 0.2)
    assert "longer than" in answer.message
    assert await asyncio.to_thread(ended.wait, 10)


async def test_what_a_def_raises() -> None:
    def hook(error: BaseException) -> None:
        raise error

    async def run(error: BaseException) -> None:
        await call_in_thread(hook, error)

    assert (await failure(run(ValueError("x")))).message == "x"
    assert (await failure(run(StopIteration()))).message == "StopIteration"


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    """Takes this file for cloud code."""
    watchdog = Watchdog(lambda path: path == __file__)
    watchdog.start()
    yield watchdog
    watchdog.stop()


@pytest.mark.parametrize("block", ["loop", "sleep", "caught"])
async def test_an_async_hook_that_blocks_the_loop_is_interrupted(
    watchdog: Watchdog, block: str
) -> None:
    async def hook() -> None:
        if block == "loop":
            while True:
                pass
        elif block == "sleep":
            time.sleep(60)  # noqa: ASYNC251 - blocking is the point
        while True:
            try:
                sum(range(1000))
            except Exception:
                continue

    started = time.monotonic()
    answer = await failure(hook(), 0.3)
    assert "longer than 0.3 seconds" in answer.message
    assert time.monotonic() - started < 5
    await asyncio.sleep(0.3)  # serves on, and nothing interrupts it


async def test_the_limit_of_an_outer_hook_holds_inside(watchdog: Watchdog) -> None:
    async def inner() -> None:
        while True:
            pass

    async def outer() -> None:
        await run_hook("inner", inner(), 60)

    started = time.monotonic()
    assert (await failure(outer(), 0.3)).code == 141
    assert time.monotonic() - started < 5


async def test_a_slow_server_is_not_interrupted(watchdog: Watchdog) -> None:
    """Only the app's own frames are; between hooks nothing is."""
    time.sleep(0.5)  # noqa: ASYNC251 - the loop is blocked, but by no hook


def context() -> Context:
    return Context(ANONYMOUS, "http://test/parse")


def trigger(kind: Kind, handler: Any) -> Triggers:
    triggers = Triggers(time_limit_s=1)
    entry = TriggerEntry(kind, "Note", handler, "test.py:1 hook")
    triggers.replace(Registrations({(kind, "Note"): entry}))
    return triggers


async def test_errors_of_after_save_are_logged_and_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hook(call: TriggerCall) -> None:
        raise RuntimeError("boom")

    triggers = trigger(Kind.AFTER_SAVE, hook)
    call = TriggerCall(Kind.AFTER_SAVE, "Note", context(), object={})
    assert await triggers.run(Kind.AFTER_SAVE, call) == TriggerResult()
    assert "afterSave Note (test.py:1 hook)" in caplog.text


async def test_errors_of_other_triggers_reach_the_client() -> None:
    async def hook(call: TriggerCall) -> None:
        raise RuntimeError("boom")

    for kind in set(Kind) - {Kind.AFTER_SAVE}:
        triggers = trigger(kind, hook)
        with pytest.raises(ParseError, match="boom"):
            await triggers.run(kind, TriggerCall(kind, "Note", context(), object={}))


async def test_places_without_a_hook() -> None:
    triggers = Triggers()
    assert not triggers.has(Kind.BEFORE_SAVE, "Note")
    call = TriggerCall(Kind.BEFORE_SAVE, "Note", context())
    assert await triggers.run(Kind.BEFORE_SAVE, call) == TriggerResult()
    with pytest.raises(ParseError) as caught:
        await triggers.call_function(FunctionCall("nope.x", {}, context()))
    assert (caught.value.code, caught.value.message) == (141, 'Invalid function: "nope.x"')


async def test_a_webhook_takes_the_place_of_code_while_it_exists() -> None:
    async def code(call: FunctionCall) -> str:
        return "code"

    async def webhook(call: FunctionCall) -> str:
        return "webhook"

    triggers = Triggers()
    triggers.replace(Registrations(functions={"f": FunctionEntry("f", code, "code")}))
    call = FunctionCall("f", {}, context())
    assert await triggers.call_function(call) == "code"
    triggers.replace_webhooks(
        Registrations(functions={"f": FunctionEntry("f", webhook, "webhook")})
    )
    assert await triggers.call_function(call) == "webhook"
    triggers.replace_webhooks(Registrations())
    assert await triggers.call_function(call) == "code"


UVLOOP_PROGRAM = """
import asyncio, time, uvloop
from server.errors import ParseError
from server.triggers.runner import run_hook
from server.triggers.watchdog import Watchdog

async def loops():
    while True:
        pass

async def sleeps():
    time.sleep(60)

async def main():
    watchdog = Watchdog(lambda path: path == "<string>")
    watchdog.start()
    for hook in (loops, sleeps, loops):
        try:
            await run_hook("test", hook(), 0.3)
        except ParseError as error:
            print(error.code, error.message)
        await asyncio.sleep(0.05)
    watchdog.stop()

uvloop.run(main())
"""


def test_the_watchdog_works_under_uvloop() -> None:
    program = [sys.executable, "-c", UVLOOP_PROGRAM]
    done = subprocess.run(program, capture_output=True, text=True, timeout=30)
    assert done.stdout == "141 Script failed: it took longer than 0.3 seconds.\n" * 3, done.stderr
