"""The route table: parts, case, slashes, parameters, tails."""

from __future__ import annotations

import pytest

from server.rest.call import Answer, Call, Route
from server.rest.router import Router


async def handler(call: Call) -> Answer:
    return Answer()


def route(method: str, path: str) -> Route:
    return Route(method, path, handler)


ROUTER = Router(
    route(method, path)
    for method, path in (
        ("GET", "/classes/{class_name}"),
        ("POST", "/classes/{class_name}"),
        ("GET", "/classes/{class_name}/{object_id}"),
        ("GET", "/users/me"),
        ("GET", "/users/{object_id}"),
        ("GET", "/files/{app_id}/{*name}"),
        ("POST", "/batch"),
    )
)


@pytest.mark.parametrize(
    ("method", "path", "found", "parameters"),
    [
        ("GET", "/classes/Note", "/classes/{class_name}", {"class_name": "Note"}),
        ("GET", "/classes/Note/", "/classes/{class_name}", {"class_name": "Note"}),
        ("GET", "/CLASSES/Note", "/classes/{class_name}", {"class_name": "Note"}),
        ("GET", "/classes/Note/a%2Fb%20c", "/classes/{class_name}/{object_id}",
         {"class_name": "Note", "object_id": "a/b c"}),
        ("GET", "/users/me", "/users/me", {}),
        ("GET", "/users/Me", "/users/me", {}),
        ("GET", "/users/you", "/users/{object_id}", {"object_id": "you"}),
        ("GET", "/files/app/dir/a%20b.txt", "/files/{app_id}/{*name}",
         {"app_id": "app", "name": "dir/a b.txt"}),
        ("POST", "//batch//", "/batch", {}),
    ],
)  # fmt: skip
def test_match(method: str, path: str, found: str, parameters: dict[str, str]) -> None:
    match = ROUTER.match(method, path)
    assert match is not None
    assert (match[0].path, match[1]) == (found, parameters)


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/classes/Note"), ("GET", "/classes"), ("GET", "/classes//x"), ("GET", "/"),
     ("GET", "/classes/a/b/c"), ("GET", "/batch"), ("get", "/users/me"), ("GET", "/%62atch")],
)  # fmt: skip
def test_no_match(method: str, path: str) -> None:
    assert ROUTER.match(method, path) is None


def test_two_handlers_for_one_place_are_refused() -> None:
    with pytest.raises(ValueError, match="two handlers"):
        Router([route("GET", "/a/{x}"), route("GET", "/A/{x}")])
    with pytest.raises(ValueError, match="differently"):
        Router([route("GET", "/a/{x}"), route("GET", "/a/{y}/b")])
