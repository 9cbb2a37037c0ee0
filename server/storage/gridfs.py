"""Files in MongoDB's GridFS, bucket ``fs``, as Parse Server keeps them.

``fs.files`` holds one document per upload (``filename``, ``length``, ``chunkSize``,
``metadata``), ``fs.chunks`` its bytes. A name may be uploaded again; the newest counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from gridfs.asynchronous import AsyncGridFSBucket

from server.storage.mongo import Database, translated_errors
from server.values import WireObject

_CHUNK_BYTES = 261_120


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there. ``key``: the store's own handle. ``length`` in bytes."""

    name: str
    length: int
    metadata: WireObject
    key: Any
    chunk_bytes: int = _CHUNK_BYTES


class GridFs:
    """A `server.files.store.FileStore` in the database of the objects."""

    def __init__(self, database: Database) -> None:
        self._files = database.raw["fs.files"]
        self._chunks = database.raw["fs.chunks"]
        self._bucket = AsyncGridFSBucket(database.raw, chunk_size_bytes=_CHUNK_BYTES)

    async def write(self, name: str, content: bytes, metadata: Mapping[str, Any]) -> None:
        """Store ``content`` under ``name``; when this fails, nothing is left of it."""
        with translated_errors():
            await self._bucket.upload_from_stream(name, content, metadata=dict(metadata))

    async def find(self, name: str) -> StoredFile | None:
        """The newest upload of this name."""
        with translated_errors():
            found = await self._files.find_one({"filename": name}, sort=[("uploadDate", -1)])
        if found is None:
            return None
        return StoredFile(
            name=name,
            length=int(found["length"]),
            metadata=found.get("metadata") or {},
            key=found["_id"],
            chunk_bytes=int(found["chunkSize"]),
        )

    async def read(self, file: StoredFile, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, not including, ``stop``, in pieces."""
        if stop <= start:
            return
        size = file.chunk_bytes
        first, last = start // size, (stop - 1) // size
        with translated_errors():
            chunks = self._chunks.find(
                {"files_id": file.key, "n": {"$gte": first, "$lte": last}}
            ).sort("n", 1)
            async for chunk in chunks:
                begin = chunk["n"] * size
                yield bytes(chunk["data"])[max(start - begin, 0) : stop - begin]

    async def delete(self, name: str) -> bool:
        """Delete every upload of this name; whether there was one."""
        with translated_errors():
            ids = [found["_id"] async for found in self._files.find({"filename": name}, {"_id": 1})]
            # The entries first: a file whose chunks are gone could be found, but not read.
            await self._files.delete_many({"_id": {"$in": ids}})
            await self._chunks.delete_many({"files_id": {"$in": ids}})
        return bool(ids)
