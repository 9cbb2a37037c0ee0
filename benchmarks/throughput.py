"""Requests per second and CPU per request, the servers in turn."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field

from benchmarks import usage
from benchmarks.cases import Case, Data
from benchmarks.load import Barrage
from benchmarks.servers import Contestant

WARM_UP_S = 0.4
# What a case's first run is preceded by: V8 doubles its speed within the first seconds.
FIRST_WARM_UP_S = 3.0


@dataclass
class Runs:
    """The runs of one case on one server; CPU in microseconds per request."""

    rates: list[float] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    mongod_us: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


async def run_case(
    case: Case,
    servers: list[Contestant],
    data: dict[str, Data],
    mongod: int,
    *,
    seconds: float,
    rounds: int,
) -> dict[str, Runs]:
    """A B C A B C ...; every answer is checked. Raises `WrongAnswer`."""
    runs = {one.name: Runs() for one in servers}
    for round_number in range(rounds):
        for one in servers:
            barrage = Barrage(one.port, case.shots(data[one.family]), case.connections)
            await barrage.start(WARM_UP_S if round_number else FIRST_WARM_UP_S)
            pids = one.processes
            server, database = usage.cpu_seconds(pids), usage.cpu_seconds({mongod})
            try:
                volley = await barrage.measure(seconds)
            finally:
                barrage.stop()
            answers = len(volley.latencies)
            found = runs[one.name]
            found.rates.append(volley.rate)
            found.server_us.append((usage.cpu_seconds(pids) - server) / answers * 1e6)
            found.mongod_us.append((usage.cpu_seconds({mongod}) - database) / answers * 1e6)
            found.p99_ms.append(volley.latency_ms(0.99))
            await asyncio.sleep(0.1)
    return runs
