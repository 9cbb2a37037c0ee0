"""A MongoDB that Pestle cannot run on is refused with the reason."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pymongo import AsyncMongoClient

from server.storage.embedded import EmbeddedMongo, die_with_parent, find_mongod
from server.storage.topology import UnfitDatabase, require_replica_set


async def refusal(uri: str) -> str:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri, serverSelectionTimeoutMS=5000)
    try:
        await require_replica_set(client)
    except UnfitDatabase as error:
        return str(error)
    finally:
        await client.close()
    return ""


async def test_a_replica_set_is_fit(tmp_path: Path) -> None:
    with EmbeddedMongo(tmp_path) as mongo:
        assert await refusal(mongo.uri) == ""


@pytest.fixture
def standalone_uri(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "db").mkdir()
    path = tmp_path / "m.sock"
    command = [find_mongod(), "--dbpath", str(tmp_path / "db"), "--bind_ip", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent
    ) as process:
        yield f"mongodb://{quote(str(path), safe='')}/"
        process.terminate()


async def test_a_standalone_is_refused_with_the_mend(standalone_uri: str) -> None:
    message = await refusal(standalone_uri)
    assert "standalone" in message
    assert "--replSet" in message


async def test_silence_is_told_shortly(tmp_path: Path) -> None:
    path = quote(str(tmp_path / "none.sock"), safe="")
    message = await refusal(f"mongodb://{path}/?serverSelectionTimeoutMS=200")
    assert "does not answer" in message
    assert "Topology" not in message
