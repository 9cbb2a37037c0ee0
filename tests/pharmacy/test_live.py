"""LiveQuery in the pharmacies: what reaches whom. (The walk-through shows what must arrive.)"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from server.values import pointer
from tests.harness.api import APP_ID, Api
from tests.harness.processes import PATIENCE_S, Server
from tests.pharmacy.conftest import Patient, move, order_delivery, prescribe

SILENCE_S = 0.5


async def subscribe(
    socket: ClientConnection, who: Api, class_name: str, where: Any = None
) -> dict[str, Any]:
    """Connect as somebody; the answer to the subscription."""
    await send(socket, {"op": "connect", "applicationId": APP_ID})
    assert (await receive(socket))["op"] == "connected"
    query = {"className": class_name, "where": where or {}}
    request = {"op": "subscribe", "requestId": 1, "query": query}
    await send(socket, request | {"sessionToken": who.session_token})
    return await receive(socket)


async def send(socket: ClientConnection, frame: dict[str, Any]) -> None:
    await socket.send(json.dumps(frame))


async def receive(socket: ClientConnection, seconds: float = PATIENCE_S) -> dict[str, Any]:
    frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), seconds))
    return frame


async def hears_nothing(socket: ClientConnection) -> bool:
    try:
        await receive(socket, SILENCE_S)
    except TimeoutError:
        return True
    return False


def address(server: Server) -> str:
    return server.url.replace("http", "ws", 1)


async def test_the_trail_is_live_for_admins_only(
    pharmacy: Server, alice: Patient, provider: Api, admin: Api
) -> None:
    async with connect(address(pharmacy)) as theirs, connect(address(pharmacy)) as others:
        where = {"entityType": "Prescription", "actor": alice.api.pointer()}
        assert (await subscribe(theirs, admin, "AuditLog", where))["op"] == "subscribed"
        answer = await subscribe(others, provider, "AuditLog", where)
        prescription = await prescribe(alice)
        event = await receive(theirs)
        assert (event["op"], event["object"]["entityId"]) == ("create", prescription)
        assert answer["op"] == "error" or await hears_nothing(others)


async def test_a_delivery_is_live_for_its_own_people(
    pharmacy: Server, alice: Patient, mallory: Patient, provider: Api
) -> None:
    where = {"patient": pointer("PatientProfile", alice.profile)}
    delivery = await order_delivery(alice)
    async with connect(address(pharmacy)) as hers, connect(address(pharmacy)) as others:
        assert (await subscribe(hers, alice.api, "Delivery", where))["op"] == "subscribed"
        assert (await subscribe(others, mallory.api, "Delivery", where))["op"] == "subscribed"
        await move(provider, delivery, "out_for_delivery")
        event = await receive(hers)
        assert (event["op"], event["object"]["status"]) == ("update", "out_for_delivery")
        assert event["original"]["status"] == "pending"
        assert await hears_nothing(others)
