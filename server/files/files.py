"""Uploading, finding and deleting files on behalf of callers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.access.caller import Caller, Context
from server.errors import Code, ParseError, master_key_required
from server.files import names
from server.files.store import FileStore
from server.settings import FileUpload, Settings
from server.storage.documents import encode_nested
from server.storage.gridfs import StoredFile
from server.values import WireObject, file_url


@dataclass(slots=True)
class Upload:
    """A file to be stored. ``name`` is the client's; the stored one begins with random digits.

    ``metadata``: a JSON object kept with the file. ``directory``: for the master key only.
    """

    name: str
    content: bytes
    content_type: str | None = None
    metadata: WireObject = field(default_factory=dict)
    directory: Any = None


class Files:
    """The rules of files in front of a store."""

    def __init__(self, store: FileStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def url(self, ctx: Context, name: str) -> str:
        """The public URL of a stored file."""
        return file_url(ctx.mount_url, self._settings.app_id, name)

    async def save(self, ctx: Context, upload: Upload) -> WireObject:
        """Store an upload.

        Returns:
            ``{"name": str, "url": str}``; the name is what a File value refers to.
        Raises:
            ParseError: 130 (the caller or the kind of file is not let in, or it is empty),
                122 (name, directory), 119 (a directory without the master key), 121 (metadata).
        """
        caller = ctx.caller
        if caller.is_read_only:
            raise master_key_required()
        _check_caller(self._settings.file_upload, caller)
        names.check_name(upload.name)
        if not caller.is_master:
            _check_kind(self._settings.file_upload, upload.name, upload.content_type)
        directory = None
        if upload.directory is not None:
            if not caller.is_master:
                raise ParseError(
                    Code.OPERATION_FORBIDDEN, "Directory can only be set using the Master Key."
                )
            directory = names.check_directory(upload.directory)
        if not upload.content:
            raise ParseError(Code.FILE_SAVE_ERROR, "Invalid file upload.")
        if len(upload.content) > self._settings.max_upload_size:
            most = self._settings.max_upload_size
            raise ParseError(
                Code.FILE_SAVE_ERROR, f"File size exceeds maximum allowed: {most} bytes."
            )
        name = names.stored_name(
            names.with_extension(upload.name, upload.content_type),
            directory=directory,
            preserve=self._settings.preserve_file_name,
        )
        await self._store.write(name, upload.content, encode_nested(upload.metadata))
        return {"url": self.url(ctx, name), "name": name}

    async def find(self, name: str) -> StoredFile | None:
        """A stored file by name; the name is all a reader needs to know."""
        return await self._store.find(name) if "\0" not in name else None

    def read(self, file: StoredFile, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, not including, ``stop``, in pieces."""
        return self._store.read(file, start, stop)

    async def delete(self, ctx: Context, name: str) -> None:
        """Delete a file. Raises 403 without the master key, 153 when there is none."""
        if not ctx.caller.is_master or ctx.caller.is_read_only:
            raise master_key_required()
        if "\0" in name or not await self._store.delete(name):
            raise ParseError(Code.FILE_DELETE_ERROR, "FileNotFound")

    def check_app(self, app_id: str) -> None:
        """Raises 403 for the id of another app."""
        if app_id != self._settings.app_id:
            raise _unknown_app()


def _unknown_app() -> Exception:
    error = master_key_required()
    error.detail = "Invalid application ID."
    return error


def _check_caller(allowed: FileUpload, caller: Caller) -> None:
    """Raises 130 for kinds of callers that may not upload."""
    if caller.is_master:
        return
    if caller.user_id is None:
        who, may = "public", allowed.enable_for_public
    elif _is_anonymous(caller.user):
        who, may = "anonymous user", allowed.enable_for_anonymous_user
    else:
        who, may = "authenticated user", allowed.enable_for_authenticated_user
    if not may:
        raise ParseError(Code.FILE_SAVE_ERROR, f"File upload by {who} is disabled.")


def _is_anonymous(user: Mapping[str, Any] | None) -> bool:
    auth_data = (user or {}).get("authData")
    return isinstance(auth_data, dict) and auth_data.get("anonymous") is not None


def _check_kind(allowed: FileUpload, name: str, content_type: str | None) -> None:
    """Raises 130 for kinds of files that may not be uploaded, by extension or content type.

    SECURITY: a page or a drawing with a script in it would run with the rights of this origin.
    """
    extension = names.extension_of(name)
    if not extension and content_type:
        extension = names.subtype_of(content_type)
    if not extension:
        return
    for pattern in allowed.file_extensions:
        if pattern == "*" or re.search(pattern, extension):
            return
    raise ParseError(Code.FILE_SAVE_ERROR, f"File upload of extension {extension} is disabled.")
