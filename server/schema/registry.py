"""Changes to the schema on purpose: those of the schemas API and those `migrate` asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.errors import Code, ParseError
from server.schema import indexes as index_store
from server.schema.classes import ClassSchema
from server.schema.encoding import class_to_wire, field_options
from server.schema.permissions import check_permissions
from server.schema.store import SCHEMA, SchemaStore, no_class
from server.schema.system import VOLATILE_CLASSES, default_fields
from server.schema.validation import (
    FieldChanges,
    check_geo_points,
    check_indexes,
    check_new_field,
    invalid_class_name,
    is_delete,
    read_changes,
    read_options,
    same_type,
    type_mismatch,
)
from server.storage.indexes import drop_indexes, ensure_indexes, list_indexes
from server.values import Field, WireObject, is_class_name

_ID_INDEX: Mapping[str, Any] = {"_id_": {"_id": 1}}
_UNCHANGED: Any = object()


class SchemaRegistry(SchemaStore):
    """The schema, read, cached and changed."""

    async def list_classes(self) -> list[WireObject]:
        """All classes that have a ``_SCHEMA`` entry, in the form of the schemas API."""
        await self._reload()
        return [class_to_wire(item) for item in self._stored.values()]

    async def describe_class(self, class_name: str) -> WireObject:
        """One class in the form of the schemas API. Raises 103 when there is none."""
        schema = await self._reload()
        found = self._stored.get(class_name) or schema.get(class_name)
        if found is None:
            raise no_class(class_name)
        return class_to_wire(found)

    async def create_class(
        self,
        class_name: str,
        fields: Mapping[str, Any] | None = None,
        clp: Any = None,
        indexes: Mapping[str, Any] | None = None,
    ) -> WireObject:
        """Make a class from what a client submitted, and describe it.

        Raises:
            ParseError: 103 for a bad or taken name, 102 for a bad index, 107 for bad permissions,
                and those of `check_new_field`.
        """
        if (await self._reload()).get(class_name) is not None:
            raise _class_exists(class_name)
        if not is_class_name(class_name):
            raise invalid_class_name(class_name)
        submitted = fields or {}
        columns = dict(default_fields(class_name))
        for name, spec in submitted.items():
            columns[name] = check_new_field(class_name, name, spec)
        check_geo_points(columns)
        permissions = check_permissions(clp, columns, custom_ids=self._custom_ids)
        wanted = indexes or {}
        check_indexes(wanted, _ID_INDEX, columns)
        options = {name: read_options(spec) for name, spec in submitted.items()}
        new = ClassSchema(class_name, columns, permissions, wanted, options=options)
        await index_store.create_declared(self.database, class_name, wanted)
        if not await self._insert_class(new):
            raise _class_exists(class_name)
        return await self.describe_class(class_name)

    async def update_class(
        self,
        class_name: str,
        fields: Mapping[str, Any] | None = None,
        clp: Any = _UNCHANGED,
        indexes: Mapping[str, Any] | None = None,
    ) -> WireObject:
        """Change a class as a client submitted it, and describe it.

        ``clp`` left out: the permissions stay; ``None``: the class is public again.

        Raises:
            ParseError: 103 without such a class, 255 for a contradiction to its columns, 119 for
                taking columns from an append-only class, and those of `create_class`. Nothing was
                changed then.
        """
        found = await self._existing_class(class_name)
        submitted = fields or {}
        changes = read_changes(found, submitted)
        if changes.deleted:
            refuse_append_only(found, "lose columns")
        permissions = clp
        if clp is not _UNCHANGED:
            permissions = check_permissions(clp, changes.merged, custom_ids=self._custom_ids)
        wanted = indexes or {}
        existing = found.indexes or _ID_INDEX
        check_indexes(wanted, existing, changes.merged)
        await self._drop_fields(found, changes.deleted)
        await self._change_fields(class_name, changes, submitted)
        if permissions is not _UNCHANGED:
            await self.set_permissions(class_name, permissions)
        if wanted:
            await self._change_indexes(class_name, existing, wanted)
        for name, spec in (await self._existing_class(class_name)).fields.items():
            expected = changes.added.get(name)
            if expected is not None and not same_type(expected, spec):
                raise type_mismatch(class_name, name, spec, expected)
        return await self.describe_class(class_name)

    async def _change_fields(
        self, class_name: str, changes: FieldChanges, submitted: Mapping[str, Any]
    ) -> None:
        for name, spec in changes.added.items():
            await self._set_field(class_name, name, spec, read_options(submitted[name]))
        await index_store.ensure_field_indexes(self.database, class_name, changes.added)
        for name in changes.changed:
            await self.set_options(class_name, name, read_options(submitted[name]))

    async def set_options(self, class_name: str, name: str, options: Mapping[str, Any]) -> None:
        """Replace the stored options of a column."""
        path = f"_metadata.fields_options.{name}"
        update = {"$set": {path: dict(options)}} if options else {"$unset": {path: ""}}
        condition = {"_id": class_name}
        await self.database.update_one(SCHEMA, condition, update)

    async def set_permissions(self, class_name: str, clp: Mapping[str, Any] | None) -> None:
        """Replace the class-level permissions, checked before; ``None``: public."""
        path = "_metadata.class_permissions"
        update = {"$set": {path: dict(clp)}} if clp is not None else {"$unset": {path: ""}}
        await self.database.update_one(SCHEMA, {"_id": class_name}, update)

    async def _change_indexes(
        self, class_name: str, existing: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> None:
        dropped = [name for name, key in wanted.items() if is_delete(key)]
        added = {name: key for name, key in wanted.items() if name not in dropped}
        await drop_indexes(self.database, class_name, dropped)
        await index_store.create_declared(self.database, class_name, added)
        kept = {name: key for name, key in existing.items() if name not in dropped}
        update = {"$set": {"_metadata.indexes": {**kept, **added}}}
        await self.database.update_one(SCHEMA, {"_id": class_name}, update)

    async def _drop_fields(self, found: ClassSchema, names: tuple[str, ...]) -> None:
        """Remove columns with all their values."""
        if not names:
            return
        keys = [index_store.storage_key(name, found.fields[name]) for name in names]
        anywhere = {"$or": [{key: {"$exists": True}} for key in keys]}
        removal = {"$unset": dict.fromkeys(keys, "")}
        await self.database.update_many(found.name, anywhere, removal)
        for name in names:
            if found.fields[name].type == "Relation":
                await self.database.drop(index_store.join_collection(found.name, name))
        options = [f"_metadata.fields_options.{name}" for name in names]
        update = {"$unset": dict.fromkeys((*names, *options), "")}
        await self.database.update_one(SCHEMA, {"_id": found.name}, update)

    async def declare_class(
        self, class_name: str, fields: Mapping[str, Field], clp: Mapping[str, Any] | None
    ) -> None:
        """Make a class from columns checked before, unless another process just has."""
        columns = {**fields, **default_fields(class_name)}
        options = {name: field_options(spec) for name, spec in fields.items()}
        await self._insert_class(ClassSchema(class_name, columns, clp, options=options))

    async def replace_field(self, class_name: str, name: str, spec: Field) -> None:
        """Drop a column with all its values and make it anew with another type."""
        found = await self._existing_class(class_name)
        refuse_append_only(found, "lose columns")
        await self._drop_fields(found, (name,))
        await self.add_fields(class_name, {name: spec})

    async def replace_index(self, class_name: str, index: Mapping[str, Any]) -> None:
        """Make an index in MongoDB's form, in place of one of the same name.

        Raises:
            DuplicateValue: Rows contradict a unique index.
        """
        if index["name"] in await list_indexes(self.database, class_name):
            await drop_indexes(self.database, class_name, [index["name"]])
        await ensure_indexes(self.database, class_name, [index])
        await index_store.record_indexes(self.database, class_name)

    async def delete_class(self, class_name: str) -> None:
        """Remove an empty class; one that does not exist is fine.

        Raises:
            ParseError: 103 for a bad name, 255 for a class with objects, 119 for an append-only
                one.
        """
        if not is_class_name(class_name):
            raise invalid_class_name(class_name)
        found = (await self._reload()).get(class_name)
        if found is not None:
            refuse_append_only(found, "be deleted")
        # Not the collection's estimate, which may be behind.
        count = await self.database.count(class_name, {"_id": {"$exists": True}})
        if count:
            raise ParseError(
                Code.INVALID_SCHEMA_OPERATION,
                f"Class {class_name} is not empty, contains {count} objects, cannot drop schema.",
            )
        await self.database.drop(class_name)
        await self.database.delete(SCHEMA, {"_id": class_name})
        for name in found.relations if found is not None else ():
            await self.database.drop(index_store.join_collection(class_name, name))
        await self._reload()

    async def purge(self, class_name: str) -> None:
        """Delete all objects of a class, without hooks; a class that does not exist is fine.

        Raises:
            ParseError: 119 for an append-only class.
        """
        found = (await self._reload()).get(class_name)
        if found is None or class_name in VOLATILE_CLASSES:
            return
        refuse_append_only(found, "be purged")
        await self.database.delete(class_name, {}, many=True)


def refuse_append_only(found: ClassSchema, action: str) -> None:
    """Raise 119, for the master key too, when ``schema.json`` calls the class append-only."""
    if found.append_only:
        raise ParseError(
            Code.OPERATION_FORBIDDEN, f"Class {found.name} is append-only and cannot {action}."
        )


def _class_exists(class_name: str) -> ParseError:
    return ParseError(Code.INVALID_CLASS_NAME, f"Class {class_name} already exists.")
