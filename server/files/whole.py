"""Files as cloud code handles them: all bytes at once."""

from __future__ import annotations

from server.access.caller import Context
from server.errors import Code, ParseError
from server.files.files import Files, Upload
from server.values import WireObject


class WholeFiles:
    """`Files` without streams."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def create(
        self, ctx: Context, name: str, data: bytes, content_type: str | None
    ) -> WireObject:
        """Store a file: ``{"name": ..., "url": ...}``."""
        return await self._files.save(ctx, Upload(name, data, content_type))

    async def read(self, ctx: Context, name: str) -> bytes:
        """All bytes of a file. Raises 153 when there is none."""
        file = await self._files.find(name)
        if file is None:
            raise ParseError(Code.FILE_DELETE_ERROR, "FileNotFound")
        chunks = [chunk async for chunk in self._files.read(file, 0, file.length)]
        return b"".join(chunks)
