"""Cloud code that misbehaves, in real worker processes: calls are answered, workers live on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.harness.processes import Server

CODE = """
import os, time
from server import cloud

@cloud.define
async def blocks(request):
    while True:
        pass

@cloud.define
async def sleeps(request):
    time.sleep(600)

@cloud.define
def hangs(request):
    while True:
        pass

@cloud.define
async def recurses(request):
    return await cloud.run("recurses")

@cloud.define
async def raises(request):
    raise RuntimeError("boom")

@cloud.define
async def pid(request):
    return os.getpid()
"""


@pytest.mark.slow
def test_workers_serve_on(serve: Callable[..., Server], tmp_path: Path) -> None:
    main = tmp_path / "cloud" / "main.py"
    main.parent.mkdir()
    main.write_text(CODE)
    server = serve(workers=2, cloud=str(main), cloudTimeout=1)
    server.wait_ready()

    def call(name: str) -> httpx.Response:
        headers = {"X-Parse-Application-Id": "app"}
        return httpx.post(f"{server.url}/functions/{name}", headers=headers, json={}, timeout=60)

    def pids() -> set[int]:
        return {call("pid").json()["result"] for _ in range(60)}

    before = pids()
    names = ["blocks", "sleeps", "hangs", "recurses", "raises"] * 4
    with ThreadPoolExecutor(len(names)) as pool:
        for name, answer in zip(names, pool.map(call, names), strict=True):
            assert answer.status_code == 400, (name, answer.text)
            assert answer.json()["code"] == 141, (name, answer.text)
    assert len(before | pids()) <= 2  # no worker was ended and started anew
    assert "RuntimeError: boom" in server.output
    assert "while True" in server.output
