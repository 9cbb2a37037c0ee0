"""Reading, caching and growing the schema."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.errors import Code, ParseError
from server.schema.document import SchemaDocument
from server.schema.registry import SchemaRegistry
from server.storage.indexes import list_indexes
from server.storage.mongo import Database
from server.values import Field


async def schema_document(database: Database, name: str) -> dict[str, Any]:
    found = await database.find_one("_SCHEMA", {"_id": name})
    assert found is not None
    return found


async def test_a_fresh_database_gets_users_roles_and_their_indexes(
    registry: SchemaRegistry, database: Database
) -> None:
    schema = await registry.prepare(providers=("myauth",))
    assert {name for name in schema.classes if not name.startswith("_")} == set()
    assert {item["className"] for item in await registry.list_classes()} == {"_User", "_Role"}
    users = await list_indexes(database, "_User")
    assert set(users) == {
        "_id_",
        "username_1",
        "case_insensitive_username",
        "case_insensitive_email",
        "email_1",
        "_email_verify_token",
        "_perishable_token",
        "_auth_data_anonymous_id",
        "_auth_data_myauth_id",
    }
    assert users["email_1"]["unique"]
    assert users["email_1"]["sparse"]
    assert users["case_insensitive_email"]["collation"]["strength"] == 2
    expiry = (await list_indexes(database, "_Idempotency"))["ttl"]
    assert expiry["expireAfterSeconds"] == 0
    assert "pestle_session_token" in await list_indexes(database, "_Session")
    assert "pestle_related" in await list_indexes(database, "_Join:users:_Role")
    noted = (await schema_document(database, "_User"))["_metadata"]["indexes"]
    assert noted["_auth_data_anonymous_id"] == {"_auth_data_anonymous.id": 1}


async def test_preparing_again_changes_nothing_and_index_switches_are_heard(
    registry: SchemaRegistry, database: Database
) -> None:
    options = {"createIndexUserEmail": False}
    await registry.prepare(options=options)
    assert "email_1" not in await list_indexes(database, "_User")
    before = await database.find("_SCHEMA", {})
    await registry.prepare(options=options)
    assert await database.find("_SCHEMA", {}) == before


async def test_an_index_in_the_way_does_not_stop_the_others(
    registry: SchemaRegistry, database: Database
) -> None:
    await database.raw["_User"].create_index("username", name="theirs", unique=True, sparse=True)
    await registry.prepare()
    users = await list_indexes(database, "_User")
    assert "username_1" not in users
    assert "email_1" in users


async def test_ensure_class(registry: SchemaRegistry, database: Database) -> None:
    found = await registry.ensure_class("Note")
    assert set(found.fields) == {"objectId", "createdAt", "updatedAt", "ACL"}
    assert await schema_document(database, "Note") == {
        "_id": "Note",
        "objectId": "string",
        "updatedAt": "date",
        "createdAt": "date",
    }
    session = await registry.ensure_class("_Session")
    assert session.fields["user"] == Field("Pointer", "_User")


@pytest.mark.parametrize("name", ["bad-name", "", "_Foo", "1a", "a\0b"])
async def test_a_bad_class_name_does_not_revalidate(registry: SchemaRegistry, name: str) -> None:
    with pytest.raises(ParseError, match="schema class name does not revalidate") as caught:
        await registry.ensure_class(name)
    assert caught.value.code == Code.INVALID_JSON


async def test_volatile_classes_are_there_without_an_entry(registry: SchemaRegistry) -> None:
    schema = await registry.load()
    found = schema.get("_PushStatus")
    assert found is not None
    assert found.fields["numSent"] == Field("Number")
    with pytest.raises(ParseError, match="Could not add field x"):
        await registry.add_fields("_PushStatus", {"x": Field("String")})


async def test_columns_are_added_as_the_reference_server_does(
    registry: SchemaRegistry, database: Database
) -> None:
    found = await registry.add_fields(
        "Note",
        {"text": Field("String"), "owner": Field("Pointer", "_User"), "p": Field("Polygon")},
    )
    assert found.fields["owner"] == Field("Pointer", "_User")
    stored = await schema_document(database, "Note")
    assert stored["owner"] == "*_User"
    assert stored["text"] == "string"
    assert "p_2dsphere" in await list_indexes(database, "Note")


async def test_bad_columns_are_refused(registry: SchemaRegistry) -> None:
    await registry.add_fields("Note", {"g": Field("GeoPoint"), "n": Field("Number")})
    for fields, code, message in (
        ({"_x": Field("String")}, 105, "Invalid field name: _x."),
        ({"length": Field("String")}, 105, "Invalid field name: length."),
        (
            {"n": Field("String")},
            111,
            "schema mismatch for Note.n; expected Number but got String",
        ),
        (
            {"h": Field("GeoPoint")},
            111,
            "MongoDB only supports one GeoPoint field in a class.",
        ),
        (
            {"h": Field("GeoPoint"), "i": Field("GeoPoint")},
            111,
            "there can only be one geopoint field in a class",
        ),
    ):
        with pytest.raises(ParseError) as caught:
            await registry.add_fields("Note", fields)
        assert (caught.value.code, str(caught.value)) == (code, message)


async def test_processes_that_add_the_same_at_once_agree(
    registry: SchemaRegistry, other: SchemaRegistry, database: Database
) -> None:
    wanted = {f"f{i}": Field("String") for i in range(8)}
    both = await asyncio.gather(
        registry.add_fields("Note", wanted), other.add_fields("Note", wanted)
    )
    assert all(found.fields["f7"] == Field("String") for found in both)
    assert (await schema_document(database, "Note"))["f7"] == "string"


async def test_of_two_types_for_one_new_column_one_wins(
    registry: SchemaRegistry, other: SchemaRegistry
) -> None:
    results = await asyncio.gather(
        registry.add_fields("Note", {"f": Field("String")}),
        other.add_fields("Note", {"f": Field("Number")}),
        return_exceptions=True,
    )
    (error,) = [result for result in results if isinstance(result, ParseError)]
    assert error.code == Code.INCORRECT_TYPE


async def test_of_two_geo_point_columns_one_wins(
    registry: SchemaRegistry, other: SchemaRegistry
) -> None:
    await asyncio.gather(
        registry.add_fields("Note", {"a": Field("GeoPoint")}),
        other.add_fields("Note", {"b": Field("GeoPoint")}),
        return_exceptions=True,
    )
    fields = (await registry.load()).classes["Note"].fields.values()
    assert sum(spec.type == "GeoPoint" for spec in fields) == 1


async def test_a_trusted_cache_is_read_again_only_after_an_invalidation(
    registry: SchemaRegistry, other: SchemaRegistry
) -> None:
    await registry.load()
    registry.trusted = True
    await registry.get()
    await other.ensure_class("Note")
    assert (await registry.get()).get("Note") is None
    registry.invalidate()
    assert (await registry.get()).get("Note") is not None


async def test_without_trust_every_get_reads(
    registry: SchemaRegistry, other: SchemaRegistry
) -> None:
    await registry.get()
    await other.ensure_class("Note")
    assert (await registry.get()).get("Note") is not None


async def test_trust_regained_does_not_cover_the_time_without(
    registry: SchemaRegistry, other: SchemaRegistry
) -> None:
    registry.trusted = True
    await registry.get()
    registry.trusted = False
    await other.ensure_class("Note")
    registry.trusted = True
    assert (await registry.get()).get("Note") is not None


async def test_a_read_that_an_invalidation_overtook_is_not_taken_as_fresh(
    registry: SchemaRegistry, other: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.trusted = True
    original = registry.database.find
    reads = 0

    async def slow_find(*args: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        found = await original(*args, **options)
        if reads == 1:
            await other.ensure_class("Note")
            registry.invalidate()
        return found

    monkeypatch.setattr(registry.database, "find", slow_find)
    assert (await registry.get()).get("Note") is None
    assert (await registry.get()).get("Note") is not None


async def test_waiting_loads_share_one_read(
    registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = registry.database.find
    reads = 0

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        return await original(*args, **options)

    monkeypatch.setattr(registry.database, "find", counted)
    await asyncio.gather(*(registry.load() for _ in range(50)))
    assert reads <= 2


async def test_a_failed_read_keeps_the_snapshot_and_the_next_one_works(
    registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry.ensure_class("Note")
    before = registry.current

    async def broken(*_: Any, **__: Any) -> Any:
        raise ParseError(Code.INTERNAL_SERVER_ERROR, "Database error")

    with monkeypatch.context() as patch:
        patch.setattr(registry.database, "find", broken)
        with pytest.raises(ParseError):
            await registry.load()
    assert registry.current is before
    assert (await registry.load()).get("Note") is not None


async def test_unchanged_classes_stay_the_same_objects(registry: SchemaRegistry) -> None:
    await registry.ensure_class("Note")
    note = registry.current.get("Note")
    await registry.ensure_class("Other")
    assert registry.current.get("Note") is note
    registry.set_document(
        SchemaDocument.parse('{"classes": [{"className": "Note", "appendOnly": true}]}')
    )
    changed = registry.current.get("Note")
    assert changed is not None
    assert changed.append_only


async def test_protected_fields_are_those_of_the_class_and_of_the_server(
    registry: SchemaRegistry,
) -> None:
    await registry.prepare()
    assert registry.current.classes["_User"].protected_fields == {"*": ("email",)}
    assert registry.current.classes["_User"].clp is None
    await registry.update_class(
        "_User",
        {"nick": {"type": "String"}},
        {"find": {"*": True}, "protectedFields": {"*": ["nick"], "role:A": []}},
    )
    user = registry.current.classes["_User"]
    assert user.protected_fields == {"*": ("nick", "email"), "role:A": ()}
    assert user.clp is not None
    assert user.clp["protectedFields"]["*"] == ["nick"]


async def test_other_collections_prefix(database_uri: str) -> None:
    database = Database.connect(database_uri, prefix="app_")
    registry = SchemaRegistry(database)
    await registry.prepare()
    names = await database.raw.list_collection_names()
    assert {"app__SCHEMA", "app__User", "app__Join:users:_Role"} <= set(names)
    await database.close()
