"""A table of ``where`` cases run by MongoDB and the LiveQuery matcher, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from livequery.matcher import compile_filter
from server.errors import Code, ParseError
from server.storage.documents import encode_field, storage_key
from server.storage.mongo import Database
from server.storage.where import build_filter
from server.values import Field, StoredDocument, pointer
from tests.harness.mongo import TestMongo

FIELDS = {
    "objectId": Field("String"),
    "createdAt": Field("Date"),
    "updatedAt": Field("Date"),
    "n": Field("Number"),
    "s": Field("String"),
    "yes": Field("Boolean"),
    "when": Field("Date"),
    "tags": Field("Array"),
    "friends": Field("Array"),
    "o": Field("Object"),
    "owner": Field("Pointer", "_User"),
    "place": Field("GeoPoint"),
    "photo": Field("File"),
    "raw": Field("Bytes"),
    "nothing": Field("String"),
}


def date(iso: str) -> dict[str, str]:
    return {"__type": "Date", "iso": iso}


def point(latitude: float, longitude: float) -> dict[str, Any]:
    return {"__type": "GeoPoint", "latitude": latitude, "longitude": longitude}


ANN, BEN = pointer("_User", "ann"), pointer("_User", "ben")
BERLIN, PARIS = point(52.5, 13.4), point(48.9, 2.35)
RAW = {"__type": "Bytes", "base64": "aGVsbG8="}

ROWS: dict[str, dict[str, Any]] = {
    "a": {
        "n": 1, "s": "Apple", "yes": True, "when": date("2020-01-01T00:00:00.000Z"),
        "tags": ["x", "y"], "o": {"k": 1, "deep": {"er": "v"}}, "owner": ANN, "friends": [BEN],
        "place": BERLIN, "photo": {"__type": "File", "name": "cat.jpg"}, "raw": RAW,
    },
    "b": {
        "n": 2, "s": "banana", "yes": False, "when": date("2021-01-01T00:00:00.000Z"),
        "tags": ["y"], "o": {"k": 2}, "owner": BEN, "place": PARIS, "nothing": None,
    },
    "c": {"n": 2.5, "s": "cherry\npie", "tags": [1, 2, 3], "o": {"at": date("2020-05-05")}},
    "d": {"s": "a.b", "tags": [], "friends": [ANN, BEN]},
}  # fmt: skip

# name, where, the rows it selects
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("everything", {}, "abcd"),
    ("objectId", {"objectId": "a"}, "a"),
    ("objectId $in", {"objectId": {"$in": ["a", "d", "zzz"]}}, "ad"),
    ("number", {"n": 2}, "b"),
    ("whole number as a float", {"n": 2.0}, "b"),
    ("number as text", {"n": "2"}, ""),
    ("two columns", {"n": 2, "s": "banana"}, "b"),
    ("$gt", {"n": {"$gt": 1}}, "bc"),
    ("$gte $lt", {"n": {"$gte": 1, "$lt": 2.5}}, "ab"),
    ("$lte", {"n": {"$lte": 1}}, "a"),
    ("$gt of text", {"s": {"$gt": "b"}}, "bc"),
    ("$gt of another type", {"n": {"$gt": "a"}}, ""),
    ("$eq", {"n": {"$eq": 2}}, "b"),
    ("$ne", {"n": {"$ne": 2}}, "acd"),
    ("$ne null", {"n": {"$ne": None}}, "abc"),
    ("null", {"n": None}, "d"),
    ("null where null is stored", {"nothing": None}, "abcd"),
    ("$in", {"n": {"$in": [1, 2.5]}}, "ac"),
    ("$in nothing", {"n": {"$in": []}}, ""),
    ("$in null", {"n": {"$in": [1, None]}}, "ad"),
    ("$nin", {"n": {"$nin": [1, 2]}}, "cd"),
    ("$in flattens lists", {"n": {"$in": [[1], [2]]}}, "ab"),
    ("$exists", {"n": {"$exists": True}}, "abc"),
    ("$exists false", {"owner": {"$exists": False}}, "cd"),
    ("boolean", {"yes": True}, "a"),
    ("$ne boolean", {"yes": {"$ne": True}}, "bcd"),
    ("$regex", {"s": {"$regex": "an"}}, "b"),
    ("$regex at the start", {"s": {"$regex": "^a"}}, "d"),
    ("$regex $options i", {"s": {"$regex": "^a", "$options": "i"}}, "ad"),
    ("$regex $options m", {"s": {"$regex": "^pie", "$options": "m"}}, "c"),
    ("$regex $options u", {"s": {"$regex": "^A", "$options": "u"}}, "a"),
    ("$regex quoted", {"s": {"$regex": r"^\Qa.\E"}}, "d"),
    ("date", {"when": date("2020-01-01T00:00:00.000Z")}, "a"),
    ("date with an offset", {"when": date("2020-01-01T01:00:00.000+01:00")}, "a"),
    ("$gt date", {"when": {"$gt": date("2020-06-01T00:00:00.000Z")}}, "b"),
    ("$lt date", {"when": {"$lt": date("2020-06-01")}}, "a"),
    ("$gt a relative time", {"when": {"$gt": {"$relativeTime": "100 years ago"}}}, "ab"),
    ("$lt a relative time", {"when": {"$lt": {"$relativeTime": "now"}}}, "ab"),
    ("createdAt as text", {"createdAt": {"$gt": "1970-01-01T00:00:00.000Z"}}, ""),
    ("array has", {"tags": "y"}, "ab"),
    ("array has a number", {"tags": 2}, "c"),
    ("array $ne", {"tags": {"$ne": "y"}}, "cd"),
    ("array $all", {"tags": {"$all": ["x", "y"]}}, "a"),
    ("array $all of patterns", {"tags": {"$all": [{"$regex": r"^\Qx\E"}]}}, "a"),
    ("array $in", {"tags": {"$in": ["x", 3]}}, "ac"),
    ("array $nin", {"tags": {"$nin": ["x"]}}, "bcd"),
    ("array $containedBy", {"tags": {"$containedBy": ["x", "y", "z"]}}, "abd"),
    ("array $eq a list", {"tags": {"$eq": ["y"]}}, "b"),
    ("array by index", {"tags.0": "y"}, "b"),
    ("object member", {"o.k": 2}, "b"),
    ("object member deeper", {"o.deep.er": "v"}, "a"),
    ("object member compared", {"o.k": {"$gte": 1}}, "ab"),
    ("object member date", {"o.at": {"$gt": date("2020-01-01")}}, "c"),
    ("pointer", {"owner": ANN}, "a"),
    ("pointer $ne", {"owner": {"$ne": ANN}}, "bcd"),
    ("pointer $in", {"owner": {"$in": [ANN, BEN]}}, "ab"),
    ("pointer $nin", {"owner": {"$nin": [BEN]}}, "acd"),
    ("pointer as an included object", {"owner": {**ANN, "__type": "Object", "name": "x"}}, "a"),
    ("pointer null", {"owner": None}, "cd"),
    ("pointer in an array", {"friends": BEN}, "ad"),
    ("pointers in an array $all", {"friends": {"$all": [ANN, BEN]}}, "d"),
    ("file", {"photo": {"__type": "File", "name": "cat.jpg", "url": "http://x/cat.jpg"}}, "a"),
    ("bytes", {"raw": RAW}, "a"),
    ("$within $box", {"place": {"$within": {"$box": [point(45, 0), point(50, 10)]}}}, "b"),
    ("$centerSphere", {"place": {"$geoWithin": {"$centerSphere": [[13.4, 52.5], 0.01]}}}, "a"),
    ("$polygon",
     {"place": {"$geoWithin": {"$polygon": [point(45, 0), point(45, 5), point(60, 5)]}}}, "b"),
    ("$or", {"$or": [{"n": 1}, {"s": "a.b"}]}, "ad"),
    ("$or of nothing", {"$or": []}, ""),
    ("$and", {"$and": [{"n": {"$gt": 1}}, {"tags": "y"}]}, "b"),
    ("$and of nothing", {"$and": []}, "abcd"),
    ("$nor", {"$nor": [{"n": 1}, {"n": 2}]}, "cd"),
    ("$or within $and", {"$and": [{"$or": [{"n": 1}, {"n": 2}]}, {"yes": False}]}, "b"),
    ("a column that is not there", {"unknown": 1}, ""),
    ("a column that is not there is null", {"unknown": None}, "abcd"),
    ("$eq beside $exists", {"n": {"$exists": True, "$ne": 1}}, "bc"),
    ("a typed value beside an operator", {"when": {**date("2020-01-01"), "$exists": True}}, "a"),
]  # fmt: skip


def stored(object_id: str, row: dict[str, Any]) -> StoredDocument:
    encoded = {
        storage_key(name, FIELDS[name]): encode_field(FIELDS[name], value)
        for name, value in row.items()
    }
    return {"_id": object_id, **encoded}


DOCUMENTS = [stored(object_id, row) for object_id, row in ROWS.items()]


@pytest.fixture(scope="module")
async def database(mongo: TestMongo) -> AsyncIterator[Database]:
    name = mongo.new_database()
    database = Database.connect(mongo.uri(name))
    for document in DOCUMENTS:
        await database.insert("Fruit", dict(document))
    yield database
    await database.close()
    mongo.drop(name)


@pytest.mark.parametrize(("where", "rows"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
async def test_where(database: Database, where: dict[str, Any], rows: str) -> None:
    built = build_filter(where, FIELDS, privileged=False)
    found = await database.find("Fruit", built, sort={"_id": 1})
    assert "".join(document["_id"] for document in found) == rows
    matches = compile_filter(built)
    assert "".join(document["_id"] for document in DOCUMENTS if matches(document)) == rows
    assert await database.count("Fruit", built) == len(rows)


# name, where, code
REFUSED: list[tuple[str, dict[str, Any], Code]] = [
    ("ACL", {"ACL": {}}, Code.INVALID_QUERY),
    ("$where", {"$where": "1"}, Code.INVALID_KEY_NAME),
    ("$expr in a branch", {"$or": [{"$expr": 1}]}, Code.INVALID_KEY_NAME),
    ("_hashed_password", {"_hashed_password": "x"}, Code.INVALID_KEY_NAME),
    ("_session_token", {"_session_token": "x"}, Code.INVALID_KEY_NAME),
    ("_p_owner", {"_p_owner": "_User$ann"}, Code.INVALID_KEY_NAME),
    ("_rperm by index", {"_rperm.0": "x"}, Code.INVALID_KEY_NAME),
    ("_auth_data", {"_auth_data_anonymous": {"$exists": True}}, Code.INVALID_KEY_NAME),
    ("_perishable_token", {"_perishable_token": "x"}, Code.INVALID_KEY_NAME),
    ("password", {"password": {"$exists": True}}, Code.INVALID_KEY_NAME),
    ("password by dots", {"password.0": 1}, Code.INVALID_KEY_NAME),
    ("__proto__", {"__proto__": 1}, Code.INVALID_KEY_NAME),
    ("a space", {"a b": 1}, Code.INVALID_KEY_NAME),
    ("a newline at the end", {"n\n": 1}, Code.INVALID_KEY_NAME),
    ("a NUL", {"a\0": 1}, Code.INVALID_KEY_NAME),
    ("an empty name", {"": 1}, Code.INVALID_KEY_NAME),
    ("unknown operator", {"n": {"$size": 1}}, Code.INVALID_JSON),
    ("$not", {"n": {"$not": {"$gt": 1}}}, Code.INVALID_JSON),
    ("$elemMatch", {"tags": {"$elemMatch": {"$gt": 1}}}, Code.INVALID_JSON),
    ("a list", {"n": [1]}, Code.INVALID_JSON),
    ("an object", {"o": {"k": 1}}, Code.INVALID_JSON),
    ("an operator beside a key", {"n": {"$gt": 1, "x": 2}}, Code.INVALID_JSON),
    ("unknown __type", {"n": {"__type": "Bogus"}}, Code.INVALID_JSON),
    ("$gt an object", {"n": {"$gt": {"a": 1}}}, Code.INVALID_JSON),
    ("$gt a list", {"n": {"$gt": [1]}}, Code.INVALID_JSON),
    ("$in no list", {"n": {"$in": 1}}, Code.INVALID_JSON),
    ("$in an operator", {"n": {"$in": [{"$gt": 1}]}}, Code.INVALID_JSON),
    ("$all no list", {"tags": {"$all": "x"}}, Code.INVALID_JSON),
    ("$all mixed", {"tags": {"$all": [{"$regex": r"^\Qx\E"}, "y"]}}, Code.INVALID_JSON),
    ("$all a free pattern", {"tags": {"$all": [{"$regex": "x"}]}}, Code.INVALID_JSON),
    ("$containedBy no list", {"tags": {"$containedBy": 1}}, Code.INVALID_JSON),
    ("$or no list", {"$or": {}}, Code.INVALID_QUERY),
    ("$or of numbers", {"$or": [1]}, Code.INVALID_QUERY),
    ("$nor of nothing", {"$nor": []}, Code.INVALID_QUERY),
    ("$regex a number", {"s": {"$regex": 1}}, Code.INVALID_QUERY),
    ("$regex with a NUL", {"s": {"$regex": "a\0"}}, Code.INVALID_QUERY),
    ("$options unknown", {"s": {"$regex": "a", "$options": "g"}}, Code.INVALID_QUERY),
    ("$options alone", {"s": {"$options": "i"}}, Code.INVALID_QUERY),
    ("$relativeTime of a number", {"n": {"$gt": {"$relativeTime": "now"}}}, Code.INVALID_JSON),
    ("$relativeTime $eq", {"when": {"$eq": {"$relativeTime": "now"}}}, Code.INVALID_JSON),
    ("bad date", {"when": date("someday")}, Code.INCORRECT_TYPE),
    ("$box of one", {"place": {"$within": {"$box": [BERLIN]}}}, Code.INVALID_JSON),
    ("$polygon of two", {"place": {"$geoWithin": {"$polygon": [BERLIN, PARIS]}}},
     Code.INVALID_JSON),
    ("$centerSphere far", {"place": {"$geoWithin": {"$centerSphere": [BERLIN, -1]}}},
     Code.INVALID_JSON),
    ("$maxDistance a text", {"place": {"$nearSphere": BERLIN, "$maxDistance": "1"}},
     Code.INVALID_JSON),
    ("a pattern for an auth id", {"authData.anonymous.id": {"$regex": "^a"}},
     Code.OPERATION_FORBIDDEN),
    ("a range of auth ids", {"authData.anonymous.id": {"$gt": "a"}}, Code.OPERATION_FORBIDDEN),
    ("a pattern for auth data in a branch", {"$or": [{"authData.x": {"$regex": "a"}}]},
     Code.OPERATION_FORBIDDEN),
]  # fmt: skip


@pytest.mark.parametrize(("where", "code"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(where: dict[str, Any], code: Code) -> None:
    with pytest.raises(ParseError) as refused:
        build_filter(where, FIELDS, privileged=False)
    assert refused.value.code == code


@pytest.mark.parametrize("name", ["_hashed_password", "_session_token", "_p_owner", "password"])
def test_the_master_key_asks_for_no_secret_either(name: str) -> None:
    with pytest.raises(ParseError, match="Invalid key name"):
        build_filter({name: "x"}, FIELDS, privileged=True)


def test_internal_keys_of_the_master_key() -> None:
    where = {"_perishable_token": "x"}
    assert build_filter(where, FIELDS, privileged=True) == where


def test_auth_ids_are_found_whole_or_by_the_master_key() -> None:
    whole = {"authData.facebook.id": {"$in": ["1", "2"]}}
    assert build_filter(whole, FIELDS, privileged=False) == {
        "_auth_data_facebook.id": {"$in": ["1", "2"]}
    }
    pattern = {"authData.facebook.id": {"$regex": "^1"}}
    assert build_filter(pattern, FIELDS, privileged=True) == {
        "_auth_data_facebook.id": {"$regex": "^1"}
    }


def test_session_tokens_of_old_users_cannot_be_asked_for() -> None:
    where = {"sessionToken": {"$regex": "^a"}}
    assert "_session_token" not in build_filter(where, FIELDS, privileged=False)
    session = {**FIELDS, "sessionToken": Field("String")}
    assert "_session_token" in build_filter(where, session, privileged=False)


def test_two_conditions_on_one_stored_key_both_hold() -> None:
    built = build_filter(
        {"objectId": "a", "$and": [{"objectId": {"$in": ["b"]}}]}, FIELDS, privileged=False
    )
    assert built == {"_id": "a", "$and": [{"_id": {"$in": ["b"]}}]}


def test_times_are_dates() -> None:
    iso = "2026-01-01T00:00:00.000Z"
    for value in (iso, date(iso)):
        built = build_filter({"createdAt": value}, FIELDS, privileged=False)
        assert built == {"_created_at": datetime(2026, 1, 1)}


def test_near_sphere_of_a_count_has_no_order() -> None:
    where = {"place": {"$nearSphere": BERLIN, "$maxDistanceInKilometers": 6371}}
    for_count = build_filter(where, FIELDS, privileged=False, for_count=True)
    assert for_count == {"place": {"$geoWithin": {"$centerSphere": [[13.4, 52.5], 1.0]}}}
    assert build_filter(where, FIELDS, privileged=False) == {
        "place": {"$nearSphere": [13.4, 52.5], "$maxDistance": 1.0}
    }


def test_deep_nesting_is_refused() -> None:
    where: dict[str, Any] = {"n": 1}
    for _ in range(150):
        where = {"$or": [where]}
    with pytest.raises(ParseError) as refused:
        build_filter(where, FIELDS, privileged=False)
    assert refused.value.code == Code.INVALID_QUERY
