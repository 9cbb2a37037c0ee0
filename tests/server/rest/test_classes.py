"""``/classes``: statuses, ``Location``, limits of queries, parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from server.settings import Settings
from tests.conftest import MakeApi
from tests.harness.api import Api, assert_parse_error, ok
from tests.harness.app import app_on
from tests.harness.mongo import TestMongo


async def test_the_life_of_an_object(api: Api) -> None:
    made = await api.post("/classes/Note", {"n": 1})
    assert made.status_code == 201
    one = made.json()["objectId"]
    assert set(made.json()) == {"objectId", "createdAt"} and len(one) == 10
    assert made.headers["location"] == f"http://test/parse/classes/Note/{one}"
    got = await api.get(f"/classes/Note/{one}")
    assert got.status_code == 200 and got.json()["n"] == 1
    assert got.json()["updatedAt"] == got.json()["createdAt"] == made.json()["createdAt"]
    changed = await api.put(f"/classes/Note/{one}", {"n": 2})
    assert changed.status_code == 200 and set(changed.json()) == {"updatedAt"}
    deleted = await api.delete(f"/classes/Note/{one}")
    assert deleted.status_code == 200 and deleted.json() == {}
    for answer in (
        await api.get(f"/classes/Note/{one}"),
        await api.put(f"/classes/Note/{one}", {"n": 2}),
        await api.delete(f"/classes/Note/{one}"),
    ):
        assert_parse_error(answer, 101)


async def test_location_of_a_user(api: Api) -> None:
    made = await api.post("/classes/_User", {"username": "ann", "password": "x"})
    assert made.headers["location"] == f"http://test/parse/users/{made.json()['objectId']}"


@pytest.fixture(scope="module")
async def named(mongo: TestMongo) -> AsyncIterator[Api]:
    """A server whose clients may choose ids."""
    async with app_on(mongo, allow_custom_object_id=True) as anyone:
        yield anyone


@pytest.mark.parametrize("object_id", ["mine", "a b", "a/b", "a\r\nX-Evil: 1", "ü✓", "a$b", "../x"])
async def test_own_ids(named: Api, object_id: str) -> None:
    """An id must not end the header it stands in."""
    made = await named.post("/classes/Note", {"objectId": object_id, "n": 1})
    assert made.status_code == 201 and made.json()["objectId"] == object_id
    location = made.headers["location"]
    assert "x-evil" not in made.headers and location.isascii() and "\r" not in location
    assert_parse_error(await named.post("/classes/Note", {"objectId": object_id}), 137)


@pytest.mark.parametrize("object_id", ["", None, 5, {"$ne": 1}, "a\0b", "x" * 1000])
async def test_odd_own_ids_are_refused(named: Api, object_id: Any) -> None:
    answer = await named.post("/classes/Odd", {"objectId": object_id})
    assert answer.status_code == 400
    assert await named.find("Odd") == []


async def test_a_user_cannot_be_named_like_a_role(named: Api) -> None:
    body = {"objectId": "role:admin", "username": "x", "password": "x"}
    assert_parse_error(await named.post("/users", body), 119)


async def test_a_user_named_like_a_word_of_permissions_gains_nothing(named: Api) -> None:
    user = await named.sign_up("sly", objectId="pointerFields")
    fields = {"owner": {"type": "Pointer", "targetClass": "_User"}}
    clp = dict.fromkeys(("find", "get", "count"), {"pointerFields": ["owner"]})
    body = {"className": "Owned", "fields": fields, "classLevelPermissions": clp}
    ok(await named.as_master().post("/schemas/Owned", body))
    await named.as_master().create("Owned")
    assert await user.find("Owned") == []


@pytest.mark.parametrize(
    ("default_limit", "max_limit", "asked", "count"),
    [
        (3, None, None, 3),
        (3, None, "5", 5),
        (100, 4, None, 4),
        (100, 4, "2", 2),
        (100, 4, "7", 4),
        (100, 4, "-7", 4),
        (100, 4, "abc", 4),
        (100, 4, "99999999999999", 4),
        (100, 4, "0", 0),
    ],
)
async def test_limits(
    make_api: MakeApi,
    settings: Settings,
    default_limit: int,
    max_limit: int | None,
    asked: str | None,
    count: int,
) -> None:
    api = await make_api(replace(settings, default_limit=default_limit, max_limit=max_limit))
    requests = [{"method": "POST", "path": "/parse/classes/Note", "body": {}}] * 8
    ok(await api.post("/batch", {"requests": requests}))
    assert len(await api.find("Note", **({"limit": asked} if asked else {}))) == count


@pytest.mark.parametrize(
    "params",
    [{"bogus": "1"}, {"where": "{"}, {"where": "5"}, {"where": "[]"}, {"where": '"x"'},
     {"order": "$natural"}, {"order": "_rperm"}, {"skip": "-1"}, {"readPreference": "THERE"},
     {"hint": "nope"}, {"explain": "true"}],
    ids=str,
)  # fmt: skip
async def test_bad_parameters(shared_api: Api, params: dict[str, Any]) -> None:
    await shared_api.create("Note", n=1)
    answer = await shared_api.get("/classes/Note", params)
    assert answer.status_code == 400 and answer.json()["code"] in (102, 105, 107)
    one = (await shared_api.find("Note"))[0]["objectId"]
    if "readPreference" not in params:
        assert_parse_error(await shared_api.get(f"/classes/Note/{one}", params), 102)


async def test_a_body_that_is_a_list_is_refused(shared_api: Api) -> None:
    assert_parse_error(await shared_api.post("/classes/Note", [1]), 107)
    one = await shared_api.create("Note")
    assert_parse_error(await shared_api.put(f"/classes/Note/{one}", [1]), 107)


async def test_an_empty_list_is_an_empty_object(shared_api: Api) -> None:
    answer = await shared_api.post("/classes/Note", [])
    one = ok(answer)["objectId"]
    assert "updatedAt" in ok(await shared_api.put(f"/classes/Note/{one}", []))


async def test_classes_come_to_be_only_where_allowed(make_api: MakeApi, settings: Settings) -> None:
    api = await make_api(replace(settings, allow_client_class_creation=False))
    for answer in (await api.post("/classes/New", {}), await api.get("/classes/New")):
        assert_parse_error(answer, 119)
    await api.as_master().create("New")
    await api.create("New")
