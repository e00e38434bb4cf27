"""Digests: of equal calls equal, of all others different."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from gateway.authority.approvals.digest import code_of, digest_call, digest_question
from gateway.model.call import Call
from gateway.model.target import Pin, Target
from tests.unit.authority.approvals.making import DESCRIPTION, question

TARGET = Target("tool", "files", "delete", "files.example", pin=Pin.MATCH, schema={"type": "object"})


def digest(
    arguments: Any, *, target: Target = TARGET, principal: str = "k1", task: str = "t1", handles: Any = None
) -> str:
    return digest_call(principal, task, Call("tools/call", target, arguments), handles or {}, {})


def test_the_order_of_names_makes_no_difference():
    assert digest({"a": 1, "b": [1, {"c": 2, "d": 3}]}) == digest({"b": [1, {"d": 3, "c": 2}], "a": 1})


@pytest.mark.parametrize(
    "other",
    [
        {"a": 2},
        {"a": "1"},
        {"a": True},
        {"a": None},
        {"a": [1]},
        {"A": 1},
        {"a": 1, "b": None},
        {"á": 1},
        {"a\u0301": 1},
        {"a": 1.5},
        {"a": 2**53 + 1},
        {"a": 2**53 + 2},
        {},
    ],
)
def test_other_arguments_have_another_digest(other: Any):
    assert digest({"a": 1}) != digest(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"principal": "k2"},
        {"task": "t2"},
        {"target": Target("tool", "files", "delete", "files.example", pin=Pin.CHANGED, schema={"type": "object"})},
        {"target": Target("tool", "files", "delete", "files.example", pin=Pin.MATCH, schema={"type": "array"})},
        {"target": Target("tool", "files", "delete_all", "files.example", pin=Pin.MATCH, schema={"type": "object"})},
        {"target": Target("tool", "other", "delete", "files.example", pin=Pin.MATCH, schema={"type": "object"})},
        {"target": Target("prompt", "files", "delete", "files.example", pin=Pin.MATCH, schema={"type": "object"})},
        {"target": Target("tool", "files", "delete", "other.example", pin=Pin.MATCH, schema={"type": "object"})},
        {"handles": {"cred://x": ["f2"]}},
    ],
)
def test_another_caller_task_tool_definition_or_credential_has_another_digest(changes: Any):
    same: dict[str, Any] = {"handles": {"cred://x": ["f1"]}}

    assert digest({"a": 1}, **same) != digest({"a": 1}, **(same | changes))


@pytest.mark.parametrize(
    "changes",
    [{"expires": 1.0}, {"reasons": ()}, {"call": "sha256:x"}, {"rule": structs.replace(question().rule, count=2)}],
)
def test_another_question_has_another_digest(changes: Any):
    asked = question()

    assert digest_question(asked, DESCRIPTION) != digest_question(structs.replace(asked, **changes), DESCRIPTION)
    assert digest_question(asked, DESCRIPTION) != digest_question(asked, {**DESCRIPTION, "goal": "x"})


def test_people_compare_four_letters():
    codes = {code_of(question(shown=f"sha256:{number}")) for number in range(500)}

    assert len(codes) > 490
    assert all(len(code) == 4 and code.isupper() for code in codes)
