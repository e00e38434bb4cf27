from __future__ import annotations

import copy
import gc
import logging
import time
import tracemalloc
from statistics import median
from typing import TYPE_CHECKING

import pytest

from gateway.history import state as bounds
from gateway.history.events import Ended, Event, Observed, Released, Settled
from gateway.history.facts import facts
from gateway.history.state import Known, TaskState, apply, observed, reserved, says_nothing
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.target import Effect, Sensitivity

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call
    from tests.unit.history.agents import Agent

FIGURES = logging.getLogger("figures")


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


@pytest.mark.parametrize("event", [Settled("x"), Released("x", denied=True), Observed("x", tokens=frozenset({1}))])
def test_what_happens_to_a_call_that_is_not_open_is_an_error_and_changes_nothing(agent: Agent, event: Event):
    agent.begin("a")
    before = copy.deepcopy(agent.state)

    with pytest.raises(ValueError, match="no open call x"):
        apply(agent.state, event)
    assert agent.state == before


def test_a_call_is_not_reserved_twice(agent: Agent):
    event = reserved(agent.state, "same", agent.make_call(), CallContent(), 0)
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

    assert (taken_back.destinations, known.destinations) == (bounds.ENDLESS, bounds.ENDLESS)
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
    apply(agent.state, observed(agent.state, call_id, ResultContent(), Sensitivity.RESTRICTED))

    _, known = agent.begin("b")

    assert known.labels is not None
    assert (known.labels.untrusted, known.labels.confidentiality) == (True, Sensitivity.RESTRICTED)


def test_a_result_that_was_not_inspected_counts_as_read_when_the_call_has_ended(agent: Agent):
    call_id, _ = agent.begin("a")
    apply(agent.state, Settled(call_id))

    assert agent.state.untrusted


# --- the rest --------------------------------------------------------------------------------------


def test_a_task_that_ended_says_how(agent: Agent):
    assert apply(agent.state, Ended("cancelled")).ended == "cancelled"


def test_a_part_that_says_nothing_new_need_not_be_written(agent: Agent, make_result: Callable[..., ResultContent]):
    call_id, _ = agent.begin("a")
    parts = [
        (make_result(), False),  # it was read: that is new
        (make_result(), True),
        (make_result({1}, ["s"]), False),
        (make_result({1}, ["s"]), True),
        (make_result(complete=False), False),
        (make_result(complete=False), True),
    ]

    for content, nothing in parts:
        event = observed(agent.state, call_id, content)
        before = copy.deepcopy(agent.state)
        assert says_nothing(agent.state, event) is nothing
        assert (apply(agent.state, event) == before) is nothing


def test_a_higher_label_is_news(agent: Agent, make_result: Callable[..., ResultContent]):
    call_id, _ = agent.begin("a", trusted=True)
    apply(agent.state, observed(agent.state, call_id, make_result()))

    assert says_nothing(agent.state, observed(agent.state, call_id, make_result()))
    assert not says_nothing(agent.state, observed(agent.state, call_id, make_result(), Sensitivity.RESTRICTED))


def test_without_content_what_depends_on_it_is_unknown(make_call: Callable[..., Call]):
    state = TaskState()
    apply(state, reserved(state, "c", make_call(), None, 0))

    known = facts(state, 0, call="c")

    assert (known.credentials, known.call_destinations, known.ungrounded) == (None, None, None)
    assert (known.destinations, known.spread) == (None, None)


def _long_task(make_call: Callable[..., Call], length: int, words: int) -> TaskState:
    """`length` events of calls to three systems, with new words, a new destination and two new credentials each."""
    state, word = TaskState(), 2**63
    for number in range(length // 3):
        content = CallContent({number: "d"}, (Sighting(f"fp:{number:024}", "jwt"),), tokens=frozenset({2**63 + number}))
        call = make_call(f"system-{number % 3}")
        apply(state, reserved(state, "c", call, content, number))
        secret = Sighting(f"fr:{number:024}", "jwt", shingles=frozenset(range(word, word + 64)))
        result = ResultContent((secret,), frozenset(range(word, word + words)))
        apply(state, observed(state, "c", result))
        apply(state, Settled("c"))
        word += words
    return state


def test_a_task_of_100_000_events_takes_less_than_16_mb(make_call: Callable[..., Call]):
    gc.collect()
    tracemalloc.start()
    try:
        state = _long_task(make_call, 15_000, 40)
        gc.collect()
        short, _ = tracemalloc.get_traced_memory()
        del state
        gc.collect()
        tracemalloc.reset_peak()
        state = _long_task(make_call, 100_000, 40)
        gc.collect()
        long, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    FIGURES.info("15,000 and 100,000 events take %d and %d bytes", short, long)
    assert state.settled == 33_333
    assert long < 16 * 2**20
    assert long < short * 1.5


@pytest.mark.parametrize("credentials", [(), (Sighting("fp:x", "jwt"),)], ids=["plain", "credential"])
def test_an_event_takes_the_same_time_in_a_long_task(make_call: Callable[..., Call], credentials: tuple[Sighting, ...]):
    """Medians of many rounds, and a factor that no machine's noise reaches; a scan would be a thousand times longer."""
    content = CallContent({1: "d"}, credentials, tokens=frozenset(range(300)))
    took: dict[int, float] = {}
    for length in (30, 3_000, 100_000):
        state, call = _long_task(make_call, length, 500), make_call("system-0")
        rounds: list[float] = []
        for _ in range(300):
            begun = time.perf_counter()
            apply(state, reserved(state, "c", call, content, 0))
            facts(state, 0, call="c", content=content)
            apply(state, Settled("c"))
            rounds.append(time.perf_counter() - begun)
        took[length] = median(rounds)

    FIGURES.info("%s", {length: f"{seconds * 1e6:.1f} µs" for length, seconds in took.items()})
    assert took[100_000] < took[30] * 5


def test_a_known_credential_is_a_small_value():
    assert Known("user") == ("user", None, None, 0, False, False)
