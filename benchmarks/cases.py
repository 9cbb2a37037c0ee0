"""What is measured: the data each server is given through its API, and the requests on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.load import Line, Shot, http_request, query
from server.values import pointer

AUTHORS = 10
NOTES = 200
SECRETS = 100
_DATE = {"__type": "Date", "iso": "2026-01-02T03:04:05.678Z"}


@dataclass
class Data:
    """Ids of what was put into one server's database."""

    notes: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    counters: list[str] = field(default_factory=list)
    session: str = ""
    user_id: str = ""
    child_role: str = ""


async def seed(port: int) -> Data:
    """Fill an empty database: notes by authors, objects of a nested role, users."""
    line = await Line.open(port)
    data = Data()

    async def post(path: str, body: Any, **how: Any) -> Any:
        return json.loads(await line.must(http_request("POST", path, body, **how)))

    async def create_all(class_name: str, bodies: list[Any]) -> list[str]:
        ids: list[str] = []
        for at in range(0, len(bodies), 50):
            requests = [
                {"method": "POST", "path": f"/parse/classes/{class_name}", "body": body}
                for body in bodies[at : at + 50]
            ]
            answers = await post("/batch", {"requests": requests}, master=True)
            ids += [answer["success"]["objectId"] for answer in answers]
        return ids

    alice = await post("/users", {"username": "alice", "password": "secret"})
    data.session, data.user_id = alice["sessionToken"], alice["objectId"]
    public_read = {"*": {"read": True}}
    member = {"__op": "AddRelation", "objects": [pointer("_User", data.user_id)]}
    child = {"name": "Child", "ACL": public_read, "users": member}
    data.child_role = (await post("/roles", child, master=True))["objectId"]
    nested = {"__op": "AddRelation", "objects": [pointer("_Role", data.child_role)]}
    parent = {"name": "Parent", "ACL": public_read, "roles": nested}
    await post("/roles", parent, master=True)

    # One object first: a class made by fifty creations at once is not what is measured.
    for class_name in ("Author", "Note", "Secret", "Counter", "Created", "Hooked", "Feed"):
        await post(f"/classes/{class_name}", {"title": "first"}, master=True)
    authors = await create_all("Author", [{"name": f"author {i}"} for i in range(AUTHORS)])
    notes = [
        {
            "title": f"note number {i}",
            "text": "lorem ipsum dolor sit amet " * 3,
            "kind": "ab"[i % 2],
            "stars": i % 5,
            "done": i % 3 == 0,
            "when": _DATE,
            "author": pointer("Author", authors[i % AUTHORS]),
        }
        for i in range(NOTES)
    ]
    data.notes = await create_all("Note", notes)
    group, nobody = {"role:Parent": {"read": True}}, {"role:Nobody": {"read": True}}
    secrets = [
        {"title": f"secret {i}", "stars": i % 5, "ACL": group if i % 2 == 0 else nobody}
        for i in range(SECRETS)
    ]
    data.secrets = (await create_all("Secret", secrets))[::2]
    data.counters = await create_all("Counter", [{"n": 0} for _ in range(NOTES)])
    line.close()
    return data


@dataclass(frozen=True)
class Case:
    """``shots(data)``: the requests. ``bar``: how many times the peer's rate it must reach."""

    name: str
    shots: Callable[[Data], list[Shot]]
    bar: float = 2.0
    connections: int = 32


def _get(data: Data) -> list[Shot]:
    return [
        Shot(http_request("GET", f"/classes/Note/{note}"), f'"objectId":"{note}"'.encode())
        for note in data.notes
    ]


def _get_by_role(data: Data) -> list[Shot]:
    return [
        Shot(
            http_request("GET", f"/classes/Secret/{secret}", session=data.session),
            f'"objectId":"{secret}"'.encode(),
        )
        for secret in data.secrets
    ]


def _find(data: Data) -> list[Shot]:
    path = query("/classes/Note", where={"kind": "a"}, limit=100)
    return [Shot(http_request("GET", path), b'"createdAt"', times=100)]


def _find_including(data: Data) -> list[Shot]:
    path = query("/classes/Note", where={"kind": "b"}, limit=20, include="author")
    return [Shot(http_request("GET", path), b'"createdAt"', times=40)]


def _find_by_acl(data: Data) -> list[Shot]:
    path = query("/classes/Secret", limit=100)
    needle = b'"createdAt"'
    # One more: the first object of the class is public.
    shot = Shot(http_request("GET", path, session=data.session), needle, times=SECRETS // 2 + 1)
    return [shot]


def _count(data: Data) -> list[Shot]:
    path = query("/classes/Note", where={"kind": "a"}, limit=0, count=1)
    return [Shot(http_request("GET", path), b'"count":100')]


def _create(data: Data) -> list[Shot]:
    body = {"title": "a new one", "stars": 4, "when": _DATE, "tags": ["x", "y"]}
    return [Shot(http_request("POST", "/classes/Created", body), b'"objectId"', b"201")]


def _increment(data: Data) -> list[Shot]:
    body = {"n": {"__op": "Increment", "amount": 1}}
    return [
        Shot(http_request("PUT", f"/classes/Counter/{counter}", body), b'"n":')
        for counter in data.counters
    ]


def _batch(data: Data) -> list[Shot]:
    requests = [
        {"method": "POST", "path": "/parse/classes/Created", "body": {"title": "t", "stars": i}}
        for i in range(50)
    ]
    request = http_request("POST", "/batch", {"requests": requests})
    return [Shot(request, b'"success"', times=50)]


def _login(data: Data) -> list[Shot]:
    body = {"username": "alice", "password": "secret"}
    return [Shot(http_request("POST", "/login", body), b'"sessionToken"')]


def _function(data: Data) -> list[Shot]:
    request = http_request("POST", "/functions/hello", {"name": "world"})
    return [Shot(request, b'"result":"Hello world"')]


def _hook(data: Data) -> list[Shot]:
    request = http_request("POST", "/classes/Hooked", {"title": "Good News"})
    return [Shot(request, b'"slug":"good-news"', b"201")]


GET = Case("get", _get)
LOGIN = Case("login", _login, bar=1.0, connections=8)
CASES = (
    GET,
    Case("get, session and nested role", _get_by_role),
    Case("find 100", _find),
    Case("find 20 with include", _find_including),
    Case("find 51 of 101 by ACL", _find_by_acl),
    Case("count", _count, bar=1.5),
    Case("create", _create),
    Case("update, Increment", _increment),
    Case("batch of 50", _batch, connections=8),
    LOGIN,
    Case("function", _function),
    Case("create, before-save hook", _hook),
)
