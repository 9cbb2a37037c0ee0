"""The whole server in this process, spoken to without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from server.app import create_app
from server.settings import Settings
from tests.harness.api import APP_ID, MASTER_KEY, Api
from tests.harness.mongo import TestMongo


@asynccontextmanager
async def running_app(settings: Settings, *, hide_bugs: bool = False) -> AsyncIterator[Api]:
    """An app on its database, as `pestle serve` sets it up; gives a client without a user.

    ``hide_bugs``: an exception that leaves the app is an answer with status 500, as for a client
    of the real server, instead of failing the test.
    """
    app = create_app(settings)
    try:
        await app.prepare()
        await app.start()
        transport = httpx.ASGITransport(app, raise_app_exceptions=not hide_bugs)
        url = "http://test" + settings.mount_path
        async with httpx.AsyncClient(transport=transport, base_url=url, timeout=30) as client:
            yield Api(client, app_id=settings.app_id, master_key=settings.master_key)
    finally:
        await app.stop()


@asynccontextmanager
async def app_on(mongo: TestMongo, **options: Any) -> AsyncIterator[Api]:
    """An app on a new database, for fixtures that the tests of a module share."""
    name = mongo.new_database()
    usual: dict[str, Any] = {
        "app_id": APP_ID,
        "master_key": MASTER_KEY,
        "database_uri": mongo.uri(name),
        "allow_client_class_creation": True,
        "log_level": "error",
    }
    try:
        async with running_app(Settings(**{**usual, **options})) as anyone:
            yield anyone
    finally:
        mongo.drop(name)
