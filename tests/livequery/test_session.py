"""Frames in, frames and actions out, by the captured frames of Parse Server 9.10."""

from __future__ import annotations

import json
from typing import Any

import pytest

from livequery.session import (
    MAX_FRAME,
    MAX_SUBSCRIPTIONS,
    Close,
    Connect,
    Session,
    Subscribe,
    Unsubscribe,
)


def receive(session: Session, frame: Any) -> list[Any]:
    """What the session answers; frames to send are read back as JSON."""
    text = frame if isinstance(frame, str) else json.dumps(frame)
    return [
        json.loads(action) if isinstance(action, str) else action
        for action in session.receive(text)
    ]


@pytest.fixture
def session() -> Session:
    """A session of a client that has connected."""
    session = Session()
    receive(session, {"op": "connect", "applicationId": "app", "installationId": "inst"})
    return session


def subscribe_frame(**members: Any) -> dict[str, Any]:
    query = {"className": "Note", "where": {}}
    return {"op": "subscribe", "requestId": 1, "query": query, **members}


def test_connect_is_answered_with_ids() -> None:
    session = Session()
    connect, connected = receive(
        session, {"op": "connect", "applicationId": "app", "installationId": "inst-L"}
    )
    assert connect == Connect()
    assert connected == {
        "op": "connected",
        "clientId": session.client_id,
        "installationId": "inst-L",
    }
    assert session.client_id is not None and len(session.client_id) == 36


def test_installation_id_is_left_out_when_not_given() -> None:
    _, connected = receive(Session(), {"op": "connect", "applicationId": "app"})
    assert "installationId" not in connected


def test_subscribe_asks_for_the_query(session: Session) -> None:
    query = {"className": "Note", "where": {"a": 1}, "keys": ["a"], "watch": ["a", "b"]}
    (action,) = receive(session, subscribe_frame(query=query, sessionToken="r:1"))
    assert action == Subscribe(1, "Note", {"a": 1}, frozenset("a"), ("a", "b"), "r:1")
    assert json.loads(session.subscribed(1)) == {
        "op": "subscribed",
        "clientId": session.client_id,
        "installationId": "inst",
        "requestId": 1,
    }


def test_fields_is_an_alias_of_keys(session: Session) -> None:
    query = {"className": "Note", "where": {}, "fields": ["a"]}
    (action,) = receive(session, subscribe_frame(query=query))
    assert action.keys == {"a"}


def test_empty_session_token_is_none(session: Session) -> None:
    (action,) = receive(session, subscribe_frame(sessionToken=""))
    assert action.session_token is None


def test_update_ends_the_old_subscription_first(session: Session) -> None:
    session.subscribed(1)
    (action,) = receive(session, subscribe_frame(op="update"))
    assert action.replaces_first


def test_update_of_an_unknown_subscription_is_told_and_subscribes(session: Session) -> None:
    error, action = receive(session, subscribe_frame(op="update"))
    assert error["code"] == 2 and isinstance(action, Subscribe)


def test_unsubscribe(session: Session) -> None:
    session.subscribed(2)
    action, frame = receive(session, {"op": "unsubscribe", "requestId": 2})
    assert action == Unsubscribe(2)
    assert frame["op"] == "unsubscribed" and frame["requestId"] == 2


def test_unknown_subscription(session: Session) -> None:
    (frame,) = receive(session, {"op": "unsubscribe", "requestId": 77})
    assert frame == {
        "op": "error",
        "error": f"Cannot find subscription with clientId {session.client_id} subscriptionId 77. "
        "Make sure you subscribe to live query server before unsubscribing.",
        "code": 2,
        "reconnect": True,
        "requestId": None,
    }


@pytest.mark.parametrize(
    ("op", "doing"), [("subscribe", "subscribing"), ("unsubscribe", "unsubscribing")]
)
def test_connect_comes_first(op: str, doing: str) -> None:
    frame = subscribe_frame() if op == "subscribe" else {"op": op, "requestId": 1}
    (error,) = receive(Session(), frame)
    assert error == {
        "op": "error",
        "error": f"Can not find this client, make sure you connect to server before {doing}",
        "code": 2,
        "reconnect": True,
        "requestId": None,
    }


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"op": "bogus"}, 'No enum match for: "bogus"'),
        ({}, "Missing required property: op"),
        ([], "Invalid type: array (expected object)"),
        (5, "Invalid type: number (expected object)"),
        ({"op": "connect"}, "Missing required property: applicationId"),
        ({"op": "connect", "applicationId": 1}, "Invalid type: number (expected string)"),
        (
            {"op": "connect", "applicationId": "a", "nope": 1},
            "Additional properties not allowed",
        ),
        ({"op": "subscribe", "requestId": 1}, "Missing required property: query"),
        (subscribe_frame(requestId="1"), "Invalid type: string (expected number)"),
        (subscribe_frame(requestId=True), "Invalid type: boolean (expected number)"),
        (
            subscribe_frame(query={"className": "N", "where": []}),
            "Invalid type: array (expected object)",
        ),
        (
            subscribe_frame(query={"className": "N", "where": {}, "limit": 1}),
            "Additional properties not allowed",
        ),
        (
            subscribe_frame(query={"className": "N", "where": {}, "keys": []}),
            "Array is too short (0), minimum 1",
        ),
        (
            subscribe_frame(query={"className": "N", "where": {}, "watch": ["a", "a"]}),
            "Array items are not unique (indices 0 and 1)",
        ),
        (
            subscribe_frame(query={"className": "N", "where": {}, "keys": [1]}),
            "Invalid type: number (expected string)",
        ),
    ],
)
def test_misfit_frames(session: Session, frame: Any, message: str) -> None:
    (error,) = receive(session, frame)
    assert error == {
        "op": "error",
        "error": message,
        "code": 1,
        "reconnect": True,
        "requestId": None,
    }


@pytest.mark.parametrize("text", ["", "hello", "{", "\0", '{"op":"connect"', "nan"])
def test_text_that_is_no_json_is_ignored(session: Session, text: str) -> None:
    assert session.receive(text) == []


def test_one_of_the_key_pairs_must_fit() -> None:
    pairs = {"masterKey": "mk", "javascriptKey": "jk"}
    for keys in ({}, {"javascriptKey": "no"}, {"restAPIKey": "jk"}):
        session = Session(pairs)
        (error,) = receive(session, {"op": "connect", "applicationId": "a", **keys})
        assert (error["code"], error["error"]) == (4, "Key in request is not valid")
        assert session.client_id is None
    session = Session(pairs)
    receive(session, {"op": "connect", "applicationId": "a", "javascriptKey": "jk"})
    assert session.client_id is not None and not session.is_master


def test_master_only_by_key_pair() -> None:
    connect = {"op": "connect", "applicationId": "a", "masterKey": "mk"}
    without, with_pair = Session(), Session({"masterKey": "mk"})
    receive(without, connect)
    receive(with_pair, connect)
    assert not without.is_master
    assert with_pair.is_master


def test_connections_are_bounded(session: Session) -> None:
    for number in range(MAX_SUBSCRIPTIONS):
        session.subscribed(number)
    (refusal,) = receive(session, subscribe_frame(requestId=-1))
    assert (refusal["code"], refusal["reconnect"]) == (155, False)
    (action,) = receive(session, subscribe_frame(requestId=0))
    assert isinstance(action, Subscribe)


def test_the_size_of_all_queries_is_bounded(session: Session) -> None:
    query = {"className": "N", "where": {"a": "x" * (MAX_FRAME - 1000)}}
    for number in range(10):
        (answer,) = receive(session, subscribe_frame(requestId=number, query=query))
        if not isinstance(answer, Subscribe):
            break
        session.subscribed(number, answer.size)
    assert (number, answer["code"]) == (2, 155)
    # In place of one of them there is room.
    (action,) = receive(session, subscribe_frame(requestId=1, query=query))
    assert isinstance(action, Subscribe)
    receive(session, {"op": "unsubscribe", "requestId": 0})
    (action,) = receive(session, subscribe_frame(requestId=2, query=query))
    assert isinstance(action, Subscribe)


def test_frames_are_bounded(session: Session) -> None:
    assert session.receive(" " * (MAX_FRAME + 1)) == [Close(1009)]
    where: dict[str, Any] = {}
    for _ in range(100):
        where = {"$or": [where]}
    (error,) = receive(session, subscribe_frame(query={"className": "N", "where": where}))
    assert error["code"] == 1
