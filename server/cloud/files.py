"""Files as field values, and their upload."""

from __future__ import annotations

from server.cloud.backend import Files, running
from server.cloud.codec import decoders
from server.values import WireObject


class File:
    """A file: by its data before `save`, by its name and URL afterwards."""

    wire_type = "File"

    def __init__(self, name: str, data: bytes | None = None, content_type: str | None = None):
        self.name = name
        self.url: str | None = None
        self._data = data
        self._content_type = content_type

    async def save(self, *, use_master_key: bool = False, session_token: str | None = None) -> File:
        """Upload the data; afterwards ``name`` and ``url`` are those that the server gave."""
        if self._data is None:
            raise ValueError(f"The file {self.name!r} has no data to upload.")
        now = running()
        ctx = await now.acting(use_master_key, session_token)
        saved = await self._files().create(ctx, self.name, self._data, self._content_type)
        self.name, self.url = saved["name"], saved.get("url")
        return self

    async def data(self) -> bytes:
        """The file's bytes, read from the server unless they are at hand."""
        if self._data is None:
            self._data = await self._files().read(running().ctx, self.name)
        return self._data

    def to_wire(self, *, full: bool) -> WireObject:
        if self._data is not None and self.url is None:
            raise ValueError(f"Save the file {self.name!r} before an object refers to it.")
        value = {"__type": "File", "name": self.name}
        if self.url is not None:
            value["url"] = self.url
        return value

    @staticmethod
    def _files() -> Files:
        files = running().backend.files
        if files is None:
            raise RuntimeError("This server keeps no files.")
        return files

    def __repr__(self) -> str:
        return f"File({self.name!r})"


def _from_wire(value: WireObject) -> File:
    file = File(value["name"])
    file.url = value.get("url")
    return file


decoders["File"] = _from_wire
