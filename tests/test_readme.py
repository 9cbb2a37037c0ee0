"""The five minutes of README.md, done as they are written there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.processes import ROOT, Process, Server, free_port, node_modules, wait_for

_README = (ROOT / "README.md").read_text()
_STORY = _README[_README.index("## Five minutes") : _README.index("## How it maps")]
_BLOCKS = re.findall(r"^```sh\n(.*?)^```", _STORY, re.MULTILINE | re.DOTALL)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A directory where the repository would be, with nothing in it."""
    here = tmp_path / "pestle"
    here.mkdir()
    return here


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.slow
def test_the_five_minutes(beside: Path, processes: ExitStack) -> None:
    port = free_port()
    describe, serve, use, watch, change = [
        block.replace(
            "../pestle/.venv/bin/pestle serve",
            f"exec {sys.executable} -m server.cli serve --port {port}",
        )
        .replace(":1337", f":{port}")
        .replace("npm install parse", f"ln -s {node_modules()} node_modules")
        for block in _BLOCKS
    ]
    env = {"PYTHONPATH": str(ROOT)}
    server = Server(["bash", "-ec", describe + serve], port, env=env, cwd=beside)
    processes.callback(server.stop)
    server.wait_ready()
    notes = beside.parent / "notes"
    watcher = Process(["bash", "-ec", watch], cwd=notes)
    processes.callback(watcher.stop)
    wait_for(lambda: "listening" in watcher.output, "a subscription")

    done = subprocess.run(
        ["bash", "-ec", use + change], cwd=notes, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    for expected in ('"words":3', '{"result":3}', '"text is required"', '"Permission denied"'):
        assert expected in done.stdout
    heard = re.findall(r"^```\n(listening\n.*?)^```", _STORY, re.MULTILINE | re.DOTALL)
    wait_for(lambda: [watcher.output] == heard, f"{heard} after {watcher.output!r}")
