"""``/schemas`` and ``/purge``: classes, columns, permissions and indexes, for the master key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import Code, Forbidden, ParseError, invalid_json
from server.rest.call import Answer, Call, Route
from server.schema.registry import SchemaRegistry
from server.values import WireObject


class SchemasResource:
    """The schemas API, in the form that ``Parse.Schema`` and Parse Dashboard use."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/schemas", self.find),
            Route("POST", "/schemas", self.create),
            Route("GET", "/schemas/{class_name}", self.get),
            Route("POST", "/schemas/{class_name}", self.create),
            Route("PUT", "/schemas/{class_name}", self.update),
            Route("DELETE", "/schemas/{class_name}", self.delete),
            Route("DELETE", "/purge/{class_name}", self.purge),
        ]

    async def find(self, call: Call) -> Answer:
        """All classes: ``{"results": [{"className", "fields", ...}]}``."""
        call.require_master()
        return Answer({"results": await self._registry.list_classes()})

    async def get(self, call: Call, class_name: str) -> Answer:
        call.require_master()
        return Answer(await self._registry.describe_class(class_name))

    async def create(self, call: Call, class_name: str = "") -> Answer:
        _require_writer(call, "create")
        body = _body(call)
        _check_same_name(body, class_name)
        name = class_name or body.get("className")
        if not name:
            message = f"POST {call.path} needs a class name."
            raise ParseError(Code.MISSING_REQUIRED_FIELD, message)
        if not isinstance(name, str):
            raise invalid_json("className must be a string")
        return Answer(
            await self._registry.create_class(
                name,
                _object(body, "fields"),
                body.get("classLevelPermissions"),
                _object(body, "indexes"),
            )
        )

    async def update(self, call: Call, class_name: str) -> Answer:
        _require_writer(call, "update")
        body = _body(call)
        _check_same_name(body, class_name)
        permissions = (
            {"clp": body["classLevelPermissions"]} if "classLevelPermissions" in body else {}
        )
        return Answer(
            await self._registry.update_class(
                class_name,
                _object(body, "fields"),
                indexes=_object(body, "indexes"),
                **permissions,
            )
        )

    async def delete(self, call: Call, class_name: str) -> Answer:
        _require_writer(call, "delete")
        await self._registry.delete_class(class_name)
        return Answer({})

    async def purge(self, call: Call, class_name: str) -> Answer:
        """Delete all objects of a class and keep the class; no hooks run."""
        _require_writer(call, "purge")
        await self._registry.purge(class_name)
        return Answer({})


def _require_writer(call: Call, verb: str) -> None:
    call.require_master()
    if call.ctx.caller.is_read_only:
        raise Forbidden(f"read-only masterKey isn't allowed to {verb} a schema.")


def _body(call: Call) -> WireObject:
    if not isinstance(call.body, dict):
        raise invalid_json("The body must be a JSON object.")
    return call.body


def _check_same_name(body: Mapping[str, Any], class_name: str) -> None:
    given = body.get("className")
    if given and class_name and given != class_name:
        message = f"Class name mismatch between {given} and {class_name}."
        raise ParseError(Code.INVALID_CLASS_NAME, message)


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """A member that must be an object; an empty list is how PHP spells an empty one."""
    value = body.get(name)
    if value is None or value == []:
        return None
    if not isinstance(value, dict):
        raise invalid_json(f"{name} must be an object")
    return value
