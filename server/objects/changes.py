"""A write's body, read once: plain values and ``__op`` operations, checked against the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.errors import Code, ParseError, invalid_json
from server.schema.classes import ClassSchema
from server.storage.documents import (
    STORED_NAMES,
    encode_acl,
    encode_field,
    encode_nested,
    encode_number,
    is_number,
    storage_key,
    wire_type,
)
from server.values import Field, WireObject, is_field_name

_ARRAY, _NUMBER, _OBJECT = Field("Array"), Field("Number"), Field("Object")
_IGNORED = frozenset(("__type", "sessionToken"))
_FIXED = frozenset(("objectId", "createdAt", "updatedAt"))


@dataclass(slots=True)
class RelationChange:
    """Rows of one relation to add to and remove from its join collection."""

    name: str
    add: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Changes:
    """What a body asks for, in storage terms.

    ``new_fields``: columns that do not exist yet. ``echoed``: wire keys (dotted ones whole) whose
    new value the answer carries, as only the database knows it.
    """

    set: dict[str, Any] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    increment: dict[str, float] = field(default_factory=dict)
    push: dict[str, list[Any]] = field(default_factory=dict)
    add_unique: dict[str, list[Any]] = field(default_factory=dict)
    remove: dict[str, list[Any]] = field(default_factory=dict)
    relations: list[RelationChange] = field(default_factory=list)
    new_fields: dict[str, Field] = field(default_factory=dict)
    echoed: list[str] = field(default_factory=list)

    def as_update(self) -> dict[str, Any]:
        """MongoDB's update document."""
        update: dict[str, Any] = {"$set": self.set}
        if self.unset:
            update["$unset"] = dict.fromkeys(self.unset, "")
        if self.increment:
            update["$inc"] = self.increment
        if self.push:
            update["$push"] = {key: {"$each": items} for key, items in self.push.items()}
        if self.add_unique:
            update["$addToSet"] = {key: {"$each": items} for key, items in self.add_unique.items()}
        if self.remove:
            update["$pullAll"] = self.remove
        return update

    def as_document(self) -> dict[str, Any]:
        """The fields of a new document: operations start from nothing."""
        document = dict(self.set)
        document.update(self.increment)
        document.update(self.push)
        document.update(self.add_unique)
        document.update(dict.fromkeys(self.remove, []))
        return document


def read_changes(body: WireObject, class_schema: ClassSchema, *, is_new: bool) -> Changes:
    """Check a body against the class and translate it.

    Raises:
        ParseError: 105 a bad name, 107 a bad operation, 111 a type that does not fit,
            121 a reserved nested key, 123 a bad ACL.
    """
    changes = Changes()
    reader = _Reader(class_schema, changes, is_new)
    for name, value in body.items():
        if name not in _IGNORED:
            reader.read(name, value)
    return changes


class _Reader:
    def __init__(self, class_schema: ClassSchema, changes: Changes, is_new: bool) -> None:
        self._class = class_schema
        self._fields = class_schema.fields
        self._changes = changes
        self._is_new = is_new

    def read(self, name: str, value: Any) -> None:
        if name == "ACL":
            self._acl(value)
        elif name in _FIXED:
            self._fixed(name, value)
        elif isinstance(value, dict) and "__op" in value:
            self._operation(name, value)
        elif "." in name:
            self._nested_value(name, value)
        else:
            column = self._column(name, wire_type(value))
            if column is not None:
                self._changes.set[storage_key(name, column)] = encode_field(column, value)

    def _acl(self, value: Any) -> None:
        if isinstance(value, dict) and value.get("__op") == "Delete":
            value = {}
        if value is None:
            # WIRE: a null ACL is no ACL on create, and changes nothing on update.
            return
        if not isinstance(value, dict) or "__op" in value:
            raise self._mismatch("ACL", Field("ACL"), wire_type(value) or _OBJECT)
        self._changes.set.update(encode_acl(value))

    def _fixed(self, name: str, value: Any) -> None:
        """Times are the server's: a Date is passed over, anything else does not fit."""
        if name == "objectId" or value is None:
            return
        if isinstance(value, dict) and "__op" in value:
            return
        got = wire_type(value)
        if got is not None and got.type != "Date":
            raise self._mismatch(name, Field("Date"), got)

    # ---- columns ------------------------------------------------------------------------------

    def _column(self, name: str, got: Field | None) -> Field | None:
        """The column a value goes to; ``None`` when a null would only make one up."""
        column = self._fields.get(name) or self._changes.new_fields.get(name)
        if column is None:
            if not is_field_name(name, self._class.name):
                raise ParseError(Code.INVALID_KEY_NAME, f"Invalid field name: {name}.")
            if got is None:
                # WIRE: a null is stored, but does not make a column.
                return Field("Object")
            self._new_column(name, got)
            return got
        if got is not None and not _fits(column, got):
            raise self._mismatch(name, column, got)
        return column

    def _new_column(self, name: str, got: Field) -> None:
        if got.type == "GeoPoint":
            columns = {**self._fields, **self._changes.new_fields}
            if any(column.type == "GeoPoint" for column in columns.values()):
                raise ParseError(
                    Code.INCORRECT_TYPE, "MongoDB only supports one GeoPoint field in a class."
                )
        self._changes.new_fields[name] = got

    def _mismatch(self, name: str, expected: Field, got: Field) -> ParseError:
        return ParseError(
            Code.INCORRECT_TYPE,
            f"schema mismatch for {self._class.name}.{name}; expected {expected} but got {got}",
        )

    def _nested_key(self, name: str) -> str:
        """The storage key of ``o.a.b``; its root must be an Object or an Array."""
        root, _, rest = name.partition(".")
        parts = rest.split(".")
        if any(not part or "$" in part or "\0" in part or part[:2] == "__" for part in parts):
            raise ParseError(Code.INVALID_KEY_NAME, f"Invalid field name: {name}.")
        column = self._fields.get(root) or self._changes.new_fields.get(root)
        if column is None:
            column = self._column(root, _OBJECT)
        if column is None or column.type not in ("Object", "Array"):
            raise self._mismatch(root, column or _OBJECT, _OBJECT)
        if self._is_new:
            raise ParseError(Code.INVALID_KEY_NAME, f"Invalid field name: {name}.")
        return name

    def _nested_value(self, name: str, value: Any) -> None:
        wire_type(value)
        self._changes.set[self._nested_key(name)] = encode_nested(value)

    # ---- operations ---------------------------------------------------------------------------

    def _operation(self, name: str, value: WireObject) -> None:
        operation = value["__op"]
        match operation:
            case "Delete":
                self._delete(name)
            case "Increment":
                self._increment(name, value.get("amount"))
            case "Add" | "AddUnique" | "Remove":
                self._list(name, operation, value.get("objects"))
            case "AddRelation" | "RemoveRelation":
                self._relation(name, [value])
            case "Batch" if isinstance(value.get("ops"), list):
                self._relation(name, value["ops"])
            case _:
                raise ParseError(
                    Code.COMMAND_UNAVAILABLE, f"The operation {operation!s:.40} is not supported."
                )

    def _delete(self, name: str) -> None:
        if "." in name:
            self._changes.unset.append(self._nested_key(name))
            return
        column = self._fields.get(name)
        if column is None and not is_field_name(name, self._class.name):
            raise ParseError(Code.INVALID_KEY_NAME, f"Invalid field name: {name}.")
        if column is None or column.type != "Relation":
            self._changes.unset.append(storage_key(name, column))

    def _key(self, name: str, needs: Field) -> str:
        if "." in name:
            return self._nested_key(name)
        return storage_key(name, self._column(name, needs))

    def _increment(self, name: str, amount: Any) -> None:
        if not is_number(amount):
            raise invalid_json("incrementing must provide a number")
        self._changes.increment[self._key(name, _NUMBER)] = encode_number(amount)
        self._changes.echoed.append(name)

    def _list(self, name: str, operation: str, objects: Any) -> None:
        if not isinstance(objects, list):
            verb = "remove" if operation == "Remove" else "add"
            raise invalid_json(f"objects to {verb} must be an array")
        key = self._key(name, _ARRAY)
        for item in objects:
            wire_type(item)
        items = [encode_nested(item) for item in objects]
        target = {
            "Add": self._changes.push,
            "AddUnique": self._changes.add_unique,
            "Remove": self._changes.remove,
        }
        target[operation][key] = items
        self._changes.echoed.append(name)

    def _relation(self, name: str, operations: list[Any]) -> None:
        change = RelationChange(name)
        for operation in operations:
            kind = operation.get("__op") if isinstance(operation, dict) else None
            objects = operation.get("objects") if isinstance(operation, dict) else None
            if kind not in ("AddRelation", "RemoveRelation") or not isinstance(objects, list):
                raise invalid_json(f"A relation operation for {name} is malformed.")
            ids = change.add if kind == "AddRelation" else change.remove
            for item in objects:
                ids.append(self._related(name, item))
        if name not in self._fields and name not in self._changes.new_fields:
            raise invalid_json(f"The relation {name} needs an object to know its class.")
        self._changes.relations.append(change)

    def _related(self, name: str, item: Any) -> str:
        got = wire_type(item)
        if got is None or got.type != "Pointer":
            raise invalid_json(f"The relation {name} takes pointers.")
        self._column(name, Field("Relation", got.target_class))
        return str(item["objectId"])


def _fits(column: Field, got: Field) -> bool:
    if column.type != got.type:
        return False
    return column.target_class == got.target_class or column.type not in ("Pointer", "Relation")


def echoed_values(
    document: Mapping[str, Any], rendered: WireObject, names: list[str]
) -> WireObject:
    """The new values of operations, from the written object: dotted keys give nested objects."""
    values: WireObject = {}
    for name in names:
        root, *rest = name.split(".")
        if not rest:
            if root in rendered:
                values[root] = rendered[root]
            continue
        found: Any = document.get(STORED_NAMES.get(root, root))
        for part in rest:
            if isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                found = found.get(part) if isinstance(found, dict) else None
        target = values.setdefault(root, {})
        for part in rest[:-1]:
            target = target.setdefault(part, {})
        target[rest[-1]] = found
    return values
