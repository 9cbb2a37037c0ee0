"""What the composition root decides by itself."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest

from server.app import create_app
from server.settings import Settings
from tests.harness.app import running_app


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


@pytest.mark.parametrize(
    ("trusted", "forwarded", "status"),
    [
        ((), "8.8.8.8", 200),
        (("127.0.0.0/8",), "8.8.8.8", 403),
        (("127.0.0.0/8",), "127.0.0.1, 8.8.8.8", 403),
        (("127.0.0.0/8",), "8.8.8.8, 127.0.0.1", 403),
        (("127.0.0.0/8",), "127.0.0.1", 200),
        (("127.0.0.0/8",), "odd", 403),
    ],
)
async def test_where_the_master_key_comes_from_is_what_trusted_proxies_say(
    settings: Settings, trusted: tuple[str, ...], forwarded: str, status: int
) -> None:
    async with running_app(replace(settings, trust_proxy=trusted)) as api:
        headers = {"X-Forwarded-For": forwarded}
        answer = await api.as_master().request("GET", "/serverInfo", headers=headers)

    assert answer.status_code == status
