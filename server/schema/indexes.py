"""Which indexes there are: those every database has, those of columns, and declared ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from server.errors import ParseError, invalid_query
from server.storage.indexes import ensure_indexes, list_indexes
from server.storage.mongo import Database
from server.values import Field

_IGNORING_CASE = {"locale": "en_US", "strength": 2}

_PARTIAL_TYPES = {
    "String": "string",
    "Number": "number",
    "Date": "date",
    "Boolean": "bool",
    "Pointer": "string",
    "File": "string",
}
UNIQUE_TYPES = tuple(_PARTIAL_TYPES)
"""Types of columns that can be unique."""

# Class, switch in `databaseOptions`, and index, as the reference server makes them.
_SYSTEM_INDEXES: Sequence[tuple[str, str | None, Mapping[str, Any]]] = (
    (
        "_User",
        "createIndexUserUsername",
        {"name": "username_1", "key": {"username": 1}, "unique": True},
    ),
    (
        "_User",
        "createIndexUserUsernameCaseInsensitive",
        {
            "name": "case_insensitive_username",
            "key": {"username": 1},
            "collation": _IGNORING_CASE,
        },
    ),
    (
        "_User",
        "createIndexUserEmailCaseInsensitive",
        {"name": "case_insensitive_email", "key": {"email": 1}, "collation": _IGNORING_CASE},
    ),
    ("_User", "createIndexUserEmail", {"name": "email_1", "key": {"email": 1}, "unique": True}),
    (
        "_User",
        "createIndexUserEmailVerifyToken",
        {"name": "_email_verify_token", "key": {"_email_verify_token": 1}},
    ),
    (
        "_User",
        "createIndexUserPasswordResetToken",
        {"name": "_perishable_token", "key": {"_perishable_token": 1}},
    ),
    ("_Role", "createIndexRoleName", {"name": "name_1", "key": {"name": 1}, "unique": True}),
    ("_Idempotency", None, {"name": "reqId_1", "key": {"reqId": 1}, "unique": True}),
    ("_Idempotency", None, {"name": "ttl", "key": {"expire": 1}, "expireAfterSeconds": 0}),
    # Pestle's own. A look-up by token or by user must not read every session.
    ("_Session", None, {"name": "pestle_session_token", "key": {"_session_token": 1}}),
    ("_Session", None, {"name": "pestle_user", "key": {"_p_user": 1}}),
)
_JOIN_INDEXES: Sequence[Mapping[str, Any]] = (
    {"name": "pestle_owning", "key": {"owningId": 1, "relatedId": 1}},
    {"name": "pestle_related", "key": {"relatedId": 1, "owningId": 1}},
)


def join_collection(class_name: str, field_name: str) -> str:
    """The collection which holds the rows of a relation."""
    return f"_Join:{field_name}:{class_name}"


async def ensure_system_indexes(
    database: Database,
    *,
    providers: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> None:
    """Make the indexes that every database needs.

    ``providers``: configured login providers, each with unique ids; ``anonymous`` always is one.
    ``options``: `databaseOptions`, whose ``createIndex...`` entries switch single ones off.
    """
    switches = options or {}
    wanted: dict[str, list[Mapping[str, Any]]] = {}
    for class_name, switch, index in _SYSTEM_INDEXES:
        if switch is None or switches.get(switch) is not False:
            wanted.setdefault(class_name, []).append({**index, "sparse": True, "background": True})
    if switches.get("createIndexAuthDataUniqueness") is not False:
        for provider in sorted({"anonymous", *providers}):
            index = {
                "name": f"_auth_data_{provider}_id",
                "key": {f"_auth_data_{provider}.id": 1},
            }
            options_ = {"unique": True, "sparse": True, "background": True}
            wanted.setdefault("_User", []).append({**index, **options_})
    for field_name in ("users", "roles"):
        wanted[join_collection("_Role", field_name)] = list(_JOIN_INDEXES)
    made = await asyncio.gather(
        *(ensure_indexes(database, name, indexes) for name, indexes in wanted.items())
    )
    changed = [name for name, is_made in zip(wanted, made, strict=True) if is_made]
    for class_name in changed:
        await record_indexes(database, class_name)


async def ensure_field_indexes(
    database: Database, class_name: str, fields: Mapping[str, Field]
) -> None:
    """Make the indexes that come with columns of some types (polygons, relations)."""
    for name, spec in fields.items():
        if spec.type == "Polygon":
            index = {"name": f"{name}_2dsphere", "key": {name: "2dsphere"}}
            await ensure_indexes(database, class_name, [index])
        elif spec.type == "Relation":
            await ensure_indexes(database, join_collection(class_name, name), _JOIN_INDEXES)


def declared_indexes(indexes: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Indexes in Parse's form, ``{"name": {"field": 1}}``, as MongoDB wants them."""
    return [{"name": name, "key": dict(key)} for name, key in indexes.items()]


def unique_index(field_name: str, spec: Field) -> Mapping[str, Any]:
    """The index that keeps a ``unique`` column so; rows without a value do not count."""
    key = storage_key(field_name, spec)
    return {
        "name": f"pestle_unique_{field_name}",
        "key": {key: 1},
        "unique": True,
        "partialFilterExpression": {key: {"$type": _PARTIAL_TYPES[spec.type]}},
    }


_STORED_NAMES = {"objectId": "_id", "createdAt": "_created_at", "updatedAt": "_updated_at"}


def storage_key(name: str, spec: Field | None) -> str:
    """The name a column, or a path into one, has in MongoDB."""
    if spec is not None and spec.type == "Pointer":
        return f"_p_{name}"
    return _STORED_NAMES.get(name, name)


def _parse_key(index: Mapping[str, Any]) -> dict[str, Any]:
    """An index's key in Parse's form; text indexes name their fields in their weights."""
    key = dict(index["key"])
    if key.pop("_fts", None):
        key.pop("_ftsx", None)
        key |= dict.fromkeys(index.get("weights", {}), "text")
    return key


async def record_indexes(database: Database, class_name: str) -> None:
    """Note a collection's real indexes in its ``_SCHEMA`` document, where clients read them."""
    found = await list_indexes(database, class_name)
    indexes = {name: _parse_key(index) for name, index in found.items()}
    update = {"$set": {"_metadata.indexes": indexes}}
    await database.update_one("_SCHEMA", {"_id": class_name}, update)


async def create_declared(
    database: Database, class_name: str, indexes: Mapping[str, Mapping[str, Any]]
) -> None:
    """Make indexes a client asked for, in Parse's form. Raises 102 when MongoDB refuses one."""
    if not indexes:
        return
    try:
        await ensure_indexes(database, class_name, declared_indexes(indexes))
    except ParseError as error:
        names = ", ".join(indexes)
        raise invalid_query(f"MongoDB refused an index of {class_name}: {names}.") from error
