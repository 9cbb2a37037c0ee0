"""How soon a change of rights is in force in every worker, and what logins do to other requests."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any

from benchmarks import usage
from benchmarks.cases import GET, LOGIN, Data
from benchmarks.fan_out import Part
from benchmarks.load import Barrage, Line, WrongAnswer, http_request
from benchmarks.report import Report
from benchmarks.servers import Contestant
from server.values import pointer

TRIALS = 20
LIMIT_MS = 50.0
LOGINS = 8
# One bcrypt of Parse Server's cost takes about 60 ms of a core.
STALL_MS = 100.0


async def logins(
    report: Report,
    servers: list[Contestant],
    data: dict[str, Data],
    mongod: int,
    seconds: float,
    rounds: int,
) -> None:
    """The rate and latency of gets while 8 logins run all the time."""
    for one in servers:
        quiet: list[float] = []
        busy: list[float] = []
        tail: list[float] = []
        worst: list[float] = []
        for _ in range(rounds):
            for with_logins in (False, True):
                gets = Barrage(one.port, GET.shots(data[one.family]), 16)
                others = Barrage(one.port, LOGIN.shots(data[one.family]), LOGINS)
                try:
                    if with_logins:
                        await others.start(0)
                    await gets.start(0.4)
                    volley = await gets.measure(seconds)
                finally:
                    gets.stop()
                    others.stop()
                (busy if with_logins else quiet).append(volley.rate)
                if with_logins:
                    tail.append(volley.latency_ms(0.99))
                    worst.append(volley.latency_ms(1.0))
                await asyncio.sleep(0.6)
        report.add_fact(
            f"get/s beside {LOGINS} logins, {one.name}",
            f"{statistics.median(busy):.0f} (alone {statistics.median(quiet):.0f}), "
            f"p99 {statistics.median(tail):.0f} ms, worst {max(worst):.0f} ms",
            passed=statistics.median(tail) <= STALL_MS if one.family == "pestle" else None,
            bar=f"p99 <= {STALL_MS:.0f} ms" if one.family == "pestle" else "",
        )


async def in_force(
    report: Report,
    servers: list[Contestant],
    data: dict[str, Data],
    mongod: int,
    seconds: float,
    rounds: int,
) -> None:
    """From the answer to a change until the last worker refuses what it let pass before."""
    for one in (one for one in servers if one.family == "pestle"):
        lines = await _line_per_worker(one)
        writer = await Line.open(one.port)
        try:
            for name, trial in (("log-out", _log_out), ("role", _role), ("CLP", _permissions)):
                delays = [
                    await trial(writer, lines, data[one.family], number) * 1000
                    for number in range(TRIALS)
                ]
                report.add_fact(
                    f"{name} in force in all {len(lines)} workers",
                    f"p50 {statistics.median(delays):.1f} ms, max {max(delays):.1f} ms",
                    passed=max(delays) <= LIMIT_MS,
                    bar=f"<= {LIMIT_MS:.0f} ms",
                )
        finally:
            for line in (writer, *lines):
                line.close()


async def _line_per_worker(server: Contestant) -> list[Line]:
    """One connection to each worker, told apart by the process that holds its other end."""
    found: dict[int, Line] = {}
    for _ in range(200):
        line = await Line.open(server.port)
        await line.must(http_request("GET", "/health"))
        client_port = line.transport.get_extra_info("sockname")[1]
        pid = usage.process_of_connection(server.port, client_port, server.processes)
        if pid is None or pid in found:
            line.close()
        else:
            found[pid] = line
        if len(found) == server.workers:
            return list(found.values())
    raise WrongAnswer(f"only {len(found)} of {server.workers} workers take connections")


async def _until_refused(lines: list[Line], request: bytes, since: float) -> float:
    """Seconds from ``since`` until every worker refused ``request`` once."""

    async def poll(line: Line) -> float:
        while True:
            asked_at = time.perf_counter()
            status, _ = await line.ask(request)
            if status != b"200":
                return asked_at - since
            if asked_at - since > 5:
                raise WrongAnswer("a change of rights is not in force after 5 s")
            await asyncio.sleep(0.0005)

    return max(0.0, *await asyncio.gather(*(poll(line) for line in lines)))


async def _allowed(lines: list[Line], request: bytes) -> None:
    """Wait until every worker answers ``request``, several times, so that its caches are warm."""
    for line in lines:
        for _ in range(2000):
            status, _ = await line.ask(request)
            if status == b"200":
                break
            await asyncio.sleep(0.002)
        else:
            raise WrongAnswer("a right is not granted after a while")
        await line.must(request)


async def _log_out(writer: Line, lines: list[Line], data: Data, number: int) -> float:
    body = {"username": "alice", "password": "secret"}
    user = json.loads(await writer.must(http_request("POST", "/login", body)))
    session = user["sessionToken"]
    request = http_request("GET", "/users/me", session=session)
    await _allowed(lines, request)
    await writer.must(http_request("POST", "/logout", {}, session=session))
    return await _until_refused(lines, request, time.perf_counter())


async def _role(writer: Line, lines: list[Line], data: Data, number: int) -> float:
    path = f"/roles/{data.child_role}"
    member = {"objects": [pointer("_User", data.user_id)]}
    added = {"users": {"__op": "AddRelation", **member}}
    removed = {"users": {"__op": "RemoveRelation", **member}}
    await writer.must(http_request("PUT", path, added, master=True))
    request = http_request("GET", f"/classes/Secret/{data.secrets[0]}", session=data.session)
    await _allowed(lines, request)
    await writer.must(http_request("PUT", path, removed, master=True))
    changed_at = time.perf_counter()
    delay = await _until_refused(lines, request, changed_at)
    await writer.must(http_request("PUT", path, added, master=True))
    return delay


async def _permissions(writer: Line, lines: list[Line], data: Data, number: int) -> float:
    path = "/schemas/Author"
    everybody: dict[str, Any] = {
        op: {"*": True} for op in ("find", "get", "count", "create", "update", "delete", "addField")
    }
    closed = {**everybody, "find": {}}
    request = http_request("GET", "/classes/Author?limit=1")
    body = {"classLevelPermissions": everybody}
    await writer.must(http_request("PUT", path, body, master=True))
    await _allowed(lines, request)
    body = {"classLevelPermissions": closed}
    await writer.must(http_request("PUT", path, body, master=True))
    delay = await _until_refused(lines, request, time.perf_counter())
    await writer.must(http_request("PUT", path, {"classLevelPermissions": everybody}, master=True))
    return delay


PARTS = (Part("beside logins", logins), Part("in force", in_force))
