"""``kill -9`` of a worker and of mongod under load: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from server.storage.embedded import EmbeddedMongo
from tests.conftest import SERVE_OPTIONS
from tests.harness.api import Api, ok
from tests.harness.fleet import (
    Subscriber,
    api_per_worker,
    eventually,
    is_alive,
    launch_directory,
    mongod_of,
    running_directory,
    subscriber_per_worker,
    workers_of,
)
from tests.harness.processes import PATIENCE_S, Server, free_port

pytestmark = pytest.mark.slow

WRITERS = 4
# Within it every request has its answer, whatever happens to MongoDB.
LONGEST_WAIT_S = max(15.0, PATIENCE_S / 2)
SCHEMA = {
    "classes": [
        {"className": "Load", "fields": {"value": {"type": "String"}}},
        {"className": "Left", "fields": {"pair": {"type": "String"}}},
        {"className": "Right", "fields": {"pair": {"type": "String"}}},
        {"className": "Receipt", "fields": {"value": {"type": "String", "unique": True}}},
        {"className": "Total", "fields": {"n": {"type": "Number"}}},
    ]
}
CLOUD = """
import asyncio

from server import cloud

@cloud.define("count")
async def count(request):
    return await cloud.Query("Load").count()

@cloud.define("slow")
async def slow(request):
    await cloud.Object("Slow", n=1).save()
    await asyncio.sleep(2)
    return "done"

@cloud.before_save("Hooked")
async def before_save(request):
    request.object["count"] = await cloud.Query("Load").count()
"""


class Load:
    """Clients who write whatever happens, and remember what was answered.

    Each kind of write goes through connections of its own. A create that got no answer or an
    error is sent again by the receipts' writers, as a person would press the button again.
    """

    def __init__(self, server: Server, total_id: str) -> None:
        self.created: set[str] = set()
        self.pairs: set[str] = set()
        self.receipts: set[str] = set()
        self.refused_receipts: set[str] = set()
        self.incremented = 0
        self.sent_increments = 0
        self.totals: list[int] = []
        self.longest_s = 0.0
        self.answers = Counter[str]()
        self._url = server.url
        self._total_path = f"/classes/Total/{total_id}"
        self._is_going = True

    @property
    def acknowledged(self) -> list[int]:
        """Of each kind of write."""
        return [len(self.created), len(self.pairs), len(self.receipts), self.incremented]

    async def more(self, count: int) -> None:
        """Wait until so many more writes of each kind are acknowledged."""
        wanted = [known + count for known in self.acknowledged]

        async def reached() -> bool:
            return all(now >= aim for now, aim in zip(self.acknowledged, wanted, strict=True))

        await eventually(reached, f"{wanted} writes", seconds=2 * PATIENCE_S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for writer in range(WRITERS):
                for write in (self._create, self._pair, self._receipt, self._increment):
                    group.create_task(self._repeat(write, f"{writer}"))
            try:
                yield
            finally:
                self._is_going = False

    async def _repeat(self, write: Any, writer: str) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=2 * LONGEST_WAIT_S) as client:
            api = Api(client)
            number = 0
            while self._is_going:
                number += 1
                await write(api, f"{writer}-{number}")

    async def _create(self, api: Api, value: str) -> None:
        answer = await self._ask(api, "POST", "/classes/Load", {"value": value})
        if answer == 201:
            self.created.add(value)

    async def _receipt(self, api: Api, value: str) -> None:
        status = 0
        while status not in (201, 400) and self._is_going:
            status = await self._ask(api, "POST", "/classes/Receipt", {"value": value})
        if status == 201:
            self.receipts.add(value)
        elif status == 400:
            self.refused_receipts.add(value)

    async def _pair(self, api: Api, value: str) -> None:
        requests = [
            {"method": "POST", "path": f"/parse/classes/{name}", "body": {"pair": value}}
            for name in ("Left", "Right")
        ]
        body = {"requests": requests, "transaction": True}
        if await self._ask(api, "POST", "/batch", body) == 200:
            self.pairs.add(value)

    async def _increment(self, api: Api, value: str) -> None:
        body = {"n": {"__op": "Increment", "amount": 1}}
        self.sent_increments += 1
        if await self._ask(api, "PUT", self._total_path, body) == 200:
            self.incremented += 1

    async def _ask(self, api: Api, method: str, path: str, body: Any) -> int:
        """The status of a clear answer, 0 when the connection broke."""
        since = time.monotonic()
        try:
            answer = await api.request(method, path, body)
        except httpx.TransportError as error:
            assert not isinstance(error, httpx.TimeoutException), f"{path} hangs"
            self.answers["broken"] += 1
            await asyncio.sleep(0.05)
            return 0
        finally:
            self.longest_s = max(self.longest_s, time.monotonic() - since)
        reply = answer.json()
        if answer.status_code not in (200, 201):
            self.answers[f"{reply['code']} {reply['error']}"] += 1
            assert reply["code"] in (1, 137), answer.text
            if reply["code"] == 1:
                assert reply["error"] == "Database error", answer.text
            # A client that has been refused takes a breath.
            await asyncio.sleep(0.05)
        elif method == "PUT":
            self.totals.append(reply["n"])
        return answer.status_code


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
async def server(directory: Path) -> AsyncIterator[Server]:
    async with running_directory(directory, _make_app(directory)) as server:
        yield server


def _make_app(directory: Path) -> dict[str, Any]:
    """Write an app's files; the options to serve it with."""
    (directory / "schema.json").write_text(json.dumps(SCHEMA))
    (directory / "cloud").mkdir()
    (directory / "cloud" / "main.py").write_text(CLOUD)
    return {**SERVE_OPTIONS, "liveQuery": {"classNames": ["Load", "Total"]}}


@pytest.fixture
async def apis(server: Server) -> AsyncIterator[dict[int, Api]]:
    async with api_per_worker(server) as apis:
        yield apis


async def test_kill_a_worker_then_mongod_under_load(
    server: Server, apis: dict[int, Api], directory: Path
) -> None:
    first, survivor = apis
    total_id = await apis[survivor].create("Total", n=0)
    load = Load(server, total_id)
    async with (
        subscriber_per_worker(server, "Load") as at,
        subscriber_per_worker(server, "Total") as totals_at,
    ):
        async with load.running():
            await load.more(20)
            os.kill(first, signal.SIGKILL)
            await load.more(20)
            await at[first].is_subscribed.wait()
            os.kill(mongod_of(server), signal.SIGKILL)
            await load.more(20)

        stored = _stored(directory)
        assert set(stored["Load"].values()) == {1}
        assert load.created <= set(stored["Load"])
        assert set(stored["Receipt"].values()) == {1}
        assert load.receipts | load.refused_receipts <= set(stored["Receipt"])
        assert stored["Left"] == stored["Right"]
        assert set(stored["Left"].values()) == {1}
        assert load.pairs <= set(stored["Left"])
        total = (await apis[survivor].find("Total"))[0]["n"]
        assert load.incremented <= total <= load.sent_increments
        assert len(set(load.totals)) == len(load.totals), "an increment was answered twice"

        await _heard_exactly(at[survivor], "create", "value", stored["Load"])
        steps = Counter(range(1, total + 1))
        await _heard_exactly(totals_at[survivor], "update", "n", steps)
        assert at[survivor].subscriptions == 1
        assert at[first].subscriptions == 2
        assert max(at[first].heard("create", "value").values()) == 1

    assert load.longest_s < LONGEST_WAIT_S, load.answers
    assert "Traceback" not in server.output
    await _is_well(server)


async def test_every_kind_of_request_waits_for_a_killed_mongod(
    server: Server, apis: dict[int, Api]
) -> None:
    api, _ = apis.values()
    user = await api.sign_up("waiting", email="waiting@example.com")
    leaving = await api.log_in("waiting")
    master = api.as_master()
    note, doomed = await user.create("Note", n=1), await user.create("Note", n=1)
    upload: dict[str, Any] = {"content": b"x" * 300_000, "headers": {"Content-Type": "text/plain"}}
    file = ok(await user.request("POST", "/files/a.txt", **upload))["name"]
    role = ok(await master.post("/roles", {"name": "waiting", "ACL": {}}))["objectId"]
    member = {"users": {"__op": "AddRelation", "objects": [user.pointer()]}}
    creates = [{"method": "POST", "path": "/parse/classes/Note", "body": {"n": 2}}] * 3
    hook = {"functionName": "far", "url": "http://127.0.0.1:1/far"}
    credentials = {"username": "waiting", "password": "secret"}
    requests: list[tuple[Api, str, str, Any]] = [
        (user, "GET", f"/classes/Note/{note}", None),
        (user, "GET", "/classes/Note", None),
        (user, "PUT", f"/classes/Note/{note}", {"n": {"__op": "Increment", "amount": 1}}),
        (user, "DELETE", f"/classes/Note/{doomed}", None),
        (user, "POST", "/classes/Fresh", {"anything": 1}),
        (user, "POST", "/classes/Hooked", {}),
        (user, "POST", "/functions/count", {}),
        (user, "POST", "/batch", {"requests": creates}),
        (user, "POST", "/batch", {"requests": creates, "transaction": True}),
        (user, "GET", "/users/me", None),
        (user, "GET", "/sessions/me", None),
        (api, "POST", "/login", credentials),
        (api, "POST", "/users", {"username": "late", "password": "secret"}),
        (leaving, "POST", "/logout", {}),
        (master, "GET", "/schemas", None),
        (master, "PUT", "/schemas/Load", {"fields": {"more": {"type": "String"}}}),
        (master, "POST", "/schemas/New", {"className": "New"}),
        (master, "PUT", f"/roles/{role}", member),
        (master, "POST", "/hooks/functions", hook),
        (master, "GET", "/hooks/functions", None),
        (master, "DELETE", "/purge/Right", None),
        (api, "GET", f"/files/app/{file}", None),
        (user, "POST", "/files/b.txt", upload),
    ]
    async with httpx.AsyncClient(base_url=server.url, timeout=2 * LONGEST_WAIT_S) as client:

        async def ask(who: Api, method: str, path: str, body: Any) -> None:
            speaker = Api(client, headers=who.headers)
            since = time.monotonic()
            if body is upload:
                answer = await speaker.request(method, path, **upload)
            else:
                answer = await speaker.request(method, path, body)
            assert time.monotonic() - since < LONGEST_WAIT_S, path
            if answer.status_code not in (200, 201):
                # A commit whose answer is lost cannot be asked about again.
                assert path == "/batch", f"{path} {answer.text}"
                assert answer.json() == {"code": 1, "error": "Database error"}

        os.kill(mongod_of(server), signal.SIGKILL)
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(ask(*request))
    assert "Traceback" not in server.output


async def test_sigterm_under_load_then_a_killed_group_then_a_good_start(tmp_path: Path) -> None:
    options = _make_app(tmp_path)
    async with running_directory(tmp_path, options) as server:
        async with api_per_worker(server) as apis, api_per_worker(server) as others:
            load = Load(server, await next(iter(others.values())).create("Total", n=0))
            async with subscriber_per_worker(server, "Load") as at:
                async with load.running():
                    await load.more(10)
                    slow = [
                        asyncio.create_task(api.post("/functions/slow")) for api in apis.values()
                    ]
                    await eventually(lambda: _are_begun(others), "the slow calls")
                    assert await _end(server, lambda: os.kill(server.pid, signal.SIGTERM)) == 0
                for call in slow:
                    assert ok(await call)["result"] == "done"
                for subscriber in at.values():
                    assert subscriber.close_codes[0] == 1001

    async with running_directory(tmp_path, options) as server:
        stored = _stored(tmp_path)
        assert load.created <= set(stored["Load"])
        assert load.receipts <= set(stored["Receipt"])
        assert load.pairs <= set(stored["Left"])
        second = launch_directory(tmp_path, {**options, "port": free_port()})
        assert await asyncio.to_thread(second.wait) == 1
        assert f"is in use by process {server.pid}" in second.output
        second.stop()
        await _end(server, lambda: os.killpg(server.pid, signal.SIGKILL))

    async with running_directory(tmp_path, options) as server:
        assert _stored(tmp_path) == stored
        await _is_well(server)


async def _are_begun(apis: dict[int, Api]) -> bool:
    return len(await next(iter(apis.values())).find("Slow")) == len(apis)


async def _end(server: Server, end: Callable[[], None]) -> int:
    """The exit status of a server that is ended so; nothing of it is left."""
    everybody = [*workers_of(server), mongod_of(server)]
    end()
    status = await asyncio.to_thread(server.wait, LONGEST_WAIT_S)
    left = functools.partial(_are_gone, everybody)
    await eventually(left, f"the end of {everybody}")
    assert "Traceback" not in server.output, server.output
    return status


async def _are_gone(pids: list[int]) -> bool:
    return not any(is_alive(pid) for pid in pids)


async def _heard_exactly(
    subscriber: Subscriber, op: str, field: str, expected: Counter[Any]
) -> None:
    async def has_all() -> bool:
        return expected.keys() <= subscriber.heard(op, field).keys()

    await eventually(has_all, f"{len(expected)} events {op}")
    # What was told twice, or was never stored, shows in the difference.
    heard = subscriber.heard(op, field)
    assert heard == expected, heard - expected


async def _is_well(server: Server) -> None:
    """Two workers again, healthy, with right caches."""

    async def has_two_workers() -> bool:
        return len(workers_of(server)) == 2

    await eventually(has_two_workers, "two workers")
    async with api_per_worker(server) as apis:
        one, other = apis.values()
        for api in (one, other):

            async def healthy(api: Api = api) -> bool:
                return (await api.get("/health")).status_code == 200

            await eventually(healthy, "health")
        user = await one.sign_up(f"after-{server.pid}")
        signed_in = other.as_user(user.session_token)
        assert ok(await signed_in.get("/users/me"))["objectId"] == user.id
        ok(await user.post("/logout"))

        async def is_out() -> bool:
            return (await signed_in.get("/users/me")).status_code == 400

        await eventually(is_out, "the log-out")


def _stored(directory: Path) -> dict[str, Counter[str]]:
    """How often each value stands in each class."""
    columns = {"Load": "value", "Receipt": "value", "Left": "pair", "Right": "pair"}
    mongo = EmbeddedMongo(directory / ".pestle")
    with MongoClient[dict[str, Any]](mongo.uri) as client:
        database = client.get_default_database()
        return {
            name: Counter(row[column] for row in database[name].find())
            for name, column in columns.items()
        }
