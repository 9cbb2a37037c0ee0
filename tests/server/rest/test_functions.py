"""``POST /functions/{name}`` in a whole app, without cloud code."""

from __future__ import annotations

import pytest

from tests.harness.api import Api, assert_parse_error


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/functions/nope", "nope"),
        ("/functions/a.b.c", "a.b.c"),
        ("/functions/no%20pe", "no pe"),
        ("/functions/__proto__", "__proto__"),
        ("/functions/nope?a=1", "nope"),
    ],
)
async def test_unknown_functions(api: Api, path: str, name: str) -> None:
    for caller in (api, api.as_master()):
        assert_parse_error(await caller.post(path), 141, text=f'Invalid function: "{name}"')


@pytest.mark.parametrize("body", [[1, 2], {}, {"a": {"__type": "Date", "iso": "never"}}])
async def test_any_body_is_taken(api: Api, body: object) -> None:
    assert_parse_error(await api.post("/functions/nope", body), 141)


async def test_only_post(api: Api) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert (await api.request(method, "/functions/nope")).status_code == 404
