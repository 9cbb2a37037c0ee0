"""A find request: the parameters a client may give, read once into typed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.errors import invalid_json, invalid_query
from server.values import loads

_PARAMETERS = frozenset(
    "where order limit skip count keys excludeKeys include includeAll redirectClassNameForKey "
    "explain hint comment readPreference includeReadPreference subqueryReadPreference".split()
)
_READ_PREFERENCES = frozenset(
    "PRIMARY PRIMARY_PREFERRED SECONDARY SECONDARY_PREFERRED NEAREST".split()
)
_PREFERENCE_PARAMETERS = ("readPreference", "includeReadPreference", "subqueryReadPreference")
_GET_PARAMETERS = frozenset(("keys", "include", "excludeKeys", *_PREFERENCE_PARAMETERS))


def _names(value: Any) -> tuple[str, ...]:
    """A comma list, or a list, of names."""
    if value is None or value == "":
        return ()
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise invalid_query("A list of keys is expected.")
    return tuple(stripped for item in items if (stripped := item.strip()))


def _number(value: Any) -> int | None:
    """A count that may come as text (URLs, the iOS SDK); anything else means none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return int(value) if abs(value) < 2**31 else None


def _is_on(value: Any) -> bool:
    return value not in (None, False, 0, "", "0", "false")


@dataclass(slots=True)
class Query:
    """What to find. ``limit`` ``None`` means the server's default; ``order`` holds ``-name`` too.

    ``keys`` ``None``: all fields. ``include_all``: every pointer and array, one level deep.
    """

    where: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    skip: int = 0
    order: tuple[str, ...] = ()
    keys: tuple[str, ...] | None = None
    exclude_keys: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    include_all: bool = False
    count: bool = False
    redirect_key: str | None = None
    explain: Any = None
    hint: Any = None
    comment: str | None = None
    read_preference: str | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Query:
        """Read REST parameters. Raises 102 for an unknown one, 107 for a bad ``where``."""
        for name in params:
            if name not in _PARAMETERS:
                raise invalid_query(f"Invalid parameter for query: {name}")
        where = params.get("where")
        if isinstance(where, str):
            try:
                where = loads(where) if where else {}
            except ValueError:
                raise invalid_json("where parameter is not valid JSON") from None
        if where is None:
            where = {}
        if not isinstance(where, dict):
            raise invalid_json("where parameter is not valid JSON")
        query = cls(where=where, limit=_number(params.get("limit")))
        query.skip = _number(params.get("skip")) or 0
        query.order = _names(params.get("order"))
        query.count = _is_on(params.get("count"))
        query.include_all = _is_on(params.get("includeAll"))
        query._read_selection(params)
        key = params.get("redirectClassNameForKey")
        query.redirect_key = key if isinstance(key, str) else None
        query.explain = params.get("explain")
        query.hint = params.get("hint")
        comment = params.get("comment")
        query.comment = comment if isinstance(comment, str) else None
        return query

    @classmethod
    def for_get(cls, object_id: str, params: Mapping[str, Any]) -> Query:
        """A query for one object by id. Raises 102 for a parameter that GET by id does not take."""
        query = cls(where={"objectId": object_id}, limit=1)
        if params:
            for name in params:
                if name not in _GET_PARAMETERS:
                    raise invalid_query("Improper encode of parameter")
            query._read_selection(params)
        return query

    def _read_selection(self, params: Mapping[str, Any]) -> None:
        if params.get("keys") is not None:
            self.keys = _names(params["keys"])
        self.exclude_keys = _names(params.get("excludeKeys"))
        self.include = _names(params.get("include"))
        if "*" in self.include:
            self.include_all = True
        for name in _PREFERENCE_PARAMETERS:
            value = params.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or value.upper() not in _READ_PREFERENCES:
                raise invalid_query("Not supported read preference.")
            if name == "readPreference":
                self.read_preference = value.upper()

    def to_params(self) -> dict[str, Any]:
        """REST parameters again, as find hooks see them."""
        params: dict[str, Any] = {"where": self.where}
        if self.limit is not None:
            params["limit"] = self.limit
        if self.skip:
            params["skip"] = self.skip
        for name, values in (
            ("order", self.order),
            ("excludeKeys", self.exclude_keys),
            ("include", self.include),
        ):
            if values:
                params[name] = ",".join(values)
        if self.keys is not None:
            params["keys"] = ",".join(self.keys)
        for name, value in (
            ("includeAll", self.include_all),
            ("explain", self.explain),
            ("hint", self.hint),
            ("comment", self.comment),
            ("readPreference", self.read_preference),
        ):
            if value:
                params[name] = value
        return params
