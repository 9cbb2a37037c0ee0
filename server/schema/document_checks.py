"""What can be wrong with a schema document, said so that its author can mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from server.errors import ParseError
from server.schema.constraints import (
    CONSTRAINT_WORDS,
    NESTED_TYPES,
    compile_check,
    words_for,
)
from server.schema.indexes import UNIQUE_TYPES
from server.schema.locator import Path
from server.schema.permissions import permission_problems
from server.schema.system import SYSTEM_FIELDS, VOLATILE_CLASSES, default_fields
from server.schema.validation import check_geo_points, check_options, same_type
from server.values import Field, is_class_name, is_field_name

_META_VALIDATOR = Draft202012Validator(Draft202012Validator.META_SCHEMA)
_KINDS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}


@dataclass(frozen=True)
class Problem:
    """``path``: where in the document. ``message``: a sentence without its full stop."""

    path: Path
    message: str
    mend: str = ""

    def sentence(self, data: Any) -> str:
        """The message with class and field named: ``class Note, field txt: ...``."""
        text = f"{_place(self.path, data)}{self.message}."
        return f"{text} {self.mend}" if self.mend else text


def _place(path: Path, data: Any) -> str:
    if len(path) < 2 or path[0] != "classes":
        return ""
    item = data["classes"][path[1]]
    name = item.get("className") if isinstance(item, dict) else None
    words = [f"class {name}" if isinstance(name, str) else f"class number {int(path[1]) + 1}"]
    if len(path) > 3:
        kind = {"fields": "field", "indexes": "index"}.get(str(path[2]), str(path[2]))
        words.append(f"{kind} {path[3]}")
    return ", ".join(words) + ": "


def suggestion(word: Any, known: Iterable[str]) -> str:
    """``Did you mean "required"?`` or nothing."""
    close = get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f'Did you mean "{close[0]}"?' if close else ""


def form_problems(data: Any, validator: Draft202012Validator) -> list[Problem]:
    """Breaches of the JSON Schema, in the document's order."""
    return [p for error in validator.iter_errors(data) for p in _explain(error)]


def _explain(error: ValidationError) -> Iterator[Problem]:
    path = tuple(error.absolute_path)
    value: Any = error.instance
    limit: Any = error.validator_value
    shown = json.dumps(value, ensure_ascii=False)[:60]
    if error.validator == "additionalProperties" and limit is False:
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        for name in value:
            if name not in known:
                yield Problem((*path, name), f'unknown key "{name}"', suggestion(name, known))
    elif error.validator == "required":
        missing = [name for name in limit if name not in value]
        yield Problem(path, f'"{missing[0]}" is missing', f'Add "{missing[0]}".')
    elif error.validator == "enum":
        allowed = ", ".join(json.dumps(item) for item in limit)
        mend = suggestion(value, [item for item in limit if isinstance(item, str)])
        yield Problem(path, f"{shown} is none of {allowed}", mend)
    elif error.validator == "const":
        yield Problem(path, f"must be {json.dumps(limit)}, not {shown}")
    elif error.validator == "type":
        kinds = [limit] if isinstance(limit, str) else limit
        expected = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
        yield Problem(path, f"must be {expected}, not {shown}")
    else:
        yield Problem(path, error.message)


def declared_field(spec: Mapping[str, Any]) -> Field:
    """A column as a document of the right form declares it."""
    return Field(
        spec["type"],
        spec.get("targetClass"),
        required=spec.get("required", False),
        default=spec.get("defaultValue"),
        unique=spec.get("unique", False),
        constraints={word: value for word, value in spec.items() if word in CONSTRAINT_WORDS},
    )


def meaning_problems(data: Mapping[str, Any]) -> list[Problem]:
    """What a document of the right form still can get wrong."""
    problems: list[Problem] = []
    names = [item["className"] for item in data["classes"]]
    for index, item in enumerate(data["classes"]):
        path: Path = ("classes", index)
        name = item["className"]
        if names.index(name) != index:
            problems.append(Problem((*path, "className"), f"class {name} is declared twice"))
        problems += _class_problems(path, item, {*names, *SYSTEM_FIELDS})
    return problems


def _class_problems(path: Path, item: Mapping[str, Any], known: set[str]) -> Iterator[Problem]:
    name = item["className"]
    if name in VOLATILE_CLASSES:
        yield Problem((*path, "className"), f"{name} belongs to the server and cannot be declared")
        return
    if not is_class_name(name) or ":" in name:
        mend = "Use letters, digits and _, with a letter first."
        yield Problem((*path, "className"), f'"{name}" cannot be the name of a class', mend)
        return
    fields = dict(default_fields(name))
    for field_name, spec in item.get("fields", {}).items():
        here = (*path, "fields", field_name)
        column = declared_field(spec)
        yield from _name_problems(here, name, field_name, column)
        yield from _target_problems(here, column, known)
        yield from _option_problems(here, name, field_name, column)
        yield from _constraint_problems(here, column)
        fields[field_name] = column
    yield from _index_problems(path, item, fields)
    for found in permission_problems(item.get("classLevelPermissions", {}), fields):
        where = (*path, "classLevelPermissions", *found.path)
        yield Problem(
            where, found.message.removesuffix("."), _column_mend(item, found.path, fields)
        )
    try:
        check_geo_points(fields)
    except ParseError as error:
        yield Problem((*path, "fields"), str(error).removesuffix("."))


def _column_mend(item: Mapping[str, Any], path: Path, fields: Mapping[str, Field]) -> str:
    """A close column name, when a permission lists one that is not there."""
    if not isinstance(path[-1], int):
        return ""
    value: Any = item["classLevelPermissions"]
    for step in path:
        value = value[step]
    return "" if value in fields else suggestion(value, fields)


def _name_problems(path: Path, class_name: str, name: str, column: Field) -> Iterator[Problem]:
    existing = default_fields(class_name).get(name)
    if existing is not None:
        if not same_type(existing, column):
            yield Problem(path, f"every object has {name} as {existing}, not {column}")
    elif not is_field_name(name, class_name):
        mend = "Use letters, digits and _, with a letter first."
        yield Problem(path, f'"{name}" cannot be the name of a field', mend)
    elif column.type == "ACL":
        yield Problem((*path, "type"), "only the field ACL can have the type ACL")


def _target_problems(path: Path, column: Field, known: set[str]) -> Iterator[Problem]:
    target = column.target_class
    if target is None:
        return
    if column.type not in ("Pointer", "Relation"):
        yield Problem((*path, "targetClass"), f"the type {column.type} has no target class")
    elif target not in known:
        message = f'there is no class "{target}" to point to'
        mend = suggestion(target, known) or f"Declare {target} in this file."
        yield Problem((*path, "targetClass"), message, mend)


def _option_problems(path: Path, class_name: str, name: str, column: Field) -> Iterator[Problem]:
    try:
        check_options(class_name, name, column)
    except ParseError as error:
        key = "defaultValue" if column.default is not None else "required"
        yield Problem((*path, key), str(error).removesuffix("."))
    if column.unique and column.type not in UNIQUE_TYPES:
        yield Problem((*path, "unique"), f"a field of type {column.type} cannot be unique")


def _constraint_problems(path: Path, column: Field) -> Iterator[Problem]:
    for word in column.constraints:
        if word not in words_for(column.type):
            yield Problem((*path, word), f'"{word}" says nothing about the type {column.type}')
    wrong: list[Problem] = []
    if column.type in NESTED_TYPES and column.constraints:
        # The plain words' values were checked with the document's form.
        errors = _META_VALIDATOR.iter_errors(dict(column.constraints))
        wrong += [Problem((*path, *e.absolute_path), e.message) for e in errors]
    elif "pattern" in column.constraints:
        try:
            re.compile(column.constraints["pattern"])
        except re.error as error:
            wrong.append(Problem((*path, "pattern"), f"not a regular expression: {error}"))
    yield from wrong
    if wrong or column.default is None:
        return
    check = compile_check(column)
    if check is not None and (problem := check(column.default)):
        yield Problem((*path, "defaultValue"), f"the default {problem}")


def _index_problems(
    path: Path, item: Mapping[str, Any], fields: Mapping[str, Field]
) -> Iterator[Problem]:
    for name, key in item.get("indexes", {}).items():
        here = (*path, "indexes", name)
        if name == "_id_" or name.startswith("pestle_"):
            yield Problem(here, f'the index name "{name}" is taken by the server')
        for column in key:
            first = column.removeprefix("_p_").split(".")[0]
            spec = fields.get(first)
            if spec is None:
                mend = suggestion(first, fields)
                yield Problem((*here, column), f'there is no field "{first}" to index', mend)
            elif spec.type == "Relation":
                yield Problem((*here, column), "a Relation cannot be indexed")
            elif column.startswith("_p_") and spec.type != "Pointer":
                yield Problem((*here, column), f"{first} is no Pointer", f'Write "{first}".')
