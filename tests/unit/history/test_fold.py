from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import pytest

from gateway.history import fold
from gateway.history import state as bounds
from gateway.history.events import CallEnd, Confirmed, Event, Observed, Released, Settled, TaskEnded, pack
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, build_reservation
from gateway.history.state import ENDLESS
from gateway.model.content import CallContent, ResultContent
from gateway.model.target import Effect, Sensitivity

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.history.agents import Agent


# --- counting --------------------------------------------------------------------------------------


def test_a_call_that_went_on_leaves_its_marks(agent: Agent):
    agent.call("a", effect=Effect.WRITE)

    known = facts(agent.state, 1)

    assert (known.calls, known.in_flight, known.audiences, known.write_audiences) == (1, 0, {"a"}, {"a"})


def test_a_refused_call_leaves_a_denial_and_nothing_else(agent: Agent, make_content: Callable[..., CallContent]):
    agent.call("a", result=ResultContent(tokens=frozenset({1})))
    before = facts(agent.state, 2)

    during = agent.refused("b", make_content({1}, ["s"], {7, 8}))
    after = facts(agent.state, 2)

    assert (during.audiences, during.destinations, during.spread) == ({"a", "b"}, 2, 1)
    assert after.denials == 1
    assert (after.calls, after.audiences, after.destinations, after.spread) == (
        before.calls,
        before.audiences,
        before.destinations,
        before.spread,
    )


@pytest.mark.parametrize(
    "event",
    [Settled("x"), Released("x", denied=True), Observed(call="x", sensitivity=Sensitivity.PUBLIC, tokens=pack({1}))],
)
def test_what_happens_to_a_call_that_is_not_open_is_an_error_and_changes_nothing(agent: Agent, event: Event):
    agent.begin("a")
    before = copy.deepcopy(agent.state)

    with pytest.raises(ValueError, match="no open call x"):
        apply(agent.state, event)
    assert agent.state == before


@pytest.mark.parametrize("confirmed", ["done", "failed"])
def test_a_lost_outcome_is_unknown_until_it_is_confirmed_once(agent: Agent, confirmed: Literal["done", "failed"]):
    call_id, _ = agent.begin("a")
    apply(agent.state, Settled(call_id, "unknown"))
    assert list(agent.state.unknown) == [call_id]

    apply(agent.state, Confirmed(call_id, confirmed))
    assert agent.state.unknown == {}
    with pytest.raises(ValueError, match="no call"):
        apply(agent.state, Confirmed(call_id, confirmed))


@pytest.mark.parametrize("end", ["done", "failed"])
def test_a_known_outcome_is_never_confirmed(agent: Agent, end: CallEnd):
    call_id, _ = agent.begin("a")
    apply(agent.state, Settled(call_id, end))

    with pytest.raises(ValueError, match="no call"):
        apply(agent.state, Confirmed(call_id, "done"))


def test_of_too_many_unknown_outcomes_the_latest_are_kept(agent: Agent, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fold, "MAX_UNKNOWN", 2)
    calls = [agent.begin("a")[0] for _ in range(3)]
    for call_id in calls:
        apply(agent.state, Settled(call_id, "unknown"))

    assert list(agent.state.unknown) == calls[1:]


def test_a_call_is_not_reserved_twice(agent: Agent):
    event = build_reservation(agent.state, "same", agent.make_call(), CallContent(), 0)
    apply(agent.state, event)
    before = copy.deepcopy(agent.state)

    with pytest.raises(ValueError, match="open already"):
        apply(agent.state, event)
    assert agent.state == before


def test_destinations_are_counted_over_the_task_and_of_the_call(agent: Agent, make_content: Callable[..., CallContent]):
    agent.call("mail", make_content(destinations={1, 2}))

    known = agent.call("mail", make_content(destinations={2, 3}))

    assert (known.destinations, known.call_destinations) == (3, ("d2", "d3"))


def test_arguments_that_were_not_looked_at_whole_make_facts_unknown(
    agent: Agent, make_content: Callable[..., CallContent]
):
    known = agent.call("mail", make_content(destinations={1}, complete=False))
    after = agent.call("mail", make_content(destinations={2}))

    assert (known.destinations, known.call_destinations, known.spread) == (None, None, None)
    assert (known.credentials, known.ungrounded) == (None, None)
    assert (after.destinations, after.spread) == (None, None)
    assert after.call_destinations == ("d2",)


def test_arguments_that_were_not_looked_at_do_not_matter_when_the_call_did_not_go_on(
    agent: Agent, make_content: Callable[..., CallContent]
):
    agent.refused("mail", make_content(complete=False))

    assert agent.call("mail", make_content(destinations={2})).destinations == 1


def test_more_destinations_than_are_kept_apart_are_above_any_limit(
    agent: Agent, make_content: Callable[..., CallContent]
):
    for number in range(bounds.MAX_DESTINATIONS):
        agent.call("mail", make_content(destinations={number}))
    taken_back = agent.refused("mail", make_content(destinations={5000}))
    before = len(agent.state.destinations)

    known = agent.call("mail", make_content(destinations={5001}))

    assert (taken_back.destinations, known.destinations) == (ENDLESS, ENDLESS)
    assert len(agent.state.destinations) == before == bounds.MAX_DESTINATIONS


# --- labels ----------------------------------------------------------------------------------------


def test_a_task_that_has_read_nothing_is_clean(agent: Agent):
    _, known = agent.begin("a")

    assert known.labels is not None
    assert (known.labels.untrusted, known.labels.confidentiality) == (False, Sensitivity.PUBLIC)


def test_labels_are_the_worst_of_all_that_was_read(agent: Agent):
    agent.call("a", trusted=True)
    trusted = facts(agent.state, 9).labels
    agent.call("b")
    both = facts(agent.state, 9).labels

    assert trusted is not None
    assert (trusted.untrusted, trusted.confidentiality) == (False, Sensitivity.INTERNAL)
    assert both is not None
    assert both.untrusted


def test_a_result_counts_as_read_when_its_first_part_has_come(agent: Agent):
    call_id, _ = agent.begin("a")
    apply(agent.state, build_observation(agent.state, call_id, ResultContent(), Sensitivity.RESTRICTED))

    _, known = agent.begin("b")

    assert known.labels is not None
    assert (known.labels.untrusted, known.labels.confidentiality) == (True, Sensitivity.RESTRICTED)


def test_a_result_that_was_not_inspected_counts_as_read_when_the_call_has_ended(agent: Agent):
    call_id, _ = agent.begin("a")
    apply(agent.state, Settled(call_id))

    assert agent.state.untrusted


# --- the rest --------------------------------------------------------------------------------------


def test_a_task_that_ended_says_how(agent: Agent):
    assert apply(agent.state, TaskEnded("cancelled")).ended == "cancelled"
