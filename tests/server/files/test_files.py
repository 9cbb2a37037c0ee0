"""Who may upload what, in front of a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from server.access.caller import ANONYMOUS, MAINTENANCE, MASTER, READ_ONLY_MASTER, Caller, Context
from server.errors import HttpError, ParseError
from server.files.files import Files, Upload
from server.settings import FileUpload, Settings
from server.storage.gridfs import StoredFile

ALICE = Caller(user={"objectId": "a"}, user_id="a")
GUEST = Caller(user={"objectId": "g", "authData": {"anonymous": {"id": "x"}}}, user_id="g")
SETTINGS = Settings(app_id="app", master_key="mk", max_upload_size=100)


class MemoryStore:
    """Files in a dict."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, Mapping[str, Any]]] = {}

    async def write(self, name: str, content: bytes, metadata: Mapping[str, Any]) -> None:
        self.files[name] = (content, metadata)

    async def find(self, name: str) -> StoredFile | None:
        if name not in self.files:
            return None
        content, metadata = self.files[name]
        return StoredFile(name, len(content), dict(metadata), name)

    async def read(self, file: StoredFile, start: int, stop: int) -> AsyncIterator[bytes]:
        yield self.files[file.name][0][start:stop]

    async def delete(self, name: str) -> bool:
        return self.files.pop(name, None) is not None


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def files(store: MemoryStore) -> Files:
    return Files(store, SETTINGS)


def _as(caller: Caller) -> Context:
    return Context(caller, "http://h/parse")


async def _refusal(files: Files, caller: Caller, upload: Upload) -> tuple[int, str]:
    with pytest.raises(ParseError) as refused:
        await files.save(_as(caller), upload)
    return refused.value.code, refused.value.message


async def test_saved_files_have_name_and_url(files: Files, store: MemoryStore) -> None:
    saved = await files.save(_as(ALICE), Upload("a.txt", b"hi", metadata={"m": "1"}))

    assert saved["url"] == "http://h/parse/files/app/" + saved["name"]
    assert store.files[saved["name"]] == (b"hi", {"m": "1"})


@pytest.mark.parametrize(
    ("caller", "who"),
    [(ANONYMOUS, "public"), (MAINTENANCE, "public"), (GUEST, "anonymous user")],
)
async def test_only_known_users_upload_by_default(files: Files, caller: Caller, who: str) -> None:
    refused = await _refusal(files, caller, Upload("a.txt", b"hi"))

    assert refused == (130, f"File upload by {who} is disabled.")


async def test_each_kind_of_caller_has_a_switch(store: MemoryStore) -> None:
    upload = FileUpload(
        enable_for_public=True,
        enable_for_anonymous_user=True,
        enable_for_authenticated_user=False,
    )
    files = Files(store, replace(SETTINGS, file_upload=upload))
    for caller in (ANONYMOUS, GUEST, MASTER):
        await files.save(_as(caller), Upload("a.txt", b"hi"))

    code, text = await _refusal(files, ALICE, Upload("a.txt", b"hi"))
    assert (code, text) == (130, "File upload by authenticated user is disabled.")


@pytest.mark.parametrize(
    ("name", "content_type", "extension"),
    [
        ("a.html", None, "html"),
        ("a.HTML", "text/plain", "HTML"),
        ("a.b.svg", None, "svg"),
        ("a.html ", None, "html"),
        ("noext", "text/html; charset=utf-8", "html"),
        ("noext", "image/svg+xml", "svg+xml"),
        ("noext.", "application/xhtml+xml", "xhtml+xml"),
    ],
)
async def test_pages_and_drawings_with_scripts_are_refused(
    files: Files, store: MemoryStore, name: str, content_type: str | None, extension: str
) -> None:
    refused = await _refusal(files, ALICE, Upload(name, b"<b>", content_type))

    assert refused == (130, f"File upload of extension {extension} is disabled.")
    assert not store.files
    await files.save(_as(MASTER), Upload(name, b"<b>", content_type))


async def test_a_malformed_content_type_is_refused(files: Files) -> None:
    refused = await _refusal(files, ALICE, Upload("noext", b"hi", "rubbish"))
    assert refused == (130, "Invalid Content-Type.")


async def test_empty_and_too_large_files_are_refused(files: Files) -> None:
    assert (await _refusal(files, ALICE, Upload("a.txt", b"")))[0] == 130
    code, text = await _refusal(files, ALICE, Upload("a.txt", b"x" * 101))
    assert (code, text) == (130, "File size exceeds maximum allowed: 100 bytes.")


async def test_directories_are_for_the_master_key(files: Files) -> None:
    upload = Upload("a.txt", b"hi", directory="scans/2026")

    assert (await _refusal(files, ALICE, upload))[0] == 119
    assert (await files.save(_as(MASTER), upload))["name"].startswith("scans/2026/")


@pytest.mark.parametrize("key", ["$x", "a.b"])
async def test_metadata_with_reserved_keys_is_refused(files: Files, key: str) -> None:
    assert (await _refusal(files, ALICE, Upload("a", b"hi", metadata={key: 1})))[0] == 121


async def test_the_read_only_key_neither_uploads_nor_deletes(files: Files) -> None:
    with pytest.raises(HttpError) as refused:
        await files.save(_as(READ_ONLY_MASTER), Upload("a.txt", b"hi"))
    assert refused.value.http_status == 403
    for caller in (READ_ONLY_MASTER, ALICE, MAINTENANCE):
        with pytest.raises(HttpError):
            await files.delete(_as(caller), "a.txt")


async def test_delete_tells_when_there_is_nothing(files: Files, store: MemoryStore) -> None:
    name = (await files.save(_as(ALICE), Upload("a.txt", b"hi")))["name"]
    await files.delete(_as(MASTER), name)

    assert not store.files
    for unknown in (name, "a\0b"):
        with pytest.raises(ParseError) as refused:
            await files.delete(_as(MASTER), unknown)
        assert (refused.value.code, refused.value.message) == (153, "FileNotFound")
