"""The figures of one benchmark run, as a table for people and as JSON."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cases import Case
from benchmarks.throughput import Runs


@dataclass
class Row:
    """Rates of one measurement by contestant; the better of the peer's forms counts."""

    name: str
    rates: dict[str, float]
    bar: float
    server_us: dict[str, float]
    mongod_us: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        ours = [rate for name, rate in self.rates.items() if name.startswith("pestle")]
        theirs = [rate for name, rate in self.rates.items() if name.startswith("peer")]
        return max(ours) / max(theirs) if ours and theirs else None

    @property
    def passed(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= self.bar


@dataclass
class Fact:
    """One figure that is no ratio of rates. ``passed`` ``None``: it has no bar."""

    name: str
    value: str
    passed: bool | None = None
    bar: str = ""


@dataclass
class Report:
    """All of a run: ``starts`` in seconds, ``memory`` in MB, ``failures`` what went wrong."""

    rows: list[Row] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    starts: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add_case(self, case: Case, runs: dict[str, Runs]) -> None:
        self.rows.append(
            Row(
                case.name,
                {name: found.rate for name, found in runs.items()},
                case.bar,
                {name: statistics.median(found.server_us) for name, found in runs.items()},
                {name: statistics.median(found.mongod_us) for name, found in runs.items()},
            )
        )

    def add_rates(
        self, name: str, rates: dict[str, float], *, bar: float, cpu_us: dict[str, float]
    ) -> None:
        self.rows.append(Row(name, rates, bar, cpu_us))

    def add_fact(self, name: str, value: str, *, passed: bool | None = None, bar: str = "") -> None:
        self.facts.append(Fact(name, value, passed, bar))

    @property
    def passed(self) -> bool:
        found = [row.passed for row in self.rows] + [fact.passed for fact in self.facts]
        return not self.failures and False not in found

    def text(self) -> str:
        names = list(self.starts)
        lines = [
            "requests (events) per second | server CPU us per request + mongod CPU us",
            f"{'':34}" + "".join(f"{name:>26}" for name in names) + f"{'ratio':>8}{'bar':>6}",
        ]
        for row in self.rows:
            cells = [_cell(row, name) for name in names]
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            verdict = {True: "pass", False: "MISSED", None: ""}[row.passed]
            lines.append(
                f"{row.name:34}"
                + "".join(f"{cell:>26}" for cell in cells)
                + f"{ratio:>8}{row.bar:>6.1f}  {verdict}"
            )
        for title, unit, found in (
            ("start until healthy", "s", self.starts),
            ("memory after the runs (PSS)", "MB", self.memory),
        ):
            cells = [f"{found[name]:.2f} {unit}" if name in found else "-" for name in names]
            lines.append(f"{title:34}" + "".join(f"{cell:>26}" for cell in cells))
        for fact in self.facts:
            verdict = {True: "pass", False: "MISSED", None: ""}[fact.passed]
            lines.append(f"{fact.name}: {fact.value}  {fact.bar}  {verdict}".rstrip())
        lines += [f"FAILED {failure}" for failure in self.failures]
        return "\n".join(lines)

    def figures(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "cases": [
                {
                    "name": row.name,
                    "per_second": row.rates,
                    "ratio": row.ratio,
                    "bar": row.bar,
                    "passed": row.passed,
                    "server_cpu_us": row.server_us,
                    "mongod_cpu_us": row.mongod_us,
                }
                for row in self.rows
            ],
            "facts": [vars(fact) for fact in self.facts],
            "start_s": self.starts,
            "memory_mb": self.memory,
            "failures": self.failures,
        }


def _cell(row: Row, name: str) -> str:
    if name not in row.rates:
        return "-"
    cpu = f"{row.server_us[name]:.0f}"
    if name in row.mongod_us:
        cpu += f"+{row.mongod_us[name]:.0f}"
    return f"{row.rates[name]:.0f} | {cpu}"
