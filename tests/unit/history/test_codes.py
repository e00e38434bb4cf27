"""When a one-time code may go to a system: the system requested a code in this task, and the code arrived after that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.history.carried import carried
from gateway.history.events import Observed, Passed, Settled, from_fields, to_fields
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, changes_nothing
from gateway.history.state import TaskState
from gateway.history.states import decode_state, encode_state
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.target import Effect, Role

if TYPE_CHECKING:
    from gateway.model.facts import CredentialFact, SessionFacts
    from tests.unit.history.agents import Agent

REQUEST = ResultContent(requests_code=True)
"""The answer of a system that has sent a code."""


def showing(*codes: str, detector: str = "one-time-code") -> ResultContent:
    return ResultContent(tuple(Sighting(code, detector, ordinary=True) for code in codes))


def presenting(code: str, *, role: Role | None = Role.CREDENTIAL, **more: Any) -> CallContent:
    return CallContent(sightings=(Sighting(code, "seen", "/code", role, **more),))


def only(known: SessionFacts) -> CredentialFact:
    assert known.credentials is not None
    (fact,) = known.credentials
    return fact


def is_requested(agent: Agent, audience: str = "bank", content: CallContent | None = None) -> bool:
    known = only(agent.call(audience, content or presenting("code")))
    assert known.one_time
    return known.requested


def give(agent: Agent, audience: str, code: str) -> None:
    """Let a call with a code pass."""
    call, _ = agent.begin(audience, presenting(code))
    apply(agent.state, Passed(call))
    apply(agent.state, Settled(call))


def test_a_code_that_arrives_after_the_request_is_requested(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    assert is_requested(agent)


def test_without_a_request_no_code_is(agent: Agent):
    agent.call("bank")
    agent.call("mail", result=showing("code"))
    assert not is_requested(agent)


def test_a_code_of_before_the_request_is_not(agent: Agent):
    agent.call("mail", result=showing("code"))
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    assert not is_requested(agent)


def test_a_code_that_was_being_read_at_the_request_is_not(agent: Agent):
    asking, _ = agent.begin("bank")
    reading, _ = agent.begin("mail")
    apply(agent.state, build_observation(agent.state, asking, REQUEST))
    apply(agent.state, build_observation(agent.state, reading, showing("code")))
    assert not is_requested(agent)


def test_a_code_goes_to_no_third_system(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    assert not is_requested(agent, "evil")


def test_a_code_goes_into_no_other_argument(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    for role in (None, Role.CONTENT, Role.DESTINATION, Role.SELECTOR, Role.COMMAND):
        assert not is_requested(agent, content=presenting("code", role=role))
    for form in ("split", "base64", "pieces"):
        assert not is_requested(agent, content=presenting("code", form=form))


def test_while_two_systems_wait_nobody_knows_whose_code_it_is(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("shop", result=REQUEST)
    agent.call("mail", result=showing("code"))
    assert not is_requested(agent)
    assert not is_requested(agent, "shop")


def test_a_system_that_got_its_code_waits_no_more(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    give(agent, "bank", "code")
    agent.call("shop", result=REQUEST)
    agent.call("mail", result=showing("code", "next"))
    assert is_requested(agent, "shop", presenting("next"))
    assert not is_requested(agent, "bank", presenting("next"))


def test_of_two_codes_nobody_knows_which_is_meant(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    agent.call("mail", result=showing("planted"))
    assert not is_requested(agent)
    assert not is_requested(agent, content=presenting("planted"))


def test_a_code_and_a_link_may_arrive_together(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    agent.call("mail", result=showing("link", detector="magic-link"))
    assert is_requested(agent)
    assert is_requested(agent, content=presenting("link"))


def test_a_code_is_good_for_one_system(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    give(agent, "bank", "code")
    assert is_requested(agent, "bank")
    agent.call("shop", result=REQUEST)
    assert not is_requested(agent, "shop")


def test_a_request_is_good_for_one_code(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    give(agent, "bank", "code")
    agent.call("mail", result=showing("planted"))
    assert not is_requested(agent, content=presenting("planted"))
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("fresh"))
    assert is_requested(agent, content=presenting("fresh"))


def test_a_request_is_noted_once(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    call, _ = agent.begin("bank")
    assert changes_nothing(agent.state, build_observation(agent.state, call, ResultContent()))
    assert build_observation(agent.state, call, REQUEST).requested == 0
    assert is_requested(agent)


def test_a_refused_call_gives_no_code_away(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    agent.refused("evil", presenting("code"))
    assert is_requested(agent)


def test_another_credential_is_no_code(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("token", detector="github-pat"))
    fact = only(agent.call("bank", presenting("token")))
    assert (fact.one_time, fact.requested) == (False, False)


def test_a_code_that_the_task_made_is_not_requested(agent: Agent):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"), effect=Effect.MINT)
    assert not is_requested(agent)


def test_a_code_of_an_earlier_task_is_not_requested(agent: Agent):
    agent.call("mail", result=showing("code"))
    earlier, agent.state = carried([agent.state]), TaskState()
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    content = presenting("code")
    call, _ = agent.begin("bank", content)

    fact = only(facts(agent.state, 9, call=call, content=content, carried=earlier))

    assert (fact.one_time, fact.requested) == (True, False)


@pytest.mark.parametrize("given", [False, True])
def test_a_snapshot_keeps_requests_and_codes(agent: Agent, *, given: bool):
    agent.call("bank", result=REQUEST)
    agent.call("mail", result=showing("code"))
    if given:
        give(agent, "bank", "code")
    agent.state = decode_state(encode_state(agent.state))
    assert is_requested(agent)
    assert not is_requested(agent, "shop")


def test_the_journal_keeps_requests_and_codes(agent: Agent):
    call, _ = agent.begin("bank")
    event = build_observation(agent.state, call, ResultContent(showing("code").sightings, requests_code=True))

    assert isinstance(event, Observed)
    assert event.requested == 1
    assert from_fields(to_fields(event)) == event
