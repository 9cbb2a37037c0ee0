"""A database and a registry on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.schema.registry import SchemaRegistry
from server.storage.mongo import Database


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[Database]:
    database = Database.connect(database_uri)
    yield database
    await database.close()


@pytest.fixture
def registry(database: Database) -> SchemaRegistry:
    return SchemaRegistry(database, protected_fields={"_User": {"*": ["email"]}})


@pytest.fixture
def other(database: Database) -> SchemaRegistry:
    """The registry of another process on the same database."""
    return SchemaRegistry(database)
