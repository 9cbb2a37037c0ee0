"""Other programs of a test: started in a group of their own, ended by their id, never left over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from server.storage.embedded import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
JS = ROOT / "tests" / "js"
PEER = Path(__file__).with_name("peer.js")

# All waits are scaled by this one constant.
PATIENCE_S = float(os.environ.get("PESTLE_TEST_PATIENCE", "30"))

T = TypeVar("T")


def free_port() -> int:
    """A TCP port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(check: Callable[[], T], what: str, *, seconds: float = PATIENCE_S) -> T:
    """The first true value of ``check()``. Raises TimeoutError, naming ``what``."""
    limit = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > limit:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.02)


class Process:
    """A program that runs beside the test; its output goes to a file that failures quote."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="pestle-process-", suffix=".log")
        self._popen = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        """What it printed so far."""
        return Path(self._log.name).read_text(errors="replace")

    def is_running(self) -> bool:
        return self._popen.poll() is None

    def stop(self, *, signal_number: int = signal.SIGTERM, seconds: float = 15) -> int:
        """Ask it to end, and make it, with all its children. Returns its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(signal_number)
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._popen.wait()
        self._log.close()
        return code

    def wait(self, seconds: float = PATIENCE_S) -> int:
        """Its exit code once it ends by itself. Raises TimeoutExpired."""
        return self._popen.wait(seconds)


class Server(Process):
    """A process that serves HTTP on ``http://127.0.0.1:<port>/parse``."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        super().__init__(command, env=env, cwd=cwd)
        self.port = port
        self.url = f"http://127.0.0.1:{port}/parse"

    def wait_ready(self, seconds: float = PATIENCE_S) -> None:
        """Wait until ``/health`` is ok. Raises RuntimeError with its output when it ends first."""

        def healthy() -> bool:
            if not self.is_running():
                raise RuntimeError(f"the server ended at once:\n{self.output[-4000:]}")
            try:
                return httpx.get(self.url + "/health", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        try:
            wait_for(healthy, "a healthy server", seconds=seconds)
        except TimeoutError as error:
            raise RuntimeError(f"{error}:\n{self.output[-4000:]}") from None


def start_pestle(options: Mapping[str, Any], *, workers: int = 2) -> Server:
    """``pestle serve`` with these options, on a free port unless they name one."""
    port = int(options.get("port") or free_port())
    config = tempfile.NamedTemporaryFile("w", prefix="pestle-config-", suffix=".json", delete=False)
    with config:
        json.dump({"host": "127.0.0.1", **options, "port": port}, config)
    command = [sys.executable, "-m", "server.cli", "serve", config.name]
    server = Server([*command, "--workers", str(workers)], port)
    try:
        server.wait_ready()
    except BaseException:
        server.stop()
        raise
    finally:
        os.unlink(config.name)
    return server


def start_peer(
    options: Mapping[str, Any],
    *,
    cloud: Path | None = None,
    cluster: int = 0,
    wait: bool = True,
) -> Server:
    """Parse Server itself under Node. ``cluster``: worker processes; 0 is a single process."""
    port = int(options.get("port") or free_port())
    given = {**options, "cloud": str(cloud)} if cloud is not None else options
    spec = {"port": port, "options": given, "cluster": cluster}
    environment = {
        "PEER": json.dumps(spec),
        "NODE_ENV": "production",
        "NODE_PATH": str(node_modules()),
    }
    peer = Server(["node", str(PEER)], port, env=environment, cwd=JS)
    try:
        if wait:
            peer.wait_ready()
    except BaseException:
        peer.stop()
        raise
    return peer


def node_modules() -> Path:
    """Where ``npm ci`` put the packages of tests/js."""
    return Path(os.environ.get("PESTLE_NODE_MODULES", JS / "node_modules"))


def run_node(
    script: Path, *arguments: str, env: Mapping[str, str] | None = None, seconds: float = 60
) -> str:
    """What a JavaScript program printed. Raises AssertionError with it when the program failed."""
    environment = {**os.environ, "NODE_PATH": str(node_modules()), **(env or {})}
    done = subprocess.run(
        ["node", str(script), *arguments],
        env=environment,
        cwd=JS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        preexec_fn=die_with_parent,
        check=False,
    )
    assert done.returncode == 0, f"{script.name} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
