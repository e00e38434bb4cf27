from __future__ import annotations

import asyncio
import gc
import itertools
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.config import HistorySettings
from gateway.errors import HistoryFull, TaskExpired
from gateway.history import History
from gateway.model import Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Call, Principal

IDLE = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history(clock: Clock) -> History:
    numbers = itertools.count(1)
    return History(
        HistorySettings(idle=timedelta(seconds=IDLE)),
        clock=clock,
        new_id=lambda: f"task-{next(numbers)}",
        limit=4,
        owner_limit=3,
    )


def test_requests_of_one_session_are_one_task(history: History, make_principal: Callable[..., Principal]):
    first = history.task(make_principal(token="a"), "session", 0)
    second = history.task(make_principal(token="b"), "session", 10)

    assert (first.id, first.kind, first.opened) == ("task-1", "implicit", 0)
    assert second == first


def test_requests_without_a_session_are_one_task_for_each_token(
    history: History, make_principal: Callable[..., Principal]
):
    first = history.task(make_principal(token="a"), None, 0)

    assert history.task(make_principal(token="a"), None, 1) == first
    assert history.task(make_principal(token="b"), None, 1) != first


def test_a_session_id_of_another_principal_names_another_task(
    history: History, make_principal: Callable[..., Principal]
):
    mine = history.task(make_principal("me"), "session", 0)

    assert history.task(make_principal("you"), "session", 0) != mine


def test_a_session_id_that_equals_a_token_id_names_another_task(
    history: History, make_principal: Callable[..., Principal]
):
    by_token = history.task(make_principal(token="same"), None, 0)

    assert history.task(make_principal(token="same"), "same", 0) != by_token


def test_a_session_id_with_a_lone_surrogate_names_a_task(history: History, make_principal: Callable[..., Principal]):
    assert history.task(make_principal(), "\ud800", 0) == history.task(make_principal(), "\ud800", 0)


def test_a_parallel_call_is_in_the_facts_of_the_next(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.task(make_principal(), "s", 0)
    history.reserve(task, make_call("a"), 0)

    known = history.reserve(task, make_call("b", Effect.WRITE), 0)

    assert (known.calls, known.in_flight, known.audiences, known.write_audiences) == (2, 2, {"a", "b"}, {"b"})


def test_a_refused_call_is_taken_back_and_counted_as_a_denial(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.task(make_principal(), "s", 0)
    history.reserve(task, make_call("a"), 0)
    history.release(task, make_call("a"), denied=True)

    known = history.facts(task)

    assert (known.calls, known.in_flight, known.audiences, known.denials) == (0, 0, frozenset(), 1)


def test_a_settled_call_stays_in_the_facts(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.task(make_principal(), "s", 0)
    history.reserve(task, make_call("a"), 0)
    history.settle(task, make_call("a"))

    known = history.facts(task)

    assert (known.calls, known.in_flight, known.audiences) == (1, 0, {"a"})


async def test_calls_in_parallel_cannot_pass_a_limit_together(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    """Twenty calls to twenty systems, a limit of five: whatever the order, at most five go on."""
    task = history.task(make_principal(), "s", 0)

    async def call(number: int) -> bool:
        made = make_call(f"system-{number}")
        known = history.reserve(task, made, 0)
        await asyncio.sleep(0)
        if len(known.audiences) > 5:
            history.release(task, made, denied=True)
            return False
        await asyncio.sleep(0)
        history.settle(task, made)
        return True

    passed = await asyncio.gather(*map(call, range(20)))

    assert sum(passed) == 5
    assert len(history.facts(task).audiences) == 5


def test_a_task_is_forgotten_after_the_idle_limit_and_not_before(
    history: History, make_principal: Callable[..., Principal]
):
    first = history.task(make_principal(), "s", 0)

    assert history.task(make_principal(), "s", IDLE) == first
    assert history.task(make_principal(), "s", 2 * IDLE + 0.1) != first
    assert len(history) == 1


def test_a_task_with_an_open_call_is_never_forgotten(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call], clock: Clock
):
    task = history.task(make_principal(), "s", 0)
    history.reserve(task, make_call(), 0)

    assert history.task(make_principal(), "s", 100 * IDLE) == task
    clock.now = 100 * IDLE
    history.settle(task, make_call())
    assert history.task(make_principal(), "s", 101 * IDLE) == task


def test_an_open_call_does_not_keep_idle_tasks_behind_it(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    history.reserve(history.task(make_principal(), "open", 0), make_call(), 0)
    history.task(make_principal(), "idle", 1)

    history.task(make_principal(), "new", 10 * IDLE)

    assert len(history) == 2


def test_one_caller_cannot_take_all_the_room(history: History, make_principal: Callable[..., Principal]):
    for number in range(3):
        history.task(make_principal(), str(number), 0)

    with pytest.raises(HistoryFull, match="the caller has 3 tasks") as caught:
        history.task(make_principal(), "another", 0)
    assert caught.value.code == "history/full"
    assert history.task(make_principal("another"), "s", 0)


def test_live_tasks_are_not_pushed_out_by_new_ones(history: History, make_principal: Callable[..., Principal]):
    kept = [history.task(make_principal(f"agent-{number}"), "s", 0) for number in range(4)]

    with pytest.raises(HistoryFull, match="the gateway keeps 4 tasks"):
        history.task(make_principal("another"), "s", IDLE)
    assert [history.task(make_principal(f"agent-{number}"), "s", IDLE) for number in range(4)] == kept


def test_room_comes_back_when_tasks_are_idle(history: History, make_principal: Callable[..., Principal]):
    for number in range(3):
        history.task(make_principal(), str(number), number)

    assert history.task(make_principal(), "another", IDLE + 1.5)
    assert len(history) == 2


def test_a_call_in_a_task_that_was_forgotten_is_refused(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.task(make_principal(), "s", 0)
    history.task(make_principal("another"), "s", IDLE + 1)

    with pytest.raises(TaskExpired, match="task-1 is no longer kept") as caught:
        history.reserve(task, make_call(), IDLE + 1)
    assert caught.value.code == "history/expired"
    with pytest.raises(TaskExpired):
        history.facts(task)


def test_the_end_of_a_call_that_was_not_reserved_is_an_error(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.task(make_principal(), "s", 0)

    with pytest.raises(ValueError, match="no open call"):
        history.settle(task, make_call())
    history.task(make_principal("another"), "s", IDLE + 1)
    with pytest.raises(ValueError, match="no open call"):
        history.release(task, make_call(), denied=False)


def test_task_ids_are_not_to_be_guessed(make_principal: Callable[..., Principal], clock: Clock):
    history = History(HistorySettings(), clock=clock)

    ids = {history.task(make_principal(), str(number), 0).id for number in range(100)}

    assert len(ids) == 100
    assert {len(task) for task in ids} == {len("task-") + 24}


def test_an_idle_task_takes_less_than_2_kb(make_principal: Callable[..., Principal], clock: Clock):
    history = History(HistorySettings(), clock=clock, limit=5000, owner_limit=5000)
    principal = make_principal()
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(5000):
            history.task(principal, f"{number:0500d}", 0)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size / 5000 < 2048
