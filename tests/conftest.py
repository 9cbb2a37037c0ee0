"""Fixtures of all tests: a real MongoDB, the app in this process, servers in their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from server.settings import Settings
from tests.harness.api import APP_ID, MASTER_KEY, Api
from tests.harness.app import running_app
from tests.harness.mongo import TestMongo
from tests.harness.processes import Server, run_node, start_peer, start_pestle

SERVE_OPTIONS: dict[str, Any] = {
    "appId": APP_ID,
    "masterKey": MASTER_KEY,
    "allowClientClassCreation": True,
}


@pytest.fixture(scope="session")
def mongo() -> Iterator[TestMongo]:
    """The session's MongoDB."""
    with TestMongo() as mongo:
        yield mongo


@pytest.fixture(scope="session")
def mongo_uri(mongo: TestMongo) -> str:
    """Its address, for tests that make their own databases."""
    return mongo.uri()


@pytest.fixture
def database_name(mongo: TestMongo) -> Iterator[str]:
    """A database for this test alone."""
    name = mongo.new_database()
    yield name
    mongo.drop(name)


@pytest.fixture
def database_uri(mongo: TestMongo, database_name: str) -> str:
    return mongo.uri(database_name)


@pytest.fixture
def settings(database_uri: str) -> Settings:
    """An app as tests like it; `dataclasses.replace` makes another."""
    return Settings(
        app_id=APP_ID,
        master_key=MASTER_KEY,
        database_uri=database_uri,
        allow_client_class_creation=True,
        log_level="error",
    )


class MakeApi(Protocol):
    """``await make_api(settings)``: start an app in this process and speak to it."""

    def __call__(self, settings: Settings) -> Awaitable[Api]: ...


@pytest.fixture
async def make_api() -> AsyncIterator[MakeApi]:
    async with AsyncExitStack() as stack:

        async def make(settings: Settings) -> Api:
            return await stack.enter_async_context(running_app(settings))

        yield make


@pytest.fixture
async def api(make_api: MakeApi, settings: Settings) -> Api:
    """The app in this process; without a user."""
    return await make_api(settings)


@pytest.fixture
def serve(database_uri: str) -> Iterator[Callable[..., Server]]:
    """``serve(workers=2, **options)``: `pestle serve` as a process, on this test's database."""
    with ExitStack() as stack:

        def start(*, workers: int = 2, **options: Any) -> Server:
            server = start_pestle(
                {**SERVE_OPTIONS, "databaseURI": database_uri, **options}, workers=workers
            )
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """A running server with two workers."""
    return serve()


@pytest.fixture
def peer(database_uri: str) -> Iterator[Callable[..., Server]]:
    """``peer(cloud=path, **options)``: Parse Server on this test's database."""
    with ExitStack() as stack:

        def start(*, cloud: Path | None = None, **options: Any) -> Server:
            started = start_peer(
                {**SERVE_OPTIONS, "databaseURI": database_uri, **options}, cloud=cloud
            )
            stack.callback(started.stop)
            return started

        yield start


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[Server], Api]]:
    """``connect(server)``: speak to a server in another process."""
    async with AsyncExitStack() as stack:

        def open_client(server: Server) -> Api:
            client = httpx.AsyncClient(base_url=server.url, timeout=30)
            stack.push_async_callback(client.aclose)
            return Api(client)

        yield open_client


@pytest.fixture
def node() -> Callable[..., str]:
    """``node(script, *arguments, env=..., seconds=60)``: what a JavaScript program printed."""
    return run_node
