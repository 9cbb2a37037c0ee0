"""Declarative validators: what a hook demands of its caller and of the data, checked before it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, Protocol, TypeAlias, get_args, get_origin

from server.access.caller import Context
from server.errors import Code, ParseError
from server.triggers.runner import as_parse_error
from server.values import WireObject

Roles: TypeAlias = Sequence[str] | Callable[[], Any]

_LOGIN = "Validation failed. Please login to continue."
_TYPE_NAMES: dict[Any, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
    datetime: "Date",
    bytes: "Bytes",
}


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What one parameter, or one field of the object, must be.

    ``type``: ``string number boolean array object``, or the ``__type`` of a typed value.
    ``options``: a value, a list of values, or a function that answers ``False`` or raises.
    ``error`` replaces the text about ``options``.
    """

    required: bool = False
    type: str | None = None
    integer: bool = False
    default: Any = None
    constant: bool = False
    options: Any = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Validator:
    """All demands of one hook; see `validator` for how they are written."""

    require_user: bool = False
    require_master: bool = False
    require_any_user_roles: Roles | None = None
    require_all_user_roles: Roles | None = None
    require_user_keys: Mapping[str, FieldRule | None] = field(default_factory=dict)
    fields: Mapping[str, FieldRule] = field(default_factory=dict)
    skip_with_master_key: bool = False
    validate_master_key: bool = False

    @property
    def is_empty(self) -> bool:
        return self == _EMPTY


_EMPTY = Validator()


class Subject(Protocol):
    """What is validated: the parameters of a function, or the object of a trigger."""

    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def new_user(self) -> WireObject | None:
        """The user who is just signing up, whom a trigger of ``_User`` takes as the caller."""

    @property
    def is_object(self) -> bool: ...
    @property
    def is_update(self) -> bool: ...
    def set(self, key: str, value: Any) -> None: ...
    def revert(self, key: str) -> None: ...


def validator(
    *,
    require_user: bool = False,
    require_master: bool = False,
    require_any_user_roles: Roles | None = None,
    require_all_user_roles: Roles | None = None,
    require_user_keys: Iterable[str] | Mapping[str, Any] = (),
    fields: Iterable[str] | Mapping[str, Any] = (),
    skip_with_master_key: bool = False,
    validate_master_key: bool = False,
) -> Validator:
    """Read what a decorator was given. Raises TypeError for a rule that means nothing."""
    keys: dict[str, FieldRule | None] = (
        {key: _rule(key, rule) for key, rule in require_user_keys.items()}
        if isinstance(require_user_keys, Mapping)
        else dict.fromkeys(require_user_keys)
    )
    rules = (
        {name: _rule(name, rule) for name, rule in fields.items()}
        if isinstance(fields, Mapping)
        else {name: FieldRule(required=True) for name in fields}
    )
    return Validator(
        require_user=require_user,
        require_master=require_master,
        require_any_user_roles=require_any_user_roles,
        require_all_user_roles=require_all_user_roles,
        require_user_keys=keys,
        fields=rules,
        skip_with_master_key=skip_with_master_key,
        validate_master_key=validate_master_key,
    )


def _rule(name: str, rule: Any) -> FieldRule:
    """``str``: required, of that type; ``str | None``: optional; a dict: Parse's own words."""
    if isinstance(rule, Mapping):
        words = dict(rule)
        type_name, integer = _type_name(name, words.pop("type", None))
        try:
            return FieldRule(type=type_name, integer=integer, **words)
        except TypeError:
            known = "required, type, default, constant, options, error"
            raise TypeError(f"fields: {name!r} takes {known}; got {', '.join(words)}") from None
    required = True
    if get_origin(rule) is UnionType and NoneType in get_args(rule):
        rest = [member for member in get_args(rule) if member is not NoneType]
        rule, required = (rest[0] if len(rest) == 1 else rule), False
    type_name, integer = _type_name(name, rule)
    return FieldRule(required=required, type=type_name, integer=integer)


def _type_name(name: str, kind: Any) -> tuple[str | None, bool]:
    if kind is None:
        return None, False
    kind = get_origin(kind) or kind
    found = _TYPE_NAMES.get(kind) or getattr(kind, "wire_type", None)
    if not isinstance(found, str):
        raise TypeError(f"fields: {name!r} has a type that JSON does not know: {kind!r}")
    return found, kind is int


def _has_type(value: Any, rule: FieldRule) -> bool:
    match rule.type:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return False
            return not rule.integer or isinstance(value, int) or value.is_integer()
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "Date" if isinstance(value, datetime):
            return True
        case "Bytes" if isinstance(value, bytes):
            return True
        case "Pointer" if isinstance(value, dict) and value.get("__type") == "Object":
            return True
    return isinstance(value, dict) and value.get("__type") == rule.type


def _failed(message: str) -> ParseError:
    return ParseError(Code.VALIDATION_ERROR, message)


async def validate(rules: Validator, ctx: Context, subject: Subject) -> None:
    """Raise 142 for the first demand that is not met; fill defaults in and revert constants."""
    caller = ctx.caller
    if caller.is_master and not rules.validate_master_key:
        return
    user = caller.user or subject.new_user
    any_roles, all_roles = rules.require_any_user_roles, rules.require_all_user_roles
    if user is None and (rules.require_user or any_roles or all_roles):
        raise _failed(_LOGIN)
    if rules.require_master and not caller.is_master:
        raise _failed("Validation failed. Master key is required to complete this request.")
    for name, rule in rules.fields.items():
        await _check_field(name, rule, subject)
    if any_roles is not None and not caller.roles.intersection(await _names(any_roles)):
        raise _failed("Validation failed. User does not match the required roles.")
    if all_roles is not None and not caller.roles.issuperset(await _names(all_roles)):
        raise _failed("Validation failed. User does not match all the required roles.")
    for key, key_rule in rules.require_user_keys.items():
        if user is None:
            raise _failed("Please login to make this request.")
        if key_rule is not None:
            await _check_options(key, key_rule, user.get(key))
        elif user.get(key) is None:
            raise _failed(f"Validation failed. Please set data for {key} on your account.")


async def _names(roles: Roles) -> Sequence[str]:
    if not callable(roles):
        return roles
    answer = roles()
    names: Sequence[str] = await answer if inspect.isawaitable(answer) else answer
    return names


async def _check_field(name: str, rule: FieldRule, subject: Subject) -> None:
    value = subject.values.get(name)
    if rule.default is not None and value is None:
        value = rule.default
        subject.set(name, value)
    if rule.constant and subject.is_object:
        if subject.is_update:
            subject.revert(name)
        elif rule.default is not None:
            subject.set(name, rule.default)
        value = subject.values.get(name)
    if value is None and rule.required:
        raise _failed(f"Validation failed. Please specify data for {name}.")
    if name not in subject.values:
        return
    if rule.type is not None and not _has_type(value, rule):
        expected = rule.type.lower()
        raise _failed(f"Validation failed. Invalid type for {name}. Expected: {expected}")
    await _check_options(name, rule, value)


async def _check_options(name: str, rule: FieldRule, value: Any) -> None:
    options = rule.options
    if options is None:
        return
    if callable(options):
        default = f"Validation failed. Invalid value for {name}."
        try:
            verdict = options(value)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception as error:
            message = as_parse_error(error, unknown=default).message
            raise _failed(rule.error or message) from error
        if verdict is not None and not verdict:
            raise _failed(rule.error or default)
        return
    allowed = options if isinstance(options, list | tuple | set | frozenset) else [options]
    # In JSON ``true`` is not ``1``.
    if not any(o == value and isinstance(o, bool) == isinstance(value, bool) for o in allowed):
        expected = ", ".join(str(option) for option in allowed)
        raise _failed(
            rule.error or f"Validation failed. Invalid option for {name}. Expected: {expected}"
        )
