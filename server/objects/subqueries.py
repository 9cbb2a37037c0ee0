"""Sub-queries and relations in a ``where``: resolved to plain lists before translation.

``$inQuery $notInQuery $select $dontSelect`` run as finds of the same caller, with all rights and
hooks; ``$relatedTo`` and constraints on Relation columns read the join collections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from server.access.caller import Context
from server.access.protected import protection
from server.errors import Forbidden, invalid_json, invalid_query
from server.objects.query import Query
from server.schema.classes import ClassSchema, Schema
from server.storage.mongo import Database
from server.values import WireObject, pointer

_LOGICAL = ("$or", "$and", "$nor")
_IN_QUERY = ("$inQuery", "$notInQuery")
_SELECT = ("$select", "$dontSelect")
_MAX_DEPTH = 16

Find = Callable[[Context, str, Query], Awaitable[list[WireObject]]]


def needs_resolving(where: Mapping[str, Any], class_schema: ClassSchema | None) -> bool:
    """Whether anything in ``where`` has to be looked up first. PERF: most have nothing."""
    relations = class_schema.relations if class_schema else ()
    for key, value in where.items():
        if key == "$relatedTo" or key in relations:
            return True
        if key in _LOGICAL:
            branches = value if isinstance(value, list) else ()
            if any(isinstance(b, dict) and needs_resolving(b, class_schema) for b in branches):
                return True
        elif isinstance(value, dict):
            for operator in (*_IN_QUERY, *_SELECT):
                if operator in value:
                    return True
    return False


class SubqueryResolver:
    """Replaces sub-queries and relation constraints of one request."""

    def __init__(self, database: Database, find: Find, ctx: Context, schema: Schema) -> None:
        self._database = database
        self._find = find
        self._ctx = ctx
        self._schema = schema

    async def resolve(
        self, class_schema: ClassSchema, where: Mapping[str, Any], depth: int = 0
    ) -> WireObject:
        """An equal ``where`` without sub-queries. Raises 102 or 107 for a malformed one."""
        if depth > _MAX_DEPTH:
            raise invalid_query("The query is nested too deeply.")
        resolved: WireObject = {}
        more: list[WireObject] = []
        for key, value in where.items():
            if key in _LOGICAL and isinstance(value, list):
                resolved[key] = [
                    await self.resolve(class_schema, branch, depth + 1)
                    if isinstance(branch, dict)
                    else branch
                    for branch in value
                ]
            elif key == "$relatedTo":
                more.append({"objectId": {"$in": await self._related_to(value)}})
            else:
                value = await self._operators(value)
                if key in class_schema.relations:
                    more += await self._owners(class_schema, key, value)
                else:
                    resolved[key] = value
        if more:
            resolved["$and"] = [*resolved.get("$and", []), *more]
        return resolved

    # ---- sub-queries --------------------------------------------------------------------------

    async def _operators(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        built: WireObject = {}
        for name, operand in value.items():
            if name in _IN_QUERY:
                found = await self._in_query(name, operand)
                _merge(built, "$in" if name == "$inQuery" else "$nin", found)
            elif name in _SELECT:
                found = await self._select(name, operand)
                _merge(built, "$in" if name == "$select" else "$nin", found)
            elif name in ("$in", "$nin") and name in built:
                _merge(built, name, operand)
            else:
                built[name] = operand
        return built

    async def _in_query(self, name: str, operand: Any) -> list[Any]:
        class_name, query = _subquery(name, operand)
        query.keys = ("objectId",)
        rows = await self._find(self._ctx, class_name, query)
        target = class_name
        if query.redirect_key and rows:
            target = rows[0].get("className", class_name)
        return [pointer(target, row["objectId"]) for row in rows]

    async def _select(self, name: str, operand: Any) -> list[Any]:
        is_formed = (
            isinstance(operand, dict)
            and len(operand) == 2
            and isinstance(operand.get("key"), str)
            and operand["key"]
        )
        if not is_formed:
            raise invalid_query(f"improper usage of {name}")
        class_name, query = _subquery(name, operand.get("query"))
        path = operand["key"].split(".")
        query.keys = (path[0],)
        rows = await self._find(self._ctx, class_name, query)
        values: list[Any] = []
        for row in rows:
            found: Any = row
            for part in path:
                found = found.get(part) if isinstance(found, dict) else None
            values += found if isinstance(found, list) else [found]
        return [value for value in values if value is not None]

    # ---- relations ----------------------------------------------------------------------------

    async def _related_to(self, operand: Any) -> list[str]:
        """Ids of the objects in a relation of an object that the caller can read."""
        owner = operand.get("object") if isinstance(operand, dict) else None
        key = operand.get("key") if isinstance(operand, dict) else None
        class_name = owner.get("className") if isinstance(owner, dict) else None
        object_id = owner.get("objectId") if isinstance(owner, dict) else None
        names = (class_name, object_id, key)
        if not all(isinstance(name, str) and name and "\0" not in name for name in names):
            raise invalid_query("improper usage of $relatedTo")
        owner_class = self._schema.get(str(class_name))
        if owner_class is None or str(key) not in owner_class.relations:
            return []
        hidden = protection(owner_class, self._ctx.caller)
        if hidden is not None and key in hidden.hidden:
            raise Forbidden(f"This user is not allowed to query {key} on class {class_name}")
        if not self._ctx.caller.is_privileged:
            query = Query(where={"objectId": object_id}, limit=1, keys=("objectId",))
            if not await self._find(self._ctx, str(class_name), query):
                return []
        rows = await self._database.find(
            f"_Join:{key}:{class_name}",
            {"owningId": object_id},
            sort={"_id": 1},
            session=self._ctx.session,
        )
        return [row["relatedId"] for row in rows]

    async def _owners(self, class_schema: ClassSchema, key: str, value: Any) -> list[WireObject]:
        """Constraints on a Relation column, as constraints on the ids of the owners."""
        if not isinstance(value, dict) or value.get("__type") in ("Pointer", "Object"):
            value = {"$eq": value}
        constraints: list[WireObject] = []
        for name, operand in value.items():
            if name in ("$eq", "$in"):
                owners = await self._owning_ids(class_schema, key, operand)
                constraints.append({"objectId": {"$in": owners}})
            elif name in ("$ne", "$nin"):
                owners = await self._owning_ids(class_schema, key, operand)
                constraints.append({"objectId": {"$nin": owners}})
            else:
                raise invalid_json(f"bad constraint: {name}")
        return constraints

    async def _owning_ids(self, class_schema: ClassSchema, key: str, operand: Any) -> list[str]:
        targets = operand if isinstance(operand, list) else [operand]
        related = [target.get("objectId") for target in targets if isinstance(target, dict)]
        if len(related) != len(targets) or not all(isinstance(item, str) for item in related):
            raise invalid_json(f"A pointer is expected for the relation {key}.")
        rows = await self._database.find(
            f"_Join:{key}:{class_schema.name}",
            {"relatedId": {"$in": related}},
            session=self._ctx.session,
        )
        return [row["owningId"] for row in rows]


def _subquery(name: str, operand: Any) -> tuple[str, Query]:
    class_name = operand.get("className") if isinstance(operand, dict) else None
    if not isinstance(class_name, str) or not isinstance(operand.get("where", {}), dict):
        raise invalid_query(f"improper usage of {name}")
    if name in _IN_QUERY and "where" not in operand:
        raise invalid_query(f"improper usage of {name}")
    params = {key: value for key, value in operand.items() if key not in ("className", "__type")}
    return class_name, Query.from_params(params)


def _merge(built: WireObject, operator: str, values: list[Any]) -> None:
    """Two lists for one key: ``$in`` keeps what is in both, ``$nin`` what is in either."""
    if operator not in built:
        built[operator] = values
    elif operator == "$nin":
        built[operator] = [*built[operator], *values]
    else:
        built[operator] = [value for value in built[operator] if value in values]
