"""``/hooks/functions`` and ``/hooks/triggers``: declaring webhooks, with the master key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import Code, ParseError, object_not_found
from server.rest.call import Answer, Call, Route
from server.triggers.webhooks import Webhook, Webhooks
from server.values import WireObject


class HooksResource:
    """Lists, declares, changes and deletes webhooks. A PUT of ``{"__op": "Delete"}`` deletes."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    def routes(self) -> list[Route]:
        function, trigger = "/hooks/functions/{name}", "/hooks/triggers/{class_name}/{trigger}"
        return [
            Route("GET", "/hooks/functions", self.list_functions),
            Route("POST", "/hooks/functions", self.create),
            Route("GET", function, self.get_function),
            Route("PUT", function, self.put_function),
            Route("GET", "/hooks/triggers", self.list_triggers),
            Route("POST", "/hooks/triggers", self.create),
            Route("GET", trigger, self.get_trigger),
            Route("PUT", trigger, self.put_trigger),
        ]

    async def list_functions(self, call: Call) -> Answer:
        call.require_master()
        hooks = await self._webhooks.all()
        return Answer([hook.to_json() for hook in hooks if hook.function_name is not None])

    async def list_triggers(self, call: Call) -> Answer:
        call.require_master()
        hooks = await self._webhooks.all()
        return Answer([hook.to_json() for hook in hooks if hook.function_name is None])

    async def get_function(self, call: Call, name: str) -> Answer:
        call.require_master()
        return Answer((await self._existing({"functionName": name})).to_json())

    async def get_trigger(self, call: Call, class_name: str, trigger: str) -> Answer:
        call.require_master()
        key = {"className": class_name, "triggerName": trigger}
        return Answer((await self._existing(key)).to_json())

    async def create(self, call: Call) -> Answer:
        """WIRE: both routes take both kinds, and answer 200."""
        call.require_master(write=True)
        hook = _declared(call.body)
        if await self._find(hook.key) is not None:
            raise _problem(
                f"function name: {hook.function_name} already exists"
                if hook.function_name is not None
                else f"class {hook.class_name} already has trigger {hook.trigger_name}"
            )
        await self._webhooks.save(hook)
        return Answer(hook.to_json())

    async def put_function(self, call: Call, name: str) -> Answer:
        return await self._put(call, {"functionName": name})

    async def put_trigger(self, call: Call, class_name: str, trigger: str) -> Answer:
        return await self._put(call, {"className": class_name, "triggerName": trigger})

    async def _put(self, call: Call, key: WireObject) -> Answer:
        call.require_master(write=True)
        body = call.body if isinstance(call.body, dict) else {}
        if body.get("__op") == "Delete":
            if not await self._webhooks.delete(key):
                raise object_not_found()
            return Answer({})
        if "url" not in body:
            raise _problem("invalid hook declaration")
        await self._existing(key)
        hook = _declared({**key, "url": body["url"]})
        await self._webhooks.save(hook)
        return Answer(hook.to_json())

    async def _existing(self, key: WireObject) -> Webhook:
        hook = await self._find(key)
        if hook is None:
            raise _problem(
                f"no function named: {key['functionName']} is defined"
                if "functionName" in key
                else f"class {key['className']} does not exist"
            )
        return hook

    async def _find(self, key: Mapping[str, Any]) -> Webhook | None:
        return next((hook for hook in await self._webhooks.all() if hook.key == key), None)


def _declared(members: Any) -> Webhook:
    hook = Webhook.read(members) if isinstance(members, dict) else None
    if hook is None:
        raise _problem("invalid hook declaration")
    return hook


def _problem(message: str) -> ParseError:
    return ParseError(Code.WEBHOOK_ERROR, message)
