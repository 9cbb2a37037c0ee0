"""A server's processes, one by one: who they are, HTTP to a chosen worker, LiveQuery clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from benchmarks.usage import process_of_connection
from tests.harness.api import APP_ID, Api
from tests.harness.processes import PATIENCE_S, Server, free_port

T = TypeVar("T")


async def eventually(
    ask: Callable[[], Awaitable[T]], what: str, *, seconds: float = PATIENCE_S
) -> T:
    """The first true value that ``ask`` gives. Raises AssertionError, naming ``what``."""
    limit = time.monotonic() + seconds
    while True:
        value = await ask()
        if value:
            return value
        assert time.monotonic() < limit, f"{what} did not happen within {seconds:.0f} s"
        await asyncio.sleep(0.02)


# ---- processes ------------------------------------------------------------------------------


def workers_of(server: Server) -> list[int]:
    """The process ids of a server's workers, without its mongod."""
    return [pid for pid in _children(server.pid) if _name(pid) not in ("mongod", "")]


def mongod_of(server: Server) -> int:
    """The process id of a server's embedded mongod."""
    return next(pid for pid in _children(server.pid) if _name(pid) == "mongod")


def is_alive(pid: int) -> bool:
    return _name(pid) != ""


def _children(pid: int) -> list[int]:
    """The children of all threads: mongod is started again by its keeper's."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += map(int, (thread / "children").read_text().split())
    return found


def _name(pid: int) -> str:
    """What runs there; nothing for a process that has ended."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return ""
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


# ---- HTTP -----------------------------------------------------------------------------------


async def all_workers(server: Server, count: int = 2) -> set[int]:
    """The process ids of its workers, once there are as many as there shall be."""

    async def there() -> set[int]:
        found = set(workers_of(server))
        return found if len(found) == count else set()

    return await eventually(there, f"{count} workers")


@asynccontextmanager
async def api_per_worker(server: Server) -> AsyncIterator[dict[int, Api]]:
    """By process id: a client whose one kept connection ends in that worker."""
    wanted = await all_workers(server)
    found: dict[int, Api] = {}
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
            client = httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits)
            stack.push_async_callback(client.aclose)
            answer = await client.get("/health")
            port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            worker = process_of_connection(server.port, port, wanted)
            if worker is not None:
                found.setdefault(worker, Api(client))
            if len(found) == len(wanted):
                break
        else:
            raise AssertionError(f"only {sorted(found)} of {sorted(wanted)} take connections")
        yield found


# ---- LiveQuery ------------------------------------------------------------------------------


class Subscriber:
    """A LiveQuery client that behaves as the SDK's: it connects again and subscribes anew."""

    def __init__(
        self,
        url: str,
        class_name: str,
        where: Mapping[str, Any] | None = None,
        *,
        session_token: str | None = None,
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.close_codes: list[int | None] = []
        self.subscriptions = 0
        self.local_port = 0
        self.is_subscribed = asyncio.Event()
        self._url = url.replace("http", "ws", 1)
        self._connect = {"op": "connect", "applicationId": APP_ID}
        if session_token is not None:
            self._connect["sessionToken"] = session_token
        query = {"className": class_name, "where": where or {}}
        self._subscribe = {"op": "subscribe", "requestId": 1, "query": query}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns once it is subscribed; it listens from then on."""
        self._task = asyncio.create_task(self._run())
        async with asyncio.timeout(PATIENCE_S):
            await self.is_subscribed.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def heard(self, op: str, field: str = "objectId") -> Counter[Any]:
        """How often an event of this name told of which object, or of which value of a field."""
        return Counter(event["object"].get(field) for event in self.events if event["op"] == op)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with connect(self._url, open_timeout=5) as socket:
                    self.local_port = socket.local_address[1]
                    await self._talk(socket)
            self.is_subscribed.clear()
            await asyncio.sleep(random.uniform(0.05, 0.2))

    async def _talk(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps(self._connect))
        try:
            async for text in socket:
                frame = json.loads(text)
                if frame["op"] == "connected":
                    await socket.send(json.dumps(self._subscribe))
                elif frame["op"] == "subscribed":
                    self.subscriptions += 1
                    self.is_subscribed.set()
                else:
                    self.events.append(frame)
        except ConnectionClosed:
            pass
        self.close_codes.append(socket.close_code)


@asynccontextmanager
async def subscriber_per_worker(
    server: Server, class_name: str, where: Mapping[str, Any] | None = None
) -> AsyncIterator[dict[int, Subscriber]]:
    """By process id: one LiveQuery client at each worker."""
    wanted = await all_workers(server)
    found: dict[int, Subscriber] = {}
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            one = Subscriber(server.url, class_name, where)
            stack.push_async_callback(one.stop)
            await one.start()
            worker = process_of_connection(server.port, one.local_port, wanted)
            if worker is None or worker in found:
                await one.stop()
            else:
                found[worker] = one
            if len(found) == len(wanted):
                break
        else:
            raise AssertionError(f"only {sorted(found)} of {sorted(wanted)} take connections")
        yield found


# ---- apps in a directory --------------------------------------------------------------------


@asynccontextmanager
async def running_directory(
    directory: Path, options: Mapping[str, Any], *arguments: str
) -> AsyncIterator[Server]:
    """``pestle serve`` with two workers on the app in ``directory``, with its own MongoDB."""
    server = launch_directory(directory, options, *arguments)
    try:
        await asyncio.to_thread(server.wait_ready)
        yield server
    finally:
        await asyncio.to_thread(server.stop)


def launch_directory(directory: Path, options: Mapping[str, Any], *arguments: str) -> Server:
    """The same, not waited for."""
    port = options.get("port") or free_port()
    config = directory / "config.json"
    config.write_text(json.dumps({"host": "127.0.0.1", "port": port, **options}))
    command = [sys.executable, "-m", "server.cli", "serve", str(config), "--workers", "2"]
    return Server([*command, *arguments], port)
