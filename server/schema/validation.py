"""Checks what the schemas API and ``schema.json`` say about columns and indexes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.errors import Code, ParseError, invalid_json, invalid_query
from server.schema.classes import DEFAULT_FIELDS, ClassSchema
from server.schema.encoding import PLAIN_TYPES
from server.schema.system import SYSTEM_FIELDS
from server.values import Field, is_class_name, is_field_name

_TARGETED = ("Pointer", "Relation")
_SPECIAL_MEMBER = {
    "Date": "iso",
    "File": "name",
    "Bytes": "base64",
    "Polygon": "coordinates",
    "GeoPoint": "latitude",
    "Pointer": "className",
}
_INDEX_KINDS = (1, -1, "2d", "2dsphere", "text", "hashed")


def invalid_class_name(name: str) -> ParseError:
    return ParseError(
        Code.INVALID_CLASS_NAME,
        f"Invalid classname: {name}, classnames can only have alphanumeric characters and _, "
        "and must start with an alpha character ",
    )


def is_delete(spec: Any) -> bool:
    """Whether a submitted column or index is ``{"__op": "Delete"}``."""
    return isinstance(spec, dict) and spec.get("__op") == "Delete"


def type_of_value(value: Any) -> Field:
    """The column type a default value has.

    Raises:
        ParseError: 111 ``This is not a valid X`` for a ``__type`` that is none or is incomplete.
    """
    if isinstance(value, bool):
        return Field("Boolean")
    if isinstance(value, int | float):
        return Field("Number")
    if isinstance(value, str):
        return Field("String")
    if isinstance(value, list):
        return Field("Array")
    if isinstance(value, datetime):
        return Field("Date")
    if isinstance(value, bytes):
        return Field("Bytes")
    kind = value.get("__type")
    if kind is None:
        return Field("Object")
    member = _SPECIAL_MEMBER.get(kind) if isinstance(kind, str) else None
    if member is None or member not in value:
        raise ParseError(Code.INCORRECT_TYPE, f"This is not a valid {kind}")
    if kind == "Pointer":
        return Field("Pointer", value["className"])
    return Field(kind)


def same_type(one: Field, other: Field) -> bool:
    return one.type == other.type and one.target_class == other.target_class


def read_field(spec: Any) -> Field:
    """A column as submitted: ``{"type", "targetClass"?, "required"?, "defaultValue"?}``.

    Raises:
        ParseError: 135 without a target class, 103 for a bad one, 111 for an unknown type, 107.
    """
    if not isinstance(spec, dict):
        raise invalid_json("invalid JSON")
    kind, target = spec.get("type"), spec.get("targetClass")
    if kind in _TARGETED:
        if not target:
            raise ParseError(Code.MISSING_REQUIRED_FIELD, f"type {kind} needs a class name")
        if not isinstance(target, str):
            raise invalid_json("invalid JSON")
        if not is_class_name(target):
            raise invalid_class_name(target)
    elif not isinstance(kind, str):
        raise invalid_json("invalid JSON")
    elif kind not in PLAIN_TYPES:
        raise ParseError(Code.INCORRECT_TYPE, f"invalid field type: {kind}")
    else:
        target = None
    return Field(kind, target, bool(spec.get("required")), spec.get("defaultValue"))


def read_options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The options beside a submitted column's type, unknown ones too, as they are stored."""
    return {
        name: value
        for name, value in spec.items()
        if name not in ("type", "targetClass") and value is not None
    }


def check_options(class_name: str, name: str, spec: Field) -> None:
    """Check a column's default value and whether its type can be required. Raises 111."""
    if spec.default is not None:
        given = type_of_value(spec.default)
        if spec.type == "Relation" and given.type == "Pointer":
            raise ParseError(
                Code.INCORRECT_TYPE,
                f"The 'default value' option is not applicable for {spec}",
            )
        if not same_type(spec, given):
            raise ParseError(
                Code.INCORRECT_TYPE,
                f"schema mismatch for {class_name}.{name} default value; "
                f"expected {spec} but got {given}",
            )
    elif spec.required and spec.type == "Relation":
        raise ParseError(Code.INCORRECT_TYPE, f"The 'required' option is not applicable for {spec}")


def _is_system_column(class_name: str, name: str) -> bool:
    return name in DEFAULT_FIELDS or name in SYSTEM_FIELDS.get(class_name, {})


def check_new_field(class_name: str, name: str, spec: Any) -> Field:
    """Check a column that a class does not have yet.

    Raises:
        ParseError: 105 for its name, 136 for a name that the class itself needs, and those of
            `read_field` and `check_options`.
    """
    if not is_field_name(name, class_name):
        raise ParseError(Code.INVALID_KEY_NAME, f"invalid field name: {name}")
    if _is_system_column(class_name, name):
        raise ParseError(Code.FIELD_NOT_CHANGEABLE, f"field {name} cannot be added")
    column = read_field(spec)
    check_options(class_name, name, column)
    return column


def check_geo_points(fields: Mapping[str, Field]) -> None:
    """MongoDB can sort by distance to one GeoPoint column per class only. Raises 111."""
    names = [name for name, spec in fields.items() if spec.type == "GeoPoint"]
    if len(names) > 1:
        raise ParseError(
            Code.INCORRECT_TYPE,
            "currently, only one GeoPoint field may exist in an object. "
            f"Adding {names[1]} when {names[0]} already exists.",
        )


@dataclass(frozen=True)
class FieldChanges:
    """A submitted set of columns, sorted by what it does to a class.

    ``changed``: existing columns sent again, with their options. ``merged``: the columns after.
    """

    added: Mapping[str, Field]
    changed: Mapping[str, Field]
    deleted: tuple[str, ...]
    merged: Mapping[str, Field]


def read_changes(current: ClassSchema, submitted: Mapping[str, Any]) -> FieldChanges:
    """Sort and check the columns of a PUT.

    Raises:
        ParseError: 255 for another type than the column has and for deleting what is not there,
            136 for deleting a system column, 111 for another target class or a bad default, and
            those of `check_new_field`.
    """
    for name, spec in submitted.items():
        existing = current.fields.get(name)
        if existing is None and is_delete(spec):
            raise _invalid_operation(f"Field {name} does not exist, cannot delete.")
        if existing is not None and not is_delete(spec):
            if not isinstance(spec, dict) or spec.get("type") != existing.type:
                raise _invalid_operation(f"Field {name} exists, cannot update.")
    added: dict[str, Field] = {}
    changed: dict[str, Field] = {}
    deleted = tuple(name for name, spec in submitted.items() if is_delete(spec))
    for name, spec in submitted.items():
        if name not in current.fields:
            added[name] = check_new_field(current.name, name, spec)
    for name in deleted:
        if _is_system_column(current.name, name):
            raise ParseError(Code.FIELD_NOT_CHANGEABLE, f"field {name} cannot be changed")
    for name, spec in submitted.items():
        if name in current.fields and name not in deleted and name != "ACL":
            changed[name] = _check_changed(current, name, read_field(spec))
    merged = {name: spec for name, spec in current.fields.items() if name not in deleted}
    merged.update(added)
    check_geo_points(merged)
    return FieldChanges(added, changed, deleted, merged)


def _check_changed(current: ClassSchema, name: str, spec: Field) -> Field:
    check_options(current.name, name, spec)
    if not same_type(current.fields[name], spec):
        raise type_mismatch(current.name, name, current.fields[name], spec)
    return spec


def _invalid_operation(message: str) -> ParseError:
    return ParseError(Code.INVALID_SCHEMA_OPERATION, message)


def type_mismatch(class_name: str, name: str, expected: Field, given: Field) -> ParseError:
    return ParseError(
        Code.INCORRECT_TYPE,
        f"schema mismatch for {class_name}.{name}; expected {expected} but got {given}",
    )


def check_indexes(
    submitted: Mapping[str, Any], existing: Mapping[str, Any], fields: Mapping[str, Field]
) -> None:
    """Check submitted indexes: ``{"name": {"field": 1}}`` or ``{"name": {"__op": "Delete"}}``.

    Pointer columns go by their storage name, ``_p_owner``. Raises 102.
    """
    for name, key in submitted.items():
        if is_delete(key):
            if name not in existing:
                raise invalid_query(f"Index {name} does not exist, cannot delete.")
            if name == "_id_":
                raise invalid_query("Index _id_ cannot be deleted.")
            continue
        if name in existing:
            raise invalid_query(f"Index {name} exists, cannot update.")
        if not isinstance(key, dict) or not key:
            raise invalid_query(f"Index {name} needs an object of fields.")
        for column, kind in key.items():
            if column.removeprefix("_p_") not in fields:
                raise invalid_query(f"Field {column} does not exist, cannot add index.")
            if isinstance(kind, bool) or kind not in _INDEX_KINDS:
                raise invalid_query(f"Index {name} has a bad value for {column}.")
