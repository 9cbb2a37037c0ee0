"""Making, listing and dropping MongoDB's indexes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from server.storage.mongo import Database, translated_errors

_log = logging.getLogger(__name__)

# Another index has the name or the key: whoever made it wants it so.
_CONFLICTS = (85, 86)
_INDEX_NOT_FOUND = 27
_NAMESPACE_NOT_FOUND = 26


async def ensure_indexes(
    database: Database, class_name: str, indexes: Sequence[Mapping[str, Any]]
) -> bool:
    """Make the indexes that are missing; whether there were any.

    An index of another shape under the same name, or of the same key under another, is left as
    it is and logged.

    Raises:
        DuplicateValue: Rows contradict a unique index (137).
        ParseError: MongoDB refuses the index (102) or cannot be reached (1).
    """
    command = {"createIndexes": database.prefix + class_name, "indexes": list(indexes)}
    with translated_errors():
        try:
            answer = await database.raw.command(command)
        except OperationFailure as error:
            if error.code not in _CONFLICTS:
                raise
            if len(indexes) == 1:
                _log.warning("Index %s of %s: %s", indexes[0]["name"], class_name, error.details)
                return False
        else:
            return bool(answer["numIndexesAfter"] > answer["numIndexesBefore"])
    # One of several is in the way: the others are made without it.
    made = [await ensure_indexes(database, class_name, [index]) for index in indexes]
    return any(made)


async def list_indexes(database: Database, class_name: str) -> dict[str, Mapping[str, Any]]:
    """The indexes a collection really has, name to MongoDB's description; none without it."""
    command = {"listIndexes": database.prefix + class_name, "cursor": {"batchSize": 1000}}
    with translated_errors():
        try:
            answer = await database.raw.command(command)
        except OperationFailure as error:
            if error.code == _NAMESPACE_NOT_FOUND:
                return {}
            raise
    return {index["name"]: index for index in answer["cursor"]["firstBatch"]}


async def drop_indexes(database: Database, class_name: str, names: Iterable[str]) -> None:
    """Drop indexes; one that is already gone is fine."""
    for name in names:
        command = {"dropIndexes": database.prefix + class_name, "index": name}
        with translated_errors():
            try:
                await database.raw.command(command)
            except OperationFailure as error:
                if error.code not in (_INDEX_NOT_FOUND, _NAMESPACE_NOT_FOUND):
                    raise
