"""`cloud.Query`: finding objects from cloud code."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Generic, Self, TypeVar, cast, overload

from server.cloud.backend import running
from server.cloud.codec import encode
from server.cloud.objects import Object, Relation, class_name_of, from_wire
from server.errors import object_not_found
from server.objects.query import Query as FindQuery
from server.values import WireObject

T = TypeVar("T", bound=Object)
# As a find over REST; `each` goes through all.
_USUAL_LIMIT = 100


class Query(Generic[T]):
    """A query of one class: ``await Query("Note").equal_to("author", user).find()``.

    Methods that narrow it answer the query itself, so that they can be chained. It acts as the
    caller of the running hook, unless a method is told otherwise.
    """

    @overload
    def __init__(self: Query[Object], target: str) -> None: ...
    @overload
    def __init__(self, target: type[T]) -> None: ...
    def __init__(self, target: str | type[Any]) -> None:
        self.class_name = class_name_of(target)
        self._where: dict[str, Any] = {}
        self._params: dict[str, Any] = {}

    # --- constraints ---------------------------------------------------------------------------

    def equal_to(self, key: str, value: Any) -> Self:
        """``value`` may be an `Object`; for a list field, one of its items."""
        self._where[key] = encode(value)
        return self

    def not_equal_to(self, key: str, value: Any) -> Self:
        return self._add(key, "$ne", value)

    def less_than(self, key: str, value: Any) -> Self:
        return self._add(key, "$lt", value)

    def less_than_or_equal_to(self, key: str, value: Any) -> Self:
        return self._add(key, "$lte", value)

    def greater_than(self, key: str, value: Any) -> Self:
        return self._add(key, "$gt", value)

    def greater_than_or_equal_to(self, key: str, value: Any) -> Self:
        return self._add(key, "$gte", value)

    def contained_in(self, key: str, values: Iterable[Any]) -> Self:
        return self._add(key, "$in", list(values))

    def not_contained_in(self, key: str, values: Iterable[Any]) -> Self:
        return self._add(key, "$nin", list(values))

    def contains_all(self, key: str, values: Iterable[Any]) -> Self:
        return self._add(key, "$all", list(values))

    def exists(self, key: str) -> Self:
        return self._add(key, "$exists", True)

    def does_not_exist(self, key: str) -> Self:
        return self._add(key, "$exists", False)

    def matches(self, key: str, pattern: str, options: str = "") -> Self:
        """A regular expression of MongoDB; ``options`` such as ``"i"``."""
        self._add(key, "$regex", pattern)
        return self._add(key, "$options", options) if options else self

    def starts_with(self, key: str, text: str) -> Self:
        return self._add(key, "$regex", f"^{re.escape(text)}")

    def matches_query(self, key: str, query: Query[Any]) -> Self:
        """Objects whose pointer in ``key`` points to one that ``query`` finds."""
        return self._add(key, "$inQuery", query._as_subquery())

    def does_not_match_query(self, key: str, query: Query[Any]) -> Self:
        return self._add(key, "$notInQuery", query._as_subquery())

    def matches_key_in_query(self, key: str, query_key: str, query: Query[Any]) -> Self:
        """Objects whose ``key`` equals ``query_key`` of one that ``query`` finds."""
        return self._add(key, "$select", {"key": query_key, "query": query._as_subquery()})

    def does_not_match_key_in_query(self, key: str, query_key: str, query: Query[Any]) -> Self:
        return self._add(key, "$dontSelect", {"key": query_key, "query": query._as_subquery()})

    def where(self, constraints: Mapping[str, Any]) -> Self:
        """Join constraints in REST's own form."""
        self._where = {**self._where, **encode(constraints)}
        return self

    @classmethod
    def any_of(cls, *queries: Query[T]) -> Query[T]:
        """Objects that one of the queries, all of one class, would find."""
        return cls._combined("$or", queries)

    @classmethod
    def all_of(cls, *queries: Query[T]) -> Query[T]:
        """Objects that each of the queries, all of one class, would find."""
        return cls._combined("$and", queries)

    # --- order and extent ----------------------------------------------------------------------

    def ascending(self, *keys: str) -> Self:
        return self._list("order", keys)

    def descending(self, *keys: str) -> Self:
        return self._list("order", [f"-{key}" for key in keys])

    def limit(self, most: int) -> Self:
        self._params["limit"] = most
        return self

    def skip(self, count: int) -> Self:
        self._params["skip"] = count
        return self

    def include(self, *keys: str) -> Self:
        """Fetch the objects that these pointers, ``a.b`` too, point to."""
        return self._list("include", keys)

    def select(self, *keys: str) -> Self:
        """Read only these fields."""
        return self._list("keys", keys)

    def exclude(self, *keys: str) -> Self:
        """Read all fields but these."""
        return self._list("excludeKeys", keys)

    # --- answers -------------------------------------------------------------------------------

    async def find(
        self, *, use_master_key: bool = False, session_token: str | None = None
    ) -> list[T]:
        """The objects, 100 unless `limit` says otherwise."""
        params = {"limit": _USUAL_LIMIT, **self.to_params()}
        answer = await self._answer(params, use_master_key, session_token)
        class_name = answer.get("className") or self.class_name
        return [self._made(row, class_name) for row in answer["results"]]

    async def first(
        self, *, use_master_key: bool = False, session_token: str | None = None
    ) -> T | None:
        """The first object; ``None`` when there is none."""
        params = {**self.to_params(), "limit": 1}
        answer = await self._answer(params, use_master_key, session_token)
        rows = answer["results"]
        return self._made(rows[0], answer.get("className") or self.class_name) if rows else None

    async def get(
        self, object_id: str, *, use_master_key: bool = False, session_token: str | None = None
    ) -> T:
        """The object with this id, if it meets the constraints. Raises 101 otherwise."""
        if self._where:
            params = {**self.to_params(), "limit": 1}
            params["where"] = {"$and": [self._where, {"objectId": object_id}]}
            rows = (await self._answer(params, use_master_key, session_token))["results"]
            if not rows:
                raise object_not_found()
            return self._made(rows[0], self.class_name)
        selection: dict[str, Any] = {
            name: self._params[name]
            for name in ("keys", "include", "excludeKeys")
            if name in self._params
        }
        now = running()
        ctx = await now.acting(use_master_key, session_token)
        query = FindQuery.for_get(object_id, selection)
        row = await now.backend.objects.get(ctx, self.class_name, query)
        return self._made(row, self.class_name)

    async def count(self, *, use_master_key: bool = False, session_token: str | None = None) -> int:
        params = {**self.to_params(), "limit": 0, "count": True}
        count: int = (await self._answer(params, use_master_key, session_token))["count"]
        return count

    async def each(
        self,
        *,
        batch_size: int = 100,
        use_master_key: bool = False,
        session_token: str | None = None,
    ) -> AsyncIterator[T]:
        """``async for note in query.each()``: all objects, by id, however many there are."""
        where, last = self._where, None
        while True:
            params = {**self.to_params(), "limit": batch_size, "order": "objectId"}
            if last is not None:
                params["where"] = {"$and": [where, {"objectId": {"$gt": last}}]}
            rows = (await self._answer(params, use_master_key, session_token))["results"]
            for row in rows:
                yield self._made(row, self.class_name)
            if len(rows) < batch_size:
                return
            last = rows[-1]["objectId"]

    def to_params(self) -> dict[str, Any]:
        """The query as REST parameters: ``{"where": {...}, "limit": 10, ...}``."""
        return {**self._params, "where": self._where}

    # -------------------------------------------------------------------------------------------

    async def _answer(
        self, params: dict[str, Any], use_master_key: bool, session_token: str | None
    ) -> dict[str, Any]:
        now = running()
        ctx = await now.acting(use_master_key, session_token)
        query = FindQuery.from_params(params)
        return await now.backend.objects.find(ctx, self.class_name, query)

    def _made(self, row: WireObject, class_name: str) -> T:
        return cast(T, from_wire(class_name, row))

    def _add(self, key: str, operator: str, value: Any) -> Self:
        known = self._where.get(key)
        if not isinstance(known, dict) or not any(name.startswith("$") for name in known):
            known = {}
        self._where[key] = {**known, operator: encode(value)}
        return self

    def _list(self, name: str, keys: Iterable[str]) -> Self:
        before = self._params.get(name) or []
        if isinstance(before, str):
            before = before.split(",")
        self._params[name] = [*before, *keys]
        return self

    def _as_subquery(self) -> dict[str, Any]:
        return {**self._params, "where": self._where, "className": self.class_name}

    @classmethod
    def _combined(cls, operator: str, queries: Iterable[Query[T]]) -> Query[T]:
        parts = list(queries)
        names = {query.class_name for query in parts}
        if len(names) != 1:
            raise ValueError("Queries to combine must be of one class.")
        combined = from_params(names.pop(), {})
        combined._where[operator] = [query._where for query in parts]
        return cast("Query[T]", combined)


def from_params(class_name: str, params: Mapping[str, Any]) -> Query[Object]:
    """A query with these REST parameters."""
    query = Query(class_name)
    query._params = {name: value for name, value in params.items() if name != "where"}
    query._where = dict(params.get("where") or {})
    return query


def of_relation(relation: Relation) -> Query[Object]:
    """A query of the objects in a relation, whatever class they are of."""
    parent = relation.parent
    where = {"$relatedTo": {"object": parent.to_pointer(), "key": relation.key}}
    # The server knows the target class from the schema.
    return from_params(parent.class_name, {"where": where, "redirectClassNameForKey": relation.key})
