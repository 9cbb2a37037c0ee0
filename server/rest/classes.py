"""``/classes``: find, get, create, update and delete objects of any class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from server.errors import invalid_json
from server.objects.query import Query
from server.objects.store import ObjectStore
from server.rest.call import Answer, Call, Route
from server.settings import Settings
from server.values import WireObject


class Limits:
    """``defaultLimit`` and ``maxLimit``, which only clients' own queries obey."""

    def __init__(self, settings: Settings) -> None:
        self._default = settings.default_limit
        self._most = settings.max_limit

    def find_query(self, params: Mapping[str, Any]) -> Query:
        """A client's find. Raises 102 or 107."""
        query = Query.from_params(params)
        if query.limit is None and params.get("limit") in (None, ""):
            query.limit = self._default
        # MongoDB reads a negative limit as its absolute value.
        if self._most is not None and (query.limit is None or abs(query.limit) > self._most):
            query.limit = self._most
        return query


def object_body(call: Call) -> WireObject:
    """The fields of a save. Raises 107 for a body that is no object."""
    if call.body == []:
        # WIRE: in languages like PHP an empty map is an empty list; Parse Server takes it so too.
        return {}
    if not isinstance(call.body, dict):
        raise invalid_json("The body must be a JSON object.")
    return call.body


class ClassesResource:
    """``/classes/{class_name}`` and ``/classes/{class_name}/{object_id}``."""

    def __init__(self, objects: ObjectStore, limits: Limits) -> None:
        self._objects = objects
        self._limits = limits

    def routes(self) -> list[Route]:
        one, many = "/classes/{class_name}/{object_id}", "/classes/{class_name}"
        return [
            Route("GET", many, self.find),
            Route("POST", many, self.create),
            Route("GET", one, self.get),
            Route("PUT", one, self.update),
            Route("DELETE", one, self.delete),
        ]

    async def find(self, call: Call, class_name: str) -> Answer:
        query = self._limits.find_query(call.params())
        return Answer(await self._objects.find(call.ctx, class_name, query))

    async def get(self, call: Call, class_name: str, object_id: str) -> Answer:
        query = Query.for_get(object_id, call.params())
        found = await self._objects.get(call.ctx, class_name, query)
        if class_name == "_User" and object_id == call.ctx.caller.user_id:
            found["sessionToken"] = call.ctx.caller.session_token
        return Answer(found)

    async def create(self, call: Call, class_name: str) -> Answer:
        saved = await self._objects.create(call.ctx, class_name, object_body(call))
        place = "users" if class_name == "_User" else f"classes/{class_name}"
        location = f"{call.ctx.mount_url}/{place}/{quote(saved.object_id)}"
        return Answer(saved.response, saved.status, {"Location": location})

    async def update(self, call: Call, class_name: str, object_id: str) -> Answer:
        return Answer(
            await self._objects.update(call.ctx, class_name, object_id, object_body(call))
        )

    async def delete(self, call: Call, class_name: str, object_id: str) -> Answer:
        return Answer(await self._objects.delete(call.ctx, class_name, object_id))
