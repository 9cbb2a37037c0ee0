"""Names of files: which are allowed, how they are stored, their URLs and content types."""

from __future__ import annotations

import mimetypes
import re
import secrets

from server.errors import Code, ParseError

MAX_NAME = 128
MAX_DIRECTORY = 256
OCTETS = "application/octet-stream"
_NAME = re.compile(r"[_a-zA-Z0-9][a-zA-Z0-9@. ~_-]*\Z")
_DIRECTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-/]*\Z")
# The path of the route that answers a file's metadata.
_RESERVED = "metadata"

# Only the table that comes with Python: what the machine has in /etc must not change answers.
_TYPES = mimetypes.MimeTypes(filenames=())
for _type, _extension in (
    ("application/javascript", ".js"),
    ("application/x-zip-compressed", ".zip"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ".xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", ".pptx"),
    ("application/vnd.android.package-archive", ".apk"),
    ("application/xml", ".xml"),
    ("application/gzip", ".gz"),
    ("application/zip", ".zip"),
    ("audio/mp4", ".m4a"),
    ("audio/ogg", ".ogg"),
    ("audio/wav", ".wav"),
    ("font/woff", ".woff"),
    ("font/woff2", ".woff2"),
    ("image/avif", ".avif"),
    ("image/heic", ".heic"),
    ("image/heif", ".heif"),
    ("image/webp", ".webp"),
    ("text/javascript", ".js"),
    ("text/markdown", ".md"),
    ("text/yaml", ".yaml"),
):
    _TYPES.add_type(_type, _extension)
# Where a type has several extensions, the one that the peer takes.
_CUSTOMARY = {
    "image/jpeg": "jpg",
    "image/tiff": "tif",
    "audio/mpeg": "mpga",
    "text/plain": "txt",
    "video/quicktime": "qt",
    OCTETS: "bin",
}
_TEXTUAL = frozenset(("application/json", "application/javascript"))


def _invalid(message: str) -> ParseError:
    return ParseError(Code.INVALID_FILE_NAME, message)


def check_name(name: str) -> None:
    """Raises 122 for a name that a client may not give."""
    if not name:
        raise _invalid("Filename not provided.")
    if len(name) > MAX_NAME:
        raise _invalid("Filename too long.")
    if not _NAME.match(name):
        raise _invalid("Filename contains invalid characters.")


def check_directory(directory: object) -> str:
    """The directory, such as ``scans/2026``. Raises 122 for one that is not allowed."""
    if not isinstance(directory, str):
        raise _invalid("Directory must be a string.")
    if not directory:
        raise _invalid("Directory must not be empty.")
    if len(directory) > MAX_DIRECTORY:
        raise _invalid("Directory path is too long.")
    if ".." in directory:
        raise _invalid('Directory must not contain "..".')
    if directory.startswith("/") or directory.endswith("/"):
        raise _invalid('Directory must not start or end with "/".')
    if "//" in directory:
        raise _invalid("Directory must not contain consecutive slashes.")
    if not _DIRECTORY.match(directory):
        raise _invalid("Directory contains invalid characters.")
    if directory.partition("/")[0] == _RESERVED:
        raise _invalid('Directory must not start with reserved segment "metadata".')
    return directory


def extension_of(name: str) -> str:
    """What follows the last dot of the name; ``""`` when nothing does."""
    return name.rpartition(".")[2].strip() if "." in name else ""


def subtype_of(content_type: str) -> str:
    """``svg+xml`` of ``image/svg+xml; charset=utf-8``. Raises 130 for what is no type."""
    kind, _, subtype = content_type.partition(";")[0].strip().partition("/")
    if not kind or not subtype or "/" in subtype:
        raise ParseError(Code.FILE_SAVE_ERROR, "Invalid Content-Type.")
    return subtype.strip()


def extension_for(content_type: str) -> str | None:
    """The extension that goes with a content type, without dot; ``None`` when unknown."""
    plain = content_type.partition(";")[0].strip().lower()
    if plain in _CUSTOMARY:
        return _CUSTOMARY[plain]
    found = _TYPES.guess_extension(plain)
    return found[1:] if found else None


def content_type_of(name: str) -> str:
    """The ``Content-Type`` a file is served with, from its extension."""
    found = _TYPES.types_map[True].get("." + extension_of(name).lower(), OCTETS)
    is_text = found.startswith("text/") or found in _TEXTUAL
    return f"{found}; charset=utf-8" if is_text else found


def with_extension(name: str, content_type: str | None) -> str:
    """The name, completed with the type's extension when it has none."""
    if extension_of(name) or not content_type:
        return name
    extension = extension_for(content_type)
    return name + ("" if name.endswith(".") else ".") + extension if extension else name


def stored_name(name: str, *, directory: str | None = None, preserve: bool = False) -> str:
    """``[directory/]<32 hex digits>_name``. SECURITY: who does not know it cannot guess it."""
    stored = name if preserve else f"{secrets.token_hex(16)}_{name}"
    return f"{directory}/{stored}" if directory else stored
