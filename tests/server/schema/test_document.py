"""The schema document: what is read from it, and how it says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from server.schema.classes import ClassSchema
from server.schema.document import SchemaDocument, SchemaDocumentError, form_validator
from server.schema.system import default_fields
from server.values import Field

ROOT = Path(__file__).parents[3]


def parse(*classes: dict[str, Any]) -> SchemaDocument:
    return SchemaDocument.parse(json.dumps({"classes": list(classes)}, indent=1))


def problems(text: str) -> list[str]:
    with pytest.raises(SchemaDocumentError) as caught:
        SchemaDocument.parse(text)
    return caught.value.problems


def field_problem(spec: dict[str, Any], name: str = "f") -> str:
    """The one thing wrong with a field, without file, line, class and field."""
    found = problems(json.dumps({"classes": [{"className": "Note", "fields": {name: spec}}]}))
    assert len(found) == 1, found
    return found[0].removeprefix(f"schema.json:1: class Note, field {name}: ")


def test_the_shipped_json_schema_is_one() -> None:
    Draft202012Validator.check_schema(form_validator().schema)


def test_form_of_the_templates() -> None:
    document = parse(
        {
            "className": "Delivery",
            "fields": {
                "objectId": {"type": "String", "required": False},
                "patient": {"type": "Pointer", "required": True, "targetClass": "_User"},
                "createdAt": {"type": "Date", "required": False},
            },
        }
    )
    assert document.classes["Delivery"].fields["patient"] == Field(
        "Pointer", "_User", required=True
    )


@pytest.mark.parametrize("path", sorted(ROOT.glob("**/schema.json")), ids=str)
def test_documents_of_this_project(path: Path) -> None:
    if "node_modules" not in path.parts and ".venv" not in path.parts:
        assert SchemaDocument.load(path).classes


def test_everything_is_read() -> None:
    document = parse(
        {
            "className": "Note",
            "description": "A note.",
            "appendOnly": True,
            "classLevelPermissions": {"find": {"*": True}, "protectedFields": {"*": ["text"]}},
            "indexes": {"mine": {"owner": 1, "createdAt": -1, "_p_owner": 1}},
            "fields": {
                "text": {"type": "String", "defaultValue": "x", "maxLength": 9, "unique": True},
                "owner": {"type": "Pointer", "targetClass": "_User"},
            },
        }
    )
    note = document.classes["Note"]
    assert note.append_only
    assert note.clp == {"find": {"*": True}, "protectedFields": {"*": ["text"]}}
    assert note.indexes == {"mine": {"_p_owner": 1, "_created_at": -1}}
    assert note.fields["text"] == Field(
        "String", default="x", unique=True, constraints={"maxLength": 9}
    )


TEXT = """{
  "classes": [
    {
      "className": "Note",
      "fields": {
        "txt": {"type": "Strng",
                "requird": true},
        "p": {"type": "Pointer"}
      }
    },
    {"classname": "Other"}
  ]
}"""


def test_errors_name_file_line_and_mend() -> None:
    first, *rest = problems(TEXT)
    assert first.startswith('schema.json:6: class Note, field txt: "Strng" is none of ')
    assert first.endswith('Did you mean "String"?')
    assert rest == [
        'schema.json:7: class Note, field txt: unknown key "requird". Did you mean "required"?',
        'schema.json:8: class Note, field p: "targetClass" is missing. Add "targetClass".',
        'schema.json:11: class number 2: "className" is missing. Add "className".',
        'schema.json:11: class number 2: unknown key "classname". Did you mean "className"?',
    ]


def test_text_that_is_not_json_names_the_line() -> None:
    (problem,) = problems('{\n "classes": [\n {"className": "A"}\n {"className": "B"}]}')
    assert problem.startswith("schema.json:4: not valid JSON: Expecting ',' delimiter")
    assert problems("[" * 100_000) == ["schema.json:1: nested too deep."]


def test_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SchemaDocumentError, match="nowhere.json: cannot be read"):
        SchemaDocument.load(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "String", "required": "yes"}, 'must be true or false, not "yes".'),
        ({"type": "String", "minimum": 1}, '"minimum" says nothing about the type String.'),
        ({"type": "String", "targetClass": "Note"}, "the type String has no target class."),
        (
            {"type": "Pointer", "targetClass": "Nte"},
            'there is no class "Nte" to point to. Did you mean "Note"?',
        ),
        ({"type": "Pointer", "targetClass": "Zebra"}, "Declare Zebra in this file."),
        ({"type": "Number", "defaultValue": "x"}, "expected Number but got String."),
        ({"type": "Number", "minimum": 5, "defaultValue": 1}, "the default must be at least 5."),
        ({"type": "String", "pattern": "("}, "not a regular expression"),
        ({"type": "Array", "unique": True}, "a field of type Array cannot be unique."),
        ({"type": "Array", "items": {"type": "nix"}}, "'nix' is not valid"),
        ({"type": "Number", "multipleOf": 0}, "0 is less than or equal to"),
        ({"type": "ACL"}, "only the field ACL can have the type ACL."),
        (
            {"type": "Relation", "targetClass": "Note", "required": True},
            "The 'required' option is not applicable for Relation<Note>.",
        ),
    ],
)
def test_bad_fields(spec: dict[str, Any], message: str) -> None:
    assert message in field_problem(spec)


def test_bad_field_names() -> None:
    assert '"_x" cannot be the name of a field' in field_problem({"type": "String"}, "_x")
    assert "every object has createdAt as Date" in field_problem({"type": "String"}, "createdAt")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"className": "a-b"}, '"a-b" cannot be the name of a class'),
        ({"className": "_Hooks"}, "belongs to the server"),
        ({"className": "N", "indexes": {"i": {"nme": 1}}}, 'there is no field "nme" to index'),
        ({"className": "N", "indexes": {"i": {"name": 2}}}, "2 is none of 1, -1"),
        ({"className": "N", "indexes": {"i": {"_p_name": 1}}}, 'Write "name".'),
        ({"className": "N", "indexes": {"pestle_x": {"name": 1}}}, "is taken by the server"),
        (
            {"className": "N", "classLevelPermissions": {"protectedFields": {"*": ["nam"]}}},
            'does not exist. Did you mean "name"?',
        ),
        (
            {"className": "N", "classLevelPermissions": {"fnd": {}}},
            'unknown key "fnd". Did you mean "find"?',
        ),
        ({"className": "N", "classLevelPermissions": {"find": {"*": 1}}}, "must be true, not 1"),
        (
            {"className": "N", "fields": {"a": {"type": "GeoPoint"}, "b": {"type": "GeoPoint"}}},
            "only one GeoPoint field",
        ),
    ],
)
def test_bad_classes(item: dict[str, Any], message: str) -> None:
    item = {**item, "fields": {"name": {"type": "String"}, **item.get("fields", {})}}
    (problem,) = problems(json.dumps({"classes": [item]}))
    assert message in problem


def test_what_is_declared_twice_is_told() -> None:
    twice = json.dumps({"classes": [{"className": "A"}, {"className": "A"}]})
    assert problems(twice) == ["schema.json:1: class A: class A is declared twice."]
    field_twice = '{"classes": [{"className": "A", "fields": {"a": {"type": "Date"}, "a": 1}}]}'
    assert any('"a" is given twice' in problem for problem in problems(field_twice))


def test_encrypted_is_accepted_with_a_warning() -> None:
    document = parse({"className": "A", "fields": {"a": {"type": "String", "encrypted": True}}})
    (warning,) = document.warnings
    assert "class A, field a" in warning
    assert "no effect yet" in warning


def test_overlay_adds_what_only_the_document_says() -> None:
    document = parse(
        {
            "className": "Note",
            "appendOnly": True,
            "fields": {
                "text": {"type": "String", "maxLength": 5},
                "done": {"type": "Boolean", "required": False},
                "other": {"type": "Number", "maximum": 1},
            },
        }
    )
    stored = ClassSchema(
        "Note",
        {
            **default_fields("Note"),
            "text": Field("String", required=True),
            "done": Field("Boolean", required=True),
            "other": Field("String"),
        },
    )
    seen = document.overlay(stored)
    assert seen.append_only
    assert seen.fields["text"] == Field("String", required=True, constraints={"maxLength": 5})
    assert not seen.fields["done"].required
    # Another type than the document's: nothing of it applies.
    assert seen.fields["other"] == Field("String")
    assert document.overlay(ClassSchema("Else", {})) == ClassSchema("Else", {})
