"""Both integration flows from outside: by curl, and with the JavaScript SDK and LiveQuery."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.harness.api import APP_ID, MASTER_KEY
from tests.harness.processes import ROOT, Server, run_node

pytestmark = pytest.mark.slow
EXAMPLES = ROOT / "examples"


@pytest.fixture
def environment(pharmacy: Server) -> dict[str, str]:
    return {
        "PESTLE_URL": pharmacy.url,
        "PESTLE_APP_ID": APP_ID,
        "PESTLE_MASTER_KEY": MASTER_KEY,
    }


def test_the_flows_by_curl(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [EXAMPLES / "walkthrough.sh"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "== Done" in done.stdout


def test_the_flows_with_the_javascript_sdk(environment: dict[str, str]) -> None:
    printed = run_node(EXAMPLES / "walkthrough.mjs", env=environment)
    assert printed.rstrip().endswith("Done")
