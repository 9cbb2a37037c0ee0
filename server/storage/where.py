"""``where`` of a query, translated to a MongoDB filter. Pure; sub-queries were resolved before.

The same filter is run by MongoDB and, for LiveQuery, by `livequery.matcher` on documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from server.errors import Code, Forbidden, ParseError, invalid_json, invalid_query
from server.storage.documents import (
    decode_date,
    encode_geo_point,
    encode_nested,
    encode_number,
    encode_polygon,
    is_number,
    storage_key,
)
from server.storage.relative_time import parse_relative_time
from server.values import Field, dumps

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.]*\Z")
_AUTH_DATA = re.compile(r"authData\.([a-zA-Z0-9_]+)(\.id)?\Z")
_OPTIONS = re.compile(r"[imxsu]+\Z")
_STARTS_WITH = re.compile(r"\^\\Q.*\\E\Z", re.DOTALL)
_LOGICAL = ("$or", "$and", "$nor")
_COMPARISONS = frozenset(("$lt", "$lte", "$gt", "$gte", "$ne", "$eq"))
_WHOLE_VALUES = frozenset(("$eq", "$ne", "$in", "$nin", "$exists"))
_TIMES = frozenset(("createdAt", "updatedAt"))
_PERMISSION_KEYS = frozenset(("_rperm", "_wperm"))
_INTERNAL_KEYS = frozenset(
    (
        "_email_verify_token",
        "_perishable_token",
        "_tombstone",
        "_email_verify_token_expires_at",
        "_perishable_token_expires_at",
        "_failed_login_count",
        "_account_lockout_expires_at",
        "_password_changed_at",
    )
)
"""What the master key may query by; never ``_hashed_password``."""

_EARTH_RADIUS = {"$maxDistanceInMiles": 3959.0, "$maxDistanceInKilometers": 6371.0}
_MAX_DEPTH = 100


def build_filter(
    where: Mapping[str, Any],
    fields: Mapping[str, Field],
    *,
    privileged: bool,
    for_count: bool = False,
) -> dict[str, Any]:
    """Translate ``where`` for a class with these columns.

    Args:
        privileged: the caller may query internal keys (master or maintenance key).
        for_count: the filter is for a count, where MongoDB refuses ``$nearSphere``.
    Raises:
        ParseError: 102, 105 or 107, as the peer words them.
    """
    return _Translator(fields, privileged, for_count).conditions(where, 0)


class _Translator:
    def __init__(self, fields: Mapping[str, Field], privileged: bool, for_count: bool) -> None:
        self._fields = fields
        self._privileged = privileged
        self._for_count = for_count

    def conditions(self, where: Mapping[str, Any], depth: int) -> dict[str, Any]:
        if depth > _MAX_DEPTH:
            raise invalid_query("The query is nested too deeply.")
        built: dict[str, Any] = {}
        for key, value in where.items():
            if key in _LOGICAL:
                built[key] = self._branches(key, value, depth)
                continue
            stored, condition = self.condition(key, value)
            if stored in built:
                # ``objectId`` and a resolved relation, say, may both speak of ``_id``.
                built.setdefault("$and", []).append({stored: condition})
            else:
                built[stored] = condition
        return built

    def _branches(self, key: str, value: Any, depth: int) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            raise Forbidden(f"Bad {key} format - use an array value.", Code.INVALID_QUERY)
        if key == "$nor" and not value:
            raise invalid_query("Bad $nor format - use an array of at least 1 value.")
        if not all(isinstance(branch, dict) for branch in value):
            raise invalid_query(f"Bad {key} format - use an array of queries.")
        branches = [self.conditions(branch, depth + 1) for branch in value]
        if not branches:
            # MongoDB refuses an empty list; nothing asked of ``$and`` is true, of ``$or`` false.
            return [{}] if key == "$and" else [{"_id": {"$in": []}}]
        return branches

    def condition(self, key: str, value: Any) -> tuple[str, Any]:
        """The stored key and the condition on it."""
        if key == "ACL":
            raise invalid_query("Cannot query on ACL.")
        if not _KEY.match(key):
            return self._internal(key, value)
        provider = _AUTH_DATA.match(key)
        if provider:
            self._refuse_guesses(key, value)
            stored = f"_auth_data_{provider.group(1)}{provider.group(2) or ''}"
            return stored, self._value(stored, None, value)
        root = key.partition(".")[0]
        if root in ("password", "_hashed_password"):
            raise ParseError(Code.INVALID_KEY_NAME, f"Invalid key name: {key}")
        field = self._fields.get(key)
        if field is None and (root != key or (key == "sessionToken" and not self._privileged)):
            # SECURITY: old apps keep session tokens in ``_User``, which has no such column.
            return key, self._value(key, None, value)
        return storage_key(key, field), self._value(key, field, value)

    def _refuse_guesses(self, key: str, value: Any) -> None:
        """Friends are found by the id a provider gave them, whole.

        SECURITY: with patterns and ranges anybody could work ids out letter by letter, and the id
        of an anonymous user is all that a log-in asks for.
        """
        if not self._privileged and isinstance(value, dict):
            for name in value:
                if name[:1] == "$" and name not in _WHOLE_VALUES:
                    raise Forbidden(f"This user is not allowed to query {key} with {name}")

    def _internal(self, key: str, value: Any) -> tuple[str, Any]:
        if key in _PERMISSION_KEYS or (self._privileged and key in _INTERNAL_KEYS):
            return key, self._value(key, None, value)
        raise ParseError(Code.INVALID_KEY_NAME, f"Invalid key name: {key}")

    # ---- one value ----------------------------------------------------------------------------

    def _value(self, key: str, field: Field | None, value: Any) -> Any:
        if isinstance(value, dict):
            operators = {name: item for name, item in value.items() if name[:1] == "$"}
            if operators:
                rest = {name: item for name, item in value.items() if name[:1] != "$"}
                if rest:
                    if "__type" not in rest:
                        raise _not_a_parameter(value)
                    operators["$eq"] = rest
                return self._operators(key, field, operators)
        elif isinstance(value, list):
            raise _not_a_parameter(value)
        if key in _TIMES and isinstance(value, str):
            return decode_date(value)
        atom = self.atom(field, value)
        if field is not None and field.type == "Array" and value is not None:
            return {"$all": [atom]}
        return atom

    def atom(self, field: Field | None, value: Any) -> Any:
        """One value to compare with, as the column stores it."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return value
        if isinstance(value, int | float):
            return encode_number(value)
        if isinstance(value, datetime | bytes):
            return value
        if isinstance(value, dict):
            return self._typed_atom(field, value)
        raise _not_a_parameter(value)

    def _typed_atom(self, field: Field | None, value: dict[str, Any]) -> Any:
        kind = value.get("__type")
        is_nested = field is None or field.type in ("Array", "Object")
        match kind:
            case "Pointer" | "Object" if isinstance(value.get("className"), str) and isinstance(
                value.get("objectId"), str
            ):
                if is_nested:
                    return encode_nested(value)
                return f"{value['className']}${value['objectId']}"
            case "Date" | "Bytes":
                return encode_nested(value)
            case "GeoPoint":
                point = encode_geo_point(value)
                return encode_nested(value) if is_nested else point
            case "File" if isinstance(value.get("name"), str):
                return encode_nested(value) if is_nested else value["name"]
            case "Polygon":
                polygon = encode_polygon(value)
                return encode_nested(value) if is_nested else polygon
        raise _not_a_parameter(value)

    # ---- operators ----------------------------------------------------------------------------

    def _operators(
        self, key: str, field: Field | None, operators: dict[str, Any]
    ) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for name, value in operators.items():
            if name in _COMPARISONS:
                built[name] = self._comparison(name, field, value)
            elif name in ("$in", "$nin"):
                built[name] = self._members(name, field, value)
            elif name == "$exists":
                built[name] = bool(value)
            elif name == "$all":
                built[name] = self._all(field, value)
            elif name == "$containedBy":
                built["$not"] = {"$elemMatch": {"$nin": self._contained_by(field, value)}}
            elif name in ("$regex", "$options"):
                built[name] = self._regex(name, value, operators)
            elif name in _GEO:
                self._geo(name, value, operators, built)
            elif name not in _GEO_MODIFIERS:
                raise invalid_json(f"bad constraint: {name}")
        return built

    def _comparison(self, name: str, field: Field | None, value: Any) -> Any:
        if isinstance(value, dict) and "$relativeTime" in value:
            if field is None or field.type != "Date":
                raise invalid_json("$relativeTime can only be used with Date field")
            if name in ("$eq", "$ne"):
                raise invalid_json(
                    "$relativeTime can only be used with the $lt, $lte, $gt, and $gte operators"
                )
            return parse_relative_time(value["$relativeTime"])
        if isinstance(value, list):
            if field is not None and field.type == "Array":
                return encode_nested(value)
            raise _not_a_parameter(value)
        if isinstance(value, dict) and "__type" not in value:
            raise invalid_json(f"bad atom: {_brief(value)}")
        return self.atom(field, value)

    def _members(self, name: str, field: Field | None, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise invalid_json(f"bad {name} value")
        if set(map(type, value)) <= {str}:
            return list(value)  # PERF: ids, by the thousand
        flat: list[Any] = []
        for item in value:
            flat += item if isinstance(item, list) else [item]
        return [self.atom(field, item) for item in flat]

    def _all(self, field: Field | None, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise invalid_json("bad $all value")
        patterns = [item for item in value if isinstance(item, dict) and "$regex" in item]
        if not patterns:
            return [self.atom(field, item) for item in value]
        if len(patterns) != len(value) or not all(
            isinstance(item["$regex"], str) and _STARTS_WITH.match(item["$regex"])
            for item in patterns
        ):
            raise invalid_json(f"All $all values must be of regex type or none: {_brief(value)}")
        return [re.compile("^" + re.escape(item["$regex"][3:-2])) for item in patterns]

    def _contained_by(self, field: Field | None, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise invalid_json("bad $containedBy: should be an array")
        return [self.atom(field, item) for item in value]

    def _regex(self, name: str, value: Any, operators: dict[str, Any]) -> str:
        if name == "$options":
            if not isinstance(value, str):
                raise invalid_query("$options value must be a string")
            if not _OPTIONS.match(value):
                raise invalid_query(f"Bad $options value for query: {value}")
            if "$regex" not in operators:
                raise invalid_query("$options needs a $regex")
            # MongoDB knows no "u": its patterns are UTF-8 already.
            return value.replace("u", "")
        if not isinstance(value, str):
            raise invalid_query("$regex value must be a string")
        if "\0" in value:
            raise invalid_query("$regex value must not contain a NUL character")
        return value

    def _geo(self, name: str, value: Any, operators: dict[str, Any], built: dict[str, Any]) -> None:
        if name == "$nearSphere":
            centre = _geo_point(name, value)
            radians = _max_distance(operators)
            if self._for_count:
                sphere = [centre, _everywhere_if_none(radians)]
                built["$geoWithin"] = {"$centerSphere": sphere}
                return
            built["$nearSphere"] = centre
            if radians is not None:
                built["$maxDistance"] = radians
        elif name == "$within":
            built["$geoWithin"] = {"$box": _box(value)}
        elif name == "$geoWithin":
            built["$geoWithin"] = _geo_within(value)
        else:
            point = value.get("$point") if isinstance(value, dict) else None
            if point is None:
                raise invalid_json("bad $geoIntersect value; $point should be GeoPoint")
            coordinates = _geo_point("$geoIntersect", point)
            built["$geoIntersects"] = {"$geometry": {"type": "Point", "coordinates": coordinates}}


_GEO = frozenset(("$nearSphere", "$within", "$geoWithin", "$geoIntersects"))
_GEO_MODIFIERS = frozenset(("$maxDistance", "$maxDistanceInRadians", *_EARTH_RADIUS))


def _everywhere_if_none(radians: float | None) -> float:
    """Half the way around the Earth, which is everywhere."""
    return 3.14159 if radians is None else radians


def _geo_point(name: str, value: Any) -> list[float]:
    if not isinstance(value, dict) or value.get("__type") != "GeoPoint":
        raise invalid_json(f"bad {name} value")
    return encode_geo_point(value)


def _max_distance(operators: dict[str, Any]) -> float | None:
    """Radians, of whichever unit was given."""
    for name in _GEO_MODIFIERS:
        if name in operators:
            value = operators[name]
            if not is_number(value) or value < 0:
                raise invalid_json(f"bad {name} value")
            return float(value) / _EARTH_RADIUS.get(name, 1.0)
    return None


def _box(value: Any) -> list[list[float]]:
    box = value.get("$box") if isinstance(value, dict) else None
    if not isinstance(box, list) or len(box) != 2:
        raise invalid_json("malformatted $within arg")
    return [_geo_point("$within", corner) for corner in box]


def _geo_within(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and "$polygon" in value:
        polygon = value["$polygon"]
        if isinstance(polygon, dict) and polygon.get("__type") == "Polygon":
            return {"$polygon": encode_polygon(polygon)["coordinates"][0]}
        if not isinstance(polygon, list):
            raise invalid_json("bad $geoWithin value; $polygon should contain GeoPoints")
        if len(polygon) < 3:
            raise invalid_json("bad $geoWithin value; $polygon should contain at least 3 GeoPoints")
        return {"$polygon": [_geo_point("$geoWithin", corner) for corner in polygon]}
    sphere = value.get("$centerSphere") if isinstance(value, dict) else None
    if not isinstance(sphere, list) or len(sphere) != 2:
        raise invalid_json("bad $geoWithin value; $centerSphere should be an array of two")
    centre, distance = sphere
    if isinstance(centre, list) and len(centre) == 2 and all(map(is_number, centre)):
        coordinates = centre
    else:
        coordinates = _geo_point("$geoWithin", centre)
    if not is_number(distance) or distance < 0:
        raise invalid_json("bad $geoWithin value; $centerSphere distance invalid")
    return {"$centerSphere": [coordinates, distance]}


def _brief(value: Any) -> str:
    text: str = dumps(value)[:200].decode(errors="replace")
    return text


def _not_a_parameter(value: Any) -> ParseError:
    # WIRE: the peer's text is what JavaScript makes of the value.
    if isinstance(value, dict):
        shown = "[object Object]"
    else:
        shown = _brief(value).strip("[]").replace('"', "")
    return invalid_json(f"You cannot use {shown} as a query parameter.")
