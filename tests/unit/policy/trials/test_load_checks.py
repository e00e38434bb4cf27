from __future__ import annotations

from typing import Any

import pytest

from gateway.model.errors import PolicyBroken, PolicyLate, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy.contract import Entrypoint
from gateway.policy.trials import load_checks

DENIED: dict[str, Any] = {
    "version": 1,
    "effect": "deny",
    "reasons": [{"code": "a/b", "message": "m"}],
    "obligations": [],
    "policy": {"name": "tiny"},
}
ALLOWED: dict[str, Any] = DENIED | {"effect": "allow", "reasons": []}
NOTHING: dict[str, Any] = {"version": 1, "visible": []}


class _Engine:
    """Answers as told, to calls and lists, and to those with an empty input. An exception is raised."""

    def __init__(self, decision: object = DENIED, visibility: object = NOTHING) -> None:
        self._full = {"decision": decision, "visibility": visibility}
        self.empty: dict[str, object] = {"decision": DENIED, "visibility": NOTHING}

    async def __call__(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        answer = (self.empty if document == load_checks.HOSTILE else self._full)[entrypoint]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.mark.parametrize(
    "engine", [_Engine(), _Engine(ALLOWED), _Engine(visibility={"version": 1, "visible": ["fixture/send"]})]
)
async def test_a_policy_that_keeps_to_the_contract_passes_and_is_named(engine: _Engine):
    assert await load_checks.require(engine) == "tiny"


UNMET = ALLOWED | {"obligations": [{"id": "unheard-of", "properties": dict[str, Any]()}]}


@pytest.mark.parametrize("answer", [None, True, dict[str, Any](), UNMET])
async def test_an_answer_that_would_refuse_every_call_is_found(answer: object):
    with pytest.raises(PolicyBroken):
        await load_checks.require(_Engine(answer))


@pytest.mark.parametrize("answer", [None, [], {"version": 1, "visible": ["fixture/send", "other/tool"]}])
async def test_a_list_that_would_always_be_hidden_is_found(answer: object):
    with pytest.raises(PolicyBroken, match="list"):
        await load_checks.require(_Engine(visibility=answer))


async def test_an_allow_on_an_empty_input_is_found():
    engine = _Engine()
    engine.empty["decision"] = ALLOWED

    with pytest.raises(PolicyBroken, match="allows a call on an empty input"):
        await load_checks.require(engine)


async def test_a_list_shown_on_an_empty_input_is_found():
    engine = _Engine()
    engine.empty["visibility"] = {"version": 1, "visible": ["fixture/send"]}

    with pytest.raises(PolicyBroken, match="shows tools on an empty input"):
        await load_checks.require(engine)


async def test_a_failure_on_an_empty_input_is_closed_enough():
    engine = _Engine()
    engine.empty["decision"] = PolicyUnavailable("conflict")

    assert await load_checks.require(engine) == "tiny"


async def test_a_late_answer_says_nothing_of_the_policy():
    with pytest.raises(PolicyLate):
        await load_checks.require(_Engine(PolicyLate("late")))
