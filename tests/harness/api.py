"""An HTTP client that speaks as somebody, for tests of the REST surface."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from server.values import dumps

APP_ID = "app"
MASTER_KEY = "mk"


class Api:
    """Requests of one caller. ``id`` and ``session_token`` are those of its user, if any."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        app_id: str = APP_ID,
        master_key: str = MASTER_KEY,
        headers: Mapping[str, str] | None = None,
        user_id: str = "",
        session_token: str = "",
    ) -> None:
        self.client = client
        self.id = user_id
        self.session_token = session_token
        self._app_id = app_id
        self._master_key = master_key
        self._headers = {"X-Parse-Application-Id": app_id, **(headers or {})}

    @property
    def headers(self) -> dict[str, str]:
        """What says who speaks, for another client."""
        return dict(self._headers)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | str | None = None,
    ) -> httpx.Response:
        """``path`` starts with ``/`` below the mount. ``params`` that are no text go as JSON."""
        sent = {**self._headers, **(headers or {})}
        if content is None and body is not None:
            content = dumps(body)
            sent.setdefault("Content-Type", "application/json")
        query = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in (params or {}).items()
        }
        return await self.client.request(
            method, path, params=query or None, headers=sent, content=content
        )

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> httpx.Response:
        return await self.request("GET", path, params=params)

    async def post(self, path: str, body: Any = None, **how: Any) -> httpx.Response:
        return await self.request("POST", path, {} if body is None else body, **how)

    async def put(self, path: str, body: Any = None, **how: Any) -> httpx.Response:
        return await self.request("PUT", path, {} if body is None else body, **how)

    async def delete(self, path: str, **how: Any) -> httpx.Response:
        return await self.request("DELETE", path, **how)

    async def find(self, class_name: str, where: Any = None, **params: Any) -> list[dict[str, Any]]:
        """The results of a find that must succeed."""
        if where is not None:
            params["where"] = where
        return list(ok(await self.get(f"/classes/{class_name}", params))["results"])

    async def create(self, class_name: str, **fields: Any) -> str:
        """The id of a new object that must be made."""
        return str(ok(await self.post(f"/classes/{class_name}", fields))["objectId"])

    async def sign_up(self, name: str, password: str = "secret", **fields: Any) -> Api:
        """A new user, who now speaks."""
        body = {"username": name, "password": password, **fields}
        return self._as(ok(await self.anonymous().post("/users", body)))

    async def log_in(self, name: str, password: str = "secret") -> Api:
        body = {"username": name, "password": password}
        return self._as(ok(await self.anonymous().post("/login", body)))

    def anonymous(self) -> Api:
        return self._with({})

    def as_user(self, session_token: str, user_id: str = "") -> Api:
        headers = {"X-Parse-Session-Token": session_token}
        return self._with(headers, user_id=user_id, session_token=session_token)

    def as_master(self) -> Api:
        return self._with({"X-Parse-Master-Key": self._master_key})

    def with_headers(self, headers: Mapping[str, str]) -> Api:
        """The same caller with more headers."""
        return self._with(
            {**self._headers, **headers}, user_id=self.id, session_token=self.session_token
        )

    def pointer(self) -> dict[str, str]:
        """A pointer to this caller's user."""
        return {"__type": "Pointer", "className": "_User", "objectId": self.id}

    def _as(self, user: Mapping[str, Any]) -> Api:
        return self.as_user(user["sessionToken"], user["objectId"])

    def _with(self, headers: Mapping[str, str], **who: str) -> Api:
        return Api(
            self.client,
            app_id=self._app_id,
            master_key=self._master_key,
            headers=headers,
            user_id=who.get("user_id", ""),
            session_token=who.get("session_token", ""),
        )


def ok(answer: httpx.Response) -> Any:
    """The JSON body of an answer that must be a success."""
    assert answer.status_code in (200, 201), f"{answer.status_code} {answer.text}"
    return answer.json()


def assert_parse_error(
    answer: httpx.Response, code: int | None, status: int | None = None, text: str | None = None
) -> None:
    """An answer with Parse's error body. ``code`` ``None``: one without a code."""
    body = answer.json()
    assert body.get("code") == code, f"{answer.status_code} {answer.text}"
    expected = status or (403 if code is None else {101: 404, 1: 500}.get(code, 400))
    assert answer.status_code == expected, f"{answer.status_code} {answer.text}"
    assert "error" in body, answer.text
    if text is not None:
        assert body["error"] == text, answer.text
