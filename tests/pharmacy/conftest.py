"""The root app in a server of its own with two workers, and the people who use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from server.values import pointer, random_string
from tests.harness.api import APP_ID, MASTER_KEY, Api, ok
from tests.harness.mongo import TestMongo
from tests.harness.processes import ROOT, Server, start_pestle


@pytest.fixture(scope="session")
def pharmacy_uri(mongo: TestMongo) -> Iterator[str]:
    """The app's database."""
    database = mongo.new_database()
    yield mongo.uri(database)
    mongo.drop(database)


@pytest.fixture(scope="session")
def pharmacy(pharmacy_uri: str) -> Iterator[Server]:
    """The app as it is served, but for its database."""
    server = start_pestle(
        {
            "appId": APP_ID,
            "masterKey": MASTER_KEY,
            "databaseURI": pharmacy_uri,
            "schemaPath": str(ROOT / "schema.json"),
            "cloud": str(ROOT / "cloud" / "main.py"),
        },
        workers=2,
    )
    yield server
    server.stop()


@pytest.fixture
async def anyone(pharmacy: Server) -> AsyncIterator[Api]:
    """A caller without a session."""
    async with httpx.AsyncClient(base_url=pharmacy.url, timeout=30) as client:
        yield Api(client)


@pytest.fixture
def master(anyone: Api) -> Api:
    return anyone.as_master()


@dataclass(frozen=True)
class Patient:
    """A user with a PatientProfile."""

    api: Api
    profile: str

    @property
    def pointer(self) -> dict[str, str]:
        """A pointer to the profile."""
        return pointer("PatientProfile", self.profile)


async def new_user(anyone: Api, name: str) -> Api:
    return await anyone.sign_up(f"{name}-{random_string(8)}")


async def new_patient(anyone: Api, name: str) -> Patient:
    api = await new_user(anyone, name)
    profile = await api.create(
        "PatientProfile", medicalRecordNumber=f"MRN-{random_string(8)}", displayName=name
    )
    return Patient(api, profile)


async def appoint(anyone: Api, name: str, role: str) -> Api:
    """A new user in a role."""
    api = await new_user(anyone, name)
    body = {"userId": api.id, "role": role}
    ok(await anyone.as_master().post("/functions/assignRole", body))
    return api


@pytest.fixture
async def alice(anyone: Api) -> Patient:
    return await new_patient(anyone, "alice")


@pytest.fixture
async def mallory(anyone: Api) -> Patient:
    """Another patient."""
    return await new_patient(anyone, "mallory")


@pytest.fixture
async def provider(anyone: Api) -> Api:
    return await appoint(anyone, "peter", "provider")


@pytest.fixture
async def admin(anyone: Api) -> Api:
    return await appoint(anyone, "adam", "admin")


async def prescribe(patient: Patient, **fields: Any) -> str:
    order = {"medicationName": "Ibuprofen", "dosage": "400 mg", **fields}
    return await patient.api.create("Prescription", **order)


async def order_delivery(patient: Patient, prescription: str | None = None) -> str:
    """A new delivery, of a new prescription if none is given."""
    prescription = prescription or await prescribe(patient)
    return await patient.api.create(
        "Delivery",
        prescription=pointer("Prescription", prescription),
        deliveryAddress="1 Main Street",
    )


async def move(api: Api, delivery: str, *statuses: str) -> None:
    for status in statuses:
        ok(await api.put(f"/classes/Delivery/{delivery}", {"status": status}))
