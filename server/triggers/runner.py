"""Runs one hook: its time limit, its depth, its errors and their log lines."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar

from server.errors import Code, HttpError, ParseError
from server.triggers.deadline import Bounded
from server.triggers.watchdog import HookTimeout

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_DEPTH = 16
"""How many hooks and functions may run inside each other."""

UNKNOWN_ERROR = "Script failed. Unknown error."

_depth: ContextVar[int] = ContextVar("hook_depth", default=0)


async def run_hook(
    place: str, hook: Coroutine[Any, Any, T], limit_s: float, unknown: str = UNKNOWN_ERROR
) -> T:
    """The hook's result. ``place`` names it in log lines: ``beforeSave Note (cloud/main.py:7)``.

    Raises:
        ParseError: What the hook raised, by `as_parse_error`; 141 when it took longer than
            ``limit_s`` or when hooks call each other more than `MAX_DEPTH` levels deep.
    """
    depth = _depth.get()
    if depth >= MAX_DEPTH:
        hook.close()
        logger.error("%s refused: %d hooks are running inside each other", place, depth)
        raise ParseError(
            Code.SCRIPT_FAILED,
            f"Script failed: cloud code calls itself more than {MAX_DEPTH} levels deep.",
        )
    token = _depth.set(depth + 1)
    try:
        return await Bounded(hook, limit_s)
    except (ParseError, HttpError):
        raise
    except HookTimeout as timeout:
        logger.error("%s was ended after %g s", place, limit_s, exc_info=timeout)
        raise ParseError(
            Code.SCRIPT_FAILED, f"Script failed: it took longer than {limit_s:g} seconds."
        ) from timeout
    except Exception as error:
        logger.error("%s failed", place, exc_info=error)
        raise as_parse_error(error, unknown=unknown) from error
    finally:
        _depth.reset(token)


def as_parse_error(
    error: BaseException, code: int = Code.SCRIPT_FAILED, unknown: str = UNKNOWN_ERROR
) -> ParseError:
    """What a client sees of an exception: its text; ``unknown`` when it has none.

    An exception raised with a JSON object shows that object, or its ``message`` member.
    """
    if isinstance(error, ParseError):
        return error
    # SECURITY: errors of the system tell of files and addresses of this machine.
    if not error.args or isinstance(error, OSError):
        return ParseError(code, unknown)
    first = error.args[0]
    if isinstance(first, dict | list):
        message = first.get("message", first) if isinstance(first, dict) else first
        return ParseError(code, message)
    if isinstance(error, LookupError) and isinstance(first, str):
        return ParseError(code, first or unknown)  # str(KeyError("a")) would be "'a'"
    return ParseError(code, str(error) or unknown)
