"""A patient against another one, a provider, and a thief of the read-only key, in the root app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.settings import Settings
from server.values import pointer
from tests.harness.api import APP_ID, MASTER_KEY, Api, ok
from tests.harness.app import running_app
from tests.harness.mongo import TestMongo
from tests.harness.processes import ROOT
from tests.security.conftest import Attack, World

READ_ONLY = "read-only-key"


@pytest.fixture(scope="module")
async def world(mongo: TestMongo) -> AsyncIterator[World]:
    """Alice has a profile, a delivery on its way, and a message from Bob, another patient."""
    database = mongo.new_database()
    uri = mongo.uri(database)
    settings = Settings(
        app_id=APP_ID,
        master_key=MASTER_KEY,
        read_only_master_key=READ_ONLY,
        maintenance_key="maintenance-key",
        database_uri=uri,
        schema_path=str(ROOT / "schema.json"),
        cloud=str(ROOT / "cloud" / "main.py"),
        log_level="error",
    )
    async with running_app(settings, hide_bugs=True) as anyone:
        yield await _furnished(anyone, uri)
    mongo.drop(database)


async def _furnished(anyone: Api, uri: str) -> World:
    master = anyone.as_master()
    alice, bob, peter = [await anyone.sign_up(name) for name in ("alice", "bob", "peter")]
    ok(await master.post("/functions/assignRole", {"userId": peter.id, "role": "provider"}))
    profile, bobs = [
        await who.create(
            "PatientProfile", medicalRecordNumber=f"MRN-{who.id}", displayName="Somebody"
        )
        for who in (alice, bob)
    ]
    order = await alice.create("Prescription", medicationName="Ibuprofen", dosage="400 mg")
    delivery, parcel = [
        await alice.create(
            "Delivery", prescription=pointer("Prescription", order), deliveryAddress="Main Street"
        )
        for _ in range(2)
    ]
    ok(await peter.put(f"/classes/Delivery/{delivery}", {"status": "out_for_delivery"}))
    message = await bob.create(
        "Message",
        conversationId="c",
        to=alice.pointer(),
        body="hello",
        attachments=[{"__type": "File", "name": "a.png"}],
    )
    (news,) = await alice.find("Notification")
    (admins,) = await master.find("_Role", {"name": "admin"})
    (entry,) = await master.find("AuditLog", limit=1)
    return World(
        uri,
        {
            "anyone": anyone,
            "alice": alice,
            "bob": bob,
            "peter": peter,
            "master": master,
            "read-only": anyone.with_headers({"X-Parse-Master-Key": READ_ONLY}),
            "maintenance": anyone.with_headers({"X-Parse-Maintenance-Key": "maintenance-key"}),
        },
        {
            "alice": alice.id,
            "bob": bob.id,
            "peter": peter.id,
            "profile": profile,
            "bobs": bobs,
            "order": order,
            "delivery": delivery,
            "parcel": parcel,
            "message": message,
            "news": news["objectId"],
            "admins": admins["objectId"],
            "entry": entry["objectId"],
        },
        (alice.session_token, bob.session_token, f"MRN-{alice.id}", MASTER_KEY, READ_ONLY),
    )


USER, FILE = pointer("_User", "{bob}"), {"__type": "File", "name": "s.png"}
ADD_BOB = {"__op": "AddRelation", "objects": [USER]}
PAST = {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"}


def _set(value: Any) -> dict[str, Any]:
    return {"__op": "SetOnInsert", "amount": value}


def _save(name: str, who: str, place: str, body: Any, code: int = 119) -> Attack:
    """A create for a class, an update for ``Class/{id}``."""
    return Attack(name, who, "PUT" if "/" in place else "POST", f"/classes/{place}", body, code)


_SIGNED = {"delivery": pointer("Delivery", "{delivery}"), "signatureImage": FILE}
_ORDER = {"medicationName": "X", "dosage": "1"}

WRITES = [
    _save("another's profile", "bob", "PatientProfile/{profile}", {"displayName": "x"}, 101),
    _save(
        "a profile for another",
        "alice",
        "PatientProfile",
        {"user": USER, "medicalRecordNumber": "MRN-0", "displayName": "x"},
    ),
    _save("a profile given away", "alice", "PatientProfile/{profile}", {"user": USER}),
    _save("own portal access", "alice", "PatientProfile/{profile}", {"isActive": False}),
    _save("a plan by index", "alice", "PatientProfile/{profile}", {"insurancePlans.0": "x"}, 142),
    _save(
        "plans past the limit", "alice", "PatientProfile/{profile}", {"insurancePlans.999": 1}, 142
    ),
    _save("a column", "alice", "PatientProfile/{profile}", {"isStaff": True}),
    _save(
        "another's prescription",
        "bob",
        "Prescription",
        {**_ORDER, "patient": pointer("PatientProfile", "{profile}")},
    ),
    _save(
        "an operator for an id",
        "bob",
        "Prescription",
        {**_ORDER, "patient": pointer("PatientProfile", "") | {"objectId": {"$ne": ""}}},
        142,
    ),
    _save("own prescription, done", "bob", "Prescription", {**_ORDER, "status": "completed"}, 142),
    _save("a value past its limit", "bob", "Prescription", {**_ORDER, "dosage": _set("x")}, 108),
    _save("own prescription on", "alice", "Prescription/{order}", {"status": "active"}),
    _save("status deleted", "alice", "Prescription/{order}", {"status": {"__op": "Delete"}}, 142),
    _save(
        "delivery of another's order",
        "bob",
        "Delivery",
        {"prescription": pointer("Prescription", "{order}"), "deliveryAddress": "mine"},
        101,
    ),
    _save("a status jump", "peter", "Delivery/{parcel}", {"status": "delivered"}, 142),
    _save("a status back", "peter", "Delivery/{delivery}", {"status": "pending"}, 142),
    _save("a patient moves", "alice", "Delivery/{parcel}", {"status": "out_for_delivery"}),
    _save("a move of another's", "bob", "Delivery/{parcel}", {"status": "out_for_delivery"}, 101),
    _save(
        "a delivery to another",
        "peter",
        "Delivery/{delivery}",
        {"patient": pointer("PatientProfile", "{bobs}")},
    ),
    _save("another signs", "bob", "Signature", _SIGNED, 101),
    _save("a provider signs", "peter", "Signature", _SIGNED),
    _save(
        "signed too early",
        "alice",
        "Signature",
        {**_SIGNED, "delivery": pointer("Delivery", "{parcel}")},
        142,
    ),
    _save(
        "no file", "alice", "Signature", {**_SIGNED, "signatureImage": {"__op": "Increment"}}, 142
    ),
    _save("a message's text", "alice", "Message/{message}", {"body": "x"}),
    _save("a message's file by index", "alice", "Message/{message}", {"attachments.0": "x"}),
    _save("an item deleted", "alice", "Message/{message}", {"attachments.0": {"__op": "Delete"}}),
    _save("a message's time", "alice", "Message/{message}", {"sentAt": PAST}),
    _save("the sender reads", "bob", "Message/{message}", {"isRead": True}, 101),
    _save(
        "a poisoned attachment",
        "bob",
        "Message",
        {
            "conversationId": "c",
            "to": pointer("_User", "{alice}"),
            "body": "x",
            "attachments": [pointer("AuditLog", "x")],
        },
        142,
    ),
    _save("another's notification", "bob", "Notification/{news}", {"isRead": True}, 101),
    _save("a notification's text", "alice", "Notification/{news}", {"message": "x"}),
    _save("a made-up notification", "bob", "Notification", {"message": "x"}),
    _save("a made-up co-pay", "bob", "CoPayCalculation", {"drug": "x"}),
    _save("a made-up record", "bob", "AuditLog", {"action": "x"}),
    _save("a pharmacy of one's own", "bob", "Provider", {"pharmacyDetails": "x"}),
    _save("a price", "bob", "CopayDetails", {"amount": 0}),
    Attack(
        "another's prescription away", "bob", "DELETE", "/classes/Prescription/{order}", None, 101
    ),
    Attack("a message away", "alice", "DELETE", "/classes/Message/{message}"),
]

ROLES = [
    Attack("into a role", who, "PUT", "/roles/{admins}", {"users": ADD_BOB})
    for who in ("alice", "bob", "peter", "read-only")
] + [
    Attack("a role of one's own", "bob", "POST", "/roles", {"name": "{bob}", "ACL": {}}),
    Attack("a role that is there", "bob", "POST", "/roles", {"name": "admin", "ACL": {}}),
    *(
        Attack(
            "assignRole", who, "POST", "/functions/assignRole", {"userId": "{bob}", "role": "admin"}
        )
        for who in ("bob", "peter", "read-only")
    ),
    Attack("assignRole", "anyone", "POST", "/functions/assignRole", {"userId": "x"}, 142),
    Attack(
        "an operator for a user",
        "master",
        "POST",
        "/functions/assignRole",
        {"userId": {"$ne": ""}, "role": "admin"},
        142,
    ),
    Attack(
        "the server's name",
        "anyone",
        "POST",
        "/users",
        {"username": "SYSTEM:pestle", "password": "x"},
        202,
    ),
]

_ENTRY = "/classes/AuditLog/{entry}"
RECORDS = [
    Attack(name, who, method, path, body, code)
    for who in ("master", "maintenance")
    for name, method, path, body, code in (
        ("update", "PUT", _ENTRY, {"summary": "x"}, 119),
        ("update nothing", "PUT", _ENTRY, {}, 119),
        ("update a part", "PUT", _ENTRY, {"metadata.fields": []}, 119),
        ("update by operation", "PUT", _ENTRY, {"summary": {"__op": "Delete"}}, 119),
        ("update by relation", "PUT", _ENTRY, {"r": ADD_BOB}, 119),
        ("update by override", "POST", _ENTRY, {"_method": "PUT", "summary": "x"}, 119),
        ("delete", "DELETE", _ENTRY, None, 119),
        (
            "in a transaction",
            "POST",
            "/batch",
            {"requests": [{"method": "DELETE", "path": f"/parse{_ENTRY}"}], "transaction": True},
            119,
        ),
    )
] + [
    Attack("purge", "master", "DELETE", "/purge/AuditLog"),
    Attack("drop", "master", "DELETE", "/schemas/AuditLog"),
    Attack(
        "drop a column",
        "master",
        "PUT",
        "/schemas/AuditLog",
        {"fields": {"metadata": {"__op": "Delete"}}},
    ),
    Attack("its schema's row", "master", "DELETE", "/classes/_SCHEMA/AuditLog", None, 103),
    Attack("read", "alice", "GET", "/classes/AuditLog"),
    Attack("read", "peter", "GET", _ENTRY),
    Attack("read", "anyone", "GET", "/classes/AuditLog", params={"count": "1", "limit": "0"}),
]


def _named(attack: Attack) -> str:
    return f"{attack.who}: {attack.name} ({attack.method})"


@pytest.mark.parametrize("attack", WRITES + ROLES + RECORDS, ids=_named)
async def test_it_is_refused_and_nothing_is_written(world: World, attack: Attack) -> None:
    await world.refuses(attack)


async def test_the_trail_is_as_it_was(world: World) -> None:
    """The rows above left entries, and each that was there stays."""
    entries = await world.callers["master"].find("AuditLog", order="createdAt", limit=1000)
    assert world.names["entry"] in [entry["objectId"] for entry in entries]
    assert not [entry for entry in entries if entry["createdAt"] != entry["updatedAt"]]


@pytest.mark.parametrize(
    "class_name",
    [
        "PatientProfile",
        "Prescription",
        "Delivery",
        "DeliveryMove",
        "Signature",
        "Notification",
        "UserProfile",
        "CoPayCalculation",
    ],
)
async def test_another_patient_finds_only_their_own(world: World, class_name: str) -> None:
    bob = world.callers["bob"]
    whole = {"$or": [{"_rperm": {"$exists": True}}, {"objectId": {"$exists": True}}]}
    for where in ({}, whole, {"$nor": [{"_rperm": "nobody"}]}):
        answer = ok(await bob.get(f"/classes/{class_name}", {"where": where, "count": "1"}))
        own = [world.names["bobs"]] if class_name == "PatientProfile" else []
        assert [row["objectId"] for row in answer["results"]] == own
        assert answer["count"] == len(own)


async def test_what_is_not_there_and_what_is_another_s_answer_alike(world: World) -> None:
    bob, names = world.callers["bob"], world.names
    for method, body in (("GET", None), ("PUT", {"displayName": "x"}), ("DELETE", None)):
        answers = [
            await bob.request(method, f"/classes/PatientProfile/{object_id}", body)
            for object_id in (names["profile"], "doesNotExist")
        ]
        assert answers[0].status_code == answers[1].status_code
        assert answers[0].json() == answers[1].json()


async def test_what_the_server_sets_is_not_taken_from_clients(world: World) -> None:
    """Such values are passed over, so that clients may send back what they read."""
    alice, bob, names = world.callers["alice"], world.callers["bob"], world.names
    everybody = {"*": {"read": True, "write": True}}
    path = f"/classes/PatientProfile/{names['profile']}"
    for team in ({"careTeam": [bob.pointer()]}, {"careTeam.0": bob.pointer()}):
        ok(await alice.put(path, {**team, "ACL": everybody}))
    profile = ok(await alice.get(path))
    assert bob.id not in str(profile["careTeam"])
    assert "*" not in profile["ACL"]
    message = await bob.create(
        "Message",
        conversationId="c",
        to=alice.pointer(),
        body="x",
        sentAt=PAST,
        isRead=True,
        ACL=everybody,
        **{"from": alice.pointer()},
    )
    seen = ok(await alice.get(f"/classes/Message/{message}"))
    assert seen["from"]["objectId"] == bob.id
    assert seen["sentAt"] != PAST and seen["isRead"] is False and "*" not in seen["ACL"]
