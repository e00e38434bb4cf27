"""A value of a call with a declared lasting effect has a source, or is told as a value without one."""

from __future__ import annotations

import pytest

from gateway.history.carried import Carried
from gateway.history.events import Endorsed, make_opening, pack
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.model.content import CallContent, ResultContent
from gateway.model.target import Effect
from tests.unit.history.agents import Agent

TICKET, OTHER = 7, 8
SHOWS = ResultContent(tokens=frozenset({TICKET}))
PLAIN = CallContent(words=frozenset())
"""Arguments without a distinctive word."""
SELECTS = CallContent(unnamed={"/id": frozenset({TICKET})})


def change(agent: Agent, audience: str = "github", result: ResultContent = SHOWS) -> None:
    """Have a system answer a change with a word."""
    agent.call(audience, PLAIN, result, effect=Effect.WRITE)


def unsourced(agent: Agent, content: CallContent = SELECTS, audience: str = "github") -> tuple[str, ...] | None:
    return agent.begin(audience, content, effect=Effect.DESTRUCTIVE)[1].unsourced


def test_a_value_that_nothing_has_shown_has_no_source(agent: Agent):
    assert unsourced(agent) == ("/id",)
    assert unsourced(agent, CallContent()) is None


def test_what_a_change_by_the_task_was_answered_with_has_a_source(agent: Agent):
    change(agent)

    assert unsourced(agent) == ()


def test_what_a_read_has_shown_has_none(agent: Agent):
    agent.call("github", PLAIN, SHOWS)

    assert unsourced(agent) == ("/id",)


def test_what_was_made_in_another_system_has_none(agent: Agent):
    change(agent, "jira")

    assert unsourced(agent) == ("/id",)
    assert unsourced(agent, audience="jira") == ()


@pytest.mark.parametrize("named_by_itself", [False, True])
def test_what_the_task_has_read_or_said_before_the_change_has_none(agent: Agent, *, named_by_itself: bool):
    if named_by_itself:
        agent.call("github", CallContent(words=frozenset({TICKET})), effect=Effect.WRITE)
    else:
        agent.call("web", PLAIN, SHOWS)
    change(agent)

    assert unsourced(agent) == ("/id",)


def test_each_of_several_values_needs_a_source(agent: Agent):
    change(agent)

    assert unsourced(agent, CallContent(unnamed={"/ids": frozenset({TICKET, OTHER})})) == ("/ids",)
    assert unsourced(agent, CallContent(unnamed={"/a": frozenset({OTHER}), "/b": frozenset({TICKET})})) == ("/a",)


def test_after_a_call_with_more_words_than_are_kept_nothing_new_has_a_source(agent: Agent):
    change(agent)
    agent.call("github", CallContent(words=None))
    change(agent, result=ResultContent(tokens=frozenset({OTHER})))

    assert unsourced(agent) == ()
    assert unsourced(agent, CallContent(unnamed={"/id": frozenset({OTHER})})) == ("/id",)


@pytest.mark.parametrize("carried", [Carried(tokens={TICKET: 1}), Carried(unread_words=frozenset({TICKET}))])
def test_what_an_earlier_task_has_read_or_said_has_none(agent: Agent, carried: Carried):
    change(agent)
    name, known = agent.begin("github", SELECTS, effect=Effect.DESTRUCTIVE)

    assert known.unsourced == ()
    assert facts(agent.state, agent.count, call=name, content=SELECTS, carried=carried).unsourced == ("/id",)


def test_the_goal_a_trusted_result_and_a_person_are_sources(agent: Agent):
    agent.call("hr", result=SHOWS, trusted=True)
    assert unsourced(agent) == ()
    for given in (make_opening({TICKET}), Endorsed(pack({TICKET}))):
        agent.state = apply(type(agent.state)(), given)
        assert unsourced(agent) == ()
