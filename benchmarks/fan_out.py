"""LiveQuery under load: one event to many sockets, and an event beside many subscriptions."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import usage
from benchmarks.load import Line, WrongAnswer, http_request
from benchmarks.report import Report
from benchmarks.servers import Contestant
from benchmarks.sockets import LiveSocket
from server.values import pointer

SOCKETS = 200
WRITERS = 8
# Events under way: enough to keep the servers busy, few enough to keep their queues short.
WINDOW = 16
FEW, MANY = 10, 10_000
IDLE_SOCKETS = 20


@dataclass(frozen=True)
class Part:
    """One measurement that is more than requests in a row."""

    name: str
    run: Callable[..., Awaitable[None]]


@dataclass
class Fan:
    """What one run gave. ``cpu_us``: the server's CPU per object created."""

    events_per_s: float
    cpu_us: float


class _Feed:
    """Creates objects as fast as their events arrive, for a while."""

    def __init__(self, server: Contestant, sockets: list[LiveSocket], received: list[int]) -> None:
        self._server = server
        self._sockets = sockets
        self._received = received
        self._created = 0

    async def run(self, body: dict[str, Any], seconds: float) -> Fan:
        """Raises `WrongAnswer` when a socket missed an event or got one too many."""
        pids = self._server.processes
        lines = [await Line.open(self._server.port) for _ in range(WRITERS)]
        request = http_request("POST", "/classes/Feed", body)
        cpu, began = usage.cpu_seconds(pids), time.perf_counter()
        stop_at = began + seconds
        await asyncio.gather(*(self._write(line, request, stop_at) for line in lines))
        wanted = self._created * len(self._sockets)
        for _ in range(5000):
            if self._received[0] >= wanted:
                break
            await asyncio.sleep(0.002)
        elapsed = time.perf_counter() - began
        cpu = usage.cpu_seconds(pids) - cpu
        for line in lines:
            line.close()
        # An event too many would arrive now.
        await asyncio.sleep(0.05)
        for socket in self._sockets:
            if socket.error is not None:
                raise WrongAnswer(f"a LiveQuery socket broke: {socket.error}")
            if socket.events != self._created:
                raise WrongAnswer(f"{socket.events} events of {self._created} at one socket")
        return Fan(wanted / elapsed, cpu / self._created * 1e6)

    async def _write(self, line: Line, request: bytes, stop_at: float) -> None:
        count = len(self._sockets)
        while time.perf_counter() < stop_at:
            if self._created * count - self._received[0] > WINDOW * count:
                await asyncio.sleep(0.001)
                continue
            self._created += 1
            await line.must(request)


async def _open_sockets(
    server: Contestant, count: int, room: str
) -> tuple[list[LiveSocket], list[int]]:
    """Sockets with one subscription each, and the running count of their events."""
    received = [0]
    needle = f'"room":"{room}"'.encode()

    def on_event(payload: bytes) -> None:
        if needle in payload:
            received[0] += 1

    sockets = []
    for at in range(0, count, 25):
        opening = [LiveSocket.open(server.port, on_event) for _ in range(min(25, count - at))]
        sockets += await asyncio.gather(*opening)
    await asyncio.gather(*(socket.subscribe(1, "Feed", {"room": room}) for socket in sockets))
    return sockets, received


async def fan_out(
    report: Report, servers: list[Contestant], _: Any, mongod: int, seconds: float, rounds: int
) -> None:
    """Events per second at 200 sockets. The peer's cluster cannot: it needs Redis for that."""
    runs: dict[str, list[Fan]] = {}
    for round_number in range(rounds):
        for one in (one for one in servers if one.family == "pestle" or one.workers == 1):
            room = f"room{round_number}"
            sockets, received = await _open_sockets(one, SOCKETS, room)
            try:
                feed = _Feed(one, sockets, received)
                runs.setdefault(one.name, []).append(await feed.run({"room": room}, seconds))
            finally:
                for socket in sockets:
                    socket.close()
            await asyncio.sleep(0.2)
    report.add_rates(
        "LiveQuery, 200 sockets, events/s",
        {name: statistics.median(fan.events_per_s for fan in fans) for name, fans in runs.items()},
        bar=3.0,
        cpu_us={
            name: statistics.median(fan.cpu_us for fan in fans) / SOCKETS
            for name, fans in runs.items()
        },
    )


async def bystanders(
    report: Report, servers: list[Contestant], _: Any, mongod: int, seconds: float, rounds: int
) -> None:
    """CPU of an event beside 10,000 subscriptions that cannot match, against one beside 10."""
    for one in (one for one in servers if one.family == "pestle"):
        costs: dict[int, list[float]] = {FEW: [], MANY: []}
        for round_number in range(rounds):
            for count in (FEW, MANY):
                room = f"beside{round_number}x{count}"
                idle = await _bystanders(one, count)
                sockets, received = await _open_sockets(one, 1, room)
                body = {"room": room, "patient": pointer("_User", "nobody")}
                try:
                    fan = await _Feed(one, sockets, received).run(body, seconds)
                finally:
                    for socket in (*idle, *sockets):
                        socket.close()
                if any(socket.events for socket in idle):
                    raise WrongAnswer("an event for a subscription that cannot match")
                costs[count].append(fan.cpu_us)
                await asyncio.sleep(0.2)
        few, many = statistics.median(costs[FEW]), statistics.median(costs[MANY])
        report.add_fact(
            f"CPU of an event beside {MANY} subscriptions / beside {FEW}",
            f"{many:.0f} us / {few:.0f} us = {many / few:.2f}",
            passed=many / few < 1.5,
            bar="< 1.5",
        )


async def _bystanders(server: Contestant, count: int) -> list[LiveSocket]:
    opened = [
        await LiveSocket.open(server.port, lambda payload: None)
        for _ in range(min(IDLE_SOCKETS, count))
    ]

    async def subscribe(socket: LiveSocket, first: int) -> None:
        for number in range(first, count, len(opened)):
            await socket.subscribe(number + 1, "Feed", {"patient": pointer("_User", f"p{number}")})

    await asyncio.gather(*(subscribe(socket, first) for first, socket in enumerate(opened)))
    return opened


PARTS = (Part("fan-out", fan_out), Part("bystanders", bystanders))
