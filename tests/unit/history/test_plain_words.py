"""When a value that a system named as a credential is a plain word for the task."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.history import state as bounds
from gateway.history.events import ShownCredential, make_opening
from gateway.history.fold import apply
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.target import Effect

if TYPE_CHECKING:
    from tests.unit.history.agents import Agent

WORD = 4711
"""The digest of the word."""


def naming(**more: Any) -> ResultContent:
    """A result that names the word as a credential."""
    return ResultContent((Sighting("s", "named-token", ordinary=True),), frozenset({WORD}), **more)


def plain(**more: Any) -> ResultContent:
    return ResultContent((), frozenset({WORD}), **more)


def carrying(**more: Any) -> CallContent:
    """The arguments of a call that has the word as it is."""
    sighting = Sighting("s", "seen", "/id", word=WORD, **more)
    return CallContent(sightings=(sighting,), words=frozenset({WORD}))


def said(*words: int) -> CallContent:
    return CallContent(words=frozenset(words))


def is_plain(agent: Agent, content: CallContent | None = None) -> bool:
    known = agent.call("billing", content or carrying()).credentials
    assert known is not None
    return known[0].plain_word


def test_a_word_that_one_system_alone_named_is_a_credential(agent: Agent):
    agent.call("tickets", said(), result=naming())
    assert not is_plain(agent)


def test_a_word_of_an_earlier_result_of_another_system_is_plain(agent: Agent):
    agent.call("crm", said(), result=plain())
    agent.call("tickets", said(), result=naming())
    assert is_plain(agent)


def test_a_word_of_a_later_result_of_an_untrusted_system_is_not(agent: Agent):
    agent.call("tickets", said(), result=naming())
    agent.call("crm", said(), result=plain())
    assert not is_plain(agent)


def test_a_word_of_any_result_of_a_trusted_system_is_plain(agent: Agent):
    agent.call("tickets", said(), result=naming())
    agent.call("crm", said(), result=plain(), trusted=True)
    assert is_plain(agent)


def test_a_word_of_the_same_system_is_not(agent: Agent):
    agent.call("tickets", said(), result=plain())
    agent.call("tickets", said(), result=naming())
    assert not is_plain(agent)


def test_what_a_trusted_system_named_is_plain_by_no_trusted_result(agent: Agent):
    agent.call("vault", said(), result=naming(), trusted=True)
    agent.call("crm", said(), result=plain(), trusted=True)
    assert not is_plain(agent)


def test_what_a_trusted_system_names_too_is_a_credential(agent: Agent):
    agent.call("crm", said(), result=plain())
    agent.call("tickets", said(), result=naming())
    agent.call("vault", said(), result=naming(), trusted=True)
    assert not is_plain(agent)


def test_a_word_of_the_goal_is_plain(agent: Agent):
    agent.call("tickets", said(), result=naming())
    assert is_plain(agent, carrying(in_goal=True))


def test_a_value_in_the_form_of_a_secret_never_is(agent: Agent):
    agent.call("crm", said(), result=plain())
    shown = ResultContent((Sighting("s", "named-token", ordinary=False),), frozenset({WORD}))
    agent.call("tickets", said(), result=shown)
    assert not is_plain(agent, carrying(in_goal=True))


def test_a_disguised_value_never_is(agent: Agent):
    agent.call("crm", said(), result=plain())
    agent.call("tickets", said(), result=naming())
    disguised = CallContent(sightings=(Sighting("s", "seen", "/id", form="base64"),), words=frozenset())
    assert not is_plain(agent, disguised)


def test_a_credential_that_the_task_made_never_is(agent: Agent):
    agent.call("crm", said(), result=plain())
    agent.call("vault", said(), result=naming(), effect=Effect.MINT)
    assert not is_plain(agent)


def test_a_credential_of_the_user_or_of_nobody_is_not_said_to_be_plain(agent: Agent):
    assert not is_plain(agent, carrying(in_goal=True))
    apply(agent.state, make_opening((), (ShownCredential("s", ordinary=True),)))
    assert not is_plain(agent, carrying(in_goal=True))


@pytest.mark.parametrize("trusted", [False, True])
def test_a_word_that_the_task_said_first_is_no_ground(agent: Agent, *, trusted: bool):
    agent.call("crm", said(WORD))
    agent.call("search", said(), result=plain(), trusted=trusted)
    agent.call("tickets", said(), result=naming())
    assert not is_plain(agent)


def test_a_word_that_the_task_repeats_is_ground(agent: Agent):
    agent.call("crm", said(), result=plain())
    agent.call("search", said(WORD), result=plain())
    agent.call("tickets", said(), result=naming())
    assert is_plain(agent)


def test_a_refused_call_said_nothing(agent: Agent):
    agent.refused("crm", said(WORD))
    agent.call("search", said(), result=plain())
    agent.call("tickets", said(), result=naming())
    assert is_plain(agent)


@pytest.mark.parametrize("much", [CallContent(), said(*range(1, bounds.MAX_UNREAD_WORDS_IN_CALL + 2))])
def test_results_after_a_call_of_too_many_words_are_no_ground(agent: Agent, much: CallContent):
    agent.call("crm", much)
    agent.call("search", said(), result=plain())
    agent.call("tickets", said(), result=naming())
    assert not is_plain(agent)


def test_results_before_a_call_of_too_many_words_are_ground(agent: Agent):
    agent.call("search", said(), result=plain())
    agent.call("crm", CallContent())
    agent.call("tickets", said(), result=naming())
    assert is_plain(agent)


def test_the_words_of_a_task_are_bounded(agent: Agent):
    for start in range(0, 2 * bounds.MAX_UNREAD_WORDS, 50):
        agent.call("crm", said(*range(start, start + 50)))
    assert len(agent.state.unread_words) == bounds.MAX_UNREAD_WORDS
    assert agent.state.words_overflowed_at == bounds.MAX_UNREAD_WORDS // 50 + 1


def test_a_handle_is_no_plain_word(agent: Agent):
    agent.call("crm", said(), result=plain())
    agent.call("tickets", said(), result=naming())
    held = carrying()
    sighting = replace(held.sightings[0], handle="tickets", word=None)
    assert not is_plain(agent, CallContent(sightings=(sighting,), words=frozenset()))
