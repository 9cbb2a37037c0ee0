"""Fixtures of the LiveQuery tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection


@pytest.fixture
def collection(mongo_uri: str, database_name: str) -> Iterator[Collection[dict[str, Any]]]:
    """An empty collection of a real MongoDB, for plain calls that do not wait in the loop."""
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client[database_name]["Thing"]
