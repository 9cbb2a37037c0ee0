"""``/files``: upload, download with ranges, metadata, deletion."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from server.errors import Code, ParseError, invalid_json
from server.files.files import Files, Upload
from server.files.names import content_type_of
from server.files.ranges import UnsatisfiableRange, read_range
from server.rest.call import Answer, Call, Route
from server.values import WireObject, loads

_PLAIN = "text/plain; charset=utf-8"
# SECURITY: a browser must not guess a page into what was uploaded as something else.
_NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}


class FileResource:
    """Files by name. Names with directories come as ``a/b/name``."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/files", self.nameless, takes_bytes=True),
            Route("POST", "/files/{name}", self.upload, takes_bytes=True),
            Route("DELETE", "/files/{name}", self.delete, takes_bytes=True),
            Route("DELETE", "/files/{name}/{*path}", self.delete, takes_bytes=True),
            # The first part is the app's id here; a router has one name for one place.
            Route("GET", "/files/{name}/metadata/{*path}", self.metadata, is_public=True),
            Route("GET", "/files/{name}/{*path}", self.download, is_public=True),
        ]

    async def nameless(self, call: Call) -> Answer:
        return await self.upload(call, "")

    async def upload(self, call: Call, name: str) -> Answer:
        """Bytes with their content type, or the JSON form of the JavaScript SDK."""
        upload = _from_bytes(name, call) if call.raw else _from_json(name, call)
        saved = await self._files.save(call.ctx, upload)
        return Answer(saved, status=201, headers={"Location": saved["url"]})

    async def download(self, call: Call, name: str, path: str) -> Answer:
        self._files.check_app(name)
        found = await self._files.find(path)
        if found is None:
            return Answer(b"File not found.", status=404, content_type=_PLAIN)
        headers = {**_NO_SNIFFING, "Accept-Ranges": "bytes"}
        try:
            part = read_range(call.ctx.headers.get("range"), found.length)
        except UnsatisfiableRange:
            headers["Content-Range"] = f"bytes */{found.length}"
            return Answer(b"", status=416, headers=headers, content_type=_PLAIN)
        start, stop = part or (0, found.length)
        headers["Content-Length"] = str(stop - start)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.length}"
        return Answer(
            self._files.read(found, start, stop),
            status=200 if part is None else 206,
            headers=headers,
            content_type=content_type_of(found.name),
        )

    async def metadata(self, call: Call, name: str, path: str) -> Answer:
        """``{"metadata": {...}}``; ``{}`` for files that are not there."""
        self._files.check_app(name)
        found = await self._files.find(path)
        return Answer({} if found is None else {"metadata": found.metadata})

    async def delete(self, call: Call, name: str, path: str = "") -> Answer:
        await self._files.delete(call.ctx, f"{name}/{path}" if path else name)
        return Answer(b"", content_type=_PLAIN)


def _from_json(name: str, call: Call) -> Upload:
    """``{"base64": ..., "_ContentType": ..., "fileData": {"metadata", "directory"}}``."""
    body = call.body if isinstance(call.body, dict) else {}
    content_type = body.get("_ContentType") or call.content_type
    upload = Upload(
        name,
        _decode(body.get("base64")),
        content_type if isinstance(content_type, str) else None,
    )
    data = body.get("fileData")
    if isinstance(data, dict):
        upload.metadata = _metadata(data.get("metadata"))
        upload.directory = data.get("directory")
    return upload


def _from_bytes(name: str, call: Call) -> Upload:
    headers = call.ctx.headers
    upload = Upload(name, call.raw, call.content_type or None)
    # The peer reads these headers of streamed uploads only.
    if headers.get("x-parse-upload-mode") == "stream":
        if text := headers.get("x-parse-file-metadata"):
            upload.metadata = _metadata(_parsed(text))
        upload.directory = headers.get("x-parse-file-directory")
    return upload


def _parsed(text: str) -> Any:
    try:
        return loads(text)
    except ValueError:
        raise invalid_json("Invalid JSON in X-Parse-File-Metadata header.") from None


def _metadata(value: Any) -> WireObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_json("File metadata must be an object.")
    return value


def _decode(text: Any) -> bytes:
    """Bytes of base64 text; a ``data:`` prefix, line breaks and missing padding are forgiven."""
    if not isinstance(text, str):
        raise ParseError(Code.FILE_SAVE_ERROR, "Invalid file upload.")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ParseError(Code.FILE_SAVE_ERROR, "Invalid file upload.") from None
