"""The official JavaScript SDK does the same with Pestle, on two workers, and with the peer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.processes import JS, Process, Server, node_modules, run_node, wait_for

HERE = Path(__file__).parent
SCRIPTS = ["objects", "queries", "users", "rest"]
LIVE = {"liveQuery": {"classNames": ["Live"]}, "startLiveQueryServer": True}

# Parse Server answers 500 now and then when a transaction has two creates.
NOT_FOR_THE_PEER = "a transaction is all or nothing"


@pytest.mark.slow
def test_scripts_with_pestle(serve: Callable[..., Server]) -> None:
    """One server for all scripts: starting one costs more than they do."""
    provider = {"badge": {"module": "tests.sdk.badge:Badge"}}
    run_scripts(serve(cloud=str(HERE / "cloud" / "main.py"), auth=provider))


@pytest.mark.slow
def test_scripts_with_the_peer(peer: Callable[..., Server]) -> None:
    provider = {"badge": {"module": str(HERE / "badge.js")}}
    run_scripts(peer(cloud=HERE / "cloud" / "main.js", auth=provider), skip=NOT_FOR_THE_PEER)


def run_scripts(server: Server, *, skip: str = "") -> None:
    """All of them, so that one run tells all failures. ``skip``: the step to leave out."""

    def failure(name: str) -> str:
        try:
            run_node(HERE / f"{name}.js", server.url, env={"SKIP": skip})
        except AssertionError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        failures = list(filter(None, pool.map(failure, SCRIPTS)))
    assert not failures, "\n".join(failures)


@pytest.mark.slow
def test_live_query_outlives_a_restart(serve: Callable[..., Server]) -> None:
    """The SDK connects and subscribes anew by itself."""
    server = serve(**LIVE)
    environment = {"NODE_PATH": str(node_modules())}
    script = Process(["node", str(HERE / "live.js"), server.url], env=environment, cwd=JS)
    try:
        wait_for(lambda: "RESTART" in script.output or not script.is_running(), "the script's wish")
        assert script.is_running(), script.output
        server.stop()
        serve(port=server.port, **LIVE)
        assert script.wait() == 0, script.output
    finally:
        script.stop()
