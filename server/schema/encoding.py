"""`ClassSchema` to and from its two spellings: the ``_SCHEMA`` document and the schemas API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.schema.classes import ClassSchema
from server.schema.system import default_fields
from server.values import Field, StoredDocument, WireObject

PLAIN_TYPES = tuple("String Number Boolean Date Object Array GeoPoint File Bytes Polygon".split())
_TYPE_NAMES = {name.lower(): name for name in PLAIN_TYPES} | {"map": "Object"}
_RELATION = "relation<"
_NOT_COLUMNS = frozenset(("_id", "_metadata", "_client_permissions"))
# Columns that a class has without saying so in its document.
_UNLISTED = frozenset(("ACL", "password"))

OPERATIONS = ("find", "count", "get", "create", "update", "delete", "addField")
_PUBLIC_CLP: Mapping[str, Any] = {
    "ACL": {"*": {"read": True, "write": True}},
    **{operation: {"*": True} for operation in OPERATIONS},
    "protectedFields": {"*": []},
}
_EMPTY_CLP: Mapping[str, Any] = {operation: {} for operation in (*OPERATIONS, "protectedFields")}


def encode_type(spec: Field) -> str:
    """``string``, ``*Target``, ``relation<Target>``."""
    if spec.type == "Pointer":
        return f"*{spec.target_class}"
    if spec.type == "Relation":
        return f"{_RELATION}{spec.target_class}>"
    return spec.type.lower()


def decode_type(text: Any) -> Field | None:
    """The column a type string stands for; ``None`` for one no Parse server writes."""
    if not isinstance(text, str):
        return None
    if text.startswith("*"):
        return Field("Pointer", text[1:])
    if text.startswith(_RELATION):
        return Field("Relation", text[len(_RELATION) :].removesuffix(">"))
    name = _TYPE_NAMES.get(text)
    return Field(name) if name else None


def field_options(spec: Field) -> dict[str, Any]:
    """What `fields_options` keeps of a column: ``{"required": True, "defaultValue": 5}``."""
    options: dict[str, Any] = {}
    if spec.required:
        options["required"] = True
    if spec.default is not None:
        options["defaultValue"] = spec.default
    return options


def _with_options(spec: Field, options: Any) -> Field:
    if not isinstance(options, Mapping):
        return spec
    required = bool(options.get("required"))
    return replace(spec, required=required, default=options.get("defaultValue"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def decode_class(document: StoredDocument) -> ClassSchema:
    """A class from its ``_SCHEMA`` document.

    The default columns are there whatever the document says (legacy ones call the dates strings).
    """
    name: str = document["_id"]
    metadata = _mapping(document.get("_metadata"))
    options = _mapping(metadata.get("fields_options"))
    fields = dict(default_fields(name))
    for key, text in document.items():
        if key in _NOT_COLUMNS:
            continue
        spec = fields.get(key) or decode_type(text)
        if spec is not None:
            fields[key] = _with_options(spec, options.get(key))
    clp = metadata.get("class_permissions")
    return ClassSchema(
        name,
        fields,
        # A set but odd value (a number, a list) permits nothing, as the reference server reads it.
        clp=None if not clp and not isinstance(clp, dict | list) else _mapping(clp),
        indexes=_mapping(metadata.get("indexes")),
        options={key: value for key, value in options.items() if isinstance(value, Mapping)},
    )


def encode_class(class_schema: ClassSchema) -> StoredDocument:
    """The ``_SCHEMA`` document of a new class."""
    document: StoredDocument = {
        "_id": class_schema.name,
        "objectId": "string",
        "updatedAt": "date",
        "createdAt": "date",
    }
    for name, spec in class_schema.fields.items():
        if name not in _UNLISTED or (name == "password" and class_schema.name != "_User"):
            document[name] = encode_type(spec)
    metadata: dict[str, Any] = {}
    options = {name: dict(value) for name, value in class_schema.options.items() if value}
    if class_schema.clp is not None:
        metadata["class_permissions"] = dict(class_schema.clp)
    if options:
        metadata["fields_options"] = options
    if class_schema.indexes:
        metadata["indexes"] = {name: dict(key) for name, key in class_schema.indexes.items()}
    if metadata:
        document["_metadata"] = metadata
    return document


def clp_to_wire(clp: Mapping[str, Any] | None) -> WireObject:
    """Class-level permissions as clients read them: public when never set, else all operations."""
    return dict(_PUBLIC_CLP) if clp is None else {**_EMPTY_CLP, **clp}


def class_to_wire(class_schema: ClassSchema) -> WireObject:
    """``{"className", "fields", "classLevelPermissions", "indexes"?}``, for the schemas API."""
    fields: WireObject = {}
    for name, spec in class_schema.fields.items():
        fields[name] = {"type": spec.type}
        if spec.target_class:
            fields[name]["targetClass"] = spec.target_class
        fields[name].update(class_schema.options.get(name, {}))
    answer: WireObject = {
        "className": class_schema.name,
        "fields": fields,
        "classLevelPermissions": clp_to_wire(class_schema.clp),
    }
    if class_schema.indexes:
        answer["indexes"] = {name: dict(key) for name, key in class_schema.indexes.items()}
    return answer
