"""The contestants: Parse Server as one process or as a cluster, and Pestle with two workers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import usage
from benchmarks.load import APP_ID, MASTER_KEY
from tests.harness.mongo import TestMongo
from tests.harness.processes import Server, start_peer, start_pestle

CLOUD = Path(__file__).with_name("cloud")
WORKERS = 2


@dataclass
class Contestant:
    """One server under test. ``family``: contestants of one family share a database."""

    name: str
    family: str
    workers: int
    server: Server | None = None

    def start(self, mongo: TestMongo) -> float:
        """Start it and return the seconds until it was healthy."""
        options: dict[str, Any] = {
            "appId": APP_ID,
            "masterKey": MASTER_KEY,
            "databaseURI": self.database_uri(mongo),
            "allowClientClassCreation": True,
            "liveQuery": {"classNames": ["Feed"]},
            "logLevel": "error",
        }
        began = time.perf_counter()
        if self.family == "pestle":
            options["cloud"] = str(CLOUD / "main.py")
            self.server = start_pestle(options, workers=self.workers)
        else:
            cluster = self.workers if self.workers > 1 else 0
            self.server = start_peer(options, cloud=CLOUD / "main.js", cluster=cluster)
        return time.perf_counter() - began

    def database_uri(self, mongo: TestMongo) -> str:
        return mongo.uri("bench" + self.family)

    @property
    def port(self) -> int:
        assert self.server is not None
        return self.server.port

    @property
    def processes(self) -> set[int]:
        assert self.server is not None
        return usage.tree(self.server.pid)

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None


def contestants(names: set[str]) -> list[Contestant]:
    """Those asked for: ``peer`` (both of its forms), ``pestle``."""
    every = [
        Contestant("peer, 1 process", "peer", 1),
        Contestant("peer, cluster of 2", "peer", WORKERS),
        Contestant("pestle, 2 workers", "pestle", WORKERS),
    ]
    return [one for one in every if one.family in names]
