"""``python -m benchmarks``: start the servers, run what is asked for, print the table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import uvloop

from benchmarks import fan_out, latency, usage
from benchmarks.cases import CASES, Data, seed
from benchmarks.load import WrongAnswer
from benchmarks.report import Report
from benchmarks.servers import Contestant, contestants
from benchmarks.throughput import run_case
from tests.harness.mongo import TestMongo


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 1 when a bar is missed or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case and server")
    parser.add_argument("--only", help="words, separated by commas, one of which a name must have")
    parser.add_argument("--servers", default="peer,pestle", help="peer, pestle or both")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    report = uvloop.run(_run(options))
    print(json.dumps(report.figures(), indent=2) if options.json else report.text())
    sys.exit(0 if report.passed else 1)


async def _run(options: argparse.Namespace) -> Report:
    words = [word.strip() for word in (options.only or "").split(",") if word.strip()]

    def wanted(name: str) -> bool:
        return not words or any(word in name for word in words)

    report = Report()
    with TestMongo() as mongo:
        servers = contestants(set(options.servers.split(",")))
        try:
            for one in servers:
                _say(f"starting {one.name}")
                report.starts[one.name] = one.start(mongo)
            data = await _seed(servers)
            await _measure(options, wanted, report, servers, data, mongo)
        finally:
            for one in servers:
                one.stop()
    return report


async def _seed(servers: list[Contestant]) -> dict[str, Data]:
    data: dict[str, Data] = {}
    for one in servers:
        if one.family not in data:
            data[one.family] = await seed(one.port)
    return data


async def _measure(
    options: argparse.Namespace,
    wanted: Any,
    report: Report,
    servers: list[Contestant],
    data: dict[str, Data],
    mongo: TestMongo,
) -> None:
    mongod = mongo.embedded.pid
    assert mongod is not None
    how = {"seconds": options.seconds, "rounds": options.rounds}
    for case in (case for case in CASES if wanted(case.name)):
        _say(case.name)
        try:
            report.add_case(case, await run_case(case, servers, data, mongod, **how))
        except (WrongAnswer, OSError) as error:
            report.failures.append(f"{case.name}: {error}")
    for part in (*fan_out.PARTS, *latency.PARTS):
        if wanted(part.name):
            _say(part.name)
            try:
                await part.run(report, servers, data, mongod, options.seconds, options.rounds)
            except (WrongAnswer, OSError, TimeoutError) as error:
                report.failures.append(f"{part.name}: {error!r}")
    for one in servers:
        report.memory[one.name] = usage.memory_mb(one.processes)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
