"""Between wire objects and stored documents: key names and value encodings of Parse Server.

Source of the format: the documents Parse Server writes (``_id``, ``_p_owner: "_User$id"``,
``_rperm``/``_wperm``, GeoPoints as ``[longitude, latitude]``).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson.binary import Binary

from server.errors import Code, ParseError
from server.values import Field, StoredDocument, WireObject, from_iso, pointer, to_iso

STORED_NAMES: Mapping[str, str] = {
    "objectId": "_id",
    "createdAt": "_created_at",
    "updatedAt": "_updated_at",
    "sessionToken": "_session_token",
    "lastUsed": "_last_used",
    "timesUsed": "times_used",
}
"""Wire names that are stored under another name in every class that has them."""

_AUTH_DATA = "_auth_data_"
_INT32 = 2**31
_ISO = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:?\d\d)?)?\Z")

FileUrl = Callable[[str], str]


def not_valid(kind: object) -> ParseError:
    """A typed value whose shape is wrong (111)."""
    return ParseError(Code.INCORRECT_TYPE, f"This is not a valid {kind}")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def storage_key(name: str, field: Field | None) -> str:
    """The key a column is stored under."""
    if field is not None and field.type == "Pointer":
        return "_p_" + name
    return STORED_NAMES.get(name, name)


# ---- wire -> stored ---------------------------------------------------------------------------


def encode_number(value: float) -> float | int:
    """As the peer's driver stores it: Int32 where it fits and is whole, else a double."""
    if isinstance(value, int):
        return value if -_INT32 <= value < _INT32 else float(value)
    if value.is_integer() and -_INT32 <= value < _INT32:
        return int(value)
    return value


def decode_date(value: Any) -> datetime:
    """A naive UTC ``datetime`` of Date JSON, or of a ``datetime`` (cloud code). Raises 111."""
    if isinstance(value, datetime):
        return value
    iso = value.get("iso") if isinstance(value, dict) else value
    if not isinstance(iso, str) or not _ISO.match(iso):
        raise not_valid("Date")
    try:
        return from_iso(iso)
    except (ValueError, OverflowError):
        raise not_valid("Date") from None


def _encode_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    text = value.get("base64")
    if not isinstance(text, str):
        raise not_valid("Bytes")
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        raise not_valid("Bytes") from None


def encode_geo_point(value: Any) -> list[float]:
    """``[longitude, latitude]`` of GeoPoint JSON. Raises 111."""
    latitude, longitude = value.get("latitude"), value.get("longitude")
    if not (is_number(latitude) and is_number(longitude)):
        raise not_valid("GeoPoint")
    return [longitude, latitude]


def encode_polygon(value: Any) -> dict[str, Any]:
    """GeoJSON of Polygon JSON: ``[longitude, latitude]`` pairs, closed. Raises 111."""
    coordinates = value.get("coordinates")
    if not isinstance(coordinates, list):
        raise not_valid("Polygon")
    ring: list[list[float]] = []
    for point in coordinates:
        if not (isinstance(point, list) and len(point) == 2 and all(map(is_number, point))):
            raise not_valid("Polygon")
        latitude, longitude = point
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise not_valid("Polygon")
        ring.append([longitude, latitude])
    if ring and ring[0] != ring[-1]:
        ring.append(ring[0])
    if len({tuple(point) for point in ring}) < 3:
        raise ParseError(Code.INCORRECT_TYPE, "A Polygon must have at least 3 different points.")
    return {"type": "Polygon", "coordinates": [ring]}


def encode_pointer(value: Any) -> str:
    """``Class$id`` of Pointer JSON. Raises 111."""
    class_name, object_id = value.get("className"), value.get("objectId")
    if not (isinstance(class_name, str) and isinstance(object_id, str)) or not class_name:
        raise not_valid("Pointer")
    return f"{class_name}${object_id}"


_KEPT = frozenset((str, bool, type(None)))
_NUMERIC = frozenset((int, float))


def _encode_items(items: Sequence[Any]) -> list[Any]:
    # PERF: a body may hold millions of plain items, and nobody else is served meanwhile.
    kinds = set(map(type, items))
    if kinds <= _KEPT:
        return list(items)
    return list(map(encode_number if kinds <= _NUMERIC else encode_nested, items))


def encode_nested(value: Any) -> Any:
    """A value inside an Object or Array column. Raises 121 for keys that MongoDB reserves."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return encode_number(value)
    if isinstance(value, list | tuple):
        return _encode_items(value)
    if isinstance(value, datetime | bytes):
        return value
    if not isinstance(value, dict):
        to_json = getattr(value, "to_json", None)
        return encode_nested(to_json()) if to_json is not None else value
    kind = value.get("__type")
    if kind == "Date":
        return decode_date(value)
    if kind == "Bytes":
        return _encode_bytes(value)
    if kind in ("Pointer", "Object"):
        # Included objects that an SDK sends back inside an array are kept as pointers.
        class_name, object_id = value.get("className"), value.get("objectId")
        if isinstance(class_name, str) and isinstance(object_id, str):
            return pointer(class_name, object_id)
    encoded = {}
    for key, item in value.items():
        if "$" in key or "." in key or "\0" in key:
            raise ParseError(
                Code.INVALID_NESTED_KEY, "Nested keys should not contain the '$' or '.' characters"
            )
        encoded[key] = encode_nested(item)
    return encoded


_ENCODERS: Mapping[str, Callable[[Any], Any]] = {
    "Number": encode_number,
    "Date": decode_date,
    "Pointer": encode_pointer,
    "GeoPoint": encode_geo_point,
    "Polygon": encode_polygon,
    "File": lambda value: value["name"],
    "Bytes": _encode_bytes,
    "Object": encode_nested,
    "Array": encode_nested,
}


def encode_field(field: Field, value: Any) -> Any:
    """The stored value of a column. The type of ``value`` was checked before (`wire_type`)."""
    if value is None:
        return None
    encoder = _ENCODERS.get(field.type)
    return encoder(value) if encoder else value


def encode_acl(acl: Mapping[str, Any]) -> StoredDocument:
    """``_rperm``, ``_wperm`` and the legacy ``_acl`` of an ACL. Raises 123."""
    readers: list[str] = []
    writers: list[str] = []
    legacy: dict[str, dict[str, bool]] = {}
    for entity, rights in acl.items():
        if entity == "*unresolved" or not isinstance(rights, dict) or "\0" in entity:
            raise ParseError(Code.INVALID_ACL, "Invalid ACL.")
        short = {}
        if rights.get("write"):
            writers.append(entity)
            short["w"] = True
        if rights.get("read"):
            readers.append(entity)
            short["r"] = True
        if short and "." not in entity and not entity.startswith("$"):
            legacy[entity] = short
    return {"_wperm": writers, "_rperm": readers, "_acl": legacy}


def decode_acl(document: StoredDocument) -> WireObject | None:
    """The ACL of a document; ``None`` when it has none (public)."""
    readers, writers = document.get("_rperm"), document.get("_wperm")
    if readers is None and writers is None:
        return None
    acl: WireObject = {}
    for entity in readers or ():
        acl[entity] = {"read": True}
    for entity in writers or ():
        acl.setdefault(entity, {})["write"] = True
    return acl


def wire_type(value: Any) -> Field | None:
    """The column type a wire value has; ``None`` for null. Raises 111 for a bad typed value."""
    if isinstance(value, str):
        return _STRING
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int | float):
        return _NUMBER
    if value is None:
        return None
    if isinstance(value, list):
        return _ARRAY
    if isinstance(value, datetime):
        return _DATE
    if isinstance(value, bytes):
        return _BYTES
    kind = value.get("__type") if isinstance(value, dict) else None
    if kind is None:
        return _OBJECT
    return _typed(kind, value)


_STRING, _BOOLEAN, _NUMBER = Field("String"), Field("Boolean"), Field("Number")
_ARRAY, _DATE, _BYTES, _OBJECT = Field("Array"), Field("Date"), Field("Bytes"), Field("Object")
_GEO_POINT, _POLYGON, _FILE = Field("GeoPoint"), Field("Polygon"), Field("File")


def _typed(kind: Any, value: WireObject) -> Field:
    # SECURITY: a NUL or "$" in a pointer's class would change what "Class$id" means.
    match kind:
        case "Pointer" | "Object" if _is_reference(value):
            return Field("Pointer", value["className"])
        case "Relation" if isinstance(value.get("className"), str):
            return Field("Relation", value["className"])
        case "File" if isinstance(value.get("name"), str):
            return _FILE
        case "Date":
            decode_date(value)
            return _DATE
        case "GeoPoint":
            encode_geo_point(value)
            return _GEO_POINT
        case "Bytes":
            _encode_bytes(value)
            return _BYTES
        case "Polygon":
            encode_polygon(value)
            return _POLYGON
    raise not_valid(kind)


def _is_reference(value: WireObject) -> bool:
    class_name, object_id = value.get("className"), value.get("objectId")
    return (
        isinstance(class_name, str)
        and isinstance(object_id, str)
        and bool(class_name)
        and "$" not in class_name
        and "\0" not in class_name + object_id
    )


# ---- stored -> wire ---------------------------------------------------------------------------


def _decode_pointer(value: Any) -> WireObject | None:
    if not isinstance(value, str):
        return None
    class_name, _, object_id = value.partition("$")
    return {"__type": "Pointer", "className": class_name, "objectId": object_id}


def _decode_geo_point(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2:
        return {"__type": "GeoPoint", "latitude": value[1], "longitude": value[0]}
    return value


def _decode_polygon(value: Any) -> Any:
    try:
        ring = value["coordinates"][0]
        return {"__type": "Polygon", "coordinates": [[point[1], point[0]] for point in ring]}
    except (TypeError, KeyError, IndexError):
        return value


def _decode_bytes(value: Any) -> Any:
    # Legacy documents hold base64 text.
    if isinstance(value, str):
        return {"__type": "Bytes", "base64": value}
    return bytes(value) if isinstance(value, Binary) else value


def _decode_timestamp(value: Any) -> Any:
    return to_iso(value) if isinstance(value, datetime) else value


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "GeoPoint": _decode_geo_point,
    "Polygon": _decode_polygon,
    "Bytes": _decode_bytes,
}


class Layout:
    """How documents of one class are read; made once per class and kept with its schema."""

    def __init__(self, class_name: str, fields: Mapping[str, Field]) -> None:
        self.class_name = class_name
        self._is_user = class_name == "_User"
        self._files = tuple(n for n, field in fields.items() if field.type == "File")
        self._relations = {
            name: {"__type": "Relation", "className": field.target_class}
            for name, field in fields.items()
            if field.type == "Relation"
        }
        # PERF: one dict look-up per stored key decides its wire name and decoder; None drops it.
        self._readers: dict[str, tuple[str, Callable[[Any], Any] | None]] = {
            "_id": ("objectId", None),
            "_created_at": ("createdAt", _decode_timestamp),
            "_updated_at": ("updatedAt", _decode_timestamp),
            "createdAt": ("createdAt", _decode_timestamp),
            "updatedAt": ("updatedAt", _decode_timestamp),
        }
        for name, field in fields.items():
            if name in ("objectId", "createdAt", "updatedAt", "ACL") or field.type == "Relation":
                continue
            if name in ("password", "authData") and self._is_user:
                continue
            key = storage_key(name, field)
            if field.type == "Pointer":
                self._readers[key] = (name, _decode_pointer)
            else:
                self._readers[key] = (name, _DECODERS.get(field.type))
        if class_name == "_Session":
            self._readers["_expiresAt"] = ("expiresAt", None)
        elif "_session_token" in self._readers:
            del self._readers["_session_token"]

    def render(self, document: StoredDocument, file_url: FileUrl) -> WireObject:
        """The wire object of a document; internal keys are left out."""
        rendered: WireObject = {}
        readers = self._readers
        for key, value in document.items():
            reader = readers.get(key)
            if reader is None:
                if key[:1] != "_" and key != "authData" and key != "ACL":
                    rendered[key] = value
                elif self._is_user and key.startswith(_AUTH_DATA):
                    if value is not None:
                        rendered.setdefault("authData", {})[key[len(_AUTH_DATA) :]] = value
                continue
            name, decode = reader
            rendered[name] = value if decode is None else decode(value)
        for name in self._files:
            value = rendered.get(name)
            if isinstance(value, str):
                rendered[name] = {"__type": "File", "name": value, "url": file_url(value)}
        if self._relations:
            rendered.update(self._relations)
        if "_rperm" in document or "_wperm" in document:
            acl = decode_acl(document)
            if acl is not None:
                rendered["ACL"] = acl
        return rendered

    def internal(self, document: StoredDocument) -> WireObject:
        """The document's internal keys, which only the maintenance key may see."""
        return {
            key: value
            for key, value in document.items()
            if key[:1] == "_" and key not in self._readers and not key.startswith(("_p_", "_acl"))
        }
