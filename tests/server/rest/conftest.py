"""One app that many tests share, where what another left behind does not matter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.api import Api
from tests.harness.app import app_on
from tests.harness.mongo import TestMongo


@pytest.fixture(scope="session")
async def shared_api(mongo: TestMongo) -> AsyncIterator[Api]:
    """Nobody in particular."""
    async with app_on(mongo) as anyone:
        yield anyone
