"""What a completion asks, and what of it is decided on."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.wire.protocol import methods
from gateway.wire.protocol.methods import Completion

PROMPT = {"type": "ref/prompt", "name": "travel"}
TEMPLATE = {"type": "ref/resource", "uri": "trip://{from}/{to}"}


def params(ref: Any = PROMPT, name: Any = "to", value: Any = "par", **more: Any) -> dict[str, Any]:
    return {"ref": ref, "argument": {"name": name, "value": value}, **more}


def given(**arguments: Any) -> dict[str, Any]:
    return {"arguments": arguments}


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        (params(), Completion("prompt", "travel", {"to": "par"})),
        (params(context={}), Completion("prompt", "travel", {"to": "par"})),
        (params(context=given(day="1")), Completion("prompt", "travel", {"to": "par", "day": "1"})),
        (params({**PROMPT, "title": "Travel"}), Completion("prompt", "travel", {"to": "par"})),
        (
            params(TEMPLATE, context=given(**{"from": "rome"})),
            Completion("resource", "trip://{from}/{to}", {"uri": "trip://{from}/{to}", "to": "par", "from": "rome"}),
        ),
    ],
)
def test_a_completion_is_a_use_of_what_it_refers_to(asked: dict[str, Any], means: Completion):
    assert methods.find_fault_of_completion(asked) is None
    assert methods.read_completion(asked) == means


@pytest.mark.parametrize(
    ("asked", "arguments"),
    [
        (params(context=given(to="par")), {"to": "par"}),
        (params(context=given(to="/etc/passwd")), {"to": ["par", "/etc/passwd"]}),
        (params({"type": "ref/resource", "uri": "x://{uri}"}, "uri", "a"), {"uri": ["x://{uri}", "a"]}),
    ],
)
def test_a_variable_that_is_said_twice_has_both_values(asked: dict[str, Any], arguments: dict[str, Any]):
    """Some clients send the value of before beside that of now. Which of them counts is the server's affair."""
    assert methods.read_completion(asked).arguments == arguments


@pytest.mark.parametrize(
    "asked",
    [
        {"argument": {"name": "a", "value": ""}},
        params(None),
        params("travel"),
        params({"type": "ref/tool", "name": "a"}),
        params({"type": ["ref/prompt"], "name": "a"}),
        params({"type": "ref/prompt", "uri": "a"}),
        params({"type": "ref/prompt", "name": ""}),
        params({"type": "ref/resource", "uri": 1}),
        params(name=None),
        params(value=1),
        {"ref": PROMPT},
        {"ref": PROMPT, "argument": []},
        params(context=None),
        params(context=[]),
        params(context={"arguments": None}),
        params(context=given(day=1)),
    ],
)
def test_what_cannot_be_read_is_a_fault(asked: dict[str, Any]):
    assert methods.find_fault_of_completion(asked) is not None


def test_all_that_is_not_decided_on_is_left_beside_it():
    asked = {
        "ref": {**TEMPLATE, "name": "x1"},
        "argument": {"name": "to", "value": "par", "more": "x2"},
        "context": {**given(day="1"), "more": "x3"},
        "_meta": {"more": "x4"},
        "arguments": {"more": "x5"},
    }
    assert methods.parts_of_completion_beside(asked) == {
        "ref": {"type": "ref/resource", "name": "x1"},
        "argument": {"more": "x2"},
        "context": {"more": "x3"},
        "_meta": {"more": "x4"},
        "arguments": {"more": "x5"},
    }
    beside = methods.parts_of_completion_beside(params({**PROMPT, "uri": "y1"}))
    assert beside["ref"] == {**PROMPT, "uri": "y1"}
