"""Brings a database to the classes of ``schema.json``: adds what is missing, never loses data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from server.errors import Code, ParseError
from server.schema.classes import ClassSchema, Schema
from server.schema.document import DocumentClass, SchemaDocument
from server.schema.encoding import field_options
from server.schema.indexes import unique_index
from server.schema.registry import SchemaRegistry
from server.schema.validation import same_type
from server.storage.indexes import list_indexes
from server.values import Field

_log = logging.getLogger(__name__)

_COMMAND = "pestle schema apply --allow-loss"
# Another process may change the schema between a look and a step.
_ROUNDS = 5

Indexes = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Class name to its real indexes, name to MongoDB's description."""


class Kind(StrEnum):
    """What a difference asks for."""

    CLASS = "new class"
    FIELD = "new field"
    TYPE = "other type"
    OPTIONS = "options"
    PERMISSIONS = "permissions"
    INDEX = "index"


@dataclass(frozen=True)
class Difference:
    """Something a document says and the database does not. ``str()`` is a sentence for people.

    ``name``: the field or index. ``loses_data``: only done on purpose.
    """

    kind: Kind
    class_name: str
    name: str
    text: str
    loses_data: bool = False

    def __str__(self) -> str:
        return self.text


class MigrationError(Exception):
    """The database contradicts the document. ``differences``: those that would lose data."""

    def __init__(self, message: str, differences: tuple[Difference, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


def diff(
    document: SchemaDocument, schema: Schema, indexes: Indexes | None = None
) -> list[Difference]:
    """What the document adds to a schema, or contradicts in it.

    Classes, fields, permissions and indexes that only the database has are left alone.
    ``indexes``: the real ones; without them indexes are not compared.
    """
    found: list[Difference] = []
    for declared in document.classes.values():
        stored = schema.get(declared.name)
        if stored is None:
            text = f"class {declared.name}: is new."
            found.append(Difference(Kind.CLASS, declared.name, "", text))
        else:
            found += _field_differences(declared, stored)
            found += _permission_differences(declared, stored)
        if indexes is not None:
            found += _index_differences(declared, indexes.get(declared.name, {}))
    return found


def _field_differences(declared: DocumentClass, stored: ClassSchema) -> Iterator[Difference]:
    for name, spec in declared.fields.items():
        label = f"class {declared.name}, field {name}"
        existing = stored.fields.get(name)
        if existing is None:
            yield Difference(Kind.FIELD, declared.name, name, f"{label}: is new, a {spec}.")
        elif not same_type(existing, spec):
            text = (
                f"{label}: is a {existing} in the database, not a {spec}. To drop the field with "
                f"all its values and make it anew: {_COMMAND}"
            )
            yield Difference(Kind.TYPE, declared.name, name, text, loses_data=True)
        elif _new_options(declared, stored, name) != stored.options.get(name, {}):
            text = f"{label}: has other options, {_option_text(spec)}."
            yield Difference(Kind.OPTIONS, declared.name, name, text)


def _new_options(declared: DocumentClass, stored: ClassSchema, name: str) -> dict[str, Any]:
    """The column's stored options with those changed that the document spells out."""
    options = dict(stored.options.get(name, {}))
    wanted = field_options(declared.fields[name])
    for key in ("required", "defaultValue"):
        if key not in declared.given[name]:
            continue
        if key in wanted:
            options[key] = wanted[key]
        elif options.get(key):
            del options[key]
    return options


def _option_text(spec: Field) -> str:
    words = ["required" if spec.required else "not required"]
    if spec.default is not None:
        words.append(f"default {spec.default!r}")
    return ", ".join(words)


def _permission_differences(declared: DocumentClass, stored: ClassSchema) -> Iterator[Difference]:
    if declared.clp is not None and declared.clp != stored.clp:
        text = f"class {declared.name}: has other class-level permissions."
        yield Difference(Kind.PERMISSIONS, declared.name, "", text)


def _wanted_indexes(declared: DocumentClass) -> dict[str, Mapping[str, Any]]:
    """All indexes a class needs, in MongoDB's form."""
    wanted: dict[str, Mapping[str, Any]] = {
        name: {"name": name, "key": dict(key)} for name, key in declared.indexes.items()
    }
    for field_name, spec in declared.fields.items():
        if spec.unique:
            index = unique_index(field_name, spec)
            wanted[index["name"]] = index
    return wanted


def _index_differences(
    declared: DocumentClass, real: Mapping[str, Mapping[str, Any]]
) -> Iterator[Difference]:
    for name, index in _wanted_indexes(declared).items():
        existing = real.get(name)
        label = f"class {declared.name}, index {name}"
        if existing is None and any(_same_index(other, index) for other in real.values()):
            continue
        if existing is None:
            yield Difference(Kind.INDEX, declared.name, name, f"{label}: is new.")
        elif not _same_index(existing, index):
            yield Difference(Kind.INDEX, declared.name, name, f"{label}: has other fields.")


def _same_index(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if "text" in wanted["key"].values():
        fields = {name for name, kind in wanted["key"].items() if kind == "text"}
        return set(existing.get("weights", {})) == fields
    # The order of the fields counts, and MongoDB may give numbers back as floats.
    if list(existing["key"].items()) != list(wanted["key"].items()):
        return False
    return bool(existing.get("unique", False)) == bool(wanted.get("unique", False))


async def compare(document: SchemaDocument, registry: SchemaRegistry) -> list[Difference]:
    """`diff` against the database as it is now, its indexes included."""
    schema = await registry.load()
    names = [
        declared.name
        for declared in document.classes.values()
        if _wanted_indexes(declared) and schema.get(declared.name) is not None
    ]
    found = await asyncio.gather(*(list_indexes(registry.database, name) for name in names))
    return diff(document, registry.stored, dict(zip(names, found, strict=True)))


async def apply(
    document: SchemaDocument, registry: SchemaRegistry, *, allow_loss: bool = False
) -> list[Difference]:
    """Make the database fit the document, and the registry use it; what was done.

    Several processes may do this at once. ``allow_loss``: also drop and remake fields that have
    another type, with all their values.

    Raises:
        MigrationError: The database contradicts the document, or its rows a ``unique`` field.
        ParseError: 1 when MongoDB cannot be reached.
    """
    done: list[Difference] = []
    for _ in range(_ROUNDS):
        differences = await compare(document, registry)
        lossy = tuple(one for one in differences if one.loses_data)
        if lossy and not allow_loss:
            raise MigrationError("\n".join(map(str, lossy)), lossy)
        if not differences:
            break
        for difference in differences:
            await _apply_one(document.classes[difference.class_name], difference, registry)
            _log.info("%s", difference)
        done += differences
        registry.invalidate()
    else:
        raise MigrationError("The schema keeps changing while schema.json is applied; try again.")
    registry.set_document(document)
    return done


async def _apply_one(
    declared: DocumentClass, difference: Difference, registry: SchemaRegistry
) -> None:
    name = difference.name
    match difference.kind:
        case Kind.CLASS:
            await registry.declare_class(declared.name, declared.fields, declared.clp)
        case Kind.FIELD:
            await registry.add_fields(declared.name, {name: declared.fields[name]})
        case Kind.TYPE:
            await registry.replace_field(declared.name, name, declared.fields[name])
        case Kind.OPTIONS:
            stored = registry.stored.classes[declared.name]
            await registry.set_options(declared.name, name, _new_options(declared, stored, name))
        case Kind.PERMISSIONS:
            await registry.set_permissions(declared.name, declared.clp)
        case Kind.INDEX:
            await _make_index(declared, name, registry)


async def _make_index(declared: DocumentClass, name: str, registry: SchemaRegistry) -> None:
    index = _wanted_indexes(declared)[name]
    try:
        await registry.replace_index(declared.name, index)
    except ParseError as error:
        if error.code != Code.DUPLICATE_VALUE:
            raise MigrationError(
                f"class {declared.name}, index {name}: MongoDB refuses it. {error}"
            ) from error
        column = next(iter(index["key"])).removeprefix("_p_")
        raise MigrationError(
            f'class {declared.name}, field {column}: cannot be "unique", as several objects have '
            "the same value. Change those objects first."
        ) from error
