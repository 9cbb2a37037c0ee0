"""MongoDB as the floors above use it: one client per process, documents in and out, our errors.

The operations of every request take `Lane` where the deployment allows it, else the driver.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import bson
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, ReadPreference, ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WriteError,
)

from server.errors import Code, ParseError, invalid_query
from server.storage.inserts import DURABLE, Inserts
from server.storage.lane import Lane, is_plain
from server.values import StoredDocument

Filter: TypeAlias = Mapping[str, Any]
Session: TypeAlias = AsyncClientSession | None


class _WholeNumbers(TypeDecoder):
    """WIRE: the peer prints a double that is whole as ``5``, not ``5.0``, as JavaScript does."""

    bson_type = float

    def transform_bson(self, value: float) -> float | int:
        return int(value) if value.is_integer() and abs(value) < _INT64 else value


_INT64 = 2.0**63
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=False,
    type_registry=TypeRegistry([_WholeNumbers()]),
    # JavaScript's dates go beyond year 9999; one such must not make its object unreadable.
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
)
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_PREFERENCES = {
    "PRIMARY": ReadPreference.PRIMARY,
    "PRIMARY_PREFERRED": ReadPreference.PRIMARY_PREFERRED,
    "SECONDARY": ReadPreference.SECONDARY,
    "SECONDARY_PREFERRED": ReadPreference.SECONDARY_PREFERRED,
    "NEAREST": ReadPreference.NEAREST,
}
# The first batch of a find. MongoDB ends a batch at 16 MB by itself.
_BATCH = 1000
# The driver's own are such that a client would wait half a minute for MongoDB to be back.
_LIMITS = {
    "serverSelectionTimeoutMS": 8_000,
    "connectTimeoutMS": 3_000,
    "heartbeatFrequencyMS": 4_000,
}
_ATTEMPTS = 5
_T = TypeVar("_T")
# What MongoDB says of malformed operators and values; five-digit codes are its checks of input,
# but for a shard's stale routing and a full disk.
_ASSERTIONS = 13_000
_TROUBLE = frozenset((13388, 14031))
_BAD_INPUT_CODES = frozenset(
    (
        2,
        9,
        14,
        15,
        17,
        28,
        31,
        34,
        40,
        51,
        52,
        55,
        56,
        57,
        73,
        168,
        171,
        241,
        291,
        10334,
    )
)


def _is_bad_input(code: int) -> bool:
    return code in _BAD_INPUT_CODES or (code >= _ASSERTIONS and code not in _TROUBLE)


class DuplicateValue(ParseError):
    """A unique index refused the write (137). ``fields``: the index's storage keys."""

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(
            Code.DUPLICATE_VALUE,
            "A duplicate value for a field with unique values was provided",
        )
        self.fields = tuple(fields)


def _duplicate(details: Mapping[str, Any] | None) -> DuplicateValue:
    details = details or {}
    if "keyPattern" in details:
        return DuplicateValue(list(details["keyPattern"]))
    found = re.search(r"index:\s+(?:\S+\$)?(\w+?)_-?1", str(details.get("errmsg", "")))
    return DuplicateValue([found.group(1)] if found else [])


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the driver's errors into Parse's: 137, 102 for a query MongoDB refuses, else 1."""
    try:
        yield
    except DuplicateKeyError as error:
        raise _duplicate(error.details) from error
    except AutoReconnect as error:
        raise ParseError(Code.INTERNAL_SERVER_ERROR, "Database error") from error
    except (WriteError, OperationFailure) as error:
        if error.has_error_label("TransientTransactionError"):
            raise
        if error.code == 11000:
            raise _duplicate(error.details) from error
        if _is_bad_input(error.code or 0):
            raise invalid_query("The database refused the values of this request.") from error
        raise ParseError(Code.INTERNAL_SERVER_ERROR, "Database error") from error
    except (OverflowError, UnicodeEncodeError, InvalidDocument) as error:
        raise ParseError(Code.INVALID_JSON, "A value cannot be stored.") from error
    except PyMongoError as error:
        if isinstance(error, ValueError):
            raise ParseError(Code.INVALID_JSON, "A value cannot be stored.") from error
        raise ParseError(Code.INTERNAL_SERVER_ERROR, "Database error") from error
    except ValueError as error:
        raise ParseError(Code.INVALID_JSON, "A value cannot be stored.") from error


class Database:
    """One MongoDB database. Class names are collection names with the configured prefix."""

    def __init__(
        self,
        client: AsyncMongoClient[dict[str, Any]],
        name: str,
        prefix: str = "",
        *,
        has_lane: bool = False,
    ) -> None:
        """``has_lane``: the deployment needs no log-in and the like (`lane.is_plain`)."""
        self.client = client
        self._lane = Lane(client, name, _CODEC) if has_lane else None
        self._inserts = Inserts(self._lane, _CODEC) if self._lane is not None else None
        self.prefix = prefix
        self.raw: AsyncDatabase[dict[str, Any]] = client.get_database(name, codec_options=_CODEC)
        self._collections: dict[str, AsyncCollection[dict[str, Any]]] = {}

    @classmethod
    def connect(
        cls, uri: str, *, prefix: str = "", options: Mapping[str, Any] | None = None
    ) -> Database:
        """Make a client; the connection itself opens with the first command.

        ``uri`` names the database; without a name it is ``parse``.
        """
        given = options or {}
        named = {name.lower() for name in (*given, *re.findall(r"[?&](\w+)=", uri))}
        limits: dict[str, Any] = {
            name: value for name, value in _LIMITS.items() if name.lower() not in named
        }
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri, **limits, **given)
        name = client.get_default_database("parse").name
        return cls(client, name, prefix, has_lane=is_plain(uri, given))

    async def close(self) -> None:
        if self._lane is not None:
            self._lane.close()
        await self.client.close()

    def collection(self, class_name: str) -> AsyncCollection[dict[str, Any]]:
        """The collection of a class. PERF: kept, as making one costs 13 µs."""
        found = self._collections.get(class_name)
        if found is None:
            found = self._collections[class_name] = self.raw[self.prefix + class_name]
            # A flood of made-up class names must not grow this without end.
            if len(self._collections) > 10_000:
                self._collections.clear()
        return found

    async def find(
        self,
        class_name: str,
        filter: Filter,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Mapping[str, Any] | None = None,
        skip: int = 0,
        limit: int = 0,
        hint: Any = None,
        comment: str | None = None,
        collation: Mapping[str, Any] | None = None,
        read_preference: str | None = None,
        max_time_ms: int | None = None,
        session: Session = None,
    ) -> list[StoredDocument]:
        """All documents that match. ``limit`` 0: no limit; negative: its absolute value."""
        command: dict[str, Any] = {"find": self.prefix + class_name, "filter": filter}
        if projection:
            command["projection"] = projection
        if sort:
            command["sort"] = sort
        if skip:
            command["skip"] = skip
        if limit:
            command["limit"] = abs(limit)
        command["batchSize"] = min(abs(limit), _BATCH) + 1 if limit else _BATCH
        if limit and abs(limit) <= 1:
            command["singleBatch"] = True
        for name, value in (
            ("hint", hint),
            ("comment", comment),
            ("collation", collation),
            ("maxTimeMS", max_time_ms),
        ):
            if value:
                command[name] = value
        preference = _PREFERENCES[read_preference] if read_preference else None
        with translated_errors():
            cursor = (await self._read(command, preference, session))["cursor"]
            documents: list[StoredDocument] = cursor["firstBatch"]
            while cursor["id"]:
                more = {"getMore": cursor["id"], "collection": self.prefix + class_name}
                cursor = (await self._read(more, preference, session, retry=False))["cursor"]
                documents += cursor["nextBatch"]
        return documents

    async def _read(
        self,
        command: dict[str, Any],
        preference: Any = None,
        session: Session = None,
        *,
        retry: bool = True,
    ) -> dict[str, Any]:
        if self._lane is not None and session is None and preference is None:
            return await self._lane.run(command, retry=retry)
        if session is not None:
            # A transaction reads where it writes.
            preference = None
        try:
            reply = await self.raw.command(
                command, codec_options=_RAW, read_preference=preference, session=session
            )
        except AutoReconnect:
            # The driver tries its own reads twice, but not plain commands.
            if not retry or session is not None:
                raise
            reply = await self.raw.command(command, codec_options=_RAW, read_preference=preference)
        # The driver would leave our `TypeDecoder` out for plain commands.
        return bson.decode(reply.raw, _CODEC)

    async def find_one(
        self,
        class_name: str,
        filter: Filter,
        *,
        projection: Mapping[str, Any] | None = None,
        collation: Mapping[str, Any] | None = None,
        session: Session = None,
    ) -> StoredDocument | None:
        found = await self.find(
            class_name,
            filter,
            projection=projection,
            collation=collation,
            limit=1,
            session=session,
        )
        return found[0] if found else None

    async def explain(
        self, class_name: str, filter: Filter, verbosity: str, **options: Any
    ) -> dict[str, Any]:
        """MongoDB's explanation of a find."""
        command = {"find": self.prefix + class_name, "filter": filter, **options}
        with translated_errors():
            return await self._read({"explain": command, "verbosity": verbosity})

    async def count(
        self,
        class_name: str,
        filter: Filter,
        *,
        hint: Any = None,
        read_preference: str | None = None,
        max_time_ms: int | None = None,
        session: Session = None,
    ) -> int:
        """How many documents match. Without a filter the collection's metadata answers."""
        command: dict[str, Any]
        if not filter and session is None:
            command = {"count": self.prefix + class_name}
        else:
            command = {
                "aggregate": self.prefix + class_name,
                "pipeline": [{"$match": filter}, {"$group": {"_id": 1, "n": {"$sum": 1}}}],
                "cursor": {},
            }
        if hint:
            command["hint"] = hint
        if max_time_ms:
            command["maxTimeMS"] = max_time_ms
        preference = _PREFERENCES[read_preference] if read_preference else None
        with translated_errors():
            answer = await self._read(command, preference, session)
        if "n" in answer:
            return int(answer["n"])
        batch = answer["cursor"]["firstBatch"]
        return int(batch[0]["n"]) if batch else 0

    async def insert(
        self, class_name: str, document: StoredDocument, *, session: Session = None
    ) -> None:
        """Store a new document. Raises `DuplicateValue`."""
        with translated_errors():
            if self._inserts is None or session is not None:
                await self.collection(class_name).insert_one(document, session=session)
                return
            await self._inserts.insert(self.prefix + class_name, document)

    async def find_and_update(
        self,
        class_name: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        session: Session = None,
    ) -> StoredDocument | None:
        """Update one document and return it as it is then; ``None`` when none matched."""
        with translated_errors():
            if self._lane is None or session is not None:
                found: StoredDocument | None
                found = await self.collection(class_name).find_one_and_update(
                    filter, update, return_document=ReturnDocument.AFTER, session=session
                )
                return found
            reply = await self._lane.run_write(
                {
                    "findAndModify": self.prefix + class_name,
                    "query": filter,
                    "update": update,
                    "new": True,
                    "writeConcern": DURABLE,
                }
            )
            return reply["value"] or None

    async def update_one(
        self,
        class_name: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        upsert: bool = False,
        session: Session = None,
    ) -> int:
        """Update at most one document; how many matched."""
        with translated_errors():
            result = await self.collection(class_name).update_one(
                filter, update, upsert=upsert, session=session
            )
        return result.matched_count

    async def update_many(
        self,
        class_name: str,
        filter: Filter,
        update: Mapping[str, Any],
        *,
        session: Session = None,
    ) -> int:
        """Update all that match; how many there were."""
        with translated_errors():
            result = await self.collection(class_name).update_many(filter, update, session=session)
        return result.matched_count

    async def delete(
        self, class_name: str, filter: Filter, *, many: bool = False, session: Session = None
    ) -> int:
        """Delete one document, or all that match; how many there were."""
        collection = self.collection(class_name)
        with translated_errors():
            if many:
                return (await collection.delete_many(filter, session=session)).deleted_count
            if self._lane is None or session is not None:
                return (await collection.delete_one(filter, session=session)).deleted_count
            reply = await self._lane.run_write(
                {
                    "delete": self.prefix + class_name,
                    "deletes": [{"q": filter, "limit": 1}],
                    "writeConcern": DURABLE,
                }
            )
            return int(reply["n"])

    async def drop(self, class_name: str) -> None:
        """Drop a collection; none there is fine."""
        with translated_errors():
            await self.collection(class_name).drop()

    async def run_transaction(self, work: Callable[[AsyncClientSession], Awaitable[_T]]) -> _T:
        """Do ``work`` in one transaction: it commits at its end and aborts on any error.

        A conflict with another write is tried again, from the start, a few times.
        """
        for attempt in range(_ATTEMPTS):
            try:
                async with self.client.start_session() as session:
                    async with await session.start_transaction():
                        return await work(session)
            except AutoReconnect as error:
                raise ParseError(Code.INTERNAL_SERVER_ERROR, "Database error") from error
            except PyMongoError as error:
                is_passing = error.has_error_label("TransientTransactionError")
                if not is_passing or attempt == _ATTEMPTS - 1:
                    raise ParseError(
                        Code.INVALID_QUERY, "The transaction conflicts with other writes."
                    ) from error
                await asyncio.sleep(0.01 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")
