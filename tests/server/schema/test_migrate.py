"""Applying ``schema.json``: additive, repeatable, and never losing data unasked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from server.errors import ParseError
from server.schema import migrate
from server.schema.document import SchemaDocument
from server.schema.migrate import MigrationError
from server.schema.registry import SchemaRegistry
from server.storage.indexes import list_indexes
from server.storage.mongo import Database, DuplicateValue
from server.values import Field


def document(**fields: Any) -> SchemaDocument:
    return whole({"className": "Note", "fields": fields})


def whole(*classes: dict[str, Any]) -> SchemaDocument:
    return SchemaDocument.parse(json.dumps({"classes": list(classes)}))


NOTE = {
    "className": "Note",
    "appendOnly": True,
    "fields": {
        "text": {"type": "String", "required": True, "maxLength": 20},
        "number": {"type": "Number", "unique": True},
        "owner": {"type": "Pointer", "targetClass": "_User", "unique": True},
        "readers": {"type": "Relation", "targetClass": "_User"},
        "stars": {"type": "Number", "defaultValue": 3},
    },
    "classLevelPermissions": {"find": {"*": True}, "get": {"pointerFields": ["owner"]}},
    "indexes": {"byText": {"text": 1, "createdAt": -1}},
}


async def test_a_new_class_gets_everything(registry: SchemaRegistry, database: Database) -> None:
    done = await migrate.apply(whole(NOTE), registry)
    assert [str(one) for one in done] == [
        "class Note: is new.",
        "class Note, index byText: is new.",
        "class Note, index pestle_unique_number: is new.",
        "class Note, index pestle_unique_owner: is new.",
    ]
    stored = await database.find_one("_SCHEMA", {"_id": "Note"})
    assert stored is not None
    assert stored["owner"] == "*_User"
    assert stored["_metadata"]["fields_options"] == {
        "text": {"required": True},
        "stars": {"defaultValue": 3},
    }
    assert stored["_metadata"]["class_permissions"] == NOTE["classLevelPermissions"]
    indexes = await list_indexes(database, "Note")
    assert dict(indexes["byText"]["key"]) == {"text": 1, "_created_at": -1}
    note = registry.current.classes["Note"]
    assert note.append_only
    assert note.fields["text"] == Field("String", required=True, constraints={"maxLength": 20})


async def test_applying_again_does_nothing(registry: SchemaRegistry, database: Database) -> None:
    await migrate.apply(whole(NOTE), registry)
    before = await database.find("_SCHEMA", {})
    assert await migrate.apply(whole(NOTE), registry) == []
    assert await migrate.compare(whole(NOTE), registry) == []
    assert await database.find("_SCHEMA", {}) == before


async def test_unique_columns_refuse_a_second_value_but_not_a_second_none(
    registry: SchemaRegistry, database: Database
) -> None:
    await migrate.apply(whole(NOTE), registry)
    await database.insert("Note", {"_id": "a", "number": 1, "_p_owner": "_User$x"})
    await database.insert("Note", {"_id": "b", "number": None})
    await database.insert("Note", {"_id": "c", "number": None, "_p_owner": None})
    with pytest.raises(DuplicateValue):
        await database.insert("Note", {"_id": "d", "number": 1})
    with pytest.raises(DuplicateValue):
        await database.insert("Note", {"_id": "d", "_p_owner": "_User$x"})


async def test_an_existing_class_gets_what_is_new_and_keeps_the_rest(
    registry: SchemaRegistry,
) -> None:
    await registry.create_class(
        "Note",
        {
            "mine": {"type": "String"},
            "text": {"type": "String", "required": True},
            "stars": {"type": "Number", "defaultValue": 1, "hint": "kept"},
        },
        {"find": {}},
        {"mine": {"mine": 1}},
    )
    done = await migrate.apply(
        document(
            text={"type": "String", "required": False},
            stars={"type": "Number", "defaultValue": 3},
            more={"type": "Date"},
        ),
        registry,
    )
    assert [str(one) for one in done] == [
        "class Note, field text: has other options, not required.",
        "class Note, field stars: has other options, not required, default 3.",
        "class Note, field more: is new, a Date.",
    ]
    wire = await registry.describe_class("Note")
    assert wire["fields"]["mine"] == {"type": "String"}
    assert wire["fields"]["text"] == {"type": "String"}
    assert wire["fields"]["stars"] == {"type": "Number", "defaultValue": 3, "hint": "kept"}
    assert wire["classLevelPermissions"]["find"] == {}
    assert wire["indexes"]["mine"] == {"mine": 1}


async def test_options_the_document_leaves_open_stay(registry: SchemaRegistry) -> None:
    await registry.create_class("Note", {"text": {"type": "String", "required": True}})
    assert await migrate.apply(document(text={"type": "String"}), registry) == []
    assert registry.current.classes["Note"].required == ("text",)


async def test_another_type_is_refused_and_nothing_is_changed(
    registry: SchemaRegistry, database: Database
) -> None:
    await registry.create_class("Note", {"text": {"type": "String"}})
    wanted = document(text={"type": "Number"}, more={"type": "Date"})
    with pytest.raises(MigrationError) as caught:
        await migrate.apply(wanted, registry)
    assert str(caught.value) == (
        "class Note, field text: is a String in the database, not a Number. To drop the field "
        "with all its values and make it anew: pestle schema apply --allow-loss"
    )
    assert caught.value.differences[0].loses_data
    assert "more" not in (await registry.load()).classes["Note"].fields


async def test_another_type_is_made_on_purpose(
    registry: SchemaRegistry, database: Database
) -> None:
    await registry.create_class("Note", {"text": {"type": "String"}, "keep": {"type": "String"}})
    await database.insert("Note", {"_id": "a", "text": "x", "keep": "y"})
    await migrate.apply(document(text={"type": "Number"}), registry, allow_loss=True)
    assert (await registry.load()).classes["Note"].fields["text"] == Field("Number")
    assert await database.find("Note", {}) == [{"_id": "a", "keep": "y"}]


async def test_rows_with_the_same_value_stop_a_unique_column(
    registry: SchemaRegistry, database: Database
) -> None:
    await registry.create_class("Note", {"number": {"type": "Number"}})
    await database.insert("Note", {"_id": "a", "number": 1})
    await database.insert("Note", {"_id": "b", "number": 1})
    with pytest.raises(MigrationError, match='field number: cannot be "unique"'):
        await migrate.apply(document(number={"type": "Number", "unique": True}), registry)


async def test_an_index_with_other_fields_is_made_anew(
    registry: SchemaRegistry, database: Database
) -> None:
    fields = {"a": {"type": "String"}, "b": {"type": "String"}}
    for columns in ({"a": 1, "b": 1}, {"b": 1, "a": 1}):
        await migrate.apply(
            whole({"className": "Note", "fields": fields, "indexes": {"i": columns}}), registry
        )
        found = await list_indexes(database, "Note")
        assert list(found["i"]["key"]) == list(columns)


async def test_an_index_that_is_there_under_another_name_is_enough(
    registry: SchemaRegistry, database: Database
) -> None:
    await database.raw["Note"].create_index("a", name="theirs")
    declared = {
        "className": "Note",
        "fields": {"a": {"type": "String"}},
        "indexes": {"i": {"a": 1}},
    }
    await migrate.apply(whole(declared), registry)
    assert set(await list_indexes(database, "Note")) == {"_id_", "theirs"}


async def test_system_classes_can_be_extended(registry: SchemaRegistry) -> None:
    await registry.prepare()
    await migrate.apply(
        whole(
            {
                "className": "_User",
                "fields": {
                    "email": {"type": "String", "required": True},
                    "nick": {"type": "String"},
                },
            }
        ),
        registry,
    )
    user = registry.current.classes["_User"]
    assert user.required == ("email",)
    assert user.fields["nick"] == Field("String")


async def test_processes_that_apply_at_once_agree(
    registry: SchemaRegistry, other: SchemaRegistry
) -> None:
    await asyncio.gather(migrate.apply(whole(NOTE), registry), migrate.apply(whole(NOTE), other))
    assert await migrate.compare(whole(NOTE), other) == []
    assert other.current.classes["Note"].fields == registry.current.classes["Note"].fields


async def test_append_only_classes_keep_their_rows_and_columns(
    registry: SchemaRegistry, database: Database
) -> None:
    await migrate.apply(whole(NOTE), registry)
    await database.insert("Note", {"_id": "a"})
    for attempt in (
        registry.delete_class("Note"),
        registry.purge("Note"),
        registry.update_class("Note", {"text": {"__op": "Delete"}}),
        registry.replace_field("Note", "text", Field("Number")),
    ):
        with pytest.raises(ParseError, match="Class Note is append-only") as caught:
            await attempt
        assert caught.value.code == 119
    assert await database.count("Note", {}) == 1
