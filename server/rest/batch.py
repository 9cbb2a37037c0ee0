"""``/batch``: many requests in one, side by side or as one transaction."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from server.errors import Code, HttpError, ParseError, invalid_json
from server.rest.call import Answer, Call, Route
from server.rest.router import Router
from server.settings import Settings
from server.storage.mongo import Database, Session

logger = logging.getLogger(__name__)

_PATH = "/batch"
# More at once would not be quicker, and would keep everybody else's requests waiting.
_AT_ONCE = 50


class BatchResource:
    """Sub-requests share the caller; their status and ``Location`` are not told."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._sanitize = settings.enable_sanitized_error_response
        self._mounts = tuple(
            dict.fromkeys(
                urlsplit(url).path.rstrip("/")
                for url in (settings.mount_path, settings.server_url, settings.public_server_url)
                if url
            )
        )
        self._router = Router(())

    def serve(self, router: Router) -> None:
        """Use this table; wiring calls it once the table, this route included, is made."""
        self._router = router

    def routes(self) -> list[Route]:
        return [Route("POST", _PATH, self.batch)]

    async def batch(self, call: Call) -> Answer:
        body = call.body if isinstance(call.body, dict) else {}
        requests = body.get("requests")
        if not isinstance(requests, list):
            raise invalid_json("requests must be an array")
        calls = [self._sub_call(call, request) for request in requests]
        if body.get("transaction") is True:
            return Answer(await self._in_transaction(calls))
        return Answer(await self._side_by_side(calls))

    def _sub_call(self, call: Call, request: Any) -> tuple[Call, Route, dict[str, str]]:
        path = request.get("path") if isinstance(request, dict) else None
        if not isinstance(path, str):
            raise invalid_json("batch request path must be a string")
        method = str(request.get("method", "GET")).upper()
        body = request.get("body")
        route_path, query = self._below_mount(path)
        if method == "POST" and isinstance(body, dict) and isinstance(body.get("_method"), str):
            method = body["_method"].upper()
            body = {key: value for key, value in body.items() if key != "_method"}
        found = self._router.match(method, route_path)
        if found is None or found[0].takes_bytes:
            raise invalid_json(f"cannot route {method} {route_path}")
        # SECURITY: the route is asked, not the path, of which there are many spellings.
        if found[0].path == _PATH:
            raise invalid_json("nested batch requests are not allowed")
        sub_call = Call(
            method,
            route_path,
            replace(call.ctx, cloud=dict(call.ctx.cloud)),
            {} if body is None else body,
            dict(parse_qsl(query)),
        )
        return sub_call, *found

    def _below_mount(self, url: str) -> tuple[str, str]:
        """The path without the mount, and the query string. Raises 107."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise invalid_json("batch request path is malformed") from None
        for mount in self._mounts:
            if parts.path.startswith(mount + "/"):
                return parts.path[len(mount) :], parts.query
        raise invalid_json(f"cannot route batch path {url}")

    async def _side_by_side(
        self, calls: list[tuple[Call, Route, dict[str, str]]]
    ) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = [{}] * len(calls)
        waiting = iter(enumerate(calls))

        async def work() -> None:
            for index, item in waiting:
                results[index] = await self._run(*item)

        await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(calls)))))
        return results

    async def _run(self, call: Call, route: Route, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            return _success(await route.handler(call, **parameters))
        except ParseError as error:
            return {"error": error.body(sanitize=self._sanitize)}
        except HttpError as error:
            body = error.body(sanitize=self._sanitize)
            return {"error": {"code": int(Code.OPERATION_FORBIDDEN), **body}}
        except RecursionError:
            return {"error": invalid_json("The request is nested too deeply.").body(sanitize=True)}
        except Exception:
            logger.exception("Unexpected error in a batch")
            code = int(Code.INTERNAL_SERVER_ERROR)
            return {"error": {"code": code, "error": "Internal server error."}}

    async def _in_transaction(
        self, calls: list[tuple[Call, Route, dict[str, str]]]
    ) -> list[dict[str, Any]]:
        """All or nothing. The first failure is the answer."""

        async def run(session: Session) -> list[dict[str, Any]]:
            results = []
            for call, route, parameters in calls:
                ctx = replace(call.ctx, session=session)
                sub_call = replace(call, ctx=ctx, body=_copied(call.body))
                answer = await route.handler(sub_call, **parameters)
                results.append(_success(answer))
            return results

        return await self._database.run_transaction(run)


def _success(answer: Answer) -> dict[str, Any]:
    """One result. Raises 107 for an answer that is no JSON, such as a file."""
    if answer.content_type is not None:
        raise invalid_json("This request cannot be part of a batch.")
    return {"success": answer.body}


def _copied(body: Any) -> Any:
    return dict(body) if isinstance(body, dict) else body
