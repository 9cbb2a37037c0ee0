"""Finding: order, pages, counts, keys, includes, sub-queries, relations, and the ways in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from server.values import pointer
from tests.harness.api import Api, assert_parse_error, ok


@dataclass
class Library:
    """Authors with books: ``b1``, ``b2`` by Ann, ``b3`` by Ben, ``hidden`` by Ann, for nobody."""

    api: Api
    ann: str
    ben: str
    books: dict[str, str]

    def titles(self, rows: list[dict[str, Any]]) -> list[str]:
        return [row["title"] for row in rows]


@pytest.fixture(scope="module")
async def library(api: Api) -> AsyncIterator[Library]:
    master = api.as_master()
    city = await api.create("City", name="Rome", secret="s")
    ann = await api.create("Author", name="Ann", age=30, city=pointer("City", city))
    ben = await api.create("Author", name="Ben", age=40)
    shut = await master.create("Author", name="Cleo", age=50, ACL={})
    books: dict[str, str] = {}
    for title, author, year in (("b1", ann, 1), ("b2", ann, 2), ("b3", ben, 3), ("b4", shut, 4)):
        books[title] = await api.create(
            "Book",
            title=title,
            year=year,
            author=pointer("Author", author),
            readers=[pointer("Author", ann), pointer("Author", shut), pointer("Author", "gone")],
        )
    books["hidden"] = await master.create(
        "Book", title="hidden", year=5, author=pointer("Author", ann), ACL={}
    )
    chosen = [pointer("Book", books[title]) for title in ("b1", "b3", "hidden")]
    ok(
        await api.put(
            f"/classes/Author/{ann}", {"likes": {"__op": "AddRelation", "objects": chosen}}
        )
    )
    ok(await master.put(f"/classes/Author/{shut}",
                        {"likes": {"__op": "AddRelation", "objects": chosen}}))  # fmt: skip
    books["shut"] = shut
    yield Library(api, ann, ben, books)


@pytest.mark.parametrize(
    ("params", "titles"),
    [
        ({"order": "title"}, "b1 b2 b3 b4"),
        ({"order": "-year"}, "b4 b3 b2 b1"),
        ({"order": "title", "limit": "2"}, "b1 b2"),
        ({"order": "title", "skip": "1", "limit": "2"}, "b2 b3"),
        ({"order": "title", "limit": 0}, ""),
        ({"order": "title", "skip": 9}, ""),
        ({"order": "unknown,title"}, "b1 b2 b3 b4"),
        ({"order": "-createdAt", "limit": "1"}, "b4"),
    ],
    ids=str,
)
async def test_order_and_pages(library: Library, params: dict[str, Any], titles: str) -> None:
    found = library.titles(await library.api.find("Book", **params))
    assert found == titles.split()


async def test_counts_count_what_may_be_seen(library: Library) -> None:
    answer = ok(await library.api.get("/classes/Book", {"count": "1", "limit": "1"}))
    assert answer["count"] == 4 and len(answer["results"]) == 1
    answer = ok(await library.api.as_master().get("/classes/Book", {"count": "1", "limit": "0"}))
    assert answer == {"results": [], "count": 5}
    assert "count" not in ok(await library.api.get("/classes/Book", {"count": "0"}))


@pytest.mark.parametrize(
    ("params", "columns"),
    [
        ({"keys": "title"}, {"title"}),
        ({"keys": "title,unknown"}, {"title"}),
        ({"keys": "title", "excludeKeys": "title"}, set()),
        ({"keys": "_wperm,_rperm,title"}, {"title"}),
        ({"excludeKeys": "title,readers"}, {"year", "author"}),
        ({"excludeKeys": "objectId,createdAt"}, {"title", "year", "author", "readers"}),
        ({"keys": "author"}, {"author"}),
    ],
    ids=str,
)
async def test_chosen_keys(library: Library, params: dict[str, Any], columns: set[str]) -> None:
    (row,) = await library.api.find("Book", {"title": "b1"}, **params)
    assert set(row) == columns | {"objectId", "createdAt", "updatedAt"}
    one = ok(await library.api.get(f"/classes/Book/{library.books['b1']}", params))
    assert set(one) == set(row)


async def test_include(library: Library) -> None:
    (row,) = await library.api.find("Book", {"title": "b1"}, include="author.city")
    assert row["author"]["__type"] == "Object" and row["author"]["name"] == "Ann"
    assert row["author"]["city"]["name"] == "Rome"
    (row,) = await library.api.find("Book", {"title": "b1"}, include="author")
    assert row["author"]["city"]["__type"] == "Pointer"
    (row,) = await library.api.find("Book", {"title": "b1"}, include="*")
    assert row["author"]["name"] == "Ann"
    (row,) = await library.api.find("Book", {"title": "b1"}, keys="author.name")
    assert "age" not in row["author"] and "title" not in row
    (row,) = await library.api.find(
        "Book", {"title": "b1"}, include="author.city", excludeKeys="author.city.secret"
    )
    assert row["author"]["city"]["name"] == "Rome" and "secret" not in row["author"]["city"]


async def test_include_shows_only_what_may_be_read(library: Library) -> None:
    """Targets that are missing or unreadable look the same: they are not there."""
    (row,) = await library.api.find("Book", {"title": "b4"}, include="author,readers")
    assert "author" not in row
    assert [reader["name"] for reader in row["readers"]] == ["Ann"]
    master = library.api.as_master()
    (row,) = await master.find("Book", {"title": "b4"}, include="author,readers")
    assert row["author"]["name"] == "Cleo"
    assert [reader["name"] for reader in row["readers"]] == ["Ann", "Cleo"]


async def test_include_asks_the_class_too(api: Api) -> None:
    master = api.as_master()
    ok(await master.post("/schemas/Shut", {
        "className": "Shut", "classLevelPermissions": {"find": {}, "get": {}, "create": {}},
    }))  # fmt: skip
    shut = await master.create("Shut", word="secret")
    await api.create("Opener", target=pointer("Shut", shut))
    (row,) = await api.find("Opener", include="target")
    assert "target" not in row
    (row,) = await master.find("Opener", include="target")
    assert row["target"]["word"] == "secret"


@pytest.mark.parametrize("class_name", ["_SCHEMA", "_Hooks", "_Join:users:_Role", "_JobStatus"])
async def test_a_pointer_to_what_is_no_class_spoils_no_find(api: Api, class_name: str) -> None:
    name = "Poison" + class_name.strip("_").replace(":", "")
    await api.create(name, list=[pointer(class_name, "x")], word="fine")
    for who in (api, api.as_master()):
        (row,) = await who.find(name, include="list")
        assert row["word"] == "fine" and row["list"] == []


SUB_QUERIES: list[tuple[str, dict[str, Any], str]] = [
    ("$inQuery", {"author": {"$inQuery": {"className": "Author", "where": {"name": "Ann"}}}},
     "b1 b2"),
    ("$notInQuery", {"author": {"$notInQuery": {"className": "Author", "where": {"name": "Ann"}}}},
     "b3 b4"),
    ("$inQuery sees no hidden object",
     {"author": {"$inQuery": {"className": "Author", "where": {"name": "Cleo"}}}}, ""),
    ("$inQuery in $inQuery",
     {"author": {"$inQuery": {"className": "Author", "where": {
         "city": {"$inQuery": {"className": "City", "where": {"name": "Rome"}}}}}}}, "b1 b2"),
    ("$inQuery with a limit",
     {"author": {"$inQuery": {"className": "Author", "where": {}, "order": "-age", "limit": 1}}},
     "b3"),
    ("$select", {"year": {"$select": {
        "query": {"className": "Book", "where": {"title": "b2"}}, "key": "year"}}}, "b2"),
    ("$select sees no hidden object", {"year": {"$select": {
        "query": {"className": "Book", "where": {"title": "hidden"}}, "key": "year"}}}, ""),
    ("$dontSelect", {"year": {"$dontSelect": {
        "query": {"className": "Book", "where": {"title": "b2"}}, "key": "year"}}}, "b1 b3 b4"),
    ("$inQuery in $or", {"$or": [
        {"author": {"$inQuery": {"className": "Author", "where": {"name": "Ben"}}}},
        {"title": "b1"}]}, "b1 b3"),
    ("$inQuery beside $in", {"author": {
        "$inQuery": {"className": "Author", "where": {"name": "Ann"}}, "$exists": True}}, "b1 b2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "titles"), [row[1:] for row in SUB_QUERIES], ids=[row[0] for row in SUB_QUERIES]
)
async def test_sub_queries(library: Library, where: dict[str, Any], titles: str) -> None:
    found = await library.api.find("Book", where, order="title")
    assert library.titles(found) == titles.split()


async def test_sub_queries_ask_the_class(api: Api, library: Library) -> None:
    master = api.as_master()
    clp = {"find": {}, "get": {}}
    ok(await master.post("/schemas/Shut2", {"className": "Shut2", "classLevelPermissions": clp}))
    await master.create("Shut2", year=1)
    inner = {"className": "Shut2", "where": {}}
    for where in (
        {"author": {"$inQuery": inner}},
        {"author": {"$notInQuery": inner}},
        {"year": {"$select": {"query": inner, "key": "year"}}},
        {"year": {"$dontSelect": {"query": inner, "key": "year"}}},
    ):
        assert_parse_error(await api.get("/classes/Book", {"where": where}), 119)
    for class_name in ("_Hooks", "_Join:users:_Role", "_Installation"):
        where = {"author": {"$inQuery": {"className": class_name, "where": {}}}}
        assert_parse_error(await api.get("/classes/Book", {"where": where}), 119)


async def test_relations(library: Library) -> None:
    api = library.api
    related = {"$relatedTo": {"object": pointer("Author", library.ann), "key": "likes"}}
    assert library.titles(await api.find("Book", related, order="title")) == ["b1", "b3"]
    both = {**related, "title": "b3"}
    assert library.titles(await api.find("Book", both)) == ["b3"]
    either = {"$or": [related, {"title": "b2"}]}
    assert library.titles(await api.find("Book", either, order="title")) == ["b1", "b2", "b3"]
    owners = await api.find("Author", {"likes": pointer("Book", library.books["b3"])})
    assert [row["name"] for row in owners] == ["Ann"]
    others = await api.find("Author", {"likes": {"$ne": pointer("Book", library.books["b3"])}})
    assert [row["name"] for row in others] == ["Ben"]
    (row,) = owners
    assert row["likes"] == {"__type": "Relation", "className": "Book"}
    redirected = ok(
        await api.get(
            "/classes/Author", {"redirectClassNameForKey": "likes", "where": {"title": "b1"}}
        )
    )["results"]
    assert [row["title"] for row in redirected] == ["b1"]
    assert redirected[0]["className"] == "Book"


async def test_a_relation_of_a_hidden_object_is_hidden(library: Library) -> None:
    """Who may not read the owner does not learn what it is related to."""
    shut = pointer("Author", library.books["shut"])
    related = {"$relatedTo": {"object": shut, "key": "likes"}}
    assert await library.api.find("Book", related) == []
    assert len(await library.api.as_master().find("Book", related)) == 3
    assert await library.api.find("Book", {"$nor": [related], "title": "b1"})


async def test_changing_a_relation(api: Api) -> None:
    one = await api.create("Item")
    two = await api.create("Item")
    box = await api.create("Box", items={"__op": "AddRelation", "objects": [pointer("Item", one)]})
    related = {"$relatedTo": {"object": pointer("Box", box), "key": "items"}}

    async def contents() -> set[str]:
        return {row["objectId"] for row in await api.find("Item", related)}

    add = {"__op": "AddRelation", "objects": [pointer("Item", two), pointer("Item", one)]}
    for _ in range(2):
        ok(await api.put(f"/classes/Box/{box}", {"items": add}))
        assert await contents() == {one, two}
    remove = {"__op": "RemoveRelation", "objects": [pointer("Item", one)]}
    swap = {"__op": "Batch", "ops": [remove, {"__op": "AddRelation", "objects": []}]}
    ok(await api.put(f"/classes/Box/{box}", {"items": swap}))
    assert await contents() == {two}
    wrong = {"__op": "AddRelation", "objects": [pointer("Other", "x")]}
    assert_parse_error(await api.put(f"/classes/Box/{box}", {"items": wrong}), 111)
    assert_parse_error(await api.put(f"/classes/Box/{box}", {"items": 5}), 111)
    assert await contents() == {two}


async def test_relations_obey_the_owners_acl(api: Api) -> None:
    master = api.as_master()
    item = await api.create("Item")
    box = await master.create("Box", ACL={"*": {"read": True}})
    add = {"items": {"__op": "AddRelation", "objects": [pointer("Item", item)]}}
    assert_parse_error(await api.put(f"/classes/Box/{box}", add), 101)
    related = {"$relatedTo": {"object": pointer("Box", box), "key": "items"}}
    assert await master.find("Item", related) == []


# ---- what nobody finds out ---------------------------------------------------------------


@pytest.mark.parametrize(
    "where",
    [
        {"_rperm": {"$exists": True}},
        {"_rperm": {"$ne": "x"}},
        {"_rperm": None},
        {"$or": [{"_rperm": {"$in": ["*"]}}, {"title": {"$exists": True}}]},
        {"$nor": [{"_rperm": {"$exists": False}}, {"title": "nope"}]},
        {"_wperm": {"$nin": ["x"]}},
        {"objectId": {"$ne": "x"}},
    ],
    ids=str,
)
async def test_conditions_on_the_acl_do_not_widen_it(
    library: Library, where: dict[str, Any]
) -> None:
    rows = await library.api.find("Book", where)
    assert "hidden" not in library.titles(rows)
    count = ok(await library.api.get("/classes/Book", {"where": where, "count": 1, "limit": 0}))
    assert count["count"] == len(rows)


async def test_users_are_not_known_by_their_secrets(api: Api) -> None:
    anonymous = {"authData": {"anonymous": {"id": "0123456789"}}, "ACL": {"*": {"read": True}}}
    made = ok(await api.post("/users", anonymous))
    user = pointer("_User", made["objectId"])
    for where in (
        {"password": {"$exists": True}},
        {"_hashed_password": {"$regex": "^"}},
        {"_auth_data_anonymous.id": {"$regex": "^0"}},
        {"_session_token": {"$exists": True}},
    ):
        assert_parse_error(await api.get("/users", {"where": where}), 105)
    for guess in ({"$regex": "^0"}, {"$gt": "0"}, {"$lt": "1", "$exists": True}):
        where = {"authData.anonymous.id": guess}
        assert_parse_error(await api.get("/users", {"where": where}), 119)
        inner = {"className": "_User", "where": where}
        sub = {"user": {"$inQuery": inner}}
        assert_parse_error(await api.get("/classes/Book", {"where": sub}), 119)
    for order in ("authData", "authData.anonymous.id", "_hashed_password", "_auth_data_anonymous"):
        assert_parse_error(await api.get("/users", {"order": order}), 105)
    keys = "authData,_hashed_password,password,sessionToken,_auth_data_anonymous,_session_token"
    answer = await api.get("/users", {"keys": keys, "where": {"objectId": made["objectId"]}})
    (row,) = ok(answer)["results"]
    assert set(row) == {"objectId", "createdAt", "updatedAt", "ACL"}
    await api.create("Owned", user=user)
    included = await api.get("/classes/Owned", {"include": "user"})
    for text in ("0123456789", "sessionToken", "authData", "$2b$"):
        assert text not in included.text + answer.text


async def test_sessions_are_ones_own(api: Api) -> None:
    ann, ben = await api.sign_up("ann-s"), await api.sign_up("ben-s")
    session = ok(await ann.get("/sessions/me"))
    one = session["objectId"]
    assert_parse_error(await api.get("/classes/_Session"), 209)
    for where in ({}, {"objectId": one}, {"$or": [{"objectId": one}, {"user": ann.pointer()}]}):
        found = await ben.find("_Session", where)
        assert one not in [row["objectId"] for row in found]
    related = {"user": {"$inQuery": {"className": "_User", "where": {"objectId": ann.id}}}}
    assert await ben.find("_Session", related) == []
    await ann.create("Holds", session=pointer("_Session", one))
    (row,) = await ben.find("Holds", include="session")
    assert "session" not in row
    for refused in (
        await ben.get(f"/classes/_Session/{one}"),
        await ben.put(f"/classes/_Session/{one}", {"note": 1}),
        await ben.delete(f"/classes/_Session/{one}"),
    ):
        assert_parse_error(refused, 101)
    assert ok(await ann.get("/sessions/me"))["objectId"] == one


@pytest.mark.parametrize(
    ("class_name", "code"),
    [("_SCHEMA", 103), ("_Hooks", 119), ("_GlobalConfig", 119), ("_JobStatus", 119),
     ("_Join:users:_Role", 119), ("_Installation", 119), ("_Audience", 119),
     ("_Idempotency", 119), ("_GraphQLConfig", 119)],
)  # fmt: skip
async def test_internal_collections_are_closed_to_clients(
    api: Api, class_name: str, code: int
) -> None:
    user = await api.sign_up("closed" + class_name)
    for who in (api, user):
        assert_parse_error(await who.get(f"/classes/{class_name}"), code)
        assert_parse_error(await who.delete(f"/classes/{class_name}/x"), code)


@pytest.mark.parametrize("class_name", ["fs.files", "system.users", "$cmd", "a\0b", "Book "])
async def test_collections_that_are_no_class_hold_nothing(api: Api, class_name: str) -> None:
    answer = await api.get(f"/classes/{class_name.replace(chr(0), '%00')}")
    assert answer.status_code in (200, 400)
    assert answer.json().get("results", []) == []


async def test_explain_is_for_the_master_key(library: Library) -> None:
    assert_parse_error(await library.api.get("/classes/Book", {"explain": "true"}), 102)
    plan = ok(await library.api.as_master().get("/classes/Book", {"explain": "true"}))
    assert "queryPlanner" in str(plan)


async def test_a_session_token_in_the_answer_is_ones_own(api: Api) -> None:
    ann, ben = await api.sign_up("ann-t"), await api.sign_up("ben-t", ACL={"*": {"read": True}})
    assert ok(await ann.get(f"/users/{ann.id}"))["sessionToken"] == ann.session_token
    assert "sessionToken" not in ok(await ann.get(f"/users/{ben.id}"))
