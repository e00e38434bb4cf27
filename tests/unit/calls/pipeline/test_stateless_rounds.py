"""Rounds without a `requestState`: known by their call, their keys, their caller and their upstream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.calls.binding.ownership import Ownership, _name_round, find_round, name_round
from gateway.model.call import PastCall
from gateway.model.caller import AuthMethod, Principal
from gateway.model.target import Sensitivity, Target
from gateway.model.task import Task
from gateway.model.wire import Disposition, Era, Kind, Message
from tests.unit.clock import Clock

OWNER = Principal(id="agent", issuer="https://idp", method=AuthMethod.JWT)


def made() -> PastCall:
    task = Task("t", "implicit", 0.0)
    return PastCall(task, "d1", 1, Target("tool", "bank", "pay", "bank"), Sensitivity.INTERNAL)


def message(**more: Any) -> Message:
    params = {"name": "pay", "arguments": {"amount": 1}, "_meta": {"progressToken": 1}, **more}
    return Message(Kind.REQUEST, Era.STATELESS, Disposition.DECIDE, b"", "tools/call", 7, params)


def retry(**more: Any) -> Message:
    return message(**{"inputResponses": {"who": {}, "why": {}}, "_meta": {"progressToken": 2}, **more})


@pytest.fixture
def ownership() -> Ownership:
    known = Ownership(Clock())
    named = name_round("bank", message(), ["why", "who"])
    assert named is not None
    known.deliver(*named, OWNER, made())
    return known


def test_a_retry_with_the_responses_that_were_asked_for_continues_its_call(ownership: Ownership):
    found = find_round(ownership, "bank", OWNER, retry())
    assert found is not None
    assert found.call == "d1"


@pytest.mark.parametrize(
    "other",
    [
        message(),
        retry(inputResponses={}),
        retry(inputResponses=["who", "why"]),
        retry(inputResponses={"who": {}}),
        retry(inputResponses={"who": {}, "why": {}, "when": {}}),
        retry(requestState="theirs"),
        retry(requestState=None),
        retry(arguments={"amount": 2}),
        retry(name="pay2"),
        retry(task={}),
    ],
)
def test_any_other_request_continues_nothing(ownership: Ownership, other: Message):
    assert find_round(ownership, "bank", OWNER, other) is None


def test_a_round_is_of_its_caller_and_its_upstream(ownership: Ownership):
    assert find_round(ownership, "bank", replace(OWNER, id="thief"), retry()) is None
    assert find_round(ownership, "shop", OWNER, retry()) is None


def test_a_round_cannot_be_presented_as_a_state_of_the_upstream(ownership: Ownership):
    name = _name_round(message(), ["who", "why"])
    assert name is not None
    assert not ownership.renew_if_owner("bank", name, OWNER)


def test_numbers_that_json_cannot_write_are_not_remembered(ownership: Ownership):
    assert name_round("bank", message(arguments={"amount": float("inf")}), ["who"]) is None
    assert find_round(ownership, "bank", OWNER, retry(arguments={"amount": float("inf")})) is None
