"""`cloud.Object`: reading wire data as Python values, and the changes a save would store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from server import cloud
from server.access.caller import ANONYMOUS, MASTER, Caller, Context
from server.cloud.backend import Backend, running_in
from server.cloud.codec import decode, decode_params, encode
from server.cloud.objects import changing, from_wire, pending_changes
from server.objects.query import Query as FindQuery
from server.objects.rules import Saved
from server.triggers.registry import Triggers

ISO = "2020-01-02T03:04:05.678Z"
MOMENT = datetime(2020, 1, 2, 3, 4, 5, 678000, UTC)
POINTER = {"__type": "Pointer", "className": "_User", "objectId": "u1"}
STORED = {
    "objectId": "n1",
    "createdAt": ISO,
    "updatedAt": ISO,
    "text": "hi",
    "n": 1,
    "tags": ["a", "b"],
    "due": {"__type": "Date", "iso": ISO},
    "raw": MOMENT.replace(tzinfo=None),
    "data": {"__type": "Bytes", "base64": "aGVsbG8="},
    "author": POINTER,
    "where": {"__type": "GeoPoint", "latitude": 1, "longitude": 2},
    "area": {"__type": "Polygon", "coordinates": [[0, 0], [0, 1], [1, 1]]},
    "photo": {"__type": "File", "name": "x.png", "url": "http://f/x.png"},
    "likes": {"__type": "Relation", "className": "_User"},
    "meta": {"a": {"b": 1}},
    "ACL": {"*": {"read": True}},
    "nothing": None,
}


def stored() -> cloud.Object:
    return from_wire("Note", STORED)


def test_fields_as_python_values() -> None:
    note = stored()
    assert (note.id, note.class_name, note.is_new) == ("n1", "Note", False)
    assert note.created_at == note.updated_at == note["createdAt"] == MOMENT
    assert note["due"] == note["raw"] == MOMENT
    assert note["data"] == b"hello"
    assert note["where"] == cloud.GeoPoint(1, 2)
    assert note["area"] == cloud.Polygon(((0, 0), (0, 1), (1, 1)))
    assert isinstance(note["author"], cloud.User)
    assert note["author"].id == "u1"
    assert not note["author"].is_fetched
    assert (note["photo"].name, note["photo"].url) == ("x.png", "http://f/x.png")
    assert note.acl == cloud.ACL({"*": {"read": True}})
    assert note["nothing"] is None
    assert "nothing" in note
    assert note.get("missing", 5) == 5
    with pytest.raises(KeyError):
        note["missing"]
    assert not note.dirty_keys
    assert note.to_json() == STORED


def test_what_is_read_is_no_part_of_what_is_stored() -> None:
    note = stored()
    note["meta"]["a"]["b"] = 2
    assert STORED["meta"] == {"a": {"b": 1}}
    assert pending_changes(note) == {"meta": {"a": {"b": 2}}}


def test_set_and_unset() -> None:
    note = stored()
    note["text"] = "bye"
    note["due"] = MOMENT.replace(year=2021)
    note["author"] = cloud.Object.pointer("_User", "u2")
    del note["n"]
    assert note.get("n") is None
    assert pending_changes(note) == {
        "text": "bye",
        "due": {"__type": "Date", "iso": "2021-01-02T03:04:05.678Z"},
        "author": {"__type": "Pointer", "className": "_User", "objectId": "u2"},
        "n": {"__op": "Delete"},
    }
    assert STORED["text"] == "hi"


@pytest.mark.parametrize("key", ["objectId", "createdAt", "updatedAt", "className"])
def test_the_server_chooses_some_fields(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        stored()[key] = "x"


def test_lists_and_dicts_changed_in_place() -> None:
    note = stored()
    note["tags"].append("c")
    assert note.acl is not None
    note.acl.set_public_write_access()
    assert note.dirty_keys == ("tags", "ACL")
    assert pending_changes(note) == {
        "tags": ["a", "b", "c"],
        "ACL": {"*": {"read": True, "write": True}},
    }
    mine = ["x"]
    note["tags"] = mine
    mine.append("y")
    assert pending_changes(note)["tags"] == ["x", "y"]


def test_numbers_and_lists_change_atomically() -> None:
    note = stored()
    note.increment("n").increment("n", 2).increment("fresh")
    note.add("tags", "c").add("tags", "c")
    assert (note["n"], note["fresh"], note["tags"]) == (4, 1, ["a", "b", "c", "c"])
    assert pending_changes(note) == {
        "n": {"__op": "Increment", "amount": 3},
        "fresh": {"__op": "Increment", "amount": 1},
        "tags": {"__op": "Add", "objects": ["c", "c"]},
    }
    note.remove("tags", "c")
    assert pending_changes(note)["tags"] == ["a", "b"]
    other = stored().add_unique("tags", "a", "z").add_unique("tags", "z")
    assert other["tags"] == ["a", "b", "z"]
    assert pending_changes(other)["tags"] == {"__op": "AddUnique", "objects": ["a", "z"]}
    assert pending_changes(stored().remove("tags", "a"))["tags"] == {
        "__op": "Remove",
        "objects": ["a"],
    }
    with pytest.raises(ValueError, match="text"):
        stored().increment("text")
    with pytest.raises(ValueError, match="text"):
        stored().add("text", 1)


def test_relations() -> None:
    note = stored()
    ann, bob = cloud.Object.pointer("_User", "a"), cloud.Object.pointer("_User", "b")
    likes = note.relation("likes")
    likes.add(ann, ann)
    assert pending_changes(note) == {
        "likes": {"__op": "AddRelation", "objects": [ann.to_pointer()]}
    }
    likes.remove(bob)
    assert pending_changes(note)["likes"]["__op"] == "Batch"
    likes.remove(ann)
    assert pending_changes(note) == {
        "likes": {"__op": "RemoveRelation", "objects": [bob.to_pointer(), ann.to_pointer()]}
    }
    assert likes.query().to_params() == {
        "where": {
            "$relatedTo": {
                "object": {"__type": "Pointer", "className": "Note", "objectId": "n1"},
                "key": "likes",
            }
        },
        "redirectClassNameForKey": "likes",
    }


def test_revert() -> None:
    note = stored()
    note["text"], note["n"], note["fresh"] = "bye", 5, 1
    note["tags"].append("c")
    note.revert("text", "fresh", "tags")
    assert (note["text"], note.get("fresh"), note["tags"]) == ("hi", None, ["a", "b"])
    assert pending_changes(note) == {"n": 5}
    note.revert()
    assert not note.dirty()
    assert note.to_json() == STORED


def test_changes_join_those_of_the_request() -> None:
    body = {
        "n": {"__op": "Increment", "amount": 1},
        "tags": {"__op": "Add", "objects": ["c"]},
        "meta.a.b": 7,
        "text": "new",
    }
    state = {**STORED, "n": 2, "tags": ["a", "b", "c"], "meta": {"a": {"b": 7}}, "text": "new"}
    note = changing("Note", STORED, state, body)
    assert note.dirty_keys == ("n", "tags", "meta", "text")
    assert note["meta"] == {"a": {"b": 7}}
    assert pending_changes(note) == body
    note.increment("n")
    note.add("tags", "d")
    note["meta"]["c"] = 1
    note.revert("text")
    assert pending_changes(note) == {
        "n": {"__op": "Increment", "amount": 2},
        "tags": {"__op": "Add", "objects": ["c", "d"]},
        "meta": {"a": {"b": 7}, "c": 1},
    }
    assert body["n"] == {"__op": "Increment", "amount": 1}


def test_changes_of_a_new_object_are_plain_values() -> None:
    note = changing("Note", {}, {"n": 1, "g": 1}, {"n": 1, "g": 1})
    assert note.is_new
    note.increment("n").add("tags", "a")
    note.unset("g")
    assert pending_changes(note) == {"n": 2, "tags": ["a"], "g": {"__op": "Delete"}}


def test_equality_is_of_the_object_in_the_database() -> None:
    assert stored() == cloud.Object.pointer("Note", "n1")
    assert stored() in {cloud.Object.pointer("Note", "n1")}
    assert cloud.Object("Note") != cloud.Object("Note")
    assert stored() != cloud.Object.pointer("Other", "n1")


def test_acl() -> None:
    user, role = cloud.Object.pointer("_User", "u1"), cloud.Role("admin")
    assert isinstance(user, cloud.User)
    acl = cloud.ACL.private(user).set_read_access(role).set_role_write_access("editor")
    acl.set_public_read_access().set_public_read_access(False)
    assert acl.to_json() == {
        "u1": {"read": True, "write": True},
        "role:admin": {"read": True},
        "role:editor": {"write": True},
    }
    assert acl.has_write_access(user)
    assert not acl.has_write_access(role)


def test_values_without_a_wire_form_are_refused() -> None:
    for value in (object(), {1: 2}, [{"a": {object()}}]):
        with pytest.raises(TypeError):
            encode(value)
    with pytest.raises(ValueError, match="Save this Note"):
        encode(cloud.Object("Note"))
    with pytest.raises(ValueError, match=r"x\.png"):
        encode(cloud.File("x.png", b"data"))


def test_encoding_of_results() -> None:
    assert encode(Decimal("1.50")) == 1.5
    assert encode(Decimal("3")) == 3
    assert encode((1, {2})) == [1, [2]]
    assert encode(stored(), full=True) == {"__type": "Object", "className": "Note", **STORED}
    assert encode([cloud.Object.pointer("Note", "n1")], full=True) == [
        {"__type": "Pointer", "className": "Note", "objectId": "n1"}
    ]


def test_decoding_of_parameters() -> None:
    geo = {"__type": "GeoPoint", "latitude": 1, "longitude": 2}
    data = {"__type": "Bytes", "base64": "aGVsbG8="}
    full = {"__type": "Object", "className": "Note", "objectId": "n"}
    params = decode_params(
        {"d": [{"__type": "Date", "iso": ISO}], "p": POINTER, "g": geo, "b": data, "o": full}
    )
    assert params["d"] == [MOMENT]
    assert params["p"].id == "u1"
    assert (params["g"], params["b"], params["o"]) == (geo, data, full)


@pytest.mark.parametrize(
    "value",
    [
        {"__type": "Date", "iso": "never"},
        {"__type": "Date"},
        {"__type": "Pointer"},
        {"__type": "Bytes", "base64": 5},
        {"__type": "Bogus", "a": 1},
        {"__type": ["Date"]},
    ],
)
def test_what_only_looks_typed_stays_a_dict(value: Any) -> None:
    assert decode(value) == value


def test_queries_in_rest_terms() -> None:
    ann = cloud.Object.pointer("_User", "a")
    query = (
        cloud.Query("Note")
        .equal_to("author", ann)
        .greater_than("n", 1)
        .less_than("n", 5)
        .contained_in("tags", {"a"})
        .exists("due")
        .starts_with("text", "a.b")
        .matches_query("author", cloud.Query(cloud.User).equal_to("nick", "x").limit(5))
        .descending("n")
        .ascending("text")
        .limit(10)
        .skip(2)
        .include("author", "author.boss")
        .select("text")
    )
    subquery = {"where": {"nick": "x"}, "className": "_User", "limit": 5}
    assert query.to_params() == {
        "where": {
            "author": {"$inQuery": subquery},
            "n": {"$gt": 1, "$lt": 5},
            "tags": {"$in": ["a"]},
            "due": {"$exists": True},
            "text": {"$regex": r"^a\.b"},
        },
        "order": ["-n", "text"],
        "limit": 10,
        "skip": 2,
        "include": ["author", "author.boss"],
        "keys": ["text"],
    }
    either = cloud.Query.any_of(
        cloud.Query("Note").equal_to("n", 1), cloud.Query("Note").equal_to("n", 2)
    )
    assert either.to_params() == {"where": {"$or": [{"n": 1}, {"n": 2}]}}
    with pytest.raises(ValueError, match="one class"):
        cloud.Query.all_of(cloud.Query("Note"), cloud.Query("Other"))


@dataclass
class FakeObjects:
    """Notes who asked for what, and answers what it was given."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    contexts: list[dict[str, Any]] = field(default_factory=list)

    def _note(self, ctx: Context, *call: Any) -> None:
        self.callers.append(ctx.caller)
        self.contexts.append(ctx.cloud)
        self.calls.append(call)

    async def find(self, ctx: Context, class_name: str, query: FindQuery) -> dict[str, Any]:
        self._note(ctx, "find", class_name, query)
        rows = self.rows if query.limit is None else self.rows[: query.limit]
        return {"results": rows, "count": len(self.rows)}

    async def get(self, ctx: Context, class_name: str, query: FindQuery) -> dict[str, Any]:
        self._note(ctx, "get", class_name, query)
        return self.rows[0]

    async def create(self, ctx: Context, class_name: str, body: dict[str, Any]) -> Saved:
        self._note(ctx, "create", class_name, body)
        return Saved("new1", {"objectId": "new1", "createdAt": ISO, "added": 5})

    async def update(
        self, ctx: Context, class_name: str, object_id: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        self._note(ctx, "update", class_name, object_id, body)
        return {"updatedAt": ISO, "n": 9, "gone": {"__op": "Delete"}}

    async def delete(self, ctx: Context, class_name: str, object_id: str) -> dict[str, Any]:
        self._note(ctx, "delete", class_name, object_id)
        return {}


class FakeResolver:
    async def resolve(self, token: str, /) -> Caller:
        return Caller(user_id="of " + token)


USER = Caller(user_id="u1", user={"objectId": "u1"})


@dataclass
class Hook:
    objects: FakeObjects
    ctx: Context


@pytest.fixture
def hook() -> Any:
    """Everything in the test runs as in a hook of a user."""
    objects = FakeObjects()
    ctx = Context(USER, "http://test", cloud={"from": "client"})
    with running_in(Backend(objects, Triggers(), FakeResolver()), ctx):
        yield Hook(objects, ctx)


async def test_saving_a_new_object(hook: Hook) -> None:
    note = cloud.Object("Note", text="hi", acl=cloud.ACL())
    note.unset("gone")
    assert note.is_new
    await note.save(context={"k": 1})
    assert hook.objects.calls == [("create", "Note", {"text": "hi", "ACL": {}})]
    assert hook.objects.contexts == [{"k": 1}]
    assert (note.id, note.is_new, note["added"]) == ("new1", False, 5)
    assert note.updated_at == note.created_at == MOMENT
    assert not note.dirty()
    note["text"] = "ho"
    await note.save()
    assert hook.objects.calls[1] == ("update", "Note", "new1", {"text": "ho"})


async def test_saving_changes(hook: Hook) -> None:
    note = from_wire("Note", {**STORED, "gone": 1})
    note.increment("n")
    await note.save()
    assert hook.objects.calls == [
        ("update", "Note", "n1", {"n": {"__op": "Increment", "amount": 1}})
    ]
    assert note["n"] == 9
    assert "gone" not in note
    await note.destroy()
    assert hook.objects.calls[-1] == ("delete", "Note", "n1")


async def test_who_acts(hook: Hook) -> None:
    query = cloud.Query("Note")
    await query.find()
    await query.find(use_master_key=True)
    await query.find(session_token="r:1")
    assert hook.objects.callers == [USER, MASTER, Caller(user_id="of r:1")]
    assert hook.objects.contexts == [{}, {}, {}]
    assert hook.ctx.caller is USER


async def test_finding(hook: Hook) -> None:
    hook.objects.rows = [dict(STORED)] * 3
    query = cloud.Query("Note").equal_to("n", 1).include("author")
    assert [note.id for note in await query.find()] == ["n1"] * 3
    first = await query.first()
    assert first is not None
    assert await query.count() == 3
    sent = [call[2] for call in hook.objects.calls]
    assert sent[0].include == ("author",)
    assert [found.limit for found in sent] == [100, 1, 0]
    assert sent[2].count
    assert (await query.get("n1")).id == "n1"
    assert hook.objects.calls[-1][2].where == {"$and": [{"n": 1}, {"objectId": "n1"}]}
    await cloud.Query("Note").include("author").get("n1")
    assert hook.objects.calls[-1][0] == "get"
    assert hook.objects.calls[-1][2].include == ("author",)
    hook.objects.rows = []
    assert await query.first() is None
    with pytest.raises(cloud.Error) as caught:
        await query.get("n1")
    assert caught.value.code == 101


async def test_a_find_has_a_limit_as_over_rest(hook: Hook) -> None:
    await cloud.Query("Note").find()
    await cloud.Query("Note").limit(500).find()
    assert [query.limit for _, _, query in hook.objects.calls] == [100, 500]


async def test_each_walks_in_batches(hook: Hook) -> None:
    hook.objects.rows = [{"objectId": "a"}, {"objectId": "b"}]
    seen = []
    async for note in cloud.Query("Note").each(batch_size=2):
        seen.append(note.id)
        if len(hook.objects.calls) == 2:
            break
    assert seen == ["a", "b", "a"]
    assert hook.objects.calls[1][2].where == {"$and": [{}, {"objectId": {"$gt": "b"}}]}


async def test_outside_of_a_hook() -> None:
    with pytest.raises(RuntimeError, match="while a hook"):
        await cloud.Query("Note").find()
    with pytest.raises(RuntimeError, match="while a hook"):
        await cloud.run("f")


def test_the_face_is_sorted() -> None:
    assert list(cloud.__all__) == sorted(cloud.__all__)
    assert not isinstance(cloud.Object("Note"), Mapping)
    assert ANONYMOUS.user is None
