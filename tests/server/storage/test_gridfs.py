"""GridFS as Parse Server writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.storage.gridfs import GridFs
from server.storage.mongo import Database

CHUNK = 261_120


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[Database]:
    database = Database.connect(database_uri)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> GridFs:
    return GridFs(database)


async def _read(store: GridFs, name: str, start: int = 0, stop: int | None = None) -> bytes:
    file = await store.find(name)
    assert file is not None
    end = file.length if stop is None else stop
    return b"".join([piece async for piece in store.read(file, start, end)])


async def test_documents_have_the_peers_form(store: GridFs, database: Database) -> None:
    await store.write("a.txt", b"hi", {"m": "1"})

    document = await database.raw["fs.files"].find_one({})
    assert document is not None
    assert document.keys() == {"_id", "length", "chunkSize", "uploadDate", "filename", "metadata"}
    assert (document["length"], document["chunkSize"]) == (2, CHUNK)
    assert document["metadata"] == {"m": "1"}


async def test_any_part_of_a_file_of_many_chunks_can_be_read(store: GridFs) -> None:
    content = bytes(range(256)) * 2100  # more than two chunks
    await store.write("big", content, {})

    assert await _read(store, "big") == content
    for start, stop in ((0, 1), (CHUNK - 1, CHUNK + 1), (CHUNK, 2 * CHUNK), (5, 2 * CHUNK + 7)):
        assert await _read(store, "big", start, stop) == content[start:stop]
    assert await _read(store, "big", 7, 7) == b""


async def test_the_newest_upload_of_a_name_counts(store: GridFs) -> None:
    await store.write("a", b"old", {})
    await store.write("a", b"new", {})

    assert await _read(store, "a") == b"new"


async def test_delete_removes_all_uploads_of_a_name(store: GridFs, database: Database) -> None:
    await store.write("a", b"old", {})
    await store.write("a", b"new", {})

    assert await store.delete("a")
    assert await store.find("a") is None
    assert not await store.delete("a")
    assert await database.raw["fs.chunks"].count_documents({}) == 0
