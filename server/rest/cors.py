"""Cross-origin headers, on every answer, as browsers need them to talk to another origin."""

from __future__ import annotations

from collections.abc import Sequence

_ALLOW_HEADERS = (
    "X-Parse-Master-Key, X-Parse-REST-API-Key, X-Parse-Javascript-Key, X-Parse-Application-Id, "
    "X-Parse-Client-Version, X-Parse-Session-Token, X-Requested-With, X-Parse-Revocable-Session, "
    "X-Parse-Request-Id, Content-Type, Pragma, Cache-Control"
)
_EXPOSE_HEADERS = "X-Parse-Job-Status-Id, X-Parse-Push-Status-Id"


class Cors:
    """Made once from ``allowOrigin`` and ``allowHeaders``."""

    def __init__(self, origins: Sequence[str], allow_headers: Sequence[str]) -> None:
        self._origins = frozenset(origins)
        allowed = ", ".join((_ALLOW_HEADERS, *allow_headers))
        fixed = (
            ("access-control-allow-methods", "GET,PUT,POST,DELETE,OPTIONS"),
            ("access-control-allow-headers", allowed),
            ("access-control-expose-headers", _EXPOSE_HEADERS),
        )
        self._fixed = [(name.encode(), value.encode("latin-1")) for name, value in fixed]
        first = origins[0] if origins else "*"
        self._usual = [(b"access-control-allow-origin", first.encode("latin-1")), *self._fixed]

    def headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """The headers for a request from ``origin``; one not listed gets the first listed one."""
        if origin is None or origin not in self._origins:
            return self._usual
        return [(b"access-control-allow-origin", origin.encode("latin-1")), *self._fixed]
