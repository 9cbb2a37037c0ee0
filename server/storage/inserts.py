"""Inserts that come together go to MongoDB together.

PERF: a durable insert costs MongoDB 350 µs or more of CPU, of which nearly all is per command: ten
documents in one command cost 45 µs each, fifty cost 10. So documents that arrive in one turn of
the loop, or while an insert into the same collection is under way, share the next command. A lone
one goes out at once; each caller is answered for its own document, once that is durable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect, OperationFailure

from server.storage.lane import Lane, write_error
from server.values import StoredDocument

DURABLE = {"w": "majority"}
"""An answered write survives the loss of the primary."""

_MOST_DOCUMENTS = 500
_MOST_BYTES = 8 << 20

_Item: TypeAlias = tuple[RawBSONDocument, "asyncio.Future[None]"]


@dataclass(slots=True)
class _Queue:
    """The documents of one collection that wait for the next command."""

    items: deque[_Item] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Inserts:
    """Groups the inserts of one process, by collection."""

    def __init__(self, lane: Lane, codec: CodecOptions[dict[str, Any]]) -> None:
        self._lane = lane
        self._codec = codec
        self._queues: dict[str, _Queue] = {}

    async def insert(self, collection: str, document: StoredDocument) -> None:
        """Store a document. Raises the driver's own exceptions, for this document alone."""
        # A document that cannot be encoded must fail before it is part of a group.
        raw = RawBSONDocument(bson.encode(document, codec_options=self._codec))
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(collection)
        if queue is None:
            queue = self._queues[collection] = _Queue()
        queue.items.append((raw, stored))
        if queue.task is None:
            queue.task = asyncio.create_task(self._drain(collection, queue))
        await stored

    async def _drain(self, collection: str, queue: _Queue) -> None:
        try:
            while queue.items:
                await self._send(collection, _next_group(queue.items))
        finally:
            # What is left is only there when the process ends.
            for _, stored in queue.items:
                stored.cancel()
            del self._queues[collection]

    async def _send(self, collection: str, group: list[_Item]) -> None:
        try:
            reply = await self._lane.run_writes(
                {
                    "insert": collection,
                    "documents": [raw for raw, _ in group],
                    "ordered": False,
                    "writeConcern": DURABLE,
                }
            )
        except (OperationFailure, AutoReconnect) as error:
            is_shared = isinstance(error, AutoReconnect) or len(group) == 1
            if is_shared:
                _refuse(group, error)
                return
            # A command that is refused as a whole may be so for one document only.
            for item in group:
                await self._send(collection, [item])
            return
        except BaseException as error:
            _refuse(group, error)
            raise
        for refused in reply.get("writeErrors", ()):
            _refuse([group[refused["index"]]], write_error(refused))
        for _, stored in group:
            if not stored.done():
                stored.set_result(None)


def _next_group(items: deque[_Item]) -> list[_Item]:
    group: list[_Item] = []
    size = 0
    while items and len(group) < _MOST_DOCUMENTS:
        size += len(items[0][0].raw)
        if group and size > _MOST_BYTES:
            break
        group.append(items.popleft())
    return group


def _refuse(group: list[_Item], error: BaseException) -> None:
    for _, stored in group:
        if stored.done():
            continue
        if isinstance(error, Exception):
            stored.set_exception(error)
        else:
            stored.cancel()
