"""Messages: between two people, and nobody else."""

from __future__ import annotations

from typing import Any

from server.values import pointer
from tests.harness.api import Api, assert_parse_error, ok
from tests.pharmacy.conftest import Patient


def letter(to: Api, **fields: Any) -> dict[str, Any]:
    return {"conversationId": "c1", "body": "With food?", "to": to.pointer(), **fields}


async def test_the_server_says_who_and_when(
    alice: Patient, mallory: Patient, provider: Api
) -> None:
    claims = {
        "from": mallory.api.pointer(),
        "isRead": True,
        "sentAt": {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"},
        "ACL": {"*": {"read": True, "write": True}},
    }
    message = await alice.api.create("Message", **letter(provider, **claims))
    stored = ok(await provider.get(f"/classes/Message/{message}"))
    assert stored["from"]["objectId"] == alice.api.id
    assert stored["patient"]["objectId"] == alice.profile
    assert stored["isRead"] is False
    assert stored["sentAt"]["iso"][:4] != "2020"
    assert set(stored["ACL"]) == {alice.api.id, provider.id}


async def test_only_the_two_read_it(
    alice: Patient, mallory: Patient, provider: Api, admin: Api, anyone: Api
) -> None:
    path = f"/classes/Message/{await alice.api.create('Message', **letter(provider))}"
    assert ok(await alice.api.get(path))["body"] == "With food?"
    for who in (mallory.api, admin, anyone):
        assert_parse_error(await who.get(path), 101)
    assert await mallory.api.find("Message", {"conversationId": "c1"}) == []
    assert_parse_error(await anyone.post("/classes/Message", letter(provider)), 101)


async def test_only_the_recipient_marks_it_as_read(
    alice: Patient, mallory: Patient, provider: Api
) -> None:
    path = f"/classes/Message/{await alice.api.create('Message', **letter(provider))}"
    for who in (alice.api, mallory.api):
        assert_parse_error(await who.put(path, {"isRead": True}), 101)
    for change in ({"body": "x"}, {"from": provider.pointer()}, {"to": alice.api.pointer()}):
        assert_parse_error(await provider.put(path, change), 119)
    ok(await provider.put(path, {"isRead": True, "ACL": {"*": {"read": True}}}))
    stored = ok(await alice.api.get(path))
    assert stored["isRead"] is True and "*" not in stored["ACL"]
    for who in (alice.api, provider):
        assert_parse_error(await who.delete(path), 119)


async def test_whom_it_is_about(alice: Patient, mallory: Patient, provider: Api) -> None:
    answer = await mallory.api.post("/classes/Message", letter(provider, patient=alice.pointer))
    assert_parse_error(answer, 119)
    reply = await provider.create("Message", **letter(alice.api))
    stored = ok(await alice.api.get(f"/classes/Message/{reply}"))
    assert stored["patient"]["objectId"] == alice.profile
    for wrong in ("x", pointer("_User", alice.api.id), {}):
        answer = await alice.api.post("/classes/Message", letter(provider, patient=wrong))
        assert answer.status_code == 400, answer.text


async def test_bad_recipients(alice: Patient, provider: Api) -> None:
    good = letter(provider)
    for to, code in (("x", 142), (alice.pointer, 142), (pointer("_User", "nosuchone1"), 101)):
        assert_parse_error(await alice.api.post("/classes/Message", {**good, "to": to}), code)
    del good["to"]
    assert_parse_error(await alice.api.post("/classes/Message", good), 142)
