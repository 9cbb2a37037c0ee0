"""`pestle serve` as one foreground process: how it starts, ends, heals and reloads."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.processes import Server, free_port, wait_for

pytestmark = pytest.mark.slow

SCHEMA = {"classes": [{"className": "Note", "fields": {"text": {"type": "String"}}}]}
CLOUD = """
from server import cloud

@cloud.define("version")
async def version(request: cloud.Request) -> int:
    return 1
"""

Start = Callable[..., Server]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "cloud").mkdir()
    (tmp_path / "cloud" / "main.py").write_text(CLOUD)
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    return tmp_path


@pytest.fixture
def start(app: Path) -> Iterator[Start]:
    """Start ``pestle serve`` in the app's directory, with its embedded MongoDB."""
    servers: list[Server] = []

    def run(*arguments: str) -> Server:
        port = free_port()
        command = [sys.executable, "-m", "server.cli", "serve", "--port", str(port)]
        command += ["--host", "127.0.0.1", "--workers", "2", *arguments]
        root = str(Path(__file__).resolve().parents[2])
        server = Server(command, port, env={"PYTHONPATH": root}, cwd=app)
        servers.append(server)
        server.wait_ready()
        return server

    yield run
    for server in servers:
        server.stop()


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in listed.split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def mongod_of(app: Path) -> int:
    return int((app / ".pestle" / "mongod.pid").read_text().split()[0])


def headers(app: Path) -> dict[str, str]:
    key = json.loads((app / ".pestle" / "keys.json").read_text())["masterKey"]
    return {"X-Parse-Application-Id": "pestle", "X-Parse-Master-Key": key}


def save_note(server: Server, app: Path, text: str) -> str:
    answer = httpx.post(
        f"{server.url}/classes/Note", headers=headers(app), json={"text": text}, timeout=30
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["objectId"])


def notes(server: Server, app: Path) -> int:
    answer = httpx.get(f"{server.url}/classes/Note?count=1&limit=0", headers=headers(app))
    return int(answer.json()["count"])


def call_version(server: Server, app: Path) -> int | None:
    answer = httpx.post(f"{server.url}/functions/version", headers=headers(app), json={})
    return answer.json().get("result")


def test_the_printed_line_works_and_the_key_is_not_in_it(start: Start, app: Path) -> None:
    server = start()
    wait_for(lambda: "sign up" in server.output, "the banner")
    command = re.search(r"curl .*", server.output)
    assert command is not None
    done = subprocess.run(
        shlex.split(command.group()), capture_output=True, text=True, timeout=30, check=True
    )
    assert "sessionToken" in json.loads(done.stdout)
    assert "app id   pestle" in server.output
    assert str(app / ".pestle" / "keys.json") in server.output
    assert headers(app)["X-Parse-Master-Key"] not in server.output


@pytest.mark.parametrize("end_signal", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_whole_when_told_to(start: Start, app: Path, end_signal: int) -> None:
    server = start()
    wait_for(lambda: len(children(server.pid)) == 3, "mongod and two workers")
    everybody = children(server.pid)
    os.killpg(server.pid, end_signal)
    assert server.wait(20) == 0
    assert not any(is_alive(pid) for pid in everybody)
    assert "Traceback" not in server.output


def test_a_killed_server_leaves_nothing_and_comes_back_with_its_data(
    start: Start, app: Path
) -> None:
    server = start()
    save_note(server, app, "kept")
    everybody = children(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in everybody), "the end of the children")
    assert notes(start(), app) == 1


def test_killed_workers_and_a_killed_mongod_come_back(start: Start, app: Path) -> None:
    server = start()
    saved = 0
    for _ in range(2):
        workers = [pid for pid in children(server.pid) if pid != mongod_of(app)]
        os.kill(workers[0], signal.SIGKILL)
        os.kill(mongod_of(app), signal.SIGKILL)
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            try:
                save_note(server, app, "x")
                saved += 1
                break
            except (httpx.HTTPError, AssertionError):
                time.sleep(0.1)
    assert saved == 2
    assert notes(server, app) >= saved


def test_an_edit_is_live_and_a_mistake_keeps_the_last_good_version(start: Start, app: Path) -> None:
    server = start("--reload")
    main = app / "cloud" / "main.py"
    assert call_version(server, app) == 1
    time.sleep(0.5)
    main.write_text(CLOUD.replace("return 1", "return 2"))
    wait_for(lambda: [call_version(server, app) for _ in range(6)] == [2] * 6, "the new version")

    main.write_text(CLOUD.replace("return 1", "return ("))
    wait_for(lambda: "last good version" in server.output, "the report of the mistake")
    assert "main.py" in server.output
    assert call_version(server, app) == 2

    fields = {"text": {"type": "String"}, "stars": {"type": "Number"}}
    document = {"classes": [{"className": "Note", "fields": fields}]}
    main.write_text(CLOUD.replace("return 1", "return 3"))
    (app / "schema.json").write_text(json.dumps(document))

    def knows_stars() -> bool:
        found = httpx.get(f"{server.url}/schemas/Note", headers=headers(app)).json()
        return "stars" in found["fields"]

    wait_for(knows_stars, "the new field")
    wait_for(lambda: call_version(server, app) == 3, "the third version")


def test_a_port_in_use_and_a_bad_option_end_it_at_once(start: Start, app: Path) -> None:
    server = start()
    command = [sys.executable, "-m", "server.cli", "serve", "--host", "127.0.0.1", "--port"]
    root = str(Path(__file__).resolve().parents[2])
    for arguments, message in (
        ([str(server.port)], rf"port \(PORT\) {server.port}.*--port"),
        (["many"], r"port \(PORT\) must be a whole number"),
    ):
        done = subprocess.run(
            [*command, *arguments],
            cwd=app,
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert re.search(message, done.stderr)
        assert "Traceback" not in done.stderr
