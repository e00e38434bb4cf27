"""Room for tasks: refused when there is none, kept for callers that have none, and counted anew after a restart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.config import HistorySettings
from gateway.history import History, Restored, Store, build_history, rebuild, restore, snapshot
from gateway.history.registry import REMEMBERED
from gateway.model.caller import Principal, User
from gateway.model.content import ResultContent
from gateway.model.errors import HistoryFull
from gateway.model.task import Contract, Task
from tests.unit.history.recording import AGENT, Gateway, Record, another, stream

LIFETIME = 3600.0
IDLE = 600.0
NUMBERS = itertools.count()


def of(tasks: int = 16, per_caller: int = 16, **more: Any) -> History:
    settings = HistorySettings(tasks=tasks, tasks_per_caller=per_caller, lifetime=timedelta(seconds=LIFETIME), **more)
    return build_history(settings, clock=lambda: 0.0, conceal=lambda goal, _kept: goal)


def declaring(size: int = 0, expires: float = 100.0) -> Task:
    """A task with a declaration of so many bytes or some more."""
    contract = Contract(tools=("x" * size,)) if size else None
    return Task(f"d-{next(NUMBERS)}", "declared", 0.0, expires, contract=contract)


def fill(history: History, callers: Iterable[Principal], size: int = 0) -> int:
    """Declare a task for each caller, until one has no room. Returns how many have been."""
    for count, caller in enumerate(callers):
        try:
            history.tasks.open(caller, declaring(size), ResultContent())
        except HistoryFull:
            return count
    raise AssertionError("there was room for all")


def test_a_caller_with_tasks_leaves_the_last_quarter_to_callers_that_have_none():
    history = of()

    assert fill(history, itertools.repeat(AGENT)) == 12
    with pytest.raises(HistoryFull, match="for callers that have none") as caught:
        history.tasks.open_implicit(AGENT, 0.0)
    assert caught.value.code == "history/full"
    assert [history.tasks.open_implicit(another(number), 0.0).kind for number in range(2)] == ["implicit"] * 2
    history.tasks.open(another("declaring"), declaring(), ResultContent())


def test_an_agent_with_many_users_leaves_the_last_quarter_to_other_agents():
    history = of()
    users = (replace(AGENT, user=User(str(number))) for number in itertools.count())

    assert fill(history, users) == 12
    assert history.tasks.open_implicit(replace(another("other"), user=User("u")), 0.0)


def test_declarations_leave_the_last_quarter_to_callers_that_have_declared_none():
    history = of(1_000, 1_000, declarations=80_000, declarations_per_caller=80_000)

    assert fill(history, itertools.repeat(AGENT), 9_000) == 6
    assert history.tasks.open_implicit(AGENT, 0.0), "an implicit task declares nothing"
    history.tasks.open(another("other"), declaring(9_000), ResultContent())
    with pytest.raises(HistoryFull, match="bytes, and the rest of its room") as caught:
        history.tasks.open(another("other"), declaring(9_000), ResultContent())
    assert "history.declarations" in caught.value.remedy


def test_room_comes_back_an_hour_after_the_expiry_also_of_tasks_that_were_ended():
    history = of(1_000, 1_000, declarations=80_000, declarations_per_caller=20_000)
    task = declaring(9_000)
    history.tasks.open(AGENT, task, ResultContent())
    history.tasks.end(task, "completed")
    assert fill(history, itertools.repeat(AGENT), 9_000) == 1

    history.tasks.forget(100.0 + REMEMBERED)

    assert fill(history, itertools.repeat(AGENT), 9_000) == 2


def test_a_task_that_has_had_its_time_goes_on_while_there_is_no_room_for_another():
    """Else whoever fills the room ends the work of others."""
    history, pause = of(4, 4, idle=timedelta(seconds=IDLE)), IDLE / 2
    task = history.tasks.open_implicit(AGENT, 0.0)
    for now in range(0, int(LIFETIME), int(pause)):
        assert history.tasks.open_implicit(AGENT, now) == task
        assert all(history.tasks.open_implicit(another(number), now) for number in range(3))

    assert history.tasks.open_implicit(AGENT, LIFETIME + 1) == task
    assert history.tasks.open_implicit(AGENT, LIFETIME + pause) == task
    assert history.tasks.open_implicit(AGENT, LIFETIME + pause + 1) != task


@pytest.mark.parametrize("snapshots", [True, False])
async def test_the_room_that_is_taken_is_known_after_a_restart(store: Store, *, snapshots: bool):
    before = Gateway(of(declarations=80_000, declarations_per_caller=20_000), Record())
    before.history.states.attach(store)
    users = [replace(AGENT, user=User(str(number))) for number in range(3)]
    for user in users:
        before.record.append("task", before.history.tasks.open(user, declaring(2_000, 10**6), ResultContent()))
    before.begin(before.history.tasks.open_implicit(users[0], 0.0), at=0.0)
    before.read(
        before.history.tasks.open_implicit(users[1], 0.0), stream("b"), ResultContent(tokens=frozenset({1})), 0.0
    )
    if snapshots:
        await snapshot(before.history, store, before.record.position)
    after = of(declarations=80_000, declarations_per_caller=20_000)

    restored = restore(after, store) if snapshots else Restored()
    rebuild(after, before.record.entries, restored)

    kept = {found.task.id: (found.owner, found.parties, found.size) for found in before.history.tasks.all()}
    assert {found.task.id: (found.owner, found.parties, found.size) for found in after.tasks.all()} == kept
    assert len(kept) == 5
    assert fill(after, (replace(AGENT, user=User(str(number))) for number in range(3, 100))) == 12 - 5
