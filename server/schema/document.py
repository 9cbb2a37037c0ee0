"""``schema.json``: the classes an app declares, read, checked and kept as immutable values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from server.schema.classes import ClassSchema
from server.schema.document_checks import (
    Problem,
    declared_field,
    form_problems,
    meaning_problems,
)
from server.schema.indexes import storage_key
from server.schema.locator import Locations, locate
from server.schema.validation import same_type
from server.values import Field


class SchemaDocumentError(Exception):
    """A schema document that cannot be used.

    ``problems``: one sentence each, with file, line and, where one is known, the mend.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class DocumentClass:
    """One declared class.

    ``given``: which options each field spells out; what it leaves open stays as it is in the
    database. ``indexes`` name fields as MongoDB does. ``clp`` ``None``: not declared.
    """

    name: str
    fields: Mapping[str, Field]
    given: Mapping[str, frozenset[str]]
    clp: Mapping[str, Any] | None = None
    indexes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    append_only: bool = False


@dataclass(frozen=True)
class SchemaDocument:
    """All declared classes. ``warnings``: what is accepted but has no effect yet."""

    classes: Mapping[str, DocumentClass]
    source: str = "schema.json"
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> SchemaDocument:
        """Read a file.

        Raises:
            SchemaDocumentError: It cannot be read, is not JSON, or is wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SchemaDocumentError([f"{path}: cannot be read: {error}"]) from error
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str = "schema.json") -> SchemaDocument:
        """Read a text; ``source`` is its name in messages. Raises SchemaDocumentError."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            message = f"{source}:{error.lineno}: not valid JSON: {error.msg}, column {error.colno}."
            if error.msg.startswith("Expecting"):
                message += " Look for a comma, quote or bracket missing or too much just before."
            raise SchemaDocumentError([message]) from error
        except RecursionError as error:
            raise SchemaDocumentError([f"{source}:1: nested too deep."]) from error
        locations = locate(text)
        problems = _repetitions(locations) + form_problems(data, form_validator())
        problems = problems or meaning_problems(data)
        if problems:
            found = {(locations.line(p.path), p.sentence(data)): None for p in problems}
            raise SchemaDocumentError([f"{source}:{line}: {text}" for line, text in sorted(found)])
        classes = {item["className"]: _read_class(item) for item in data["classes"]}
        return cls(classes, source, tuple(_warnings(data, locations, source)))

    def overlay(self, stored: ClassSchema) -> ClassSchema:
        """A class from the database, with what only the document says about it."""
        declared = self.classes.get(stored.name)
        if declared is None:
            return stored
        fields = dict(stored.fields)
        for name, spec in declared.fields.items():
            existing = fields.get(name)
            if existing is None or not same_type(existing, spec):
                continue
            given = declared.given[name]
            fields[name] = replace(
                existing,
                required=spec.required if "required" in given else existing.required,
                default=spec.default if "defaultValue" in given else existing.default,
                unique=spec.unique,
                constraints=spec.constraints,
            )
        return replace(stored, fields=fields, append_only=declared.append_only)


def form_validator() -> Draft202012Validator:
    """The validator made from the JSON Schema that ships with the package."""
    text = files("server.schema").joinpath("schema.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def _repetitions(locations: Locations) -> list[Problem]:
    return [Problem(path, f'"{path[-1]}" is given twice') for path in locations.repeated]


def _read_class(item: Mapping[str, Any]) -> DocumentClass:
    specs: Mapping[str, Mapping[str, Any]] = item.get("fields", {})
    fields = {name: declared_field(spec) for name, spec in specs.items()}
    indexes = {
        name: {_index_key(column, fields): kind for column, kind in key.items()}
        for name, key in item.get("indexes", {}).items()
    }
    return DocumentClass(
        item["className"],
        fields,
        {name: frozenset(spec) for name, spec in specs.items()},
        item.get("classLevelPermissions"),
        indexes,
        item.get("appendOnly", False),
    )


def _index_key(column: str, fields: Mapping[str, Field]) -> str:
    return column if column.startswith("_p_") else storage_key(column, fields.get(column))


def _warnings(data: Mapping[str, Any], locations: Locations, source: str) -> list[str]:
    found = []
    for index, item in enumerate(data["classes"]):
        for name, spec in item.get("fields", {}).items():
            if spec.get("encrypted"):
                line = locations.line(("classes", index, "fields", name, "encrypted"))
                found.append(
                    f'{source}:{line}: class {item["className"]}, field {name}: "encrypted" has no '
                    "effect yet; values are stored in clear."
                )
    return found
