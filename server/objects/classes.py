"""Which classes a caller may touch at all, before class-level permissions are asked."""

from __future__ import annotations

from server.access.caller import Caller
from server.errors import Code, Forbidden, ParseError
from server.schema.classes import ClassSchema, Schema
from server.values import SYSTEM_CLASSES

_MASTER_ONLY = frozenset(
    (
        "_JobStatus",
        "_PushStatus",
        "_Hooks",
        "_GlobalConfig",
        "_GraphQLConfig",
        "_JobSchedule",
        "_Audience",
        "_Idempotency",
    )
)
_NOT_CLASSES = frozenset(("_SCHEMA", "_Hooks", "_GlobalConfig", "_GraphQLConfig"))
_WRITES = frozenset(("create", "update", "delete"))


def check_reachable(caller: Caller, class_name: str, method: str) -> None:
    """Refuse internal collections, and writes of a read-only master key.

    Args:
        method: ``find get create update delete``.
    Raises:
        ParseError: 119 for callers without the master key, 103 for what is no class at all.
    """
    if class_name[:1] == "_":
        _check_internal(caller, class_name, method)
    if caller.is_read_only and method in _WRITES:
        raise Forbidden(f"read-only masterKey isn't allowed to perform the {method} operation.")


def _check_internal(caller: Caller, class_name: str, method: str) -> None:
    is_join = class_name.startswith("_Join:")
    if not caller.is_master and (class_name in _MASTER_ONLY or is_join):
        raise Forbidden(
            f"Clients aren't allowed to perform the {method} operation "
            f"on the {class_name} collection."
        )
    if class_name == "_Installation" and method in ("find", "delete") and not caller.is_privileged:
        raise Forbidden(
            f"Clients aren't allowed to perform the {method} operation "
            "on the installation collection."
        )
    if class_name in _NOT_CLASSES:
        raise ParseError(Code.INVALID_CLASS_NAME, f"invalid className: {class_name}")


def known_class(
    schema: Schema, caller: Caller, class_name: str, *, may_create: bool
) -> ClassSchema | None:
    """The class, or ``None`` for one that does not exist yet and may come to be.

    Raises:
        Forbidden: 119: it does not exist, and clients may not create classes.
    """
    found = schema.get(class_name)
    if found is None and not (may_create or caller.is_privileged or class_name in SYSTEM_CLASSES):
        raise Forbidden(f"This user is not allowed to access non-existent class: {class_name}")
    return found
