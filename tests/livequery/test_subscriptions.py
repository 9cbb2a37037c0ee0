"""The index finds every subscription that can match, and few others."""

from __future__ import annotations

import time
from typing import Any

import pytest
from bson import Decimal128
from hypothesis import given
from hypothesis import strategies as st

from livequery.identity import Identities
from livequery.subscriptions import Anchor, Member, Subscriptions, anchor_of
from server.schema.classes import DEFAULT_FIELDS, ClassSchema
from server.values import Field, pointer

DELIVERY = ClassSchema(
    "Delivery",
    {
        **DEFAULT_FIELDS,
        "patient": Field("Pointer", "_User"),
        "status": Field("String"),
        "count": Field("Number"),
        "tags": Field("Array"),
    },
)
ANYBODY = Identities().get()


class Nobody:
    def offer(self, frame: str) -> None:
        raise AssertionError("nothing is sent here")


def subscribe(subscriptions: Subscriptions, where: dict[str, Any]) -> Any:
    member = Member(Nobody(), "", 1)
    return subscriptions.add(DELIVERY, where, ANYBODY, None, (), member)


@pytest.mark.parametrize(
    ("filter_", "anchor"),
    [
        ({}, None),
        ({"a": {"$gt": 1}}, None),
        ({"a": None}, None),
        ({"a.b": 1}, None),
        ({"a": {"$ne": 1}}, None),
        ({"$or": [{"a": 1}, {"b": 2}]}, None),
        ({"a": float("nan")}, None),
        ({"a": 1}, Anchor("a", (1,))),
        ({"open": True, "a": 1}, Anchor("a", (1,))),
        ({"a": 1, "s": "x"}, Anchor("s", ("x",))),
        ({"s": "x", "_p_patient": "_User$1"}, Anchor("_p_patient", ("_User$1",))),
        ({"_p_patient": "_User$1", "_id": "d"}, Anchor("_id", ("d",))),
        ({"$and": [{"s": "x"}, {"$or": [{"a": 1}]}]}, Anchor("s", ("x",))),
        ({"s": {"$in": ["x", "y"]}}, Anchor("s", ("x", "y"))),
        ({"s": {"$in": ["x", None]}}, None),
        ({"tags": {"$all": ["x", "y"]}}, Anchor("tags", ("x",))),
        ({"s": {"$eq": "x", "$exists": True}}, Anchor("s", ("x",))),
    ],
)
def test_the_most_selective_equality_is_chosen(
    filter_: dict[str, Any], anchor: Anchor | None
) -> None:
    assert anchor_of(filter_) == anchor


def test_old_and_new_values_are_looked_up() -> None:
    subscriptions = Subscriptions()
    for name in ("p1", "p2", "p3"):
        subscribe(subscriptions, {"patient": pointer("_User", name)})
    everything = subscribe(subscriptions, {})
    found = subscriptions.of("Delivery")
    assert found is not None
    candidates = found.candidates({"_p_patient": "_User$p1"}, {"_p_patient": "_User$p2"})
    wanted = [criteria.where.get("patient", {}).get("objectId") for criteria in candidates]
    assert sorted(map(str, wanted)) == ["None", "p1", "p2"]
    subscriptions.remove(everything)
    assert found.candidates(None, {"_p_patient": "_User$p9"}) == []


values = st.one_of(
    st.integers(0, 3),
    st.sampled_from([1.0, 2.5, True, False, "x", "y", Decimal128("1"), Decimal128("NaN"), None]),
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["count", "status"]), values), max_size=8),
    st.fixed_dictionaries(
        {}, optional={"count": st.one_of(values, st.lists(values)), "status": values}
    ),
)
def test_no_match_is_missed(wheres: list[dict[str, Any]], document: dict[str, Any]) -> None:
    subscriptions = Subscriptions()
    plain = [where for where in wheres if not any(type(v) is Decimal128 for v in where.values())]
    tickets = [subscribe(subscriptions, where) for where in plain]
    found = subscriptions.of("Delivery")
    candidates = [] if found is None else found.candidates(None, document)
    for ticket in tickets:
        if ticket.criteria.matches(document):
            assert ticket.criteria in candidates


def test_the_same_question_is_evaluated_once() -> None:
    subscriptions = Subscriptions()
    tickets = [subscribe(subscriptions, {"status": "open"}) for _ in range(5)]
    assert len({id(ticket.criteria) for ticket in tickets}) == 1
    assert len(tickets[0].group.members) == 5
    for ticket in tickets:
        subscriptions.remove(ticket)
    assert "Delivery" not in subscriptions


def test_what_cannot_match_costs_next_to_nothing() -> None:
    def cost(others: int) -> float:
        subscriptions = Subscriptions()
        for number in range(others):
            subscribe(subscriptions, {"patient": pointer("_User", f"p{number}")})
        found = subscriptions.of("Delivery")
        assert found is not None
        document = {"_id": "d", "_p_patient": "_User$p0", "status": "open"}
        durations = []
        for _ in range(200):
            start = time.perf_counter()
            candidates = found.candidates(document, document)
            durations.append(time.perf_counter() - start)
            assert len(candidates) == 1
        return min(durations)

    assert cost(10_000) < 5 * cost(10)
