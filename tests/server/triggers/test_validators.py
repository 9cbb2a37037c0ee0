"""Declarative validators: their rules, texts and exemptions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from server.access.caller import ANONYMOUS, MASTER, Caller, Context
from server.errors import ParseError
from server.triggers.calls import FunctionCall, Kind, TriggerCall, TriggerResult
from server.triggers.registry import FunctionEntry, Registrations, TriggerEntry, Triggers
from server.triggers.validators import validator

USER = Caller(
    user={"objectId": "u1", "username": "ann", "nick": "a"},
    user_id="u1",
    roles=frozenset(("patient", "reader")),
)
LOGIN = "Validation failed. Please login to continue."


async def outcome(rules: dict[str, Any], params: dict[str, Any], caller: Caller = USER) -> Any:
    """The parameters that the function gets, or the refusal's text."""

    async def handler(call: FunctionCall) -> Any:
        return call.params

    triggers = Triggers()
    entry = FunctionEntry("f", handler, "test", validator(**rules))
    triggers.replace(Registrations(functions={"f": entry}))
    call = FunctionCall("f", params, Context(caller, "http://test"))
    try:
        return await triggers.call_function(call)
    except ParseError as error:
        assert error.code == 142
        return error.message


ROLES = "Validation failed. User does not match the required roles."
ALL_ROLES = "Validation failed. User does not match all the required roles."


@pytest.mark.parametrize(
    ("rules", "caller", "expected"),
    [
        ({"require_user": True}, ANONYMOUS, LOGIN),
        ({"require_user": True}, USER, {}),
        ({"require_user": True}, MASTER, {}),
        ({"require_user": True, "validate_master_key": True}, MASTER, LOGIN),
        (
            {"require_master": True},
            USER,
            "Validation failed. Master key is required to complete this request.",
        ),
        ({"require_master": True}, MASTER, {}),
        ({"require_master": True, "validate_master_key": True}, MASTER, {}),
        ({"require_any_user_roles": ["admin"]}, ANONYMOUS, LOGIN),
        ({"require_any_user_roles": ["admin"]}, USER, ROLES),
        ({"require_any_user_roles": ["admin", "patient"]}, USER, {}),
        ({"require_any_user_roles": lambda: ["admin"]}, USER, ROLES),
        ({"require_all_user_roles": ["admin", "patient"]}, USER, ALL_ROLES),
        ({"require_all_user_roles": ["reader", "patient"]}, USER, {}),
        ({"require_user_keys": ["nick"]}, USER, {}),
        ({"require_user_keys": ["nick"]}, ANONYMOUS, "Please login to make this request."),
        (
            {"require_user_keys": ["phone"]},
            USER,
            "Validation failed. Please set data for phone on your account.",
        ),
        ({"require_user_keys": {"nick": {"options": ["a"]}}}, USER, {}),
        (
            {"require_user_keys": {"nick": {"options": ["b"], "error": "only b"}}},
            USER,
            "only b",
        ),
    ],
)
async def test_demands_of_the_caller(rules: dict[str, Any], caller: Caller, expected: Any) -> None:
    assert await outcome(rules, {}, caller) == expected


def refuse(value: Any) -> None:
    raise Exception("not today")


MISSING = "Validation failed. Please specify data for k."


@pytest.mark.parametrize(
    ("fields", "params", "expected"),
    [
        (["k"], {}, MISSING),
        (["k"], {"k": None}, MISSING),
        (["k"], {"k": ""}, {"k": ""}),
        ({"k": str}, {}, MISSING),
        ({"k": str}, {"k": 1}, "Validation failed. Invalid type for k. Expected: string"),
        ({"k": str | None}, {}, {}),
        ({"k": str | None}, {"k": 1}, "Validation failed. Invalid type for k. Expected: string"),
        ({"k": int}, {"k": 1}, {"k": 1}),
        ({"k": int}, {"k": 1.5}, "Validation failed. Invalid type for k. Expected: number"),
        ({"k": float}, {"k": 1}, {"k": 1}),
        ({"k": float}, {"k": True}, "Validation failed. Invalid type for k. Expected: number"),
        ({"k": bool}, {"k": 1}, "Validation failed. Invalid type for k. Expected: boolean"),
        ({"k": list[str]}, {"k": "a"}, "Validation failed. Invalid type for k. Expected: array"),
        ({"k": dict}, {"k": []}, "Validation failed. Invalid type for k. Expected: object"),
        (
            {"k": datetime},
            {"k": {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"}},
            {"k": {"__type": "Date", "iso": "2020-01-01T00:00:00.000Z"}},
        ),
        ({"k": datetime}, {"k": "x"}, "Validation failed. Invalid type for k. Expected: date"),
        ({"k": {"type": int}}, {}, {}),
        (
            {"k": {"type": int}},
            {"k": None},
            "Validation failed. Invalid type for k. Expected: number",
        ),
        ({"k": {"required": True}}, {}, MISSING),
        ({"k": {"required": True, "error": "e"}}, {}, MISSING),
        ({"k": {"default": 5, "required": True}}, {}, {"k": 5}),
        ({"k": {"default": 5}}, {"k": 6}, {"k": 6}),
        (
            {"k": {"options": [1, 2]}},
            {"k": 3},
            "Validation failed. Invalid option for k. Expected: 1, 2",
        ),
        (
            {"k": {"options": 1}},
            {"k": True},
            "Validation failed. Invalid option for k. Expected: 1",
        ),
        ({"k": {"options": [1, 2]}}, {"k": 2}, {"k": 2}),
        ({"k": {"options": [1, 2]}}, {}, {}),
        ({"k": {"options": [1], "error": "one!"}}, {"k": 3}, "one!"),
        (
            {"k": {"options": lambda v: v > 2}},
            {"k": 1},
            "Validation failed. Invalid value for k.",
        ),
        ({"k": {"options": lambda v: None}}, {"k": 1}, {"k": 1}),
        ({"k": {"options": refuse}}, {"k": 1}, "not today"),
        ({"k": {"options": refuse, "error": "e"}}, {"k": 1}, "e"),
    ],
)
async def test_fields(fields: Any, params: dict[str, Any], expected: Any) -> None:
    given = dict(params)
    assert await outcome({"fields": fields}, params) == expected
    assert params == given  # what the client sent is not changed


@pytest.mark.parametrize("fields", [{"k": {"tpye": str}}, {"k": object}, {"k": int | str}])
def test_rules_that_mean_nothing_fail_at_start(fields: Any) -> None:
    with pytest.raises(TypeError, match="'k'"):
        validator(fields=fields)


async def run_trigger(
    rules: dict[str, Any], call: TriggerCall
) -> tuple[TriggerResult, list[TriggerCall]]:
    seen: list[TriggerCall] = []

    async def handler(call: TriggerCall) -> None:
        seen.append(call)

    triggers = Triggers()
    place = (call.kind, call.class_name)
    entry = TriggerEntry(*place, handler, "test", validator(**rules))
    triggers.replace(Registrations({place: entry}))
    return await triggers.run(call.kind, call), seen


def save(
    body: dict[str, Any],
    original: dict[str, Any] | None = None,
    caller: Caller = USER,
    class_name: str = "Note",
) -> TriggerCall:
    merged = {**(original or {}), **body}
    ctx = Context(caller, "http://test")
    return TriggerCall(Kind.BEFORE_SAVE, class_name, ctx, merged, original, body)


async def test_fields_of_a_trigger_are_those_of_its_object() -> None:
    with pytest.raises(ParseError, match="Please specify data for text"):
        await run_trigger({"fields": ["text"]}, save({"n": 1}))
    result, seen = await run_trigger({"fields": ["text"]}, save({"n": 1}, {"text": "stored"}))
    assert result.body is None
    assert seen


async def test_defaults_are_stored() -> None:
    result, seen = await run_trigger({"fields": {"n": {"default": 5}}}, save({"text": "a"}))
    assert result.body == {"text": "a", "n": 5}
    assert seen[0].object == {"text": "a", "n": 5}


async def test_a_constant_keeps_its_first_value() -> None:
    rules = {"fields": {"n": {"constant": True, "default": 5}}}
    result, _ = await run_trigger(rules, save({"n": 7}))
    assert result.body == {"n": 5}
    result, seen = await run_trigger(rules, save({"n": 7, "text": "b"}, {"n": 5, "text": "a"}))
    assert result.body == {"text": "b"}
    assert seen[0].object == {"n": 5, "text": "b"}
    result, _ = await run_trigger(rules, save({"text": "b"}, {"n": 5, "text": "a"}))
    assert result.body is None


async def test_the_master_key_may_change_constants() -> None:
    rules = {"fields": {"n": {"constant": True}}}
    result, seen = await run_trigger(rules, save({"n": 7}, {"n": 5}, MASTER))
    assert result.body is None
    assert seen[0].body == {"n": 7}


async def test_skip_with_master_key() -> None:
    _, seen = await run_trigger({"skip_with_master_key": True}, save({"n": 1}, None, MASTER))
    assert not seen
    _, seen = await run_trigger({"skip_with_master_key": True}, save({"n": 1}))
    assert seen


async def test_who_signs_up_counts_as_the_user() -> None:
    call = save({"username": "new"}, None, ANONYMOUS, "_User")
    _, seen = await run_trigger({"require_user": True}, call)
    assert seen
    with pytest.raises(ParseError, match="login"):
        await run_trigger({"require_user": True}, save({}, {"objectId": "u"}, ANONYMOUS, "_User"))
