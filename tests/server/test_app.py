"""What the composition root decides by itself."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

from server.app import create_app
from server.settings import Settings


async def test_without_live_query_server_a_web_socket_is_refused(settings: Settings) -> None:
    app = create_app(replace(settings, start_live_query_server=False))
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    try:
        await app({"type": "websocket", "path": "/parse"}, receive, send)
    finally:
        await app.stop()

    assert sent == [{"type": "websocket.close"}]


async def test_database_options_switch_indexes_off(settings: Settings) -> None:
    app = create_app(replace(settings, database_options={"createIndexRoleName": False}))
    try:
        await app.prepare()
        indexes = await app.database.collection("_Role").index_information()
    finally:
        await app.stop()

    assert "name_1" not in indexes
