"""Deliveries, their notifications and signatures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.values import pointer
from tests.harness.api import Api, assert_parse_error, ok
from tests.pharmacy.conftest import Patient, appoint, move, order_delivery, prescribe


async def upload(api: Api) -> dict[str, Any]:
    answer = await api.request(
        "POST", "/files/s.png", content=b"signed", headers={"Content-Type": "image/png"}
    )
    return {"__type": "File", "name": ok(answer)["name"]}


def sign(delivery: str, image: Any) -> dict[str, Any]:
    return {"delivery": pointer("Delivery", delivery), "signatureImage": image}


async def test_a_new_delivery(alice: Patient, mallory: Patient, anyone: Api) -> None:
    prescription = await prescribe(alice)
    fields = {
        "prescription": pointer("Prescription", prescription),
        "deliveryAddress": "1 Main Street",
        "deliveredAt": {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"},
        "patient": mallory.pointer,
        "provider": alice.api.pointer(),
        "trackingNumber": "MINE",
        "ACL": {"*": {"read": True, "write": True}},
    }
    delivery = await alice.api.create("Delivery", **fields)
    stored = ok(await alice.api.get(f"/classes/Delivery/{delivery}"))
    assert stored["status"] == "pending"
    assert stored["patient"]["objectId"] == alice.profile
    assert {"deliveredAt", "provider", "trackingNumber"}.isdisjoint(stored)
    assert set(stored["ACL"]) == {alice.api.id, "role:provider", "role:admin"}

    assert_parse_error(await mallory.api.post("/classes/Delivery", fields), 101)
    assert_parse_error(await anyone.post("/classes/Delivery", fields), 101)
    for status in ("out_for_delivery", "delivered", "nonsense"):
        answer = await alice.api.post("/classes/Delivery", {**fields, "status": status})
        assert_parse_error(answer, 142)
    for wrong in ("x", {}, pointer("Delivery", delivery), None):
        answer = await alice.api.post("/classes/Delivery", {**fields, "prescription": wrong})
        assert_parse_error(answer, 142)
    assert_parse_error(await mallory.api.get(f"/classes/Delivery/{delivery}"), 101)


async def test_moves_forward_by_providers_only(
    alice: Patient, mallory: Patient, provider: Api, admin: Api, anyone: Api
) -> None:
    delivery = await order_delivery(alice)
    path = f"/classes/Delivery/{delivery}"
    on_its_way = {"status": "out_for_delivery"}
    assert_parse_error(await alice.api.put(path, on_its_way), 119)
    assert_parse_error(await admin.put(path, on_its_way), 119)
    assert_parse_error(await mallory.api.put(path, on_its_way), 101)
    assert_parse_error(await anyone.put(path, on_its_way), 101)
    for status in ("delivered", "failed", "pending ", 5, None, ["out_for_delivery"]):
        assert_parse_error(await provider.put(path, {"status": status}), 142)
    ok(await provider.put(path, on_its_way))
    assert_parse_error(await provider.put(path, {"status": "pending"}), 142)
    claimed = {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"}
    ok(await provider.put(path, {"status": "delivered", "deliveredAt": claimed}))
    stored = ok(await alice.api.get(path))
    assert stored["deliveredAt"]["iso"][:4] != "2020"
    for status in ("failed", "pending", "out_for_delivery"):
        assert_parse_error(await provider.put(path, {"status": status}), 142)
    assert_parse_error(await provider.put(path, {"deliveryAddress": "elsewhere"}), 142)
    ok(await provider.put(path, {"deliveredAt": claimed}))
    assert ok(await alice.api.get(path))["deliveredAt"] == stored["deliveredAt"]


async def test_the_master_key_keeps_to_the_way(alice: Patient, master: Api) -> None:
    delivery = await order_delivery(alice)
    answer = await master.put(f"/classes/Delivery/{delivery}", {"status": "delivered"})
    assert_parse_error(answer, 142)
    await move(master, delivery, "out_for_delivery", "failed")
    assert "deliveredAt" not in ok(await alice.api.get(f"/classes/Delivery/{delivery}"))


async def test_who_moves_it_takes_it_on(anyone: Api, alice: Patient, provider: Api) -> None:
    delivery = await order_delivery(alice)
    other = await appoint(anyone, "olga", "provider")
    ok(await other.get(f"/classes/Delivery/{delivery}"))
    await move(provider, delivery, "out_for_delivery")
    assert_parse_error(await other.get(f"/classes/Delivery/{delivery}"), 101)
    assert await other.find("Delivery", {"objectId": delivery}) == []
    ok(await provider.put(f"/classes/Delivery/{delivery}", {"provider": other.pointer()}))
    await move(other, delivery, "delivered")


async def test_what_the_patient_changes(alice: Patient, mallory: Patient, provider: Api) -> None:
    delivery = await order_delivery(alice)
    path = f"/classes/Delivery/{delivery}"
    ok(await alice.api.put(path, {"deliveryAddress": "2 Side Street"}))
    other = pointer("Prescription", await prescribe(mallory))
    for change in (
        {"prescription": other},
        {"patient": mallory.pointer},
        {"provider": alice.api.pointer()},
        {"trackingNumber": "MINE"},
    ):
        assert_parse_error(await alice.api.put(path, change), 119)
    await move(provider, delivery, "out_for_delivery")
    assert_parse_error(await alice.api.put(path, {"deliveryAddress": "3 Back Street"}), 119)
    assert_parse_error(await alice.api.delete(path), 142)


async def test_each_move_tells_the_patient(
    alice: Patient, mallory: Patient, provider: Api, master: Api
) -> None:
    delivery = await order_delivery(alice)
    await move(provider, delivery, "out_for_delivery", "delivered")
    ok(await provider.put(f"/classes/Delivery/{delivery}", {}))
    news = await alice.api.find("Notification", order="createdAt")
    assert [(n["patient"]["objectId"], n["isRead"]) for n in news] == [(alice.profile, False)] * 2
    assert "on its way" in news[0]["message"] and "arrived" in news[1]["message"]

    path = f"/classes/Notification/{news[0]['objectId']}"
    for who in (mallory.api, provider):
        assert_parse_error(await who.get(path), 101)
    assert_parse_error(await alice.api.put(path, {"message": "x"}), 119)
    assert_parse_error(await alice.api.put(path, {"patient": mallory.pointer}), 119)
    ok(await alice.api.put(path, {"isRead": True}))
    forged = {"patient": alice.pointer, "message": "x", "isRead": False}
    for who in (mallory.api, alice.api, provider):
        assert_parse_error(await who.post("/classes/Notification", forged), 119)


async def test_two_people_cannot_both_decide(
    anyone: Api, alice: Patient, provider: Api, master: Api
) -> None:
    for _ in range(5):
        delivery = await order_delivery(alice)
        path = f"/classes/Delivery/{delivery}"
        await move(provider, delivery, "out_for_delivery")
        statuses = ("delivered", "failed") * 3
        answers = await asyncio.gather(*(provider.put(path, {"status": s}) for s in statuses))
        outcome = ok(await alice.api.get(path))["status"]
        # To say again what already holds is no move, so it may come through.
        said = {s for s, answer in zip(statuses, answers, strict=True) if answer.is_success}
        assert said == {outcome}
        moves = await master.find("DeliveryMove", {"delivery": pointer("Delivery", delivery)})
        assert sorted(m["status"] for m in moves) == sorted(["out_for_delivery", outcome])
        where = {"delivery": pointer("Delivery", delivery)}
        assert len(await alice.api.find("Notification", where)) == 2


async def test_the_signature_is_the_patients(
    alice: Patient, mallory: Patient, provider: Api, anyone: Api
) -> None:
    delivery = await order_delivery(alice)
    image = await upload(alice.api)
    path = "/classes/Signature"
    assert_parse_error(await alice.api.post(path, sign(delivery, image)), 142)
    await move(provider, delivery, "out_for_delivery")
    assert_parse_error(await anyone.post(path, sign(delivery, image)), 101)
    assert_parse_error(await mallory.api.post(path, sign(delivery, image)), 101)
    assert_parse_error(await provider.post(path, sign(delivery, image)), 119)
    for wrong in (None, "s.png", {}, pointer("_User", alice.api.id), {"__type": "File"}):
        assert_parse_error(await alice.api.post(path, sign(delivery, wrong)), 142)
    for wrong in (None, "x", alice.pointer):
        body = {"delivery": wrong, "signatureImage": image}
        assert_parse_error(await alice.api.post(path, body), 142)

    body = {**sign(delivery, image), "ACL": {"*": {"read": True, "write": True}}}
    signature = ok(await alice.api.post(path, body))["objectId"]
    assert ok(await provider.get(f"{path}/{signature}"))["signatureImage"]["name"] == image["name"]
    assert_parse_error(await mallory.api.get(f"{path}/{signature}"), 101)


async def test_a_signature_stays(alice: Patient, provider: Api, admin: Api, master: Api) -> None:
    delivery = await order_delivery(alice)
    await move(provider, delivery, "out_for_delivery", "delivered")
    image = await upload(alice.api)
    signature = ok(await alice.api.post("/classes/Signature", sign(delivery, image)))["objectId"]
    path = f"/classes/Signature/{signature}"
    for who in (alice.api, provider, admin, master):
        assert_parse_error(await who.put(path, {"signatureImage": image}), 119)
    for who in (alice.api, provider, admin):
        assert_parse_error(await who.delete(path), 119)


async def test_nothing_to_sign_for_after_a_failure(alice: Patient, provider: Api) -> None:
    delivery = await order_delivery(alice)
    await move(provider, delivery, "out_for_delivery", "failed")
    image = await upload(alice.api)
    assert_parse_error(await alice.api.post("/classes/Signature", sign(delivery, image)), 142)


async def test_a_delivery_is_signed_for_once(alice: Patient, provider: Api, master: Api) -> None:
    delivery = await order_delivery(alice)
    await move(provider, delivery, "out_for_delivery")
    body = sign(delivery, await upload(alice.api))
    answers = await asyncio.gather(*(alice.api.post("/classes/Signature", body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [400] * 7
    for answer in answers:
        if answer.status_code == 400:
            assert_parse_error(answer, 137)
    where = {"delivery": pointer("Delivery", delivery)}
    assert len(await master.find("Signature", where)) == 1


@pytest.mark.parametrize("class_name", ["Delivery", "Signature", "Notification", "DeliveryMove"])
async def test_nothing_for_strangers(anyone: Api, class_name: str) -> None:
    assert_parse_error(await anyone.get(f"/classes/{class_name}"), 101)
