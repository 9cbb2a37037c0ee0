"""The change stream: every write to the watched collections, by whomever, in commit order."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bson.timestamp import Timestamp
from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.errors import (
    CollectionInvalid,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
)

from server.storage.mongo import Database
from server.values import StoredDocument

log = logging.getLogger(__name__)

Watched = Sequence[str | re.Pattern[str]]
OnChange = Callable[["Change"], None]
OnState = Callable[[bool], None]

# How long MongoDB holds an empty answer back; events are sent at once in any case.
_AWAIT_MS = 1000
# A connection that is silent for longer is taken for broken.
_SILENCE_S = 4.0
_START_LIMIT_S = 5.0
_RETRY_S = 0.1
_LONGEST_RETRY_S = 2.0
_NAMESPACE_NOT_FOUND = 26
_NAMESPACE_EXISTS = 48
# The stream cannot go on after its token: the oplog no longer holds it, or an event of more
# than 16 MB follows. 136 CappedPositionLost, 260 InvalidResumeToken, 280 ChangeStreamFatalError,
# 286 ChangeStreamHistoryLost, 10334 BSONObjectTooLarge.
_LOST = frozenset((136, 260, 280, 286, 10334))
# Another refusal may pass (an election, a time limit), but not so often.
_MOST_REFUSALS = 8
_OPERATIONS_WITHOUT_KEY = frozenset(("drop", "rename", "dropDatabase", "invalidate"))


LOST = "lost"


@dataclass(frozen=True, slots=True)
class Change:
    """One committed write.

    ``collection``: the class name, without the collection prefix (``Note``, ``_SCHEMA``,
    ``_Join:users:_Role``); empty for ``dropDatabase`` and ``invalidate``. ``op``: ``insert``,
    ``update``, ``replace``, ``delete``, ``drop``, ``rename``, ``dropDatabase``, ``invalidate``,
    and `LOST` where changes went by that nobody can tell any more.
    ``key``: the document's ``_id``. ``before`` and ``after``: the document around an update, where
    the collection keeps images (see `ChangeFeed.ensure_images`); an insert always has ``after``.
    """

    collection: str
    op: str
    key: Any
    before: StoredDocument | None
    after: StoredDocument | None


class ChangeFeed:
    """One change stream of the database, shared by all who `subscribe` in this process.

    It reconnects for ever and resumes after the last delivered change, so that nothing is lost
    or told twice. Only when MongoDB no longer knows that place it starts at the present.

    ``collections`` gives the names and patterns of class names to watch, at each opening. Of
    those in ``without_inserts``, which no pattern names, new documents are not told.
    """

    def __init__(
        self,
        database: Database,
        *,
        collections: Callable[[], Watched],
        without_inserts: Sequence[str] = (),
    ) -> None:
        self._database = database
        self._collections = collections
        self._without_inserts = without_inserts
        self._on_change: list[OnChange] = []
        self._on_state: list[OnState] = []
        self._token: Any = None
        self._start_time: Any = None
        self._refusals = 0
        self._task: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self.is_live = False
        """Whether the stream is open and has told all that happened up to now."""

    def subscribe(self, on_change: OnChange, on_state: OnState | None = None) -> None:
        """Call ``on_change`` for each change and ``on_state`` when `is_live` changes.

        Both run in the event loop between two reads of the stream, so they must be quick.
        """
        self._on_change.append(on_change)
        if on_state is not None:
            self._on_state.append(on_state)

    async def start(self) -> None:
        """Open the stream; returns when it is live, or after 5 s while it goes on trying."""
        self._task = asyncio.create_task(self._run(), name="change-feed")
        try:
            async with asyncio.timeout(_START_LIMIT_S):
                await self._opened.wait()
        except TimeoutError:
            log.error("The change stream did not open within %.0f s; trying on", _START_LIMIT_S)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._opened.clear()
        self._set_live(False)

    async def reopen(self) -> None:
        """Watch what ``collections`` names now, going on after the last delivered change."""
        if self._task is not None:
            await self.stop()
            await self.start()

    async def ensure_images(self, class_names: Iterable[str]) -> None:
        """Have MongoDB keep pre- and post-images of these classes, making missing collections."""
        wanted = {self._database.prefix + name for name in class_names}
        if not wanted:
            return
        query = {"name": {"$in": sorted(wanted)}}
        async for info in await self._database.raw.list_collections(filter=query):
            images = info.get("options", {}).get("changeStreamPreAndPostImages", {})
            if images.get("enabled"):
                wanted.discard(info["name"])
        for name in sorted(wanted):
            await self._enable_images(name)

    async def _enable_images(self, name: str) -> None:
        images = {"enabled": True}
        raw = self._database.raw
        try:
            await raw.command("collMod", name, changeStreamPreAndPostImages=images)
        except OperationFailure as error:
            if error.code != _NAMESPACE_NOT_FOUND:
                raise
            try:
                await raw.create_collection(name, changeStreamPreAndPostImages=images)
            except CollectionInvalid:
                await raw.command("collMod", name, changeStreamPreAndPostImages=images)
            except OperationFailure as lost_race:
                if lost_race.code != _NAMESPACE_EXISTS:
                    raise
                await raw.command("collMod", name, changeStreamPreAndPostImages=images)

    async def _run(self) -> None:
        """Follow the stream for ever, over every failure."""
        delay = _RETRY_S
        while True:
            try:
                await self._follow()
            except (PyMongoError, TimeoutError) as error:
                self._recover(error)
            except Exception:
                log.exception("The change stream failed; opening it again")
            delay = _RETRY_S if self.is_live else min(delay * 2, _LONGEST_RETRY_S)
            self._set_live(False)
            await asyncio.sleep(delay)

    def _recover(self, error: PyMongoError | TimeoutError) -> None:
        """Say what broke; forget the place in the stream when MongoDB has."""
        if isinstance(error, OperationFailure):
            code = error.code
            self._refusals += 1
        else:
            code = None
            self._refusals = 0
        if code in _LOST or self._refusals >= _MOST_REFUSALS:
            self._refusals = 0
            log.error("The change stream cannot resume and starts anew: %.200s", error)
            self._token = self._start_time = None
            self._tell(Change("", LOST, None, None, None))
        elif self.is_live:
            lost = isinstance(error, (ConnectionFailure, TimeoutError))
            reason = "connection lost" if lost else str(error)
            log.warning("The change stream broke (%s); resuming", reason)

    async def _follow(self) -> None:
        """Open the stream after the last change and deliver until it breaks."""
        async with asyncio.timeout(_SILENCE_S):
            reply = await self._database.client.admin.command("ping")
        present = reply["operationTime"]
        is_fresh = self._token is None and self._start_time is None
        if is_fresh:
            # What has this very time is done, and may be the event that broke the last stream.
            self._start_time = Timestamp(present.time, present.inc + 1)
        async with asyncio.timeout(_SILENCE_S):
            cursor = await self._database.raw.aggregate(self._pipeline(), maxAwaitTimeMS=_AWAIT_MS)
        async with cursor:
            if is_fresh:
                self._set_live(True)
            while cursor.alive:
                async with asyncio.timeout(_SILENCE_S):
                    event = await cursor.try_next()
                if event is None:
                    self._token = _batch_token(cursor) or self._token
                    self._set_live(True)
                    continue
                self._deliver(event)
                if not self.is_live and event["clusterTime"] >= present:
                    self._set_live(True)

    def _pipeline(self) -> list[dict[str, Any]]:
        stream: dict[str, Any] = {
            "fullDocument": "whenAvailable",
            "fullDocumentBeforeChange": "whenAvailable",
        }
        if self._token is not None:
            # Unlike resumeAfter this also goes on after an invalidate.
            stream["startAfter"] = self._token
        else:
            stream["startAtOperationTime"] = self._start_time
        names: list[str] = []
        patterns: list[dict[str, Any]] = []
        prefix = self._database.prefix
        for wanted in self._collections():
            if isinstance(wanted, str):
                names.append(prefix + wanted)
            else:
                regex = f"^{re.escape(prefix)}(?:{wanted.pattern})$"
                patterns.append({"ns.coll": {"$regex": regex}})
        whole = {"operationType": {"$in": ["dropDatabase", "invalidate"]}}
        # PERF: an event costs a process 400 µs in the driver, also one that nobody needs.
        changed = {
            "ns.coll": {"$in": [prefix + name for name in self._without_inserts]},
            "operationType": {"$ne": "insert"},
        }
        match = {"$or": [{"ns.coll": {"$in": names}}, changed, *patterns, whole]}
        return [{"$changeStream": stream}, {"$match": match}]

    def _deliver(self, event: dict[str, Any]) -> None:
        op: str = event["operationType"]
        collection: str = event.get("ns", {}).get("coll", "")
        change = Change(
            collection=collection.removeprefix(self._database.prefix),
            op=op,
            key=None if op in _OPERATIONS_WITHOUT_KEY else event["documentKey"]["_id"],
            before=event.get("fullDocumentBeforeChange"),
            after=event.get("fullDocument"),
        )
        # Before the readers run: one that fails must not see the change again.
        self._token = event["_id"]
        self._tell(change)

    def _tell(self, change: Change) -> None:
        for on_change in self._on_change:
            try:
                on_change(change)
            except Exception:
                op, collection = change.op, change.collection
                log.exception("A reader of changes failed on %s of %s", op, collection)

    def _set_live(self, live: bool) -> None:
        if live == self.is_live:
            return
        self.is_live = live
        if live:
            self._refusals = 0
            self._opened.set()
        for on_state in self._on_state:
            try:
                on_state(live)
            except Exception:
                log.exception("A reader of the change stream's state failed")


def _batch_token(cursor: AsyncCommandCursor[dict[str, Any]]) -> Any:
    """The place in the stream after an empty batch.

    The driver's public `ChangeStream` knows it too, but resumes by itself and hides the break,
    during which caches would go on being trusted.
    """
    return getattr(cursor, "_post_batch_resume_token", None)
