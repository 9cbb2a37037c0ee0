"""The door of the heart: every surface reads and writes objects here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from server.access.caller import Context
from server.access.callers import CallerResolver
from server.objects.finder import Finder
from server.objects.query import Query
from server.objects.rules import NoRules, Saved
from server.objects.writer import Writer
from server.schema.registry import SchemaRegistry
from server.settings import Settings
from server.storage.mongo import Database
from server.triggers.registry import Triggers
from server.values import StoredDocument, WireObject


class ObjectStore:
    """Find, get, create, update and delete, with rights, hooks and validation."""

    def __init__(
        self,
        database: Database,
        registry: SchemaRegistry,
        triggers: Triggers,
        settings: Settings,
        resolver: CallerResolver,
    ) -> None:
        self._registry = registry
        self._finder = Finder(database, registry, triggers, settings)
        self._writer = Writer(database, registry, triggers, settings, self._finder, resolver)

    def use_rules(self, rules: Mapping[str, NoRules]) -> None:
        """Give special classes their rules; wiring calls this once."""
        self._writer.rules = dict(rules)

    async def find(self, ctx: Context, class_name: str, query: Query) -> WireObject:
        """Objects the caller may read.

        Returns:
            ``{"results": [...]}``, and ``count`` when the query asks for it.
        Raises:
            ParseError: 102, 105, 107 for a bad query; 101, 119 where the class refuses.
        """
        return await self._finder.find(ctx, class_name, query)

    async def get(self, ctx: Context, class_name: str, query: Query) -> WireObject:
        """One object; ``query`` is `Query.for_get`. Raises 101 when there is none to be seen."""
        return await self._finder.get(ctx, class_name, query)

    async def create(self, ctx: Context, class_name: str, body: WireObject) -> Saved:
        """Save a new object.

        Args:
            body: ``{"stars": 5, "author": {"__type": "Pointer", ...}}``; not changed.
        Returns:
            The id, and ``{"objectId", "createdAt"}`` with what hooks and defaults chose.
        Raises:
            ParseError: 119 the class refuses, 111 a value does not fit, 142 a rule of the schema;
                nothing was written then.
        """
        return await self._writer.create(ctx, class_name, body)

    async def update(
        self, ctx: Context, class_name: str, object_id: str, body: WireObject
    ) -> WireObject:
        """Change an object.

        Returns:
            ``{"updatedAt"}``, the new values of operations and what hooks changed.
        Raises:
            ParseError: 101 none that the caller may write, and as `create`.
        """
        return await self._writer.update(ctx, class_name, object_id, body)

    async def delete(self, ctx: Context, class_name: str, object_id: str) -> WireObject:
        """Delete an object; ``{}``. Raises 101: none that the caller may write."""
        return await self._writer.delete(ctx, class_name, object_id)

    async def render(self, ctx: Context, class_name: str, document: StoredDocument) -> WireObject:
        """A stored document as the caller may see it."""
        class_schema = (await self._registry.get()).classes[class_name]
        protected = self._finder.protection(class_schema, ctx.caller)
        return self._finder.render(ctx, class_schema, document, protected)
