"""Constraints of columns: what they refuse, in which words, and how they look at operations."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import Code, ParseError
from server.schema.classes import ClassSchema
from server.schema.constraints import check_constraints, is_multiple, needs_current
from server.values import Field


def class_with(**fields: Field) -> ClassSchema:
    return ClassSchema("Item", fields)


def column(kind: str, **constraints: Any) -> ClassSchema:
    return class_with(f=Field(kind, constraints=constraints))


def refusal(schema: ClassSchema, fields: dict[str, Any], **options: Any) -> str | None:
    try:
        check_constraints(schema, fields, **options)
    except ParseError as error:
        assert error.code == Code.VALIDATION_ERROR
        return str(error)
    return None


@pytest.mark.parametrize(
    ("schema", "good", "bad", "message"),
    [
        (column("String", enum=["a", "b"]), "a", "c", 'f must be one of "a", "b".'),
        (column("String", const="a"), "a", "b", 'f must be "a".'),
        (column("String", pattern="^x+$"), "xx", "xy", "f must match the pattern ^x+$."),
        (column("String", minLength=1), "x", "", "f must have at least 1 character."),
        (column("String", maxLength=2), "äö", "abc", "f must have at most 2 characters."),
        (column("Number", minimum=0), 0, -1, "f must be at least 0."),
        (column("Number", maximum=5), 5, 5.1, "f must be at most 5."),
        (column("Number", exclusiveMinimum=0), 0.1, 0, "f must be more than 0."),
        (column("Number", exclusiveMaximum=5), 4, 5, "f must be less than 5."),
        (column("Number", multipleOf=0.01), 19.99, 19.999, "f must be a multiple of 0.01."),
        (column("Number", enum=[1, 2]), 1, 3, "f must be one of 1, 2."),
        (column("Boolean", enum=[True]), True, False, "f must be one of true."),
        (
            column("Array", items={"type": "string"}),
            ["a"],
            ["a", 1],
            "f is not valid at [1]: 1 is not of type 'string'.",
        ),
        (
            column("Object", properties={"a": {"minimum": 1}}),
            {"a": 1},
            {"a": 0},
            "f is not valid at .a: 0 is less than the minimum of 1.",
        ),
    ],
)
def test_words(schema: ClassSchema, good: Any, bad: Any, message: str) -> None:
    assert refusal(schema, {"f": good}) is None
    assert refusal(schema, {"f": None}) is None
    assert refusal(schema, {"f": bad}) == message


def test_money_is_a_multiple_of_a_cent() -> None:
    for cents in range(0, 100_000, 37):
        assert is_multiple(cents / 100, 0.01)
        assert not is_multiple(cents / 100 + 0.001, 0.01)


def test_multiple_of_is_decimal_inside_arrays_too() -> None:
    schema = column("Array", items={"multipleOf": 0.01})
    assert refusal(schema, {"f": [19.99, 0.07]}) is None
    assert refusal(schema, {"f": [19.999]}) is not None


def test_true_is_not_one() -> None:
    assert refusal(column("Number", enum=[1]), {"f": True}) is None  # another type: 111 elsewhere
    assert refusal(column("Boolean", enum=[False]), {"f": True}) is not None


@pytest.mark.parametrize("value", [None, "", {"__op": "Delete"}])
def test_required_column_cannot_be_empty(value: Any) -> None:
    schema = class_with(name=Field("String", required=True))
    assert refusal(schema, {"name": value}) == "name is required"


def test_required_column_may_be_left_out_of_an_update_only() -> None:
    schema = class_with(name=Field("String", required=True))
    assert refusal(schema, {}, is_new=True) == "name is required"
    assert refusal(schema, {}) is None
    assert refusal(schema, {"name": "x"}, is_new=True) is None
    assert refusal(schema, {"name": 0}, is_new=True) is None


def test_operations_are_judged_by_their_result() -> None:
    schema = class_with(
        stock=Field("Number", constraints={"minimum": 0}),
        tags=Field("Array", constraints={"maxItems": 2}),
        size=Field("Object", constraints={"properties": {"x": {"maximum": 9}}}),
    )
    less = {"stock": {"__op": "Increment", "amount": -2}}
    assert refusal(schema, less, current={"stock": 2}) is None
    assert refusal(schema, less, current={"stock": 1}) == "stock must be at least 0."
    assert refusal(schema, less, is_new=True) == "stock must be at least 0."
    more = {"tags": {"__op": "Add", "objects": ["b", "b"]}}
    assert refusal(schema, more, current={"tags": ["a"]}) is not None
    unique = {"tags": {"__op": "AddUnique", "objects": ["a", "b"]}}
    assert refusal(schema, unique, current={"tags": ["a"]}) is None
    assert refusal(schema, {"size.x": 10}, current={"size": {"x": 1}}) is not None
    grow = {"size.x": {"__op": "Increment", "amount": 5}}
    assert refusal(schema, grow, current={"size": {"x": 5}}) is not None
    assert refusal(schema, grow, current={"size": {"x": 4}}) is None
    assert refusal(schema, {"size.x": {"__op": "Delete"}}, current={"size": {"x": 4}}) is None


def test_only_operations_on_constrained_columns_need_the_present_object() -> None:
    schema = class_with(a=Field("Number", constraints={"minimum": 0}), b=Field("Number"))
    assert needs_current(schema, {"a": {"__op": "Increment", "amount": 1}})
    assert needs_current(schema, {"a.b": 1})
    assert not needs_current(schema, {"a": 1, "b": {"__op": "Increment", "amount": 1}})


def test_a_class_without_constraints_has_no_checks() -> None:
    assert class_with(a=Field("String")).checks == {}
    assert column("Date", minimum=1).checks == {}
