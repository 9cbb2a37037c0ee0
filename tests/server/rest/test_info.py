"""What ``/serverInfo`` promises is there and nothing else: Parse Dashboard makes its menu of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.api import Api, ok


@pytest.mark.parametrize(
    ("feature", "path"),
    [
        ("globalConfig", "/config"),
        ("hooks", "/hooks/functions"),
        ("cloudCode", "/cloud_code/jobs"),
        ("logs", "/scriptlog"),
        ("push", "/push_audiences"),
        ("schemas", "/schemas"),
        ("settings", "/security"),
    ],
)
async def test_features_are_true(shared_api: Api, feature: str, path: str) -> None:
    master = shared_api.as_master()
    features: dict[str, Any] = ok(await master.get("/serverInfo"))["features"]
    is_there = (await master.get(path)).status_code == 200
    assert any(features[feature].values()) == is_there
