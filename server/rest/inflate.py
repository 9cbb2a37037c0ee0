"""Compressed request bodies (``Content-Encoding``), as mobile HTTP libraries may send them."""

from __future__ import annotations

import zlib

from server.errors import HttpError

# zlib's window bits: 31 reads a gzip header, 15 a zlib one.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def inflated(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """The plain body.

    Raises:
        HttpError: 415 an encoding we do not read, 413 more than the limit comes out, 400 the
            bytes are not what the header says.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _WINDOWS:
        raise HttpError(415, f'unsupported content encoding "{name[:40]}"')
    stream = zlib.decompressobj(_WINDOWS[name])
    try:
        # SECURITY: a few bytes may stand for gigabytes; no more than the limit is unpacked.
        plain = stream.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise HttpError(400, "The body cannot be decompressed.") from None
    if len(plain) > limit_bytes:
        raise HttpError(413, "request entity too large")
    if not stream.eof:
        raise HttpError(400, "The body cannot be decompressed.")
    return plain
