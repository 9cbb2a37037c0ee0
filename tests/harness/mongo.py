"""One real MongoDB per test session, and a database of its own for each test."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from pymongo import MongoClient

from server.storage.embedded import DATABASE, EmbeddedMongo
from server.values import random_string


class TestMongo:
    """A one-node replica set in a temporary directory, gone afterwards.

    The directory is short, as a unix socket's path holds about 100 characters.
    """

    __test__ = False

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="pestle-test-"))
        self.embedded = EmbeddedMongo(self._directory, cache_gb=0.25)

    def __enter__(self) -> TestMongo:
        self.embedded.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.embedded.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def uri(self, database: str = DATABASE) -> str:
        """The address of one database, for any driver."""
        return self.embedded.uri.replace(f"/{DATABASE}?", f"/{database}?")

    def new_database(self) -> str:
        """A database name nobody else uses."""
        return "t" + random_string(10).lower()

    def drop(self, database: str) -> None:
        with MongoClient[dict[str, Any]](self.uri()) as client:
            client.drop_database(database)
