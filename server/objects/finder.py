"""Reading: find and get, with rights, hooks, sub-queries and includes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.access.acl import can_read, with_read_access
from server.access.caller import Caller, Context
from server.access.clp import NOTHING, check, is_held_by, pointer_filter
from server.access.protected import Protection, check_usable, protection
from server.errors import Code, Forbidden, ParseError, invalid_query, object_not_found
from server.objects.classes import check_reachable, known_class
from server.objects.include import Includer
from server.objects.query import Query
from server.objects.selection import include_tree, projection, sort_order
from server.objects.subqueries import SubqueryResolver, needs_resolving
from server.schema.classes import ClassSchema
from server.schema.registry import SchemaRegistry
from server.settings import Settings
from server.storage.indexes import ensure_indexes
from server.storage.mongo import Database
from server.storage.where import build_filter
from server.triggers.calls import Kind, TriggerCall
from server.triggers.registry import Triggers
from server.values import StoredDocument, WireObject, file_url, pointer

_EXPLAIN_VERBOSITY = {
    "true": "queryPlanner",
    "queryPlanner": "queryPlanner",
    "queryPlannerExtended": "queryPlanner",
    "executionStats": "executionStats",
    "allPlansExecution": "allPlansExecution",
}


class Finder:
    """Finds objects on behalf of callers."""

    def __init__(
        self,
        database: Database,
        registry: SchemaRegistry,
        triggers: Triggers,
        settings: Settings,
    ) -> None:
        self._database = database
        self._registry = registry
        self._triggers = triggers
        self._settings = settings
        self._owner_exempt = settings.protected_fields_owner_exempt
        self._max_time_ms: int | None = settings.database_options.get("maxTimeMS")
        self._geo_indexes: set[tuple[str, str]] = set()
        self._includer = Includer(self.find_objects)

    # ---- the doors ----------------------------------------------------------------------------

    async def find(self, ctx: Context, class_name: str, query: Query) -> WireObject:
        """``{"results": [...]}``, with ``count`` when it was asked for."""
        check_reachable(ctx.caller, class_name, "find")
        class_schema = await self.class_for(ctx, class_name)
        if query.redirect_key is not None and class_schema is not None:
            class_name, class_schema = await self._redirect(ctx, class_schema, query)
        if query.explain:
            return await self._explain(ctx, class_name, class_schema, query)
        rows, count = await self._run(ctx, class_name, class_schema, query, is_get=False)
        if query.redirect_key is not None:
            for row in rows:
                row["className"] = class_name
        return {"results": rows, "count": count} if query.count else {"results": rows}

    async def get(self, ctx: Context, class_name: str, query: Query) -> WireObject:
        """One object. ``query`` is `Query.for_get`. Raises 101: none, or none to be seen."""
        check_reachable(ctx.caller, class_name, "get")
        class_schema = await self.class_for(ctx, class_name)
        rows, _ = await self._run(ctx, class_name, class_schema, query, is_get=True)
        if not rows:
            raise object_not_found()
        return rows[0]

    async def find_objects(self, ctx: Context, class_name: str, query: Query) -> list[WireObject]:
        """The rows alone: sub-queries and includes enter here, with all rights and hooks."""
        found: list[WireObject] = (await self.find(ctx, class_name, query))["results"]
        return found

    def render(
        self,
        ctx: Context,
        class_schema: ClassSchema,
        document: StoredDocument,
        protected: Protection | None = None,
    ) -> WireObject:
        """A stored document as this caller may see it."""
        rendered = class_schema.layout.render(
            document, lambda name: file_url(ctx.mount_url, self._settings.app_id, name)
        )
        caller = ctx.caller
        if protected is not None:
            for name in protected.hidden_in(document, class_schema, caller):
                rendered.pop(name, None)
        if class_schema.name == "_User" and not caller.is_privileged:
            if rendered.get("objectId") != caller.user_id:
                rendered.pop("authData", None)
        if caller.is_maintenance:
            rendered.update(class_schema.layout.internal(document))
        return rendered

    def protection(self, class_schema: ClassSchema, caller: Caller) -> Protection | None:
        """What is hidden from the caller, by this server's settings."""
        return protection(class_schema, caller, owner_exempt=self._owner_exempt)

    def may_read(self, caller: Caller, class_schema: ClassSchema, document: StoredDocument) -> bool:
        """Whether the caller could get this document: its ACL and the class let them."""
        try:
            fields = check(class_schema, "get", caller)
        except Forbidden:
            return False
        return can_read(document, caller) and (
            not fields or is_held_by(fields, document, class_schema, caller)
        )

    # ---- steps --------------------------------------------------------------------------------

    async def class_for(self, ctx: Context, class_name: str) -> ClassSchema | None:
        """The class as it is now; ``None`` for one that may still come to be. Raises 119."""
        schema = await self._registry.get()
        return known_class(
            schema,
            ctx.caller,
            class_name,
            may_create=self._settings.allow_client_class_creation,
        )

    async def _redirect(
        self, ctx: Context, class_schema: ClassSchema, query: Query
    ) -> tuple[str, ClassSchema | None]:
        """The class of the pointers or the relation that the query asks for instead."""
        field = class_schema.fields.get(query.redirect_key or "")
        target = field.target_class if field is not None else None
        if target is None:
            return class_schema.name, class_schema
        check_reachable(ctx.caller, target, "find")
        return target, await self.class_for(ctx, target)

    async def _run(
        self,
        ctx: Context,
        class_name: str,
        class_schema: ClassSchema | None,
        query: Query,
        *,
        is_get: bool,
    ) -> tuple[list[WireObject], int]:
        triggers = self._triggers
        answered: list[WireObject] | None = None
        if triggers.has(Kind.BEFORE_FIND, class_name):
            query, answered = await self._before_find(ctx, class_name, query, is_get)
        rows: list[WireObject] = []
        count = 0
        if answered is not None:
            rows = await self._answered(ctx, class_name, answered)
        elif class_schema is not None:
            rows, count = await self._query(ctx, class_schema, query)
            await self._includer.follow(
                ctx, rows, include_tree(query, class_schema), query.read_preference
            )
        if triggers.has(Kind.AFTER_FIND, class_name):
            rows = await self._after_find(ctx, class_name, query, rows, is_get)
        return rows, count

    async def _query(
        self, ctx: Context, class_schema: ClassSchema, query: Query
    ) -> tuple[list[WireObject], int]:
        """Rights joined into one filter, one round trip (two when a count is asked for)."""
        if query.skip < 0:
            raise invalid_query("skip must not be negative")
        caller = ctx.caller
        where = query.where
        if class_schema.name == "_Session" and not caller.is_privileged:
            where = _own_sessions(where, caller)
        operation = _operation(where, query)
        pointer_fields = check(class_schema, operation, caller)
        if pointer_fields and operation == "get" and caller.user_id is None:
            raise object_not_found()
        protected = self.protection(class_schema, caller)
        if protected is not None:
            _check_protected(where, query, protected, class_schema.name)
        if needs_resolving(where, class_schema):
            schema = await self._registry.get()
            resolver = SubqueryResolver(self._database, self.find_objects, ctx, schema)
            where = await resolver.resolve(class_schema, where)

        def restricted(for_count: bool) -> dict[str, Any]:
            built = build_filter(
                where,
                class_schema.fields,
                privileged=caller.is_privileged,
                for_count=for_count,
            )
            if pointer_fields:
                held = pointer_filter(pointer_fields, class_schema, caller)
                built = {"$and": [built, held]} if built else dict(held)
            return with_read_access(built, caller)

        if not query.count:
            return await self._fetch(ctx, class_schema, query, restricted(False), protected), 0
        count_fields = check(class_schema, "count", caller)
        count_filter = restricted(True)
        if count_fields and count_fields != pointer_fields:
            held = pointer_filter(count_fields, class_schema, caller)
            count_filter = {"$and": [count_filter, held]}
        rows = self._fetch(ctx, class_schema, query, restricted(False), protected)
        count = self._database.count(
            class_schema.name,
            count_filter,
            hint=query.hint,
            read_preference=query.read_preference,
            max_time_ms=self._max_time_ms,
            session=ctx.session,
        )
        if ctx.session is not None:
            # A transaction takes one command at a time.
            return await rows, await count
        return await asyncio.gather(rows, count)

    async def _fetch(
        self,
        ctx: Context,
        class_schema: ClassSchema,
        query: Query,
        filter: Mapping[str, Any],
        protected: Protection | None,
    ) -> list[WireObject]:
        if query.limit == 0 or filter is NOTHING:
            return []
        near = _near(query.where)
        if near is not None:
            if near != class_schema.geo_point:
                # No object has a place yet, and MongoDB would ask for an index.
                return []
            await self._ensure_geo_index(class_schema.name, near)
        also = tuple(protected.by_field) if protected is not None else ()
        documents = await self._database.find(
            class_schema.name,
            filter,
            projection=projection(query, class_schema, also),
            sort=sort_order(query, class_schema) if query.order else None,
            skip=query.skip,
            limit=query.limit or 0,
            hint=query.hint,
            comment=query.comment,
            read_preference=query.read_preference,
            max_time_ms=self._max_time_ms,
            session=ctx.session,
        )
        rows = [self.render(ctx, class_schema, document, protected) for document in documents]
        if also and query.keys is not None:
            self._drop_helpers(rows, query, also)
        return rows

    async def _ensure_geo_index(self, class_name: str, column: str) -> None:
        """MongoDB answers ``$nearSphere`` from an index only; the first such query makes it."""
        if (class_name, column) not in self._geo_indexes:
            index = {"key": {column: "2d"}, "name": f"{column}_2d"}
            await ensure_indexes(self._database, class_name, [index])
            self._geo_indexes.add((class_name, column))

    @staticmethod
    def _drop_helpers(rows: list[WireObject], query: Query, also: tuple[str, ...]) -> None:
        """Columns fetched only to decide on protected fields are not part of the answer."""
        asked = {key.partition(".")[0] for key in (*(query.keys or ()), *query.include)}
        for row in rows:
            for name in also:
                if name not in asked:
                    row.pop(name, None)

    async def _explain(
        self, ctx: Context, class_name: str, class_schema: ClassSchema | None, query: Query
    ) -> WireObject:
        if not ctx.caller.is_master:
            raise invalid_query("Using the explain query parameter requires the master key")
        verbosity = _EXPLAIN_VERBOSITY.get("true" if query.explain is True else str(query.explain))
        if verbosity is None:
            raise invalid_query("Invalid value for explain")
        fields = class_schema.fields if class_schema else {}
        filter = build_filter(query.where, fields, privileged=True)
        options = {"limit": abs(query.limit)} if query.limit else {}
        return {"results": await self._database.explain(class_name, filter, verbosity, **options)}

    # ---- hooks --------------------------------------------------------------------------------

    async def _before_find(
        self, ctx: Context, class_name: str, query: Query, is_get: bool
    ) -> tuple[Query, list[WireObject] | None]:
        result = await self._triggers.run(
            Kind.BEFORE_FIND,
            TriggerCall(
                Kind.BEFORE_FIND,
                class_name,
                ctx,
                query=query.to_params(),
                count=query.count,
                is_get=is_get,
            ),
        )
        if result.query is not None:
            changed = Query.from_params(result.query)
            query = replace(changed, count=query.count, redirect_key=query.redirect_key)
        return query, result.objects

    async def _answered(
        self, ctx: Context, class_name: str, objects: list[WireObject]
    ) -> list[WireObject]:
        """Objects a beforeFind hook gave; saved ones are read again with the caller's rights."""
        if ctx.caller.is_privileged:
            return objects
        ids = [item["objectId"] for item in objects if isinstance(item.get("objectId"), str)]
        class_schema = await self.class_for(ctx, class_name)
        found: dict[str, WireObject] = {}
        if ids and class_schema is not None:
            query = Query(where={"objectId": {"$in": ids}})
            rows, _ = await self._query(ctx, class_schema, query)
            found = {row["objectId"]: row for row in rows}
        answered = []
        for item in objects:
            object_id = item.get("objectId")
            if object_id is None:
                answered.append(item)
            elif object_id in found:
                answered.append(found[object_id])
        return answered

    async def _after_find(
        self, ctx: Context, class_name: str, query: Query, rows: list[WireObject], is_get: bool
    ) -> list[WireObject]:
        result = await self._triggers.run(
            Kind.AFTER_FIND,
            TriggerCall(
                Kind.AFTER_FIND,
                class_name,
                ctx,
                query=query.to_params(),
                objects=[{"className": class_name, **row} for row in rows],
                is_get=is_get,
            ),
        )
        if result.objects is None:
            return rows
        return result.objects


def _near(where: Mapping[str, Any]) -> str | None:
    """The column whose nearest places are asked for."""
    for name, condition in where.items():
        if isinstance(condition, dict) and "$nearSphere" in condition:
            return name
    return None


def _operation(where: WireObject, query: Query) -> str:
    """Which class-level permission a query needs: one id alone is a get, wherever it came from."""
    if query.count and query.limit == 0:
        return "count"
    return "get" if len(where) == 1 and isinstance(where.get("objectId"), str) else "find"


def _own_sessions(where: WireObject, caller: Caller) -> WireObject:
    """Users see their own sessions only."""
    if caller.user_id is None:
        raise Forbidden("Invalid session token", Code.INVALID_SESSION_TOKEN)
    return {"$and": [where, {"user": pointer("_User", caller.user_id)}]}


def _check_protected(
    where: WireObject, query: Query, protected: Protection, class_name: str
) -> None:
    """A hidden field must not be found out by asking for it."""
    if protected.owner_id is not None and where.get("objectId") == protected.owner_id:
        return
    check_usable(_keys_of(where), protected, class_name)
    names = [item.lstrip("-+") for item in query.order]
    check_usable(names, protected, class_name, action="sort by")


def _keys_of(where: Any, depth: int = 0) -> list[str]:
    """Every column a ``where`` speaks of, at any depth of ``$or`` and its kin."""
    if depth > 100:
        raise ParseError(Code.INVALID_QUERY, "The query is nested too deeply.")
    names: list[str] = []
    for key, value in where.items():
        if key in ("$or", "$and", "$nor"):
            for branch in value if isinstance(value, list) else ():
                if isinstance(branch, dict):
                    names += _keys_of(branch, depth + 1)
        else:
            names.append(key)
    return names
