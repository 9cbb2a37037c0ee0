"""The schema of the running app: a cached snapshot of ``_SCHEMA`` which grows with first writes.

Several processes change the schema at once. So each change is one conditional write which another
process may have done first; what counts is what ``_SCHEMA`` says afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.errors import Code, ParseError, invalid_json
from server.schema import indexes as index_store
from server.schema.classes import ClassSchema, Schema
from server.schema.document import SchemaDocument
from server.schema.encoding import decode_class, encode_class, encode_type, field_options
from server.schema.system import START_CLASSES, VOLATILE_CLASSES, default_fields, volatile_classes
from server.schema.validation import same_type, type_mismatch
from server.storage.mongo import Database, DuplicateValue
from server.values import Field, StoredDocument, is_class_name, is_field_name

SCHEMA = "_SCHEMA"


class SchemaStore:
    """Reads and caches the schema, and adds classes and columns.

    ``current`` is the last snapshot read. `get` gives one that may be acted on: ``current`` while
    the change feed is ``trusted`` to announce changes, else one read anew.
    """

    def __init__(
        self,
        database: Database,
        *,
        protected_fields: Mapping[str, Mapping[str, list[str]]] | None = None,
        document: SchemaDocument | None = None,
        custom_ids: bool = False,
    ) -> None:
        """``protected_fields``: the server's option, joined with those of each class.

        ``custom_ids``: user ids in permissions may be any text (`allowCustomObjectId`).
        """
        self.database = database
        self._protected_fields = protected_fields or {}
        self._document = document
        self._custom_ids = custom_ids
        self._volatile = volatile_classes()
        self._stored: Mapping[str, ClassSchema] = {}
        # Class name to the class as stored, and as it is in `current`.
        self._completed: dict[str, tuple[ClassSchema, ClassSchema]] = {}
        self.current = Schema(dict(self._volatile))
        self._trusted = False
        # Counts invalidations; a load only makes `current` fresh if none came while it read.
        self._generation = 0
        self._fresh_generation = -1
        self._reading: asyncio.Task[Schema] | None = None
        self._waiting: asyncio.Task[Schema] | None = None

    @property
    def trusted(self) -> bool:
        """Whether changes by other processes are announced through `invalidate`."""
        return self._trusted

    @trusted.setter
    def trusted(self, is_live: bool) -> None:
        if is_live and not self._trusted:
            # Changes made while nobody announced them.
            self.invalidate()
        self._trusted = is_live

    def invalidate(self) -> None:
        """``_SCHEMA`` changed: the next `get` reads it anew."""
        self._generation += 1

    @property
    def stored(self) -> Schema:
        """The last snapshot as the database has it, without what ``schema.json`` adds."""
        return Schema({**self._stored, **self._volatile})

    async def get(self) -> Schema:
        """A snapshot that was right at some moment since the call began, or since its last change
        was announced."""
        if self._trusted and self._fresh_generation == self._generation:
            return self.current
        return await self.load()

    async def load(self) -> Schema:
        """Read ``_SCHEMA``, beginning after this call; callers that wait meanwhile share one read.

        Raises:
            ParseError: 1 when MongoDB cannot be reached; ``current`` stays.
        """
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read_next(self._reading))
        return await asyncio.shield(self._waiting)

    async def _read_next(self, before: asyncio.Task[Schema] | None) -> Schema:
        try:
            if before is not None and not before.done():
                # Its failure is ours: a second try would double the wait for a database that
                # does not answer.
                await before
        finally:
            self._reading, self._waiting = self._waiting, None
        generation = self._generation
        documents = await self.database.find(SCHEMA, {})
        stored = (decode_class(document) for document in documents)
        self._stored = {item.name: item for item in stored if item.name not in VOLATILE_CLASSES}
        self._publish()
        self._fresh_generation = generation
        return self.current

    def _publish(self) -> None:
        """Make ``current`` of what is stored, ``schema.json`` and the server's options.

        PERF: a class that did not change stays the same object, with all that was compiled for it.
        """
        before = self._completed
        self._completed = {
            name: before[name]
            if name in before and before[name][0] == stored
            else (stored, self._complete(stored))
            for name, stored in self._stored.items()
        }
        classes = {name: completed for name, (_, completed) in self._completed.items()}
        self.current = Schema({**classes, **self._volatile})

    def _complete(self, stored: ClassSchema) -> ClassSchema:
        hidden = {
            entity: tuple(names)
            for entity, names in ((stored.clp or {}).get("protectedFields") or {}).items()
        }
        for entity, names in self._protected_fields.get(stored.name, {}).items():
            hidden[entity] = tuple(dict.fromkeys((*hidden.get(entity, ()), *names)))
        completed = replace(stored, protected_fields=hidden)
        return self._document.overlay(completed) if self._document is not None else completed

    def set_document(self, document: SchemaDocument | None) -> None:
        """Take what only ``schema.json`` says (constraints, append-only) from this one."""
        self._document = document
        self._completed = {}
        self._publish()

    async def prepare(
        self, *, providers: tuple[str, ...] = (), options: Mapping[str, Any] | None = None
    ) -> Schema:
        """Bring a database to where a server can start: system classes and indexes.

        ``providers`` and ``options`` as for `ensure_system_indexes`.
        """
        schema = await self.load()
        for class_name in START_CLASSES:
            if schema.get(class_name) is None:
                await self._insert_class(ClassSchema(class_name, default_fields(class_name)))
        await index_store.ensure_system_indexes(self.database, providers=providers, options=options)
        return await self._reload()

    async def ensure_class(self, class_name: str) -> ClassSchema:
        """The class, made without columns of its own if it does not exist yet.

        Raises:
            ParseError: 107 for a name no class may have.
        """
        found = (await self.get()).get(class_name)
        if found is None:
            if is_class_name(class_name):
                await self._insert_class(ClassSchema(class_name, default_fields(class_name)))
                found = (await self._reload()).get(class_name)
            if found is None:
                raise invalid_json("schema class name does not revalidate")
        return found

    async def add_fields(self, class_name: str, fields: Mapping[str, Field]) -> ClassSchema:
        """Add columns met in a first write, and the class itself.

        Raises:
            ParseError: 105 for a bad name, 111 for a second GeoPoint column or when the column
                exists with another type, 107 for a class whose columns are fixed.
        """
        for name in fields:
            if not is_field_name(name, class_name):
                raise ParseError(Code.INVALID_KEY_NAME, f"Invalid field name: {name}.")
        found = await self.ensure_class(class_name)
        missing = {name: spec for name, spec in fields.items() if name not in found.fields}
        if missing and class_name in VOLATILE_CLASSES:
            raise invalid_json(f"Could not add field {next(iter(missing))}")
        if missing:
            self._check_geo_points(found, missing)
            await self._set_fields(class_name, missing)
            await index_store.ensure_field_indexes(self.database, class_name, missing)
            found = await self._existing_class(class_name)
        for name, spec in fields.items():
            now = found.fields.get(name)
            if now is None:
                raise invalid_json(f"Could not add field {name}")
            if not same_type(now, spec):
                raise type_mismatch(class_name, name, now, spec)
        return found

    def _check_geo_points(self, found: ClassSchema, added: Mapping[str, Field]) -> None:
        count = sum(spec.type == "GeoPoint" for spec in added.values())
        if count > 1:
            message = "there can only be one geopoint field in a class"
            raise ParseError(Code.INCORRECT_TYPE, message)
        if count and any(spec.type == "GeoPoint" for spec in found.fields.values()):
            raise ParseError(
                Code.INCORRECT_TYPE, "MongoDB only supports one GeoPoint field in a class."
            )

    async def _insert_class(self, new: ClassSchema) -> bool:
        """Whether this process made the class, not another one just before."""
        try:
            await self.database.insert(SCHEMA, encode_class(new))
        except DuplicateValue:
            return False
        await index_store.ensure_field_indexes(self.database, new.name, new.fields)
        return True

    async def _set_fields(self, class_name: str, fields: Mapping[str, Field]) -> None:
        """Add columns, all in one write unless another process just added one of them.

        PERF: each write of a class makes every process read it anew.
        """
        plain = {name: spec for name, spec in fields.items() if spec.type != "GeoPoint"}
        condition: StoredDocument = {"_id": class_name}
        changes: StoredDocument = {}
        for name, spec in plain.items():
            condition[name] = {"$exists": False}
            changes |= _field_changes(name, spec, field_options(spec))
        if plain and await self.database.update_one(SCHEMA, condition, {"$set": changes}):
            fields = {name: spec for name, spec in fields.items() if name not in plain}
        for name, spec in fields.items():
            await self._set_field(class_name, name, spec, field_options(spec))

    async def _set_field(
        self, class_name: str, name: str, spec: Field, options: Mapping[str, Any]
    ) -> None:
        """Add a column unless there is one of this name."""
        condition: StoredDocument = {"_id": class_name, name: {"$exists": False}}
        if spec.type == "GeoPoint":
            # Two processes may add one each: only the first finds none.
            values = {"$map": {"input": {"$objectToArray": "$$ROOT"}, "in": "$$this.v"}}
            condition["$expr"] = {"$not": {"$in": ["geopoint", values]}}
        changes = _field_changes(name, spec, options)
        await self.database.update_one(SCHEMA, condition, {"$set": changes})

    async def _reload(self) -> Schema:
        self.invalidate()
        return await self.load()

    async def _existing_class(self, class_name: str) -> ClassSchema:
        found = (await self._reload()).get(class_name)
        if found is None or class_name in VOLATILE_CLASSES:
            raise no_class(class_name)
        return found


def _field_changes(name: str, spec: Field, options: Mapping[str, Any]) -> StoredDocument:
    changes: StoredDocument = {name: encode_type(spec)}
    if options:
        changes[f"_metadata.fields_options.{name}"] = dict(options)
    return changes


def no_class(class_name: str) -> ParseError:
    return ParseError(Code.INVALID_CLASS_NAME, f"Class {class_name} does not exist.")
