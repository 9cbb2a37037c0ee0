"""Access control lists: who may read and write one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.access.caller import Caller
from server.values import StoredDocument


def with_read_access(filter: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """The filter, narrowed to what the caller may read. Privileged callers read all."""
    return filter if caller.is_privileged else _narrow(filter, "_rperm", caller)


def with_write_access(filter: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """The filter, narrowed to what the caller may write."""
    return filter if caller.is_privileged else _narrow(filter, "_wperm", caller)


def _narrow(filter: dict[str, Any], key: str, caller: Caller) -> dict[str, Any]:
    # ``None`` also matches objects without an ACL, which are public.
    allowed = {"$in": [None, *caller.entities]}
    # SECURITY: a client's own condition on the key must not replace ours.
    if key in filter:
        return {"$and": [filter, {key: allowed}]}
    return {**filter, key: allowed}


def can_read(document: StoredDocument, caller: Caller) -> bool:
    """Whether the ACL of a stored document lets the caller read it."""
    return caller.is_privileged or _permits(document, "_rperm", caller)


def can_write(document: StoredDocument, caller: Caller) -> bool:
    return caller.is_privileged or _permits(document, "_wperm", caller)


def _permits(document: Mapping[str, Any], key: str, caller: Caller) -> bool:
    # As in the filter above, a missing list is public.
    permitted = document.get(key)
    return permitted is None or any(entity in permitted for entity in caller.entities)
