"""Hooks that live in another process: the documents of ``_Hooks``, and the calls over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from server.access.caller import Context
from server.errors import Code, ParseError
from server.triggers.calls import (
    FunctionCall,
    FunctionHandler,
    Kind,
    TriggerCall,
    TriggerHandler,
    TriggerResult,
)
from server.triggers.registry import (
    FunctionEntry,
    Registrations,
    TriggerEntry,
    Triggers,
    caller_members,
    place_problem,
    signed_in_user,
)
from server.values import StoredDocument, WireObject, dumps, from_iso, loads, to_iso

logger = logging.getLogger(__name__)

COLLECTION = "_Hooks"
MAX_ANSWER_BYTES = 20 * 1024 * 1024

_KINDS = frozenset(kind.value for kind in Kind)
_RETRY_S = 1.0
_SERVER_CHOSEN = ("objectId", "createdAt", "updatedAt", "className")


class HookDatabase(Protocol):
    """The part of `server.storage.mongo.Database` that webhooks need."""

    async def find(self, class_name: str, filter: Mapping[str, Any], /) -> list[StoredDocument]: ...
    async def update_one(
        self,
        class_name: str,
        filter: Mapping[str, Any],
        update: Mapping[str, Any],
        /,
        *,
        upsert: bool,
    ) -> int: ...
    async def delete(self, class_name: str, filter: Mapping[str, Any], /) -> int: ...


@dataclass(frozen=True, slots=True)
class Webhook:
    """One declaration. A function's has ``function_name``; a trigger's has the other two."""

    url: str
    function_name: str | None = None
    class_name: str | None = None
    trigger_name: str | None = None

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> Webhook | None:
        """A declaration as a client or the database gives it; ``None`` for a bad one."""
        url = members.get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            return None
        function_name = members.get("functionName")
        if function_name is not None:
            if not isinstance(function_name, str) or not function_name:
                return None
            return cls(url, function_name=function_name)
        class_name, trigger_name = members.get("className"), members.get("triggerName")
        if not isinstance(class_name, str) or not class_name:
            return None
        if not isinstance(trigger_name, str) or trigger_name not in _KINDS:
            return None
        if place_problem(Kind(trigger_name), class_name):
            return None
        return cls(url, class_name=class_name, trigger_name=trigger_name)

    @property
    def key(self) -> dict[str, Any]:
        """What makes it the only one, as stored."""
        if self.function_name is not None:
            return {"functionName": self.function_name}
        return {"className": self.class_name, "triggerName": self.trigger_name}

    def to_json(self) -> WireObject:
        return {**self.key, "url": self.url}


class Webhooks:
    """Keeps `Triggers` filled with the declared webhooks and calls them."""

    def __init__(
        self,
        database: HookDatabase,
        triggers: Triggers,
        *,
        webhook_key: str | None = None,
        time_limit_s: float = 15.0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._database = database
        self._triggers = triggers
        self._headers = {"Content-Type": "application/json"}
        if webhook_key:
            self._headers["X-Parse-Webhook-Key"] = webhook_key
        self._time_limit_s = time_limit_s
        self._max_answer_bytes = max_answer_bytes
        self._client: httpx.AsyncClient | None = None
        self._loading: asyncio.Task[None] | None = None
        self._stale = False

    async def all(self) -> list[Webhook]:
        """Every declaration in the database, in the order of their making."""
        documents = await self._database.find(COLLECTION, {})
        return [hook for document in documents if (hook := Webhook.read(document))]

    async def load(self) -> None:
        """Read the declarations and put them into force in this process."""
        functions: dict[str, FunctionEntry] = {}
        triggers: dict[tuple[Kind, str], TriggerEntry] = {}
        for hook in await self.all():
            if hook.function_name is not None:
                functions[hook.function_name] = FunctionEntry(
                    hook.function_name, self._function_handler(hook.url), hook.url
                )
            elif hook.class_name is not None:
                kind = Kind(hook.trigger_name or "")
                triggers[kind, hook.class_name] = TriggerEntry(
                    kind, hook.class_name, self._trigger_handler(hook.url), hook.url
                )
        self._triggers.replace_webhooks(Registrations(triggers, functions))

    def invalidate(self) -> None:
        """``_Hooks`` was changed by any process: load it again, soon."""
        self._stale = True
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        try:
            while self._stale:
                self._stale = False
                try:
                    await self.load()
                except ParseError as error:
                    logger.warning("webhooks could not be loaded, the last known stay: %s", error)
                    # Nobody else would ask for them before the next change.
                    self._stale = True
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._loading = None

    async def save(self, hook: Webhook) -> None:
        """Declare a hook, or give the declared one another URL."""
        change = {"$set": {"url": hook.url}}
        await self._database.update_one(COLLECTION, hook.key, change, upsert=True)
        await self.load()

    async def delete(self, key: Mapping[str, Any]) -> bool:
        deleted = await self._database.delete(COLLECTION, key)
        await self.load()
        return deleted > 0

    async def stop(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _function_handler(self, url: str) -> FunctionHandler:
        async def handle(call: FunctionCall) -> Any:
            answer = await self._post(url, _function_payload(call))
            return answer.get("success")

        return handle

    def _trigger_handler(self, url: str) -> TriggerHandler:
        async def handle(call: TriggerCall) -> TriggerResult | None:
            answer = await self._post(url, _trigger_payload(call))
            return _trigger_result(call.kind, answer.get("success"))

        return handle

    async def _post(self, url: str, payload: WireObject) -> WireObject:
        """The answer's members. Raises 141 for an error, its own or of the way there."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._time_limit_s, follow_redirects=False)
        try:
            async with self._client.stream(
                "POST", url, content=dumps(payload), headers=self._headers
            ) as response:
                body = await self._read(response)
        except httpx.TimeoutException as error:
            raise _failed("The webhook did not answer in time.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            logger.warning("webhook %s could not be called: %r", url, error)
            raise _failed("The webhook could not be reached.") from error
        # SECURITY: another place that was never declared would get the data and the webhook key.
        if response.is_redirect:
            raise _failed("The webhook answered with a redirect, which is not followed.")
        answer = _read_answer(body, response.headers.get("content-type", ""))
        problem = answer.get("error")
        if problem:
            # WIRE: the ``code`` of an error object is not used.
            has_message = isinstance(problem, dict) and problem.get("message")
            raise _failed(problem["message"] if has_message else problem)
        return answer

    async def _read(self, response: httpx.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > self._max_answer_bytes:
                raise _failed("The webhook's answer is too large.")
            chunks.append(chunk)
        return b"".join(chunks)


def _failed(error: Any) -> ParseError:
    return ParseError(Code.SCRIPT_FAILED, error)


def _read_answer(body: bytes, content_type: str) -> WireObject:
    try:
        answer = loads(body) if body else {}
    except ValueError:
        # WIRE: JSON that is none counts as an empty success, other text does not.
        if "json" in content_type:
            return {}
        raise _failed({"error": "Malformed response", "code": -1}) from None
    return answer if isinstance(answer, dict) else {}


def _plain(value: Any) -> Any:
    """A function's parameter as the peer prints it: typed values lose their type."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value.get("__type"):
        case "Date":
            try:
                return to_iso(from_iso(value["iso"]))
            except (KeyError, TypeError, ValueError):
                return None
        case "Pointer":
            return {"objectId": value.get("objectId")}
        case "File" | "GeoPoint" | "Bytes" | "Polygon":
            return value
    return {key: _plain(item) for key, item in value.items()}


def _function_payload(call: FunctionCall) -> WireObject:
    return {
        "params": _plain(call.params),
        **_caller_payload(call.ctx),
        "functionName": call.name,
        "context": call.ctx.cloud,
    }


def _caller_payload(ctx: Context) -> WireObject:
    payload = {**caller_members(ctx), "log": {}}
    caller = ctx.caller
    if caller.user is not None:
        payload["user"] = signed_in_user(caller)
    return payload


def _trigger_payload(call: TriggerCall) -> WireObject:
    payload: WireObject = {
        "triggerName": call.kind.value,
        **_caller_payload(call.ctx),
        "context": call.ctx.cloud,
    }
    if call.kind is Kind.BEFORE_SAVE:
        payload["object"] = _named(call, {**(call.object or {}), **_operations(call.body)})
    elif call.object is not None:
        payload["object"] = _named(call, call.object)
    if call.original is not None:
        payload["original"] = _named(call, call.original)
    if call.kind in (Kind.BEFORE_FIND, Kind.AFTER_FIND):
        payload["query"] = call.query or {}
        payload["isGet"] = call.is_get
    if call.kind is Kind.BEFORE_FIND:
        payload["count"] = call.count
    if call.kind is Kind.AFTER_FIND:
        payload["object"] = None
        payload["objects"] = [_named(call, item) for item in call.objects or []]
    return payload


def _operations(body: WireObject) -> WireObject:
    """The request's changes that are operations: they are shown as such, not applied."""
    return {
        key: value
        for key, value in body.items()
        if "." not in key and isinstance(value, dict) and "__op" in value
    }


def _named(call: TriggerCall, members: WireObject) -> WireObject:
    return {**members, "className": call.class_name}


def _trigger_result(kind: Kind, success: Any) -> TriggerResult | None:
    match kind:
        case Kind.BEFORE_SAVE if isinstance(success, dict):
            body = {key: value for key, value in success.items() if key not in _SERVER_CHOSEN}
            return TriggerResult(body=body)
        case Kind.AFTER_SAVE if isinstance(success, dict):
            return TriggerResult(response=success)
        case Kind.AFTER_FIND:
            if not isinstance(success, list) or not all(isinstance(i, dict) for i in success):
                raise _failed("The webhook of afterFind must answer an array of objects.")
            return TriggerResult(objects=success)
    return None
