"""The whole server in this process, spoken to without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from server.app import create_app
from server.settings import Settings
from tests.harness.api import Api


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
