"""Routes that are another name of one class: ``/users`` of ``/classes/_User``."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import quote

from server.objects.query import Query
from server.objects.store import ObjectStore
from server.rest.call import Answer, Call, Route
from server.rest.classes import Limits, object_body


class AliasResource:
    """Find, get, create, update and delete objects of ``class_name`` under ``path``.

    ``location``: the path a created object is said to be at.
    """

    class_name: ClassVar[str]
    path: ClassVar[str]
    location: ClassVar[str]

    def __init__(self, objects: ObjectStore, limits: Limits) -> None:
        self._objects = objects
        self._limits = limits

    def routes(self) -> list[Route]:
        return [
            Route("GET", self.path, self.find),
            Route("POST", self.path, self.create),
            Route("GET", self.path + "/{object_id}", self.get),
            Route("PUT", self.path + "/{object_id}", self.update),
            Route("DELETE", self.path + "/{object_id}", self.delete),
        ]

    async def find(self, call: Call) -> Answer:
        query = self._limits.find_query(call.params())
        return Answer(await self._objects.find(call.ctx, self.class_name, query))

    async def get(self, call: Call, object_id: str) -> Answer:
        query = Query.for_get(object_id, call.params())
        return Answer(await self._objects.get(call.ctx, self.class_name, query))

    async def create(self, call: Call) -> Answer:
        """201; 200 when the auth data of a sign-up belong to a known user."""
        saved = await self._objects.create(call.ctx, self.class_name, object_body(call))
        location = f"{call.ctx.mount_url}{self.location}/{quote(saved.object_id)}"
        return Answer(saved.response, status=saved.status, headers={"Location": location})

    async def update(self, call: Call, object_id: str) -> Answer:
        answer = await self._objects.update(call.ctx, self.class_name, object_id, object_body(call))
        return Answer(answer)

    async def delete(self, call: Call, object_id: str) -> Answer:
        return Answer(await self._objects.delete(call.ctx, self.class_name, object_id))
