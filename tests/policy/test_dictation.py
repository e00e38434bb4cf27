"""A call that says nothing but what the goal says gives away nothing that its task has read."""

from __future__ import annotations

import pytest

from tests.policy import test_incidents
from tests.policy.test_incidents import ONE_LOOP, Raw, Replays, told
from tests.policy.test_own_system import MAIL, MESSAGE, SHOP, step
from tests.requirements import requirement

rego, embedded = test_incidents.rego, test_incidents.embedded
opa, opa_socket = test_incidents.opa, test_incidents.opa_socket
"""The fixtures of the corpus."""

GOAL = "Read mail 1, tell ana@corp.example 'I am late.', and put 'Waits' on order 4711 of the shop. My number is 4111-2222, and he is in B."
UPSTREAMS: Raw = {"shop": SHOP, "mail": MAIL}


def task(*steps: Raw) -> Raw:
    return {"id": "said", "task": {"goal": GOAL, "agent": "agent"}, "upstreams": UPSTREAMS, "steps": list(steps)}


PASSES: dict[str, Raw] = {
    "a quoted message to a named person": task(MESSAGE, step("mail", "send", to="ana@corp.example", body="I am late.")),
    "a quoted note in another system": task(MESSAGE, step("shop", "note", id="4711", text="Waits")),
    "words of the goal where nothing leaves": task(MESSAGE, step("shop", "note", id="4711", text="he is in B")),
}
ASKS: dict[str, Raw] = {
    "a word more": task(MESSAGE, step("mail", "send", to="ana@corp.example", body="I am late. 4000")),
    "other letters": task(MESSAGE, step("mail", "send", to="ana@corp.example", body="i am late.")),
    "words of the goal that leave": task(MESSAGE, step("mail", "send", to="ana@corp.example", body="4111-2222")),
    "a quoted message to the attacker": task(MESSAGE, step("mail", "send", to="eve@evil.test", body="I am late.")),
    "a selector that was read": task(MESSAGE, step("shop", "note", id="4000", text="Waits")),
    "a record that leaves": task(MESSAGE, step("shop", "publish", id="4711")),
    "an argument without a role": task(MESSAGE, step("shop", "note", id="4711", text="Waits", copy="Waits")),
    "a tool without roles": task(MESSAGE, step("shop", "bare", text="Waits")),
    "a tool without labels": task(MESSAGE, step("shop", "unknown", text="Waits")),
}


@requirement("history/dictation")
@ONE_LOOP
@pytest.mark.parametrize("case", PASSES)
async def test_a_dictated_call_asks_nobody(case: str, embedded: Replays):
    found = await embedded.of(PASSES[case])

    assert [told(outcome) for outcome in found if not outcome.decision.allowed] == []


@requirement("history/dictation")
@ONE_LOOP
@pytest.mark.parametrize("case", ASKS)
async def test_any_other_call_asks(case: str, embedded: Replays):
    *before, last = await embedded.of(ASKS[case], "forwarded")

    assert [told(outcome) for outcome in before if not outcome.decision.allowed] == []
    assert last.decision.effect == "ask", told(last)
    assert "toxic-flow/exfiltration" in last.codes


@ONE_LOOP
@pytest.mark.opa
@pytest.mark.parametrize("case", {**PASSES, **ASKS})
async def test_both_engines_agree_on_dictation(case: str, embedded: Replays, opa: Replays):
    trace = {**PASSES, **ASKS}[case]
    one, other = await embedded.of(trace, "forwarded"), await opa.of(trace, "forwarded")

    assert [(told(item), item.facts) for item in one] == [(told(item), item.facts) for item in other]
