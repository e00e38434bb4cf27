"""What is not wanted changes nothing: each fact is the same with it and without."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec import structs

from gateway.history import facts as facts_module
from gateway.history import fold, new_events
from gateway.history.events import Settled
from gateway.history.facts import facts, keeps_words, relevance_of
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, build_reservation, changes_nothing
from gateway.history.state import TaskState
from gateway.model.content import CallContent, ResultContent
from tests.unit.history.lives import CALLS, CONTENTS, RESULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from gateway.model.call import Call
    from gateway.model.content import Relevance
    from tests.unit.history.agents import Agent

READS = st.lists(st.tuples(CALLS, CONTENTS, RESULTS), max_size=4)


def _narrowed(content: CallContent, want: Relevance) -> CallContent:
    """With as little as may be looked for."""
    beyond = sorted(content.tokens - want.trusted)
    tokens = {"all": content.tokens, "one": frozenset(beyond[:1]) or content.tokens, "none": frozenset[int]()}
    return structs.replace(
        content, tokens=tokens[want.words], told_values=content.told_values if want.told else frozenset()
    )


def _after(reads: list[tuple[Call, CallContent, ResultContent]]) -> TaskState:
    state = TaskState()
    for number, (call, content, result) in enumerate(reads):
        apply(state, build_reservation(state, f"c{number}", call, content, number))
        apply(state, build_observation(state, f"c{number}", result))
        apply(state, Settled(f"c{number}"))
    return state


@given(READS, CALLS, CONTENTS)
@settings(max_examples=166)
def test_what_is_not_wanted_of_a_call_changes_no_fact(
    reads: list[tuple[Call, CallContent, ResultContent]], call: Call, content: CallContent
):
    before = _after(reads)
    want = relevance_of(before, call.target)
    event(want.words)
    known: list[object] = []
    for looked in (content, _narrowed(content, want)):
        state = copy.deepcopy(before)
        apply(state, build_reservation(state, "new", call, looked, 300.0))
        known.append((state, facts(state, 300.0, call="new", content=looked)))

    assert known[0] == known[1]


@pytest.fixture(scope="module", autouse=True)
def _small() -> Generator[None]:
    """Bounds that generated lives reach."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (new_events, fold, facts_module):
            for bound in ("MAX_TOKENS", "MAX_RESULTS", "MAX_TRUSTED"):
                patch.setattr(module, bound, 3, raising=False)
        yield


@given(READS, CALLS, CONTENTS, st.lists(RESULTS, min_size=1, max_size=3))
def test_the_words_of_a_result_that_are_not_wanted_change_nothing(
    reads: list[tuple[Call, CallContent, ResultContent]], call: Call, content: CallContent, parts: list[ResultContent]
):
    before = _after([*reads, (call, CallContent(), ResultContent(tokens=frozenset(range(100, 104))))])
    apply(before, build_reservation(before, "new", call, content, 300.0))
    assert not keeps_words(before, call.target)
    states: list[TaskState] = []
    for looked in (parts, [structs.replace(part, tokens=frozenset()) for part in parts]):
        state = copy.deepcopy(before)
        for part in looked:
            made = build_observation(state, "new", part)
            if not changes_nothing(state, made):
                apply(state, made)
        states.append(state)

    assert states[0] == states[1]


def test_nothing_is_wanted_while_all_that_was_read_is_of_the_system_that_is_called(
    agent: Agent, make_result: Callable[..., ResultContent]
):
    files, wiki = (agent.make_call(name).target for name in ("files", "wiki"))
    agent.call("files", result=make_result({1}))
    assert (relevance_of(agent.state, files).words, relevance_of(agent.state, wiki).words) == ("none", "all")

    agent.call("files", result=make_result(complete=False))
    assert (relevance_of(agent.state, files).words, relevance_of(agent.state, wiki).words) == ("one", "all")

    agent.call("wiki", result=make_result({2}))
    assert relevance_of(agent.state, files).words == "all"


def test_the_values_that_a_call_tells_are_wanted_once_something_untrusted_was_read(agent: Agent):
    files = agent.make_call("files", trusted=True).target
    agent.call("files", trusted=True)
    assert not relevance_of(agent.state, files).told

    agent.call("wiki")
    assert relevance_of(agent.state, files).told


def test_words_that_have_no_room_are_not_wanted_once_that_is_known(
    agent: Agent, make_result: Callable[..., ResultContent]
):
    files, wiki = (agent.make_call(name).target for name in ("files", "wiki"))
    agent.call("files", result=make_result({1, 2, 3}))
    assert keeps_words(agent.state, files)

    agent.call("files", result=make_result({4}))
    assert (keeps_words(agent.state, files), keeps_words(agent.state, wiki)) == (False, True)

    house = agent.make_call("house", trusted=True).target
    agent.call("house", result=make_result({5, 6}), trusted=True)
    assert keeps_words(agent.state, house)
    agent.call("house", result=make_result({7, 8}), trusted=True)
    assert not keeps_words(agent.state, house)
