"""The matcher selects exactly the documents that MongoDB finds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bson import Decimal128, Int64, ObjectId
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from livequery.matcher import compile_filter

NAMES = ("a", "b", "c", "0", "1")
EPOCH = datetime(2026, 1, 1)

numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.5, 2.0, 2.5, float("nan"), float("inf"), Int64(2), 2**53 + 1]),
    st.sampled_from([Decimal128("2"), Decimal128("0.5")]),
)
texts = st.text(alphabet="abAB.$ é\n", max_size=3)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.integers(0, 3).map(lambda days: EPOCH + timedelta(days=days)),
    st.binary(max_size=2),
    st.sampled_from([ObjectId("0" * 24), ObjectId("0" * 23 + "1")]),
)
plain_names = st.sampled_from(NAMES)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(plain_names, inner, max_size=3)
    ),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
paths = st.one_of(
    st.sampled_from("abc"),
    st.lists(plain_names, min_size=1, max_size=2).map(".".join).map("a.".__add__),
    st.lists(plain_names, min_size=1, max_size=1).map(".".join).map("b.".__add__),
)
patterns = st.sampled_from(
    [
        "a",
        "^a",
        "b$",
        "^\\QA.\\E",
        "\\Q$",
        "[ab]\\s",
        "\\w+$",
        "É",
        "a|\\d",
        "^$",
        ".",
        "\\bB",
        "a#b",
    ]
)
options = st.sampled_from(["", "i", "m", "s", "x", "im", "isx"])


def _is_plain(value: Any) -> bool:
    return not (isinstance(value, dict) and any(key.startswith("$") for key in value))


operands = values.filter(_is_plain)
comparisons = st.tuples(
    st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]), operands
).map(lambda pair: {pair[0]: pair[1]})
conditions = st.one_of(
    operands.filter(lambda value: not isinstance(value, dict) or not value),
    comparisons,
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(operands, max_size=3)).map(
        lambda pair: {pair[0]: pair[1]}
    ),
    st.booleans().map(lambda wanted: {"$exists": wanted}),
    st.builds(lambda p, o: {"$regex": p, "$options": o}, patterns, options),
    st.lists(scalars, max_size=3).map(lambda items: {"$not": {"$elemMatch": {"$nin": items}}}),
    st.tuples(comparisons, comparisons).map(lambda pair: {**pair[0], **pair[1]}),
)
fields = st.dictionaries(paths, conditions, min_size=1, max_size=2)
filters = st.recursive(
    fields,
    lambda inner: st.tuples(
        st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=3)
    ).map(lambda pair: {pair[0]: pair[1]}),
    max_leaves=3,
)


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    stored=st.lists(documents, min_size=20, max_size=40),
    asked=st.lists(filters, min_size=20, max_size=30),
)
def test_selects_what_mongodb_finds(
    collection: Collection[dict[str, Any]],
    stored: list[dict[str, Any]],
    asked: list[dict[str, Any]],
) -> None:
    collection.delete_many({})
    collection.insert_many([{"_id": number, **document} for number, document in enumerate(stored)])
    kept = list(collection.find())
    for filter_ in asked:
        try:
            found = {document["_id"] for document in collection.find(filter_)}
        except OperationFailure as refusal:
            assert refusal.code in (2, 51091), refusal
            continue
        matches = compile_filter(filter_)
        selected = {document["_id"] for document in kept if matches(document)}
        differing = [document for document in kept if document["_id"] in found ^ selected]
        assert selected == found, (filter_, differing[:2], "MongoDB" if found - selected else "us")


def test_an_index_leads_into_nested_arrays(collection: Collection[dict[str, Any]]) -> None:
    collection.insert_one({"_id": 0, "a": [[{"b": 1}, 5], {"b": 2}]})
    (kept,) = collection.find()
    for path, value in (("a.0.b", 1), ("a.0.1", 5), ("a.1.b", 2), ("a.0.c", None), ("a.b", 1)):
        found = collection.find_one({path: value}) is not None
        assert compile_filter({path: value})(kept) is found, path
