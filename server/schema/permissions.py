"""Checks class-level permissions before they are stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.errors import ParseError, invalid_json
from server.schema.classes import DEFAULT_FIELDS
from server.schema.encoding import OPERATIONS
from server.values import Field

_USER_FIELDS = ("readUserFields", "writeUserFields")
PERMISSION_KEYS = ("ACL", *OPERATIONS, *_USER_FIELDS, "protectedFields")

_ENTITY = re.compile(r"\*\Z|requiresAuthentication\Z|pointerFields\Z|role:")
_PROTECTED_ENTITY = re.compile(r"\*\Z|authenticated\Z|userField:|role:")
_GENERATED_ID = re.compile(r"[A-Za-z0-9]+\Z")
_CUSTOM_ID = re.compile(r".+\Z")


def _text(value: Any) -> str:
    """A JSON value as clients know it from error messages."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return "[object Object]" if isinstance(value, dict) else str(value)


@dataclass(frozen=True)
class PermissionProblem:
    """``path``: where in the permissions, such as ``("find", "*")``."""

    path: tuple[str | int, ...]
    message: str

    def error(self) -> ParseError:
        return invalid_json(self.message)


def permission_problems(
    clp: Mapping[str, Any], fields: Mapping[str, Field], *, custom_ids: bool = False
) -> Iterator[PermissionProblem]:
    """All that is wrong with class-level permissions.

    ``fields``: the class's columns as they will be. ``custom_ids``: user ids may be any text.
    """
    user_id = _CUSTOM_ID if custom_ids else _GENERATED_ID
    for key, value in clp.items():
        if key not in PERMISSION_KEYS:
            message = f"{key} is not a valid operation for class level permissions"
            yield PermissionProblem((key,), message)
        elif key in _USER_FIELDS:
            yield from _user_fields(key, value, fields)
        elif not isinstance(value, dict):
            message = (
                f"'{_text(value)}' is not a valid value for class level permissions {key} "
                "- must be an object"
            )
            yield PermissionProblem((key,), message)
        elif key == "protectedFields":
            yield from _protected_fields(value, fields, user_id)
        else:
            yield from _operation(key, value, fields, user_id)


def check_permissions(
    clp: Any, fields: Mapping[str, Field], *, custom_ids: bool = False
) -> dict[str, Any] | None:
    """Permissions as they are to be stored; ``None`` for ``null`` and the like: public again.

    An empty list stands for an empty object, which is how PHP spells it.

    Raises:
        ParseError: 107 with the first problem.
    """
    if not clp and not isinstance(clp, dict | list):
        return None
    if isinstance(clp, list) and not clp:
        return {}
    if not isinstance(clp, dict):
        raise invalid_json(f"'{_text(clp)}' is not a valid value for class level permissions")
    kept = {
        key: {} if value == [] and key not in _USER_FIELDS else value for key, value in clp.items()
    }
    for problem in permission_problems(kept, fields, custom_ids=custom_ids):
        raise problem.error()
    return kept


def _user_fields(key: str, value: Any, fields: Mapping[str, Field]) -> Iterator[PermissionProblem]:
    if not isinstance(value, list):
        message = (
            f"'{_text(value)}' is not a valid value for class level permissions {key} "
            "- must be an array"
        )
        yield PermissionProblem((key,), message)
        return
    for index, name in enumerate(value):
        if not _can_hold_users(name, fields):
            yield PermissionProblem((key, index), _bad_pointer(name, key))


def _can_hold_users(name: Any, fields: Mapping[str, Field]) -> bool:
    spec = fields.get(name) if isinstance(name, str) else None
    if spec is None:
        return False
    return spec.type == "Array" or (spec.type == "Pointer" and spec.target_class == "_User")


def _bad_pointer(name: Any, key: str) -> str:
    return f"'{_text(name)}' is not a valid column for class level pointer permissions {key}"


def _bad_entity(entity: str) -> str:
    return f"'{entity}' is not a valid key for class level permissions"


def _protected_fields(
    value: dict[str, Any], fields: Mapping[str, Field], user_id: re.Pattern[str]
) -> Iterator[PermissionProblem]:
    for entity, names in value.items():
        path = ("protectedFields", entity)
        if not _PROTECTED_ENTITY.match(entity) and not user_id.match(entity):
            yield PermissionProblem(path, _bad_entity(entity))
        if not isinstance(names, list):
            message = (
                f"'{_text(names)}' is not a valid value for protectedFields[{entity}] "
                "- expected an array."
            )
            yield PermissionProblem(path, message)
            continue
        for index, name in enumerate(names):
            if name in list(DEFAULT_FIELDS):
                message = f"Default field '{name}' can not be protected"
            elif not isinstance(name, str) or name not in fields:
                message = f"Field '{_text(name)}' in protectedFields:{entity} does not exist"
            else:
                continue
            yield PermissionProblem((*path, index), message)


def _operation(
    key: str, value: dict[str, Any], fields: Mapping[str, Field], user_id: re.Pattern[str]
) -> Iterator[PermissionProblem]:
    for entity, permit in value.items():
        path = (key, entity)
        if not _ENTITY.match(entity) and not user_id.match(entity):
            yield PermissionProblem(path, _bad_entity(entity))
        elif entity == "pointerFields":
            yield from _pointer_fields(key, permit, fields)
        elif key == "ACL":
            yield from _default_acl(path, permit)
        elif permit is not True:
            message = (
                f"'{_text(permit)}' is not a valid value for class level permissions acl "
                f"{key}:{entity}"
            )
            yield PermissionProblem(path, message)


def _pointer_fields(
    key: str, names: Any, fields: Mapping[str, Field]
) -> Iterator[PermissionProblem]:
    path = (key, "pointerFields")
    if not isinstance(names, list):
        message = (
            f"'{_text(names)}' is not a valid value for {key}[pointerFields] - expected an array."
        )
        yield PermissionProblem(path, message)
        return
    for index, name in enumerate(names):
        if not _can_hold_users(name, fields):
            yield PermissionProblem((*path, index), _bad_pointer(name, key))


def _default_acl(path: tuple[str, str], permit: Any) -> Iterator[PermissionProblem]:
    about = "for class level permissions acl"
    if not isinstance(permit, dict):
        yield PermissionProblem(path, f"'{_text(permit)}' is not a valid value {about}")
        return
    if strangers := [name for name in permit if name not in ("read", "write")]:
        yield PermissionProblem(path, f"'{','.join(strangers)}' is not a valid key {about}")
    if odd := [value for value in permit.values() if not isinstance(value, bool)]:
        yield PermissionProblem(path, f"'{_text(odd)}' is not a valid value {about}")
