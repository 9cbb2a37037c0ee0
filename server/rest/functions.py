"""``POST /functions/{name}``: cloud functions."""

from __future__ import annotations

from server.rest.call import Answer, Call, Route
from server.triggers.calls import FunctionCall
from server.triggers.registry import Triggers


class FunctionsResource:
    """Calls cloud functions; the URL's parameters win over the body's."""

    def __init__(self, triggers: Triggers) -> None:
        self._triggers = triggers

    def routes(self) -> list[Route]:
        return [Route("POST", "/functions/{name}", self.post)]

    async def post(self, call: Call, name: str) -> Answer:
        """``{"result": ...}``; ``{}`` for a function that returns nothing."""
        result = await self._triggers.call_function(FunctionCall(name, call.params(), call.ctx))
        return Answer({} if result is None else {"result": result})
