"""Tasks that were declared: selected, ended, over, and what is written down of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from gateway.config import HistorySettings
from gateway.history import History, build_history
from gateway.history.registry import REMEMBERED
from gateway.model.content import CallContent, ResultContent, Sighting
from gateway.model.decision import Reason
from gateway.model.errors import HistoryFull, TaskExpired
from gateway.model.facts import TaskReport
from gateway.model.task import Contract, Task
from tests.unit.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.call import Call
    from gateway.model.caller import Principal


def _declared(name: str = "t1", opened: float = 0, expires: float = 100) -> Task:
    return Task(name, "declared", opened, expires, "mend it", contract=Contract(frozenset({"a"})))


def test_a_declared_task_is_selected_by_its_owner(history: History, make_principal: Callable[..., Principal]):
    fields = history.tasks.open(make_principal(token="a"), _declared(), ResultContent())

    assert history.tasks.select(make_principal(token="b"), "t1", 50) == _declared()
    assert (fields["event"], fields["task"], fields["owner"]) == ("opened", "t1", make_principal().key)


def test_a_task_of_another_is_as_unknown_as_what_never_was(history: History, make_principal: Callable[..., Principal]):
    history.tasks.open(make_principal(), _declared(), ResultContent())
    implicit = history.tasks.open_implicit(make_principal("you"), 0)

    asked = [
        answer(make_principal("you"), name, 0)
        for answer in (history.tasks.select, history.tasks.report)
        for name in ("t1", "never", implicit.id)
    ]

    assert {reason.code for reason in asked if isinstance(reason, Reason)} == {"task/unknown"}
    assert len(set(map(str, asked))) == 1


def test_an_implicit_task_cannot_be_selected_by_its_id(history: History, make_principal: Callable[..., Principal]):
    implicit = history.tasks.open_implicit(make_principal(), 0)

    selected = history.tasks.select(make_principal(), implicit.id, 0)

    assert isinstance(selected, Reason)
    assert selected.code == "task/unknown"


@pytest.mark.parametrize("how", ["completed", "cancelled"])
def test_a_task_that_was_ended_takes_no_calls(
    history: History,
    make_principal: Callable[..., Principal],
    make_call: Callable[..., Call],
    how: Literal["completed", "cancelled"],
):
    task = _declared()
    history.tasks.open(make_principal(), task, ResultContent())
    history.ledger.reserve(task, "c1", make_call(), None, 1)

    fields = history.tasks.end(task, how)

    selected, report = history.tasks.select(make_principal(), "t1", 2), history.tasks.report(make_principal(), "t1", 2)
    assert fields == [{"task": "t1", "event": "ended", "how": how}]
    assert isinstance(selected, Reason)
    assert selected.code == "task/ended"
    assert isinstance(report, TaskReport)
    assert report.status == how
    with pytest.raises(TaskExpired, match="t1 is over"):
        history.ledger.reserve(task, "c2", make_call(), None, 2)
    history.ledger.settle(task, "c1")
    assert history.ledger.facts(task, 2).calls == 1


def test_a_task_whose_time_is_over_takes_no_calls(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = _declared()
    history.tasks.open(make_principal(), task, ResultContent())

    selected, report = (
        history.tasks.select(make_principal(), "t1", 100),
        history.tasks.report(make_principal(), "t1", 100),
    )

    assert isinstance(selected, Reason)
    assert selected.code == "task/expired"
    assert isinstance(report, TaskReport)
    assert report.status == "expired"
    with pytest.raises(TaskExpired):
        history.ledger.reserve(task, "c", make_call(), None, 100)


def test_a_declared_task_is_kept_until_it_expires_however_long_it_is_unused(
    history: History, make_principal: Callable[..., Principal]
):
    history.tasks.open(make_principal(), _declared(expires=10**6), ResultContent())
    history.tasks.open_implicit(make_principal("another"), 10**6 - 1)

    assert history.tasks.select(make_principal(), "t1", 10**6 - 1) == _declared(expires=10**6)


def test_an_expired_task_is_forgotten_in_the_end_but_not_with_an_open_call(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = _declared()
    history.tasks.open(make_principal(), task, ResultContent())
    history.ledger.reserve(task, "c", make_call(), None, 1)

    history.tasks.forget(100 + REMEMBERED)
    assert len(history.tasks) == 1
    history.ledger.settle(task, "c")
    history.tasks.forget(100 + 2 * REMEMBERED)
    assert len(history.tasks) == 0


@pytest.mark.parametrize(
    "task", [Task("t", "declared", 0), Task("t", "implicit", 0, 100), _declared("taken")], ids=["endless", "kind", "id"]
)
def test_a_task_without_expiry_or_an_id_of_its_own_is_an_error(
    history: History, make_principal: Callable[..., Principal], task: Task
):
    history.tasks.open(make_principal(), _declared("taken"), ResultContent())

    with pytest.raises(ValueError, match="an expiry and an id of its own"):
        history.tasks.open(make_principal(), task, ResultContent())


def test_declared_tasks_take_the_room_of_their_owner(history: History, make_principal: Callable[..., Principal]):
    for number in range(3):
        history.tasks.open(make_principal(), _declared(f"t{number}"), ResultContent())

    with pytest.raises(HistoryFull):
        history.tasks.open(make_principal(), _declared("t9"), ResultContent())
    with pytest.raises(HistoryFull):
        history.tasks.open_implicit(make_principal(), 0)


def test_the_goal_is_written_down_only_as_far_as_it_may_be(clock: Clock, make_principal: Callable[..., Principal]):
    said = build_history(HistorySettings(), clock=clock, conceal=lambda goal, _kept: goal.upper())
    unsaid = build_history(HistorySettings(), clock=clock)

    assert said.tasks.open(make_principal(), _declared(), ResultContent())["declared"]["goal"] == "MEND IT"  # type: ignore[index,call-overload] - an object
    assert "mend" not in str(unsaid.tasks.open(make_principal(), _declared(), ResultContent()))


def test_what_the_goal_says_is_known(
    history: History, make_principal: Callable[..., Principal], make_call: Callable[..., Call]
):
    task = _declared()
    history.tasks.open(make_principal(), task, ResultContent((Sighting("s", "jwt"),), frozenset({1})))
    content = CallContent(sightings=(Sighting("s", "jwt", "/x"),), authority={"/to": frozenset({1})})

    known = history.ledger.reserve(task, "c", make_call(), content, 1).facts

    assert known.ungrounded == ()
    assert known.credentials is not None
    assert known.credentials[0].origin.kind == "user"
