"""Where files are kept: the seam between what clients may do and what holds the bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from server.storage.gridfs import StoredFile


class FileStore(Protocol):
    """Files by name. Names are made by `server.files.names` and checked there."""

    async def write(self, name: str, content: bytes, metadata: Mapping[str, Any]) -> None:
        """Store a file; when this fails, nothing is left of it."""

    async def find(self, name: str) -> StoredFile | None:
        """A stored file, without its bytes."""

    def read(self, file: StoredFile, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, not including, ``stop``, in pieces."""

    async def delete(self, name: str) -> bool:
        """Delete a file; whether there was one."""
