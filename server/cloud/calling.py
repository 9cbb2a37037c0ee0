"""`cloud.run`: one cloud function calls another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.cloud.backend import running
from server.cloud.codec import decode, encode
from server.triggers.calls import FunctionCall


async def run(
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    use_master_key: bool = False,
    session_token: str | None = None,
    context: Mapping[str, Any] | None = None,
) -> Any:
    """The result of a cloud function, Python or webhook. Raises what it raised; 141 for none."""
    now = running()
    ctx = await now.acting(use_master_key, session_token, dict(context or {}))
    call = FunctionCall(name, encode(params or {}), ctx)
    return decode(await now.backend.triggers.call_function(call))
