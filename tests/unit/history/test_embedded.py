from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from gateway.config import HistorySettings
from gateway.history import History, build_history
from gateway.model.caller import User
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.errors import HistoryError, HistoryFull, TaskExpired
from gateway.model.target import Effect, Sensitivity
from gateway.model.task import Task
from tests.unit.clock import Clock
from tests.unit.history.conftest import IDLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call
    from gateway.model.caller import Principal


def test_requests_of_a_caller_are_one_task_whatever_token_they_come_with(
    history: History, make_principal: Callable[..., Principal]
):
    """Each system gives sessions of its own, and clients renew tokens by themselves: neither begins a task."""
    first = history.tasks.open_implicit(make_principal(token="a"), 0)

    assert (first.id, first.kind, first.opened) == ("task-1", "implicit", 0)
    assert history.tasks.open_implicit(make_principal(token="a"), 1) == first
    assert history.tasks.open_implicit(make_principal(token="b"), 1) == first


def test_another_caller_with_the_same_token_id_has_another_task(
    history: History, make_principal: Callable[..., Principal]
):
    mine, yours = make_principal("me", token="a"), make_principal("you", token="a")
    first = history.tasks.open_implicit(mine, 0)

    assert history.tasks.open_implicit(yours, 0) != first
    assert history.tasks.open_implicit(replace(mine, user=User("ann")), 0) != first


def test_a_parallel_call_is_in_the_facts_of_the_next(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.tasks.open_implicit(make_principal(), 0)
    history.ledger.reserve(task, "c1", make_call("a"), None, 0)

    known = history.ledger.reserve(task, "c2", make_call("b", Effect.WRITE), None, 0, depth=2).facts

    assert (known.calls, known.in_flight, known.audiences, known.write_audiences) == (2, 2, {"a", "b"}, {"b"})
    assert known.depth == 2


def test_a_refused_call_is_taken_back_and_counted_as_a_denial(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.tasks.open_implicit(make_principal(), 0)
    history.ledger.reserve(task, "c", make_call("a"), None, 0)
    history.ledger.release(task, "c", denied=True)

    known = history.ledger.facts(task, 0)

    assert (known.calls, known.in_flight, known.audiences, known.denials) == (0, 0, frozenset(), 1)


def test_a_settled_call_stays_in_the_facts(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.tasks.open_implicit(make_principal(), 0)
    history.ledger.reserve(task, "c", make_call("a"), None, 0)
    history.ledger.settle(task, "c")

    known = history.ledger.facts(task, 0)

    assert (known.calls, known.in_flight, known.audiences) == (1, 0, {"a"})


def test_the_facts_of_an_open_call_can_be_asked_for_again(
    history: History,
    make_principal: Callable[..., Principal],
    make_call: Callable[..., Call],
    make_content: Callable[..., CallContent],
):
    """As after an approval, when others have gone on meanwhile."""
    task, content = history.tasks.open_implicit(make_principal(), 0), make_content(credentials=["s"])
    first = history.ledger.reserve(task, "c1", make_call("a"), content, 0, depth=1).facts
    history.ledger.reserve(task, "c2", make_call("b"), CallContent(), 0)

    again = history.ledger.facts(task, 0, call="c1", content=content, depth=1)

    assert again == structs.replace(
        first, calls=2, in_flight=2, audiences=frozenset("ab"), audiences_in_window=frozenset("ab")
    )


async def test_of_1000_calls_in_parallel_none_passes_a_limit(
    history: History,
    make_principal: Callable[..., Principal],
    make_call: Callable[..., Call],
    make_content: Callable[..., CallContent],
):
    """Each to another system and another destination, at once: whatever the order, as many go on as may."""
    task = history.tasks.open_implicit(make_principal(), 0)
    order = random.Random(7)

    async def call(number: int) -> bool:
        content = make_content(destinations={number})
        known = history.ledger.reserve(task, f"c{number}", make_call(f"system-{number}"), content, 0).facts
        for _ in range(order.randrange(4)):
            await asyncio.sleep(0)
        assert known.destinations is not None
        if len(known.audiences) > 5 or known.destinations > 8:
            history.ledger.release(task, f"c{number}", denied=True)
            return False
        await asyncio.sleep(0)
        history.ledger.settle(task, f"c{number}")
        return True

    passed = await asyncio.gather(*map(call, range(1000)))

    known = history.ledger.facts(task, 0)
    assert sum(passed) == len(known.audiences) == known.destinations == 5
    assert (known.in_flight, known.denials) == (0, 995)


def test_a_task_is_forgotten_after_the_idle_limit_and_not_before(
    history: History, make_principal: Callable[..., Principal]
):
    first = history.tasks.open_implicit(make_principal(), 0)

    assert history.tasks.open_implicit(make_principal(), IDLE) == first
    assert history.tasks.open_implicit(make_principal(), 2 * IDLE + 0.1) != first
    assert len(history.tasks) == 1


def test_a_task_with_an_open_call_is_never_forgotten(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call], clock: Clock
):
    task = history.tasks.open_implicit(make_principal(), 0)
    history.ledger.reserve(task, "c", make_call(), None, 0)

    assert history.tasks.open_implicit(make_principal(), 100 * IDLE) == task
    clock.now = 100 * IDLE
    history.ledger.settle(task, "c")
    assert history.tasks.open_implicit(make_principal(), 101 * IDLE) == task


def test_an_open_call_does_not_keep_idle_tasks_behind_it(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    history.ledger.reserve(history.tasks.open_implicit(make_principal("open"), 0), "c", make_call(), None, 0)
    history.tasks.open_implicit(make_principal("idle"), 1)

    history.tasks.open_implicit(make_principal("new"), 10 * IDLE)

    assert len(history.tasks) == 2


def test_one_caller_cannot_take_all_the_room(history: History, make_principal: Callable[..., Principal]):
    for number in range(3):
        history.tasks.open(make_principal(), Task(f"d-{number}", "declared", 0.0, expires=10.0), ResultContent())

    with pytest.raises(HistoryFull, match="the caller has 3 tasks") as caught:
        history.tasks.open_implicit(make_principal(), 0)
    assert caught.value.code == "history/full"
    assert history.tasks.open_implicit(make_principal("another"), 0)


def test_live_tasks_are_not_pushed_out_by_new_ones(history: History, make_principal: Callable[..., Principal]):
    kept = [history.tasks.open_implicit(make_principal(f"agent-{number}"), 0) for number in range(4)]

    with pytest.raises(HistoryFull, match="the gateway keeps 4 tasks"):
        history.tasks.open_implicit(make_principal("another"), IDLE)
    assert [history.tasks.open_implicit(make_principal(f"agent-{number}"), IDLE) for number in range(4)] == kept


def test_room_comes_back_when_tasks_are_idle(history: History, make_principal: Callable[..., Principal]):
    for number in range(3):
        history.tasks.open_implicit(make_principal(str(number)), number)

    assert history.tasks.open_implicit(make_principal("another"), IDLE + 1.5)
    assert len(history.tasks) == 2


def test_a_call_in_a_task_that_was_forgotten_is_refused(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.tasks.open_implicit(make_principal(), 0)
    history.tasks.open_implicit(make_principal("another"), IDLE + 1)

    with pytest.raises(TaskExpired, match="task-1 is no longer kept") as caught:
        history.ledger.reserve(task, "c", make_call(), None, IDLE + 1)
    assert caught.value.code == "history/expired"
    with pytest.raises(TaskExpired):
        history.ledger.facts(task, 0)


def test_the_end_of_a_call_that_was_not_reserved_is_an_error(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.tasks.open_implicit(make_principal(), 0)

    with pytest.raises(ValueError, match="no open call"):
        history.ledger.settle(task, "c")
    history.tasks.open_implicit(make_principal("another"), IDLE + 1)
    with pytest.raises(ValueError, match="no open call"):
        history.ledger.release(task, "c", denied=False)


def test_task_ids_are_not_to_be_guessed(make_principal: Callable[..., Principal], clock: Clock):
    history = build_history(HistorySettings(), clock=clock)

    ids = {history.tasks.open_implicit(make_principal(str(number)), 0).id for number in range(100)}

    assert len(ids) == 100
    assert {len(task) for task in ids} == {len("task-") + 24}


def test_an_idle_task_takes_less_than_2_kb(make_principal: Callable[..., Principal], clock: Clock):
    history = build_history(HistorySettings(tasks=20_000), clock=clock)
    principals = [make_principal(str(number)) for number in range(5000)]
    gc.collect()
    tracemalloc.start()
    try:
        for principal in principals:
            history.tasks.open_implicit(principal, 0)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size / 5000 < 2048


# --- results and approvals -------------------------------------------------------------------------


def test_what_a_result_shows_is_in_the_facts_before_the_call_has_ended(
    history: History,
    make_principal: Callable[..., Principal],
    make_call: Callable[..., Call],
    make_content: Callable[..., CallContent],
    make_result: Callable[..., ResultContent],
):
    task = history.tasks.open_implicit(make_principal(), 0)
    history.ledger.reserve(task, "c1", make_call("a"), CallContent(), 0)

    fields = history.ledger.observe(task, "c1", make_result({1}, ["s"]), label=Sensitivity.RESTRICTED)
    again = history.ledger.observe(task, "c1", make_result({1}, ["s"]))
    known = history.ledger.reserve(task, "c2", make_call("b"), make_content({1}, ["s"]), 0).facts

    assert fields is not None
    assert (fields["id"], fields["task"], fields["event"]) == ("c1", "task-1", "observed")
    assert again is None
    assert known.credentials is not None
    assert (known.credentials[0].origin.audience, known.spread) == ("a", 1)
    assert known.labels is not None
    assert known.labels.confidentiality is Sensitivity.RESTRICTED


def test_the_credentials_that_a_task_was_shown_can_be_looked_for_in_its_calls(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.tasks.open_implicit(make_principal(), 0)
    history.ledger.reserve(task, "c", make_call("a"), CallContent(sightings=(Sighting("mine", "jwt", "/x"),)), 0)
    before = dict(history.ledger.seen(task))
    history.ledger.observe(
        task, "c", ResultContent((Sighting("s", "jwt", shingles=frozenset({1, 2})), Sighting("t", "jwt")))
    )

    assert before == {}
    assert history.ledger.seen(task) == {"s": {1, 2}, "t": frozenset()}


def test_an_approval_endorses_values_for_the_rest_of_the_task(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = history.tasks.open_implicit(make_principal(), 0)
    content = CallContent(authority={"/to": frozenset({9})})
    before = history.ledger.reserve(task, "c1", make_call(), content, 0).facts

    fields = history.ledger.endorse(task, frozenset({9}))

    after = history.ledger.reserve(task, "c2", make_call(), content, 0).facts
    assert (before.ungrounded, before.approvals_used) == (("/to",), 0)
    assert (after.ungrounded, after.approvals_used) == ((), 1)
    assert (fields["event"], fields["task"]) == ("endorsed", "task-1")


def test_a_state_that_is_nowhere_is_an_error(history: History, make_principal: Callable[..., Principal]):
    task = history.tasks.open_implicit(make_principal(), 0)
    kept = history.tasks.find(task.id)
    assert kept is not None
    kept.digest = b"stored"

    with pytest.raises(HistoryError, match="is not kept") as caught:
        history.ledger.facts(task, 0)
    assert caught.value.code == "history/unavailable"
    assert history.states.shed(10**9) == 0


# --- the end of a task ---------------------------------------------------------------------------------


def test_the_end_of_a_task_is_told_whichever_it_is(clock: Clock, make_principal: Callable[..., Principal]):
    ended: list[str] = []
    history = build_history(HistorySettings(idle=timedelta(seconds=IDLE)), clock=clock)
    history.tasks.subscribe(lambda task_id, _how: ended.append(task_id))
    implicit = history.tasks.open_implicit(make_principal(), 0.0)
    declared = Task("d-1", "declared", 0.0, expires=10.0)
    history.tasks.open(make_principal(), declared, ResultContent())
    history.tasks.end(declared, "completed")
    assert ended == ["d-1"]
    history.tasks.forget(IDLE + 1)
    assert ended == ["d-1", implicit.id]


def test_a_task_is_open_until_it_is_over_and_its_calls_have_ended(
    history: History, make_call: Callable[..., Call], make_principal: Callable[..., Principal]
):
    idle, busy = (history.tasks.open_implicit(make_principal(session), 0.0) for session in ("a", "b"))
    history.ledger.reserve(busy, "c-1", make_call(), None, 0.0)
    declared = Task("d-1", "declared", 0.0, expires=10.0)
    history.tasks.open(make_principal(), declared, ResultContent())

    assert all(history.tasks.is_open(task.id, 9.0) for task in (idle, busy, declared))
    assert [history.tasks.is_open(task.id, IDLE + 1) for task in (idle, busy, declared)] == [False, True, False]
    assert not history.tasks.is_open("nothing", 0.0)
    history.tasks.end(declared, "cancelled")
    assert not history.tasks.is_open("d-1", 1.0)
