"""Constraints of schema.json tell nothing to those who may not write."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.api import Api, assert_parse_error, ok
from tests.harness.app import app_on
from tests.harness.mongo import TestMongo

DOCUMENT = {
    "classes": [{"className": "Limited", "fields": {"n": {"type": "Number", "maximum": 50}}}]
}


@pytest.fixture(scope="module")
async def api(mongo: TestMongo, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    schema = Path(tmp_path_factory.mktemp("schema")) / "schema.json"
    schema.write_text(json.dumps(DOCUMENT))
    async with app_on(mongo, schema_path=str(schema)) as anyone:
        yield anyone


def increment(amount: float) -> dict[str, Any]:
    return {"n": {"__op": "Increment", "amount": amount}}


async def test_an_operation_is_judged_by_its_result(api: Api) -> None:
    one = await api.create("Limited", n=42)
    assert_parse_error(await api.put(f"/classes/Limited/{one}", increment(9)), 142)
    assert ok(await api.put(f"/classes/Limited/{one}", increment(8)))["n"] == 50


async def test_strangers_cannot_weigh_a_value(api: Api) -> None:
    """Else the refusal, 142 or 101, would be a scale."""
    one = await api.as_master().create("Limited", n=42, ACL={})
    for amount in (1, 9, 1000):
        assert_parse_error(await api.put(f"/classes/Limited/{one}", increment(amount)), 101)
