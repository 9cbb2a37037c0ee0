"""Refuses a MongoDB that Pestle cannot run on, and says why."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

LEAST_VERSION = (6, 0)


class UnfitDatabase(Exception):
    """The MongoDB is unreachable, too old or standalone; the text says what to do."""


async def require_replica_set(client: AsyncMongoClient[dict[str, Any]]) -> None:
    """Return when ``client`` reaches a replica set or sharded cluster of MongoDB 6 or newer.

    Raises:
        UnfitDatabase: It does not.
    """
    try:
        hello = await client.admin.command("hello")
        build = await client.admin.command("buildInfo")
    except PyMongoError as error:
        raise UnfitDatabase(
            f"databaseURI (PARSE_SERVER_DATABASE_URI): MongoDB does not answer: {_brief(error)}"
        ) from error
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise UnfitDatabase(
            "databaseURI (PARSE_SERVER_DATABASE_URI) is a standalone mongod. Pestle needs change "
            "streams and transactions, which MongoDB has on replica sets only. Start mongod with "
            "--replSet rs0 and run rs.initiate() once; one node is enough."
        )
    version = tuple(build["versionArray"][:2])
    if version < LEAST_VERSION:
        raise UnfitDatabase(
            f"databaseURI (PARSE_SERVER_DATABASE_URI) is MongoDB {build['version']}; "
            "Pestle needs 6.0 or newer, whose change streams tell how a document was before"
        )


def _brief(error: PyMongoError) -> str:
    """The driver's message without its dump of the topology."""
    return str(error).partition(", Topology Description")[0].partition(" (configured timeouts")[0]
