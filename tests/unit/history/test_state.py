from __future__ import annotations

import gc
import logging
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from gateway.history.events import Settled
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.new_events import build_observation, build_reservation
from gateway.history.state import KnownCredential, TaskState
from gateway.model.content import CallContent, ResultContent, Sighting

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call

FIGURES = logging.getLogger("figures")


def _long_task(make_call: Callable[..., Call], length: int, words: int) -> TaskState:
    """`length` events of calls to three systems, with new words, a new destination and two new credentials each."""
    state = TaskState()
    _go_on(state, make_call, 0, length, words)
    return state


def _go_on(state: TaskState, make_call: Callable[..., Call], done: int, length: int, words: int) -> None:
    """Apply the events of a long task from the event `done` to the event `length`."""
    word = 2**63 + done // 3 * words
    for number in range(done // 3, length // 3):
        content = CallContent({number: "d"}, (Sighting(f"fp:{number:024}", "jwt"),), tokens=frozenset({2**63 + number}))
        call = make_call(f"system-{number % 3}")
        apply(state, build_reservation(state, "c", call, content, number))
        secret = Sighting(f"fr:{number:024}", "jwt", shingles=frozenset(range(word, word + 64)))
        result = ResultContent((secret,), frozenset(range(word, word + words)))
        apply(state, build_observation(state, "c", result))
        apply(state, Settled("c"))
        word += words


def test_a_task_of_20_000_events_takes_less_than_16_mb(make_call: Callable[..., Call]):
    gc.collect()
    tracemalloc.start()
    try:
        state = _long_task(make_call, 12_000, 40)
        gc.collect()
        short, _ = tracemalloc.get_traced_memory()
        _go_on(state, make_call, 12_000, 20_001, 40)
        gc.collect()
        long, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    FIGURES.info("12,000 and 20,000 events take %d and %d bytes", short, long)
    assert state.settled == 6_667
    assert long < 16 * 2**20
    assert long < short * 1.2


@pytest.mark.parametrize("credentials", [(), (Sighting("fp:x", "jwt"),)], ids=["plain", "credential"])
def test_an_event_takes_the_same_time_in_a_long_task(make_call: Callable[..., Call], credentials: tuple[Sighting, ...]):
    """The least processor time of many rounds: a scan would take hundreds of times as long."""
    content = CallContent({1: "d"}, credentials, tokens=frozenset(range(300)))
    took: dict[int, float] = {}
    for length in (30, 9_000):
        state, call = _long_task(make_call, length, 500), make_call("system-0")
        rounds: list[float] = []
        for _ in range(300):
            begun = time.thread_time()
            apply(state, build_reservation(state, "c", call, content, 0))
            facts(state, 0, call="c", content=content)
            apply(state, Settled("c"))
            rounds.append(time.thread_time() - begun)
        took[length] = min(rounds)

    FIGURES.info("%s", {length: f"{seconds * 1e6:.1f} µs" for length, seconds in took.items()})
    assert took[9_000] < took[30] * 5


def test_a_known_credential_is_a_small_value():
    assert KnownCredential("user") == ("user", None, None, 0, False, False, False, False, None, False)
