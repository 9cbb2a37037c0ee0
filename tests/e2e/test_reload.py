"""`pestle serve --reload`: what is saved is soon in force in both workers, mistakes never are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SERVE_OPTIONS
from tests.harness.api import Api, ok
from tests.harness.fleet import (
    api_per_worker,
    eventually,
    running_directory,
    subscriber_per_worker,
)
from tests.harness.processes import PATIENCE_S, Server

pytestmark = pytest.mark.slow

# An edit is live in about a second; a loaded machine is given more.
SOON_S = max(3.0, PATIENCE_S / 3)
FIELDS: dict[str, Any] = {"text": {"type": "String"}}
MAIN = """
from server import cloud

from cloud.words import GREETING

@cloud.define("greet")
async def greet(request):
    return GREETING
"""
WORDS = 'GREETING = "hello"\n'


def document(fields: dict[str, Any], *more: dict[str, Any]) -> str:
    return json.dumps({"classes": [{"className": "Note", "fields": fields}, *more]}, indent=2)


class Project:
    """An app's directory, its server with ``--reload``, and a client at each worker."""

    def __init__(self, directory: Path, server: Server, apis: list[Api]) -> None:
        self.directory = directory
        self.server = server
        self.apis = apis
        self._told = 0

    def save(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    async def everywhere(self, check: Callable[[Api], Awaitable[bool]], what: str) -> None:
        """Wait until it is so in each worker, and see that it stays."""
        for api in self.apis:
            await eventually(lambda api=api: check(api), what, seconds=SOON_S)
        for api in self.apis:
            assert await check(api), what

    async def greets(self, greeting: str) -> None:
        async def does(api: Api) -> bool:
            answer = await api.post("/functions/greet")
            return bool(answer.json().get("result") == greeting)

        await self.everywhere(does, f"the greeting {greeting!r}")

    async def complains(self, *parts: str) -> str:
        """What the server printed about a mistake since the last call."""

        async def has_said_it() -> bool:
            return "The last good version keeps serving." in self.server.output[self._told :]

        await eventually(has_said_it, f"a complaint of {parts}", seconds=SOON_S)
        complaint = self.server.output[self._told :]
        self._told = len(self.server.output)
        for part in parts:
            assert part in complaint, complaint
        assert complaint.count("The last good version") == 1, complaint
        assert "Traceback" not in complaint
        return complaint


@pytest.fixture(scope="module")
async def project(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    directory = tmp_path_factory.mktemp("reload")
    (directory / "cloud").mkdir()
    (directory / "cloud" / "main.py").write_text(MAIN)
    (directory / "cloud" / "words.py").write_text(WORDS)
    (directory / "schema.json").write_text(document(FIELDS))
    async with running_directory(directory, SERVE_OPTIONS, "--reload") as server:
        async with api_per_worker(server) as apis:
            yield Project(directory, server, list(apis.values()))


async def test_an_edit_of_any_cloud_file_is_live_in_about_a_second(project: Project) -> None:
    await project.greets("hello")
    for number in range(3):
        project.save("cloud/words.py", f'GREETING = "hello {number}"\n')
        await project.greets(f"hello {number}")
    project.save("cloud/more.py", 'MORE = "from a new file"\n')
    project.save("cloud/words.py", "from cloud.more import MORE as GREETING\n")
    await project.greets("from a new file")


@pytest.mark.parametrize(
    ("name", "text", "place", "cause"),
    [
        ("main.py", MAIN.replace("return GREETING", "return ("), "main.py:8", "'(' was never"),
        ("words.py", "GREETING = 1\nGREETING = missing\n", "words.py:2", "missing"),
        ("words.py", "import does_not_exist\n", "words.py:1", "does_not_exist"),
        ("words.py", "raise SystemExit(1)\n", "words.py:1", "SystemExit"),
        ("main.py", MAIN + "\n" + MAIN, "main.py", "greet"),
        ("main.py", MAIN.replace('"greet"', '"greet", nonsense=1'), "main.py:6", "nonsense"),
    ],
)
async def test_a_mistake_in_cloud_code(
    project: Project, name: str, text: str, place: str, cause: str
) -> None:
    project.save("cloud/words.py", 'GREETING = "good"\n')
    project.save("cloud/main.py", MAIN)
    await project.greets("good")
    project.save(f"cloud/{name}", text)
    complaint = await project.complains(place, cause)
    # The line after the mistake says how to mend it.
    assert len(complaint.partition(place)[2].splitlines()) >= 2, complaint
    await project.greets("good")
    project.save("cloud/main.py", MAIN)
    project.save("cloud/words.py", 'GREETING = "mended"\n')
    await project.greets("mended")


@pytest.mark.parametrize(
    ("text", "place", "cause"),
    [
        (document(FIELDS)[:-1], "schema.json:12", "comma"),
        (document({**FIELDS, "n": {"type": "Numbr"}}), "schema.json", "Number"),
        (document({"text": {"type": "Number"}}), "Note", "text"),
        (document({"text": {"type": "String", "unique": True}}), "Note", "unique"),
    ],
    ids=["no JSON", "unknown type", "other type than the data", "not unique in the data"],
)
async def test_a_mistake_in_the_schema(project: Project, text: str, place: str, cause: str) -> None:
    for _ in range(2):
        await project.apis[0].create("Note", text="twice")
    project.save("schema.json", text)
    await project.complains(place, cause)
    for api in project.apis:
        # Neither worker took any of it.
        await api.create("Note", text="twice")
    more = {**FIELDS, "mended": {"type": "Boolean"}}
    project.save("schema.json", document(more))
    await project.everywhere(has_field("mended"), "the mended schema")
    project.save("schema.json", document(FIELDS))


def has_field(name: str, class_name: str = "Note") -> Callable[[Api], Awaitable[bool]]:
    async def has(api: Api) -> bool:
        answer = await api.as_master().get(f"/schemas/{class_name}")
        return name in answer.json().get("fields", {})

    return has


async def test_new_class_field_constraint_and_hook_work(project: Project) -> None:
    order = {
        "className": "Order",
        "fields": {
            "pieces": {"type": "Number", "required": True},
            "code": {"type": "String", "unique": True},
            "state": {"type": "String", "defaultValue": "open"},
        },
    }
    project.save("schema.json", document({**FIELDS, "stars": {"type": "Number"}}, order))
    hook = """
@cloud.before_save("Order")
async def count(request):
    if request.object["pieces"] > 10:
        raise cloud.Error(142, "too many")
    request.object["checked"] = True
"""
    project.save("cloud/main.py", MAIN + hook)

    async def holds(api: Api) -> bool:
        answer = await api.post("/classes/Order", {"pieces": 11})
        return bool(answer.json().get("code") == 142)

    await project.everywhere(holds, "the new hook")
    for api in project.apis:
        assert (await api.post("/classes/Order", {})).status_code == 400
        made = await api.create("Order", pieces=1)
        found = ok(await api.get(f"/classes/Order/{made}"))
        assert (found["checked"], found["state"]) == (True, "open")
        await api.create("Note", stars=5)
    await project.apis[0].create("Order", pieces=1, code="one")
    refused = await project.apis[1].post("/classes/Order", {"pieces": 1, "code": "one"})
    assert refused.json()["code"] == 137


async def test_a_new_class_is_live_at_once(project: Project) -> None:
    order = {"className": "Parcel", "fields": {"n": {"type": "Number"}}}
    project.save("schema.json", document(FIELDS, order))
    await project.everywhere(has_field("n", "Parcel"), "the new class")

    async def tells(api: Api) -> bool:
        # A subscription from before the class was live stays without events.
        async with subscriber_per_worker(project.server, "Parcel") as at:
            made = await api.create("Parcel", n=1)

            async def all_heard() -> bool:
                return all(made in one.heard("create") for one in at.values())

            try:
                return await eventually(all_heard, "the event", seconds=0.5)
            except AssertionError:
                return False

    await project.everywhere(tells, "an event of the new class")


async def test_a_file_that_is_saved_in_pieces_or_replaced_ends_right(project: Project) -> None:
    project.save("cloud/main.py", MAIN)
    words = project.directory / "cloud" / "words.py"
    with words.open("w") as file:
        for piece in ("GREE", "TING", ' = "in', " pieces", '"\n'):
            file.write(piece)
            file.flush()
            await asyncio.sleep(0.2)
    await project.greets("in pieces")
    other = project.directory / "words.tmp"
    other.write_text('GREETING = "replaced"\n')
    other.replace(words)
    await project.greets("replaced")
    words.unlink()
    await asyncio.sleep(0.7)
    await project.greets("replaced")
    project.save("cloud/words.py", 'GREETING = "back"\n')
    await project.greets("back")
