"""An append-only class: anybody with the right may add and read, nobody changes or takes away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.api import Api, ok
from tests.harness.app import app_on
from tests.harness.mongo import TestMongo

DOCUMENT = {
    "classes": [
        {
            "className": "Entry",
            "appendOnly": True,
            "fields": {"n": {"type": "Number"}, "tags": {"type": "Array"}},
        }
    ]
}


@dataclass
class World:
    callers: dict[str, Api]
    master: Api
    entry: str


@pytest.fixture(scope="module")
async def world(mongo: TestMongo, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    schema = Path(tmp_path_factory.mktemp("schema")) / "schema.json"
    schema.write_text(json.dumps(DOCUMENT))
    async with app_on(mongo, maintenance_key="mt", schema_path=str(schema)) as anyone:
        user, master = await anyone.sign_up("u"), anyone.as_master()
        keeper = anyone.with_headers({"X-Parse-Maintenance-Key": "mt"})
        callers = {"anyone": anyone, "user": user, "master": master, "maintenance": keeper}
        yield World(callers, master, await master.create("Entry", n=1, tags=["a"]))


def requests(entry: str) -> list[tuple[str, str, Any]]:
    path = f"/classes/Entry/{entry}"
    nothing: dict[str, Any] = {}
    put = {"method": "PUT", "path": f"/parse{path}", "body": {"n": 2}}
    delete = {"method": "DELETE", "path": f"/parse{path}", "body": {}}
    disguised = {"method": "POST", "path": f"/parse{path}", "body": {"_method": "DELETE"}}
    return [
        ("PUT", path, {"n": 2}),
        ("PUT", path, {"n": {"__op": "Increment", "amount": 1}}),
        ("PUT", path, {"tags": {"__op": "Add", "objects": ["b"]}}),
        ("PUT", path, {"ACL": {}}),
        ("PUT", path, nothing),
        ("DELETE", path, None),
        ("POST", path, {"_method": "PUT", "n": 2}),
        ("POST", path, {"_method": "DELETE"}),
        ("POST", "/batch", {"requests": [put]}),
        ("POST", "/batch", {"requests": [delete]}),
        ("POST", "/batch", {"requests": [disguised]}),
        ("POST", "/batch", {"requests": [put], "transaction": True}),
        ("POST", "/batch", {"requests": [delete], "transaction": True}),
        ("DELETE", "/purge/Entry", None),
        ("DELETE", "/schemas/Entry", None),
        ("PUT", "/schemas/Entry",
         {"className": "Entry", "fields": {"tags": {"__op": "Delete"}}}),
    ]  # fmt: skip


@pytest.mark.parametrize("who", ["anyone", "user", "master", "maintenance"])
@pytest.mark.parametrize("number", range(len(requests(""))))
async def test_no_door_leads_to_a_change(world: World, who: str, number: int) -> None:
    before = ok(await world.master.get(f"/classes/Entry/{world.entry}"))
    method, path, body = requests(world.entry)[number]
    answer = await world.callers[who].request(method, path, body)
    if path == "/batch" and answer.status_code == 200:
        assert all("error" in result for result in answer.json()), answer.text
    else:
        assert 400 <= answer.status_code < 500, answer.text
    assert ok(await world.master.get(f"/classes/Entry/{world.entry}")) == before


@pytest.mark.parametrize("who", ["anyone", "user", "master"])
async def test_entries_can_be_made_and_read(world: World, who: str) -> None:
    one = await world.callers[who].create("Entry", n=5)
    assert ok(await world.callers[who].get(f"/classes/Entry/{one}"))["n"] == 5
