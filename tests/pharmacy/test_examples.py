"""The two templates, each served from its own configuration with its unchanged schema."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from server.values import pointer
from tests.harness.api import MASTER_KEY, Api, assert_parse_error, ok
from tests.harness.processes import ROOT, Server, free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def served(database_uri: str, tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """``served("home-delivery")``: `pestle serve` of an example, on this test's database."""
    with ExitStack() as stack:

        def start(name: str) -> Server:
            port = free_port()
            config = ROOT / "examples" / name / "config.json"
            command = [sys.executable, "-m", "server.cli", "serve", str(config)]
            options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
            environment = {
                "PARSE_SERVER_DATABASE_URI": database_uri,
                "PARSE_SERVER_MASTER_KEY": MASTER_KEY,
                "PESTLE_DATA_DIR": str(tmp_path),
            }
            server = Server([*command, *options], port, env=environment)
            stack.callback(server.stop)
            server.wait_ready()
            return server

        yield start


@pytest.fixture
async def speak() -> AsyncIterator[Callable[[Server, str], Api]]:
    """``speak(server, app_id)``: a client without a session."""
    clients: list[httpx.AsyncClient] = []

    def open_client(server: Server, app_id: str) -> Api:
        clients.append(httpx.AsyncClient(base_url=server.url, timeout=30))
        return Api(clients[-1], app_id=app_id)

    yield open_client
    for client in clients:
        await client.aclose()


async def new_provider(anyone: Api) -> Api:
    provider = await anyone.sign_up("peter")
    master = anyone.as_master()
    role = (await master.find("_Role", {"name": "provider"}))[0]["objectId"]
    add = {"users": {"__op": "AddRelation", "objects": [provider.pointer()]}}
    ok(await master.put(f"/roles/{role}", add))
    return provider


async def new_patient(anyone: Api, name: str) -> tuple[Api, str]:
    patient = await anyone.sign_up(name)
    fields = {"medicalRecordNumber": name, "displayName": name, "isActive": True}
    return patient, await patient.create("PatientProfile", **fields)


async def test_home_delivery(
    served: Callable[[str], Server], speak: Callable[[Server, str], Api]
) -> None:
    anyone = speak(served("home-delivery"), "home-delivery")
    provider = await new_provider(anyone)
    alice, profile = await new_patient(anyone, "alice")
    mallory, _ = await new_patient(anyone, "mallory")

    order = {"medicationName": "Ibuprofen", "dosage": "400 mg"}
    foreign = {**order, "patient": pointer("PatientProfile", profile)}
    assert_parse_error(await mallory.post("/classes/Prescription", foreign), 119)
    assert_parse_error(await anyone.post("/classes/Prescription", order), 142)
    prescription = pointer("Prescription", await alice.create("Prescription", **order))
    fields = {"prescription": prescription, "deliveryAddress": "1 Main Street"}
    assert_parse_error(await mallory.post("/classes/Delivery", fields), 101)
    delivery = await alice.create("Delivery", **fields)

    path = f"/classes/Delivery/{delivery}"
    assert_parse_error(await alice.put(path, {"status": "out_for_delivery"}), 119)
    assert_parse_error(await provider.put(path, {"status": "delivered"}), 142)
    ok(await provider.put(path, {"status": "out_for_delivery"}))
    ok(await provider.put(path, {"status": "delivered"}))
    assert ok(await alice.get(path))["deliveredAt"]["__type"] == "Date"
    news = await alice.find("Notification", order="createdAt")
    assert [item["message"] for item in news] == [
        "Your delivery is now: out for delivery.",
        "Your delivery is now: delivered.",
    ]
    ok(await alice.put(f"/classes/Notification/{news[0]['objectId']}", {"isRead": True}))

    answer = await alice.request("POST", "/files/s.png", content=b"signed")
    image = {"__type": "File", "name": ok(answer)["name"]}
    signature = {"delivery": pointer("Delivery", delivery), "signatureImage": image}
    assert_parse_error(await mallory.post("/classes/Signature", signature), 101)
    ok(await alice.post("/classes/Signature", signature))
    assert_parse_error(await alice.post("/classes/Signature", signature), 137)
    await audited(anyone.as_master(), delivery, ["create", "update", "update"])


async def test_pharmacy_benefits(
    served: Callable[[str], Server], speak: Callable[[Server, str], Api]
) -> None:
    anyone = speak(served("pharmacy-benefits"), "pharmacy-benefits")
    provider = await new_provider(anyone)
    alice, profile = await new_patient(anyone, "alice")
    mallory, _ = await new_patient(anyone, "mallory")

    drug = {"medicationName": "Ibuprofen"}
    assert_parse_error(await alice.post("/classes/Medication", drug), 142)
    medication = await provider.create("Medication", **drug)
    copays = [
        await provider.create(
            "CopayDetails", medication=pointer("Medication", medication), amount=amount
        )
        for amount in (12.35, 4.1)
    ]
    plan = await provider.create(
        "InsurancePlan",
        provider="Acme",
        planName="Gold",
        copayAmounts=[pointer("CopayDetails", copay) for copay in copays],
    )
    function = "/functions/calculateCopay"
    assert_parse_error(await alice.post(function, {"medicationId": medication}), 142)
    path = f"/classes/PatientProfile/{profile}"
    plans = {"insurancePlans": [pointer("InsurancePlan", plan)]}
    assert_parse_error(await mallory.put(path, plans), 101)
    ok(await alice.put(path, plans))
    found = await alice.find("InsurancePlan", {"patients": pointer("PatientProfile", profile)})
    assert [item["objectId"] for item in found] == [plan]
    answer = await alice.post(function, {"medicationId": medication})
    assert ok(answer)["result"]["objectId"] == copays[1]
    assert_parse_error(await anyone.post(function, {"medicationId": medication}), 142)

    letter = {"conversationId": "c", "body": "With food?", "to": provider.pointer()}
    message = f"/classes/Message/{await alice.create('Message', **letter)}"
    assert_parse_error(await mallory.get(message), 101)
    assert_parse_error(await alice.put(message, {"isRead": True}), 101)
    ok(await provider.put(message, {"isRead": True}))
    await audited(anyone.as_master(), message.split("/")[-1], ["create", "update"])


async def audited(master: Api, entity_id: str, actions: list[str]) -> None:
    """The trail of an object is complete, and the master key cannot change it."""
    entries = await master.find("AuditLog", {"entityId": entity_id}, order="createdAt")
    assert [entry["action"] for entry in entries] == actions
    path = f"/classes/AuditLog/{entries[0]['objectId']}"
    assert_parse_error(await master.put(path, {"summary": "x"}), 119)
    assert_parse_error(await master.delete(path), 119)
