"""One app for all tests of a module; each takes class names of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.api import Api
from tests.harness.app import app_on
from tests.harness.mongo import TestMongo


@pytest.fixture(scope="module")
async def api(mongo: TestMongo) -> AsyncIterator[Api]:
    """Nobody in particular."""
    async with app_on(mongo, read_only_master_key="ro", maintenance_key="mt") as anyone:
        yield anyone
