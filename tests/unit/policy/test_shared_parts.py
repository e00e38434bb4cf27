"""Parts of an input that several inputs share: the same values for OPA and the compiled policy, and never changed."""

from __future__ import annotations

import copy
import gc
import json
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.call import Call, OpenLeases
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import PolicyInput
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.policy import document
from gateway.policy.plan import values
from gateway.policy.plan.values import Shared, Value
from tests.policy.conftest import cases
from tests.unit.policy.test_document import ALL_FACTS, CALL, CONTEXT, FACTS, PRINCIPAL, TARGET

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _as_json(value: Value) -> Any:
    return json.loads(json.dumps(values.to_json(value)))


def _sent(asked: Any) -> Any:
    return json.loads(document.encode(asked))


def test_both_forms_of_each_fixture_are_the_same_input():
    for case in cases():
        parts = case.input.items()
        shared = {name: Shared(cast("Any", part)) if isinstance(part, dict) else part for name, part in parts}
        plain, sent = _as_json(document.plain(shared)), _sent(case.input)
        assert plain == _as_json(document.plain(case.input)) == _sent(shared) == sent, case.name


def test_both_forms_of_a_call_are_the_same_input():
    for facts in (FACTS, ALL_FACTS):
        for leases in (None, OpenLeases(2, 1)):
            context = msgspec.structs.replace(CONTEXT, leases=leases)
            asked = document.decision(PRINCIPAL, CALL, context, facts)
            assert _as_json(document.plain(asked)) == _sent(asked)


@given(_JSON)
def test_plain_has_the_values_that_json_has(value: Any):
    assert values.plain(value) == values.read_json(json.dumps(value)) or _as_json(values.plain(value)) == value


def test_a_caller_a_tool_and_a_task_have_one_part_in_all_inputs():
    first, second = (cast("Any", document.decision(PRINCIPAL, CALL, CONTEXT, FACTS)) for _ in range(2))

    assert first["subject"] is second["subject"]
    assert first["resource"] is second["resource"]
    assert first["context"]["task"] is second["context"]["task"]
    assert document.plain(first)["subject"] is document.plain(second)["subject"]


def test_a_part_is_gone_with_its_task_and_a_long_one_is_not_kept():
    task = Task("t9", "declared", 1.0, goal="mend it")
    context = msgspec.structs.replace(CONTEXT, task=task)
    asked = cast("Any", document.decision(PRINCIPAL, CALL, context, FACTS))
    assert type(asked["context"]["task"]) is Shared
    gc.collect()  # parts of earlier tests may wait for a collection
    before = len(document._TASKS._kept)
    del asked, task, context
    gc.collect()
    assert len(document._TASKS._kept) == before - 1

    long = Task("t9", "declared", 1.0, goal="mend it" * 1000)
    asked = cast("Any", document.decision(PRINCIPAL, CALL, msgspec.structs.replace(CONTEXT, task=long), FACTS))
    assert type(asked["context"]["task"]) is dict
    assert len(document._TASKS._kept) == before - 1


def test_a_gateway_keeps_a_bounded_number_of_parts():
    callers = [Principal(f"agent-{number}", "https://idp.example", AuthMethod.JWT) for number in range(1000)]
    for caller in callers:
        document.decision(caller, CALL, CONTEXT, FACTS)
    assert len(document._SUBJECTS._kept) <= 256


def test_another_caller_that_takes_the_place_of_one_that_is_gone_has_its_own_part():
    for number in range(2000):
        caller = Principal(f"agent-{number}", "https://idp.example", AuthMethod.JWT)
        asked = cast("Any", document.decision(caller, CALL, CONTEXT, FACTS))
        assert asked["subject"]["id"] == document.plain(asked)["subject"]["id"] == f"agent-{number}"


def test_a_shared_part_cannot_be_changed_and_a_copy_can():
    part = cast("Any", document.decision(PRINCIPAL, CALL, CONTEXT, FACTS))["subject"]
    for change in (
        lambda: part.update(id="x"),
        lambda: part.__setitem__("id", "x"),
        lambda: part.pop("id"),
        lambda: part.setdefault("x", 1),
        part.clear,
        part.popitem,
        lambda: part.__delitem__("id"),
        lambda: part.__ior__({"id": "x"}),
    ):
        with pytest.raises(TypeError):
            change()
    copied = copy.deepcopy(part)
    copied["properties"]["scopes"].append("z")
    assert type(copied) is dict
    assert "z" not in part["properties"]["scopes"]


@pytest.mark.parametrize("foreign", [2**64, float("nan"), "\ud800", {"\ud800": 1}])
def test_a_tool_with_words_of_several_readings_is_refused_each_time(foreign: Any):
    target = replace(TARGET, annotations={"x": foreign})
    asked = document.decision(PRINCIPAL, Call(CALL.action, target, CALL.arguments), CONTEXT, FACTS)
    for _ in range(2):
        for form in (document.plain, document.encode):
            with pytest.raises(PolicyInput):
                form(asked)


def test_a_resource_is_described_anew_for_each_call():
    target = Target("resource", "files", "file:///x", "https://audience.example")
    asked = cast("Any", document.visibility(PRINCIPAL, [target], CONTEXT, FACTS))
    assert type(asked["resources"][0]) is dict
