"""Hooks and functions in a whole app: order, effects, errors, rights."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import Api, assert_parse_error, ok

CODE = """
import asyncio, time
from datetime import UTC, datetime
from server import cloud

log = []

@cloud.before_save("Note")
async def before_note(request: cloud.Trigger) -> None:
    note = request.object
    log.append(("before", note.is_new, note.existed, note.id, sorted(note.dirty_keys),
                request.original and request.original["text"]))
    if note.get("text") == "refuse":
        raise cloud.Error(101, "refused")
    if note.get("text") == "boom":
        raise ValueError("boom")
    if note.get("text") == "hang":
        await asyncio.sleep(60)
    if note.get("text") == "block":
        while True:
            pass
    if note.get("text") == "self":
        await cloud.Object("Note", text="self").save()
    if note.get("text") == "change":
        note["h"] = 1
        note.unset("gone")
        note["at"] = datetime(2020, 1, 1, tzinfo=UTC)
        note["tags"].append("hook")
        note.increment("n")
    request.context["seen"] = "before"

@cloud.after_save("Note")
async def after_note(request: cloud.Trigger) -> object:
    note = request.object
    log.append(("after", note.is_new, note.existed, bool(note.id), note.dirty_keys,
                request.context.get("seen")))
    match note.get("text"):
        case "replace":
            return {"replaced": True}
        case "echo":
            note["extra"] = note.created_at
        case "late":
            raise Exception("too late")
    return None

@cloud.before_delete("Note")
def before_delete(request):
    if request.object["text"] == "keep":
        raise Exception("kept")

@cloud.after_delete("Note")
def after_delete(request):
    if request.object["text"] == "complain":
        raise Exception("gone already")

@cloud.before_find("Mine")
async def only_mine(request):
    request.query.equal_to("owner", request.user)

@cloud.after_find("Mine")
async def mark(request):
    for found in request.objects:
        found["af"] = True
    return [found for found in request.objects if found["n"] != 2]

@cloud.before_find("Made")
async def made(request):
    return [cloud.Object("Made", text="made up")]

@cloud.before_login
async def no_mallory(request):
    if request.object.username == "mallory":
        raise cloud.Error(cloud.Code.VALIDATION_ERROR, "go away")

@cloud.define
async def lines(request):
    taken = list(log)
    log.clear()
    return taken

@cloud.define("math.add", fields={"a": int, "b": {"type": int, "default": 2}})
async def add(request: cloud.Request) -> int:
    return request.params["a"] + request.params["b"]

@cloud.define
def plain(request):
    time.sleep(0.01)
    return {"user": request.user and request.user.id, "master": request.master,
            "name": request.function_name, "params": request.params,
            "context": request.context, "roles": sorted(request.roles),
            "installation": request.installation_id}

@cloud.define(require_user=True)
async def me(request):
    return request.user

@cloud.define
async def count(request):
    query = cloud.Query("Secret")
    return [await query.count(), await query.count(use_master_key=True)]

@cloud.define
async def relate(request):
    role = cloud.Role("hookrole", cloud.ACL())
    role.users.add(request.user)
    await role.save(use_master_key=True)
    return [user.id for user in await role.users.query().find(use_master_key=True)]

@cloud.define
async def upload(request):
    file = await cloud.File("a.txt", b"hello", "text/plain").save()
    note = await cloud.Object("Filed", file=file).save()
    found = await cloud.Query("Filed").get(note.id)
    return [(await found["file"].data()).decode(), found["file"]]

@cloud.define
async def outer(request):
    return {"inner": await cloud.run("math.add", {"a": 1})}

@cloud.define
async def nothing(request):
    pass

@cloud.define
async def for_ever(request):
    await cloud.run("for_ever")
"""


@pytest.fixture
async def notes(make_api: MakeApi, settings: Settings, tmp_path: Path) -> AsyncIterator[Api]:
    main = tmp_path / "cloud" / "main.py"
    main.parent.mkdir()
    main.write_text(CODE)
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "cloud"}
    finders = list(sys.meta_path)
    yield await make_api(replace(settings, cloud=str(main), cloud_timeout=1.0))
    for name in [name for name in sys.modules if name.split(".")[0] == "cloud"]:
        del sys.modules[name]
    sys.modules.update(before)
    sys.meta_path[:] = finders


async def run(api: Api, name: str, **params: object) -> object:
    return ok(await api.post(f"/functions/{name}", params)).get("result")


async def test_the_state_of_objects_in_save_hooks(notes: Api) -> None:
    note = ok(await notes.post("/classes/Note", {"text": "a", "n": 1}))["objectId"]
    ok(await notes.put(f"/classes/Note/{note}", {"text": "b"}))
    assert await run(notes, "lines") == [
        ["before", True, False, None, ["n", "text"], None],
        ["after", False, False, True, [], "before"],
        ["before", False, True, note, ["text"], "a"],
        ["after", False, True, True, [], "before"],
    ]


async def test_changes_of_before_save_are_stored_and_echoed(notes: Api) -> None:
    body = {"text": "change", "gone": 1, "tags": ["a"], "n": 1, "same": 1}
    at = {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"}
    answer = ok(await notes.post("/classes/Note", body))
    changed = {k: v for k, v in answer.items() if k not in ("objectId", "createdAt")}
    assert changed == {
        "h": 1,
        "gone": {"__op": "Delete"},
        "at": at,
        "tags": ["a", "hook"],
        "n": 2,
    }
    path = f"/classes/Note/{answer['objectId']}"
    answer = ok(await notes.put(path, {"n": {"__op": "Increment", "amount": 5}}))
    assert answer["n"] == 8
    stored = ok(await notes.get(path))
    assert (stored["n"], stored["tags"], stored["h"]) == (8, ["a", "hook", "hook"], 1)
    assert "gone" not in stored


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("refuse", 101, "refused"),
        ("boom", 141, "boom"),
        ("hang", 141, "Script failed: it took longer than 1 seconds."),
        ("block", 141, "Script failed: it took longer than 1 seconds."),
        ("self", 141, "Script failed: cloud code calls itself more than 16 levels deep."),
    ],
)
async def test_hooks_that_fail(notes: Api, text: str, code: int, message: str) -> None:
    assert_parse_error(
        await notes.post("/classes/Note", {"text": text, "tags": []}), code, text=message
    )
    assert await notes.find("Note") == []
    await notes.create("Note", text="fine")


async def test_answers_of_after_save(notes: Api) -> None:
    answer = await notes.post("/classes/Note", {"text": "replace"})
    assert answer.status_code == 201
    assert answer.json() == {"replaced": True}
    answer = await notes.post("/classes/Note", {"text": "echo"})
    assert answer.json()["extra"] == {"__type": "Date", "iso": answer.json()["createdAt"]}
    assert "extra" not in ok(await notes.get(f"/classes/Note/{answer.json()['objectId']}"))
    await notes.create("Note", text="late")
    assert len(await notes.find("Note")) == 3


async def test_delete_hooks(notes: Api) -> None:
    note = await notes.create("Note", text="keep")
    assert_parse_error(await notes.delete(f"/classes/Note/{note}"), 141, text="kept")
    note = await notes.create("Note", text="complain")
    assert_parse_error(await notes.delete(f"/classes/Note/{note}"), 141, text="gone already")
    assert [row["text"] for row in await notes.find("Note")] == ["keep"]


async def test_find_hooks(notes: Api) -> None:
    ann, bob = await notes.sign_up("ann"), await notes.sign_up("bob")
    for owner in (ann, bob):
        for n in (1, 2):
            await owner.create("Mine", owner=owner.pointer(), n=n)
    rows = await ann.find("Mine")
    assert [(row["owner"], row["n"], row["af"]) for row in rows] == [(ann.pointer(), 1, True)]
    made = await notes.find("Made")
    assert [row["text"] for row in made] == ["made up"]


async def test_login_hook(notes: Api) -> None:
    await notes.sign_up("mallory")
    body = {"username": "mallory", "password": "secret"}
    assert_parse_error(await notes.post("/login", body), 142, text="go away")
    await notes.sign_up("ann")
    await notes.log_in("ann")


async def test_functions(notes: Api) -> None:
    assert await run(notes, "math.add", a=1) == 3
    assert await run(notes, "math.add", a=1, b=5) == 6
    assert_parse_error(
        await notes.post("/functions/math.add", {"a": "x"}),
        142,
        text="Validation failed. Invalid type for a. Expected: number",
    )
    assert_parse_error(await notes.post("/functions/nope"), 141, text='Invalid function: "nope"')
    assert ok(await notes.post("/functions/nothing")) == {}
    assert await run(notes, "outer") == {"inner": 3}
    assert_parse_error(await notes.post("/functions/for_ever"), 141)


async def test_what_a_function_is_told(notes: Api) -> None:
    ann = await notes.sign_up("ann")
    headers = {"X-Parse-Cloud-Context": '{"k": 1}', "X-Parse-Installation-Id": "ii"}
    answer = await ann.request(
        "POST", "/functions/plain", {"a": 1, "b": 1}, params={"b": "2"}, headers=headers
    )
    assert ok(answer)["result"] == {
        "user": ann.id,
        "master": False,
        "name": "plain",
        "params": {"a": 1, "b": "2"},
        "context": {"k": 1},
        "roles": [],
        "installation": "ii",
    }
    assert ok(await notes.as_master().post("/functions/plain"))["result"]["master"] is True


async def test_objects_in_results(notes: Api) -> None:
    ann = await notes.sign_up("ann")
    user = ok(await ann.post("/functions/me"))["result"]
    assert (user["__type"], user["className"], user["objectId"]) == ("Object", "_User", ann.id)
    assert_parse_error(
        await notes.post("/functions/me"),
        142,
        text="Validation failed. Please login to continue.",
    )


async def test_rights_are_those_of_the_caller(notes: Api) -> None:
    ann, bob = await notes.sign_up("ann"), await notes.sign_up("bob")
    await ann.create("Secret", ACL={ann.id: {"read": True}})
    assert await run(ann, "count") == [1, 1]
    assert await run(bob, "count") == [0, 1]
    assert await run(ann, "relate") == [ann.id]


async def test_files(notes: Api) -> None:
    ann = await notes.sign_up("ann")
    text, file = ok(await ann.post("/functions/upload"))["result"]
    assert text == "hello"
    assert file["__type"] == "File"
    assert file["name"].endswith("a.txt")
    assert file["url"].endswith(file["name"])
