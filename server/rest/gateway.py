"""The HTTP side of REST: an ASGI app that turns bytes into a `Call` and an `Answer` into bytes."""

from __future__ import annotations

import html
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from server.errors import (
    SANITIZED,
    Code,
    HttpError,
    ParseError,
    invalid_json,
)
from server.rest.call import Answer, Call, Route
from server.rest.cors import Cors
from server.rest.identify import Identifier, cloud_context, is_in_ranges, make_context
from server.rest.inflate import inflated
from server.rest.router import Router
from server.settings import Settings
from server.values import dumps, loads

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON = b"application/json; charset=utf-8"


class Gateway:
    """Serves one app's routes below its mount path."""

    def __init__(self, settings: Settings, router: Router, identifier: Identifier) -> None:
        self._settings = settings
        self._router = router
        self._identifier = identifier
        self._mount = settings.mount_path.rstrip("/")
        self._cors = Cors(settings.allow_origin, settings.allow_headers)
        self._sanitize = settings.enable_sanitized_error_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        cors = self._cors.headers(headers.get("origin"))
        if scope["method"] == "OPTIONS":
            answer = Answer(b"OK", content_type="text/plain; charset=utf-8")
        else:
            answer = await self._answer(scope, headers, receive)
        await _send(answer, cors, send, has_body=scope["method"] != "HEAD")

    async def _answer(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Answer:
        try:
            return await self._serve(scope, headers, receive)
        except ParseError as error:
            body = error.body(sanitize=self._sanitize)
            if body["error"] == SANITIZED and error.message != SANITIZED:
                logger.info("Refused with %d: %s", error.code, error.message)
            return Answer(body, error.http_status)
        except HttpError as error:
            return Answer(error.body(sanitize=self._sanitize), error.http_status)
        except RecursionError:
            return Answer(
                invalid_json("The request is nested too deeply.").body(sanitize=True), 400
            )
        except Exception:
            # A bug of ours: the log has it, the client learns nothing.
            logger.exception("Unexpected error")
            code = int(Code.INTERNAL_SERVER_ERROR)
            return Answer({"code": code, "error": "Internal server error."}, 500)

    async def _serve(self, scope: Scope, headers: dict[str, str], receive: Receive) -> Answer:
        path = _path_of(scope)
        # A HEAD is a GET whose body stays here.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if not f"{path}/".startswith(f"{self._mount}/"):
            return _not_found(method, path)
        route_path = path[len(self._mount) :] or "/"
        ip = self._ip(scope, headers)
        raw = await self._read(headers, receive)
        if "content-encoding" in headers:
            raw = inflated(raw, headers["content-encoding"], self._settings.max_upload_size)
        query = _query_of(scope)
        if "authorization" in headers and "x-parse-application-id" not in headers:
            self._identifier.read_basic(headers)
        found = self._router.match(method, route_path)
        body, context = self._read_body(headers, raw, found[0] if found else None)
        if method == "POST" and isinstance(body, dict) and isinstance(body.get("_method"), str):
            method = body.pop("_method").upper()
            found = self._router.match(method, route_path)
        if isinstance(body, dict) and not self._identifier.knows_app(headers):
            self._identifier.read_body_form(headers, body)
            # SECURITY: bytes with keys in them are never a file.
            raw = b""
        if found is None:
            return _not_found(method, path)
        route, parameters = found
        caller = await self._identifier.identify(
            headers, ip, route_path.lower(), is_public=route.is_public
        )
        ctx = make_context(
            caller, headers, ip, self._mount_url(scope, headers), cloud_context(headers, context)
        )
        call = Call(method, route_path, ctx, body, query, raw, headers.get("content-type", ""))
        return await route.handler(call, **parameters)

    # ---- reading ------------------------------------------------------------------------------

    async def _read(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The body. Raises 413 as soon as it is known to be too large."""
        limit = self._settings.max_upload_size
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise HttpError(413, "request entity too large")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _cut_off()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        chunks, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _cut_off()
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > limit:
                raise HttpError(413, "request entity too large")
        return b"".join(chunks)

    def _read_body(
        self, headers: dict[str, str], raw: bytes, route: Route | None
    ) -> tuple[Any, Any]:
        """The JSON body, and the cloud context given in it (SDK form)."""
        if not raw or headers.get("content-type", "").startswith("multipart/form-data"):
            return {}, None
        if route is not None and route.takes_bytes:
            # WIRE: file uploads are JSON only in the SDK's form, which has no app id header.
            if self._identifier.knows_app(headers):
                return {}, None
            try:
                body = loads(raw)
            except ValueError:
                return {}, None
        else:
            body = _parse(raw)
        if not isinstance(body, dict):
            if not isinstance(body, list):
                raise HttpError(400, "The body must be a JSON object or array.")
            return body, None
        return body, body.pop("_context", None)

    def _ip(self, scope: Scope, headers: Mapping[str, str]) -> str:
        client = scope.get("client")
        ip = client[0] if client else "127.0.0.1"
        proxies = self._settings.trust_proxy
        if proxies and "x-forwarded-for" in headers:
            hops = [hop.strip() for hop in headers["x-forwarded-for"].split(",")]
            # The last hop that is not one of ours is the client.
            while hops and is_in_ranges(ip, proxies):
                ip = hops.pop()
        return str(ip)

    def _mount_url(self, scope: Scope, headers: Mapping[str, str]) -> str:
        if self._settings.public_server_url:
            return self._settings.public_server_url.rstrip("/")
        scheme = scope.get("scheme", "http")
        return f"{scheme}://{headers.get('host', 'localhost')}{self._mount}"


def _path_of(scope: Scope) -> str:
    """The path as sent, percent-encoded: a slash inside an id must not split it."""
    raw: bytes | None = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else scope["path"]
    # WIRE: some SDKs put two slashes after the mount.
    return str(path.partition("?")[0]).replace("//", "/")


def _query_of(scope: Scope) -> dict[str, str]:
    text = scope.get("query_string")
    if not text:
        return {}
    try:
        return dict(parse_qsl(text.decode("latin-1"), keep_blank_values=True, errors="strict"))
    except ValueError:
        raise HttpError(400, "The query string is malformed.") from None


def _parse(raw: bytes) -> Any:
    try:
        return loads(raw)
    except ValueError as error:
        raise HttpError(400, f"The body is not valid JSON: {error}") from None


def _cut_off() -> HttpError:
    """Nobody waits for the answer, but half a body must not become an object or a file."""
    return HttpError(400, "The request ended before its body.")


def _not_found(method: str, path: str) -> Answer:
    # WIRE: unknown routes answer a page, as Express does, not JSON.
    line = html.escape(f"Cannot {method} {path}")
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Error</title>\n'
        f"</head>\n<body>\n<pre>{line}</pre>\n</body>\n</html>\n"
    )
    return Answer(
        page.encode(),
        404,
        {"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"},
        "text/html; charset=utf-8",
    )


async def _send(
    answer: Answer, cors: list[tuple[bytes, bytes]], send: Send, *, has_body: bool
) -> None:
    body = answer.body
    if answer.content_type is None:
        body = dumps(body) if body is not None else b""
        content_type = _JSON
    else:
        content_type = answer.content_type.encode("latin-1")
    headers = [*cors, (b"content-type", content_type)]
    for name, value in answer.headers.items():
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1", "replace")))
    if isinstance(body, bytes):
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body if has_body else b""})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if not has_body:
        await send({"type": "http.response.body", "body": b""})
        return
    async for chunk in body:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
