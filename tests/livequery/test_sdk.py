"""The official JavaScript SDK hears the same from Pestle, with two workers, and from the peer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.processes import Server, run_node

SCRIPT = Path(__file__).with_name("sdk.js")
LIVE = {"liveQuery": {"classNames": ["Note"]}, "startLiveQueryServer": True}

N1 = {"title": "n1", "rank": 10}
SECRET = {"title": "secret", "rank": 9}
LAST = {"title": "last", "rank": 1}


def note(title: str, rank: int) -> dict[str, Any]:
    return {"title": title, "rank": rank}


HEARD: list[list[Any]] = [
    ["high", ["create", N1, None]],
    ["watching", ["create", {"title": "n1"}, None]],
    ["alice", ["create", N1, None]],
    ["bob", ["create", N1, None]],
    *[[who, ["update", note("n1", 11), N1]] for who in ("high", "alice", "bob")],
    ["high", ["leave", note("n1", 1), note("n1", 11)]],
    *[[who, ["update", note("n1", 1), note("n1", 11)]] for who in ("alice", "bob")],
    ["high", ["enter", note("n2", 9), note("n1", 1)]],
    ["watching", ["update", {"title": "n2"}, {"title": "n1"}]],
    *[[who, ["update", note("n2", 9), note("n1", 1)]] for who in ("alice", "bob")],
    ["high", ["leave", note("n2", 9), note("n2", 9)]],
    ["watching", ["leave", {"title": "n2"}, {"title": "n2"}]],
    ["alice", ["update", note("n2", 9), note("n2", 9)]],
    ["bob", ["leave", note("n2", 9), note("n2", 9)]],
    ["alice", ["update", SECRET, note("n2", 9)]],
    ["alice", ["update", SECRET, SECRET]],
    ["bob", ["enter", SECRET, None]],
    *[[who, ["delete", SECRET, None]] for who in ("alice", "bob")],
    ["refused", 102],
    ["watching", ["create", {"title": "last"}, None]],
    *[[who, ["create", LAST, None]] for who in ("alice", "bob")],
    ["left over", [0, 0, 0, 0, 0]],
]


def heard_from(server: Server) -> list[Any]:
    return [json.loads(line) for line in run_node(SCRIPT, server.url).splitlines()]


@pytest.mark.slow
def test_sdk_hears_from_pestle(serve: Callable[..., Server]) -> None:
    assert heard_from(serve(**LIVE)) == HEARD


@pytest.mark.slow
def test_sdk_hears_the_same_from_the_peer(peer: Callable[..., Server]) -> None:
    assert heard_from(peer(**LIVE)) == HEARD
