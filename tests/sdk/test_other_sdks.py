"""The ways of the other SDKs on the wire: what each sends for the same things, and what it needs.

The same table is held against Pestle and the peer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import Api
from tests.harness.processes import Server

PEER_KEYS = {"clientKey": "ck", "restAPIKey": "rk", "dotNetKey": "wk"}


class Some:
    """Matches any value."""

    def __eq__(self, other: object) -> bool:
        return other is not None

    def __repr__(self) -> str:
        return "SOME"


SOME = Some()


@dataclass(frozen=True)
class Exchange:
    """One request and what its answer must hold.

    Attributes:
        request: ``"POST /classes/Note"``; ``<name>`` anywhere stands for a remembered value.
        body: Text is sent as it is, ``None`` sends nothing.
        answer: Members that must be there; of a list, these of the items.
        remember: Name -> member of the answer.
        params: The URL's query.
    """

    request: str
    body: Any = None
    status: int = 200
    answer: Any = None
    remember: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Dialogue:
    headers: Mapping[str, str]
    exchanges: Sequence[Exchange]


E = Exchange
SESSION = {"X-Parse-Session-Token": "<token>"}
MASTER = {"X-Parse-Master-Key": "mk"}
USER = {"token": "sessionToken", "user": "objectId"}
NOTE = {"note": "objectId"}

ANDROID = Dialogue(
    {
        "X-Parse-Application-Id": "app",
        "X-Parse-Client-Key": "ck",
        "X-Parse-Installation-Id": "0d4d-android",
        "X-Parse-App-Build-Version": "7",
        "X-Parse-App-Display-Version": "1.0",
        "X-Parse-OS-Version": "14",
        "User-Agent": "Parse Android SDK API Level 34",
        "Content-Type": "application/json",
    },
    [
        E(
            "POST /users",
            {"username": "droid", "password": "p"},
            201,
            {"createdAt": SOME},
            USER,
            {"X-Parse-Revocable-Session": "1"},
        ),
        E("POST /login", {"_method": "GET", "username": "droid", "password": "p"}, remember=USER),
        E("GET /users/me", answer={"username": "droid"}, headers=SESSION),
        E("POST /classes/Note", {"title": "a", "n": 1}, 201, {"createdAt": SOME}, NOTE),
        E("PUT /classes/Note/<note>", {"n": {"__op": "Increment", "amount": 2}}, answer={"n": 3}),
        E(
            "POST /classes/Note",
            {"_method": "GET", "where": '{"title":"a"}', "limit": "10", "skip": "0", "count": "1"},
            answer={"count": 1, "results": [{"objectId": "<note>", "n": 3}]},
        ),
        E(
            "POST /classes/Note/<note>",
            {"_method": "GET", "include": "owner"},
            answer={"title": "a"},
        ),
        E(
            "POST /batch",
            {
                "requests": [
                    {"method": "PUT", "path": "/parse/classes/Note/<note>", "body": {"n": 9}},
                    {"method": "DELETE", "path": "/parse/classes/Note/absent", "body": {}},
                ]
            },
            answer=[{"success": {"updatedAt": SOME}}, {"error": {"code": 101, "error": SOME}}],
        ),
        E(
            "POST /files/a.txt",
            "raw text",
            201,
            {"name": SOME, "url": SOME},
            headers={**SESSION, "Content-Type": "text/plain"},
        ),
        E("POST /functions/absent", {}, 400, {"code": 141, "error": SOME}),
        E(
            "POST /upgradeToRevocableSession",
            {},
            remember={"token": "sessionToken"},
            headers=SESSION,
        ),
        E("GET /sessions/me", answer={"user": {"objectId": "<user>"}}, headers=SESSION),
        E("DELETE /classes/Note/<note>"),
        E("GET /classes/Note/<note>", status=404, answer={"code": 101}),
        E("POST /logout", {}, headers=SESSION),
        E("GET /users/me", status=400, answer={"code": 209}, headers=SESSION),
    ],
)

IOS = Dialogue(
    {
        "X-Parse-Application-Id": "app",
        "X-Parse-Client-Key": "ck",
        "X-Parse-Client-Version": "i5.1.1",
        "X-Parse-Installation-Id": "0d4d-ios",
        "X-Parse-App-Build-Version": "7",
        "X-Parse-OS-Version": "17.1 (21B80)",
        # One id for all requests of an app run.
        "X-Parse-Request-Id": "b7d4d7b2-6b3c-4f9d-9f43-1d3d3f3f1c11",
        "Content-Type": "application/json; charset=utf-8",
    },
    [
        E(
            "POST /users",
            {"authData": {"anonymous": {"id": "6f0e5f7e-ios"}}},
            201,
            {"username": SOME},
            USER,
        ),
        E(
            "PUT /users/<user>",
            {"username": "apple", "password": "p", "authData": {"anonymous": None}},
            headers=SESSION,
        ),
        E("POST /login", {"username": "apple", "password": "p", "_method": "GET"}, remember=USER),
        E("POST /classes/Pear", {"n": 1}, 201, remember=NOTE),
        E("POST /classes/Pear", {"n": 2}, 201),
        E(
            "POST /classes/Pear",
            {"_method": "GET", "where": {}, "limit": "1", "skip": "1", "count": "1", "order": "-n"},
            answer={"count": 2, "results": [{"n": 1}]},
        ),
        E(
            "POST /classes/Pear",
            {"_method": "GET", "limit": "0", "count": "1"},
            answer={"count": 2},
        ),
        E(
            "POST /classes/Pear/<note>",
            {"_method": "DELETE", "reason": "parameters"},
        ),
        E(
            "POST /batch",
            {
                "requests": [
                    {"method": "POST", "path": "/parse/classes/Pear", "body": {"n": 3}},
                    {"method": "POST", "path": "/parse/classes/Pear", "body": {"n": "x"}},
                ]
            },
            answer=[{"success": {"objectId": SOME}}, {"error": {"code": 111}}],
        ),
        E(
            "PUT /users/<user>",
            {"phone": "1"},
            answer={"updatedAt": SOME},
            headers=SESSION,
        ),
    ],
)

FLUTTER = Dialogue(
    {
        "X-Parse-Application-Id": "app",
        "X-Parse-Client-Key": "ck",
        "X-Parse-Installation-Id": "0d4d-flutter",
        "X-Parse-Cloud-Context": '{"from":"flutter"}',
        "user-agent": "Dart Parse SDK v9.0.0 (Android)",
        "Content-Type": "application/json",
    },
    [
        E("GET /health", answer={"status": "ok"}),
        E("POST /users", {"username": "dart", "password": "p"}, 201, remember=USER),
        E("POST /login", {"username": "dart", "password": "p"}, remember=USER),
        E("POST /classes/Bird", {"n": 1, "name": "blue one"}, 201, remember=NOTE),
        E(
            "GET /classes/Bird",
            answer={"count": 1, "results": [{"objectId": "<note>", "n": 1}]},
            params={
                "where": '{"name":"blue one","n":{"$gt":0}}',
                "limit": "5",
                "order": "-createdAt",
                "include": "owner",
                "keys": "n",
                "count": "1",
            },
        ),
        E("PUT /classes/_User/<user>", {"city": "x"}, answer={"updatedAt": SOME}, headers=SESSION),
        E("GET /users/me", answer={"city": "x"}, headers=SESSION),
        E(
            "POST /batch",
            {"requests": [{"method": "POST", "path": "/parse/classes/Bird", "body": {"n": 2}}]},
            answer=[{"success": {"objectId": SOME}}],
        ),
        E("DELETE /classes/Bird/<note>"),
        E("DELETE /users/<user>", headers=SESSION),
    ],
)

DOT_NET = Dialogue(
    {
        "X-Parse-Application-Id": "app",
        "X-Parse-Windows-Key": "wk",
        "X-Parse-Client-Version": "4.0.1",
        "X-Parse-Installation-Id": "0d4d-net",
        "X-Parse-Revocable-Session": "1",
        "Content-Type": "application/json; charset=utf-8",
    },
    [
        E("POST /classes/_User", {"username": "sharp", "password": "p"}, 201, remember=USER),
        E("POST /login", {"username": "sharp", "password": "p"}, answer={"objectId": "<user>"}),
        # 201 and 200 tell whether the user is new.
        E("POST /users", {"authData": {"anonymous": {"id": "net-1"}}}, 201, remember=USER),
        E(
            "POST /users",
            {"authData": {"anonymous": {"id": "net-1"}}},
            200,
            {"objectId": "<user>", "sessionToken": SOME},
        ),
        E(
            "POST /classes/Sharp",
            {"when": {"__type": "Date", "iso": "2024-01-02T03:04:05.006Z"}},
            201,
        ),
        E(
            "GET /classes/Sharp",
            answer={"results": [{"when": {"__type": "Date", "iso": "2024-01-02T03:04:05.006Z"}}]},
            params={"where": '{"when":{"$gt":{"__type":"Date","iso":"2023-01-01T00:00:00.000Z"}}}'},
        ),
    ],
)

PHP = Dialogue(
    {
        "X-Parse-Application-Id": "app",
        "X-Parse-REST-API-Key": "rk",
        "X-Parse-Client-Version": "php2.3.0",
        "Content-Type": "application/json",
    },
    [
        E("GET /health/", answer={"status": "ok"}),
        E(
            "GET /serverInfo/",
            answer={"features": SOME, "parseServerVersion": SOME},
            headers=MASTER,
        ),
        E("POST /users/", {"username": "elephant", "password": "p"}, 201, remember=USER),
        E("POST /login", {"username": "elephant", "password": "p"}, remember=USER),
        # An empty list of parameters, or of changes, comes as an object.
        E("POST /classes/Beast/", "{}", 201, {"objectId": SOME}, NOTE),
        E("PUT /classes/Beast/<note>", "{}", answer={"updatedAt": SOME}),
        E("PUT /classes/Beast/<note>/", {"legs": 4}, answer={"updatedAt": SOME}),
        E("GET /classes/Beast/", answer={"results": [{"legs": 4}]}, params={"where": "{}"}),
        E("GET /Classes/Beast", answer={"results": [{"legs": 4}]}),
        E("GET //classes/Beast", answer={"results": [{"legs": 4}]}),
        E("POST /functions/absent", "{}", 400, {"code": 141}),
        E(
            "POST /batch",
            {"requests": [{"method": "PUT", "path": "/parse/classes/Beast/<note>", "body": {}}]},
            answer=[{"success": {"updatedAt": SOME}}],
        ),
        E(
            "POST /schemas/Shed",
            '{"className":"Shed"}',
            answer={"className": "Shed"},
            headers=MASTER,
        ),
        E(
            "PUT /schemas/Shed",
            {"className": "Shed", "fields": {"size": {"type": "Number"}}},
            answer={"fields": {"size": {"type": "Number"}}},
            headers=MASTER,
        ),
        E("DELETE /purge/Shed", headers=MASTER),
        E("DELETE /schemas/Shed", headers=MASTER),
        E("POST /loginAs", {"userId": "<user>"}, answer={"sessionToken": SOME}, headers=MASTER),
        E("POST /logout", "{}", headers=SESSION),
    ],
)

DIALOGUES = {
    "android": ANDROID,
    "ios": IOS,
    "flutter": FLUTTER,
    "dotnet": DOT_NET,
    "php": PHP,
}


async def hold(dialogue: Dialogue, client: httpx.AsyncClient) -> None:
    """Send all requests of a dialogue in turn. Raises AssertionError naming the one refused."""
    known: dict[str, str] = {}

    def fill(value: Any) -> Any:
        text = json.dumps(value, default=repr)
        for name, told in known.items():
            text = text.replace(f"<{name}>", told)
        return json.loads(text)

    for exchange in dialogue.exchanges:
        method, path = fill(exchange.request).split(" ")
        url = str(client.base_url).rstrip("/") + path
        body = exchange.body
        content = body if body is None or isinstance(body, str) else json.dumps(fill(body))
        answer = await client.request(
            method,
            url,
            params=exchange.params,
            headers=fill({**dialogue.headers, **exchange.headers}),
            content=content,
        )
        told = f"{exchange.request}: {answer.status_code} {answer.text}"
        assert answer.status_code == exchange.status, told
        assert answer.headers["content-type"].startswith("application/json"), told
        got = answer.json()
        check(got, exchange.answer, known, told)
        for name, member in exchange.remember.items():
            known[name] = got[member]


def check(got: Any, wanted: Any, known: Mapping[str, str], told: str) -> None:
    """All that is wanted is there; there may be more."""
    if isinstance(wanted, dict):
        assert isinstance(got, dict), told
        for key, value in wanted.items():
            check(got.get(key), value, known, told)
    elif isinstance(wanted, list):
        assert isinstance(got, list) and len(got) == len(wanted), told
        for one, value in zip(got, wanted, strict=True):
            check(one, value, known, told)
    elif isinstance(wanted, str) and wanted[:1] == "<":
        assert got == known[wanted.strip("<>")], told
    elif wanted is not None:
        assert wanted == got, told


@pytest.mark.parametrize("name", DIALOGUES)
async def test_dialogue_with_pestle(make_api: MakeApi, settings: Settings, name: str) -> None:
    keys = {"client_key": "ck", "rest_api_key": "rk", "dot_net_key": "wk"}
    api = await make_api(replace(settings, **keys))
    await hold(DIALOGUES[name], api.client)


@pytest.mark.slow
async def test_dialogues_with_the_peer(
    peer: Callable[..., Server], connect: Callable[[Server], Api]
) -> None:
    client = connect(peer(**PEER_KEYS)).client
    for dialogue in DIALOGUES.values():
        await hold(dialogue, client)
