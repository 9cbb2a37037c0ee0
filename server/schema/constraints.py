"""Constraints of columns in JSON Schema's words, compiled once per class.

Words on plain values (``enum``, ``minimum``, ``pattern``, ...) become small functions, as every
write runs them; words that reach into objects and arrays go to `jsonschema`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from server.errors import Code, ParseError
from server.schema.outcomes import apply_body, is_operation
from server.values import Field

if TYPE_CHECKING:
    from server.schema.classes import ClassSchema

Check: TypeAlias = Callable[[Any], str | None]
"""Takes a wire value; gives what is wrong with it (``must be at least 0``) or ``None``."""

_VALUE_WORDS = frozenset(("enum", "const"))
_WORDS: Mapping[str, frozenset[str]] = {
    "String": _VALUE_WORDS | {"pattern", "minLength", "maxLength"},
    "Number": _VALUE_WORDS
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "Boolean": _VALUE_WORDS,
    "Array": frozenset(
        "items prefixItems contains minContains maxContains minItems maxItems uniqueItems".split()
    ),
    "Object": frozenset(
        "properties patternProperties additionalProperties propertyNames minProperties "
        "maxProperties dependentRequired".split()
    ),
}
CONSTRAINT_WORDS: frozenset[str] = frozenset().union(*_WORDS.values())
NESTED_TYPES = ("Array", "Object")


def words_for(field_type: str) -> frozenset[str]:
    """The constraint words that say something about a column of this type."""
    return _WORDS.get(field_type, frozenset())


def is_multiple(value: float, step: float) -> bool:
    """Whether ``value`` is a multiple of ``step`` as written: 19.99 is one of 0.01.

    Binary fractions would say no, so both are compared as the decimals that were sent.
    """
    try:
        return Decimal(repr(value)) % Decimal(repr(step)) == 0
    except InvalidOperation:
        return False


def _multiple_of(_: Any, step: float, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not is_multiple(value, step):
            yield ValidationError(f"{value} is not a multiple of {step}")


_extend = cast("Callable[..., type[Draft202012Validator]]", extend)
_Validator = _extend(Draft202012Validator, {"multipleOf": _multiple_of})


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _enum(allowed: list[Any]) -> Check:
    text = "must be one of " + ", ".join(map(_shown, allowed))
    return lambda value: None if _is_among(value, allowed) else text


def _is_among(value: Any, allowed: list[Any]) -> bool:
    # In Python True == 1, in JSON it is not.
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)


def _pattern(pattern: str) -> Check:
    search = re.compile(pattern).search
    text = f"must match the pattern {pattern}"
    return lambda value: None if search(value) else text


def _characters(count: int) -> str:
    return f"{count} character" if count == 1 else f"{count} characters"


_SCALAR_WORDS: Mapping[str, Callable[[Any], Check]] = {
    "enum": _enum,
    "const": lambda only: lambda v: None if _is_among(v, [only]) else f"must be {_shown(only)}",
    "pattern": _pattern,
    "minLength": lambda n: (
        lambda v: None if len(v) >= n else f"must have at least {_characters(n)}"
    ),
    "maxLength": lambda n: lambda v: None if len(v) <= n else f"must have at most {_characters(n)}",
    "minimum": lambda n: lambda v: None if v >= n else f"must be at least {n}",
    "maximum": lambda n: lambda v: None if v <= n else f"must be at most {n}",
    "exclusiveMinimum": lambda n: lambda v: None if v > n else f"must be more than {n}",
    "exclusiveMaximum": lambda n: lambda v: None if v < n else f"must be less than {n}",
    "multipleOf": lambda n: lambda v: None if is_multiple(v, n) else f"must be a multiple of {n}",
}


def _nested(spec: Field) -> Check:
    """A check of an object or array as a whole, by `jsonschema`."""
    validator = _Validator(dict(spec.constraints))

    def check(value: Any) -> str | None:
        error = next(validator.iter_errors(value), None)
        if error is None:
            return None
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
        return f"is not valid{f' at {place}' if place else ''}: {error.message}"

    return check


def _is_of_type(value: Any, field_type: str) -> bool:
    """Whether a check may look at the value; one of another type is refused elsewhere (111)."""
    if field_type == "String":
        return isinstance(value, str)
    if field_type == "Boolean":
        return isinstance(value, bool)
    if field_type == "Number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, list if field_type == "Array" else dict)


def compile_check(spec: Field) -> Check | None:
    """One function for all constraints of a column; ``None`` when it has none."""
    words = {w: v for w, v in spec.constraints.items() if w in words_for(spec.type)}
    if not words:
        return None
    if spec.type in NESTED_TYPES:
        checks = [_nested(spec)]
    else:
        checks = [_SCALAR_WORDS[word](value) for word, value in words.items()]

    def check(value: Any) -> str | None:
        if not _is_of_type(value, spec.type):
            return None
        return next((problem for one in checks if (problem := one(value))), None)

    return check


def compile_checks(fields: Mapping[str, Field]) -> Mapping[str, Check]:
    """The checks of all columns that have constraints."""
    checks = {name: compile_check(spec) for name, spec in fields.items() if spec.constraints}
    return {name: check for name, check in checks.items() if check is not None}


def needs_current(class_schema: ClassSchema, fields: Mapping[str, Any]) -> bool:
    """Whether an update can only be checked knowing the object's present values.

    So it is with operations, and with paths into an object, on columns that have constraints.
    """
    if not class_schema.checks:
        return False
    return any(
        name.partition(".")[0] in class_schema.checks and ("." in name or is_operation(value))
        for name, value in fields.items()
    )


def check_constraints(
    class_schema: ClassSchema,
    fields: Mapping[str, Any],
    *,
    is_new: bool = False,
    current: Mapping[str, Any] | None = None,
) -> None:
    """Check values about to be written against the class's `required` columns and constraints.

    Args:
        fields: ``{"stars": 5, "tags": {"__op": "Add", ...}}`` in wire form, defaults filled in.
        is_new: a create: required columns must be there. An update may leave them out, but not
            empty them.
        current: the object's wire values before an update, if known (see `needs_current`), to
            judge operations by their result; without it they are not checked.
    Raises:
        ParseError: 142, a sentence that names the column.
    """
    for name in class_schema.required:
        if is_new or name in fields:
            value = fields.get(name)
            is_deleted = isinstance(value, dict) and value.get("__op") == "Delete"
            if value is None or value == "" or is_deleted:
                raise ParseError(Code.VALIDATION_ERROR, f"{name} is required")
    if not class_schema.checks:
        return
    before = {} if is_new else current
    after: Mapping[str, Any] | None = None
    for key, value in fields.items():
        name = key.partition(".")[0]
        check = class_schema.checks.get(name)
        if check is None:
            continue
        if key != name or is_operation(value):
            if before is None:
                continue
            # All of the body at once: two paths into one list add up.
            after = apply_body(before, fields) if after is None else after
            value = after.get(name)
        if value is not None and (problem := check(value)):
            raise ParseError(Code.VALIDATION_ERROR, f"{name} {problem}.")
