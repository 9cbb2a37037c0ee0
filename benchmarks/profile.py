"""``python -m benchmarks.profile get``: where Pestle's own time goes in one case, without HTTP.

The app runs in this process and is called as ASGI, so that one profiler sees all of it but
uvicorn; what uvicorn adds is the difference to the benchmark's CPU per request.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import uvloop

from benchmarks.cases import CASES, Case, seed
from benchmarks.load import APP_ID, MASTER_KEY, Shot, WrongAnswer
from benchmarks.servers import CLOUD, contestants
from server.app import App, create_app
from server.settings import Settings
from tests.harness.mongo import TestMongo

CONCURRENCY = 16


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("case", choices=[case.name for case in CASES])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--top", type=int, default=30, help="functions to print")
    options = parser.parse_args()
    case = next(case for case in CASES if case.name == options.case)
    uvloop.run(_profile(case, options.seconds, options.top))


async def _profile(case: Case, seconds: float, top: int) -> None:
    with TestMongo() as mongo:
        (pestle,) = contestants({"pestle"})
        pestle.start(mongo)
        try:
            shots = case.shots(await seed(pestle.port))
        finally:
            pestle.stop()
        settings = Settings(
            app_id=APP_ID,
            master_key=MASTER_KEY,
            database_uri=pestle.database_uri(mongo),
            cloud=str(CLOUD / "main.py"),
            log_level="error",
        )
        app = create_app(settings)
        await app.start()
        try:
            await _fire(app, shots, 1.0)
            count, cpu_s = await _fire(app, shots, seconds)
            print(f"{case.name}: {cpu_s / count * 1e6:.0f} us of CPU a request, unprofiled")
            with cProfile.Profile() as profiler:
                await _fire(app, shots, seconds)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(top)
        finally:
            await app.stop()


async def _fire(app: App, shots: Sequence[Shot], seconds: float) -> tuple[int, float]:
    """``(requests, CPU seconds)`` of as many requests as the time allows."""
    requests = cycle([(shot, *_scope(shot.request)) for shot in shots])
    stop_at = time.perf_counter() + seconds
    count = 0

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < stop_at:
            shot, scope, body = next(requests)
            await _ask(app, shot, scope, body)
            count += 1

    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return count, time.process_time() - began


async def _ask(app: App, shot: Shot, scope: dict[str, Any], body: bytes) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(dict(scope), receive, send)
    status = str(sent[0]["status"]).encode()
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    if not shot.fits(status, answer):
        raise WrongAnswer(f"{status!r} {answer[:300]!r}")


def _scope(request: bytes) -> tuple[dict[str, Any], bytes]:
    """What uvicorn makes of the request's bytes, and the body."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.split(b" ")
    path, _, query = target.partition(b"?")
    headers = []
    for line in lines:
        name, _, value = line.partition(b": ")
        headers.append((name.lower(), value))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method.decode(),
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 1337),
    }, body


if __name__ == "__main__":
    main()
