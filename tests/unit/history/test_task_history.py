from __future__ import annotations

import msgspec
import pytest

from gateway.history.declared.tables import Cell, Table
from gateway.history.state import TaskState
from gateway.history.states import decode_row, encode_row, read_task, task_fields
from gateway.history.store import StoredTask, digest_of
from gateway.history.task_history import TaskHistory
from gateway.model.task import Contract, Task

TASK = Task(
    "t1",
    "declared",
    1.5,
    99.0,
    "log in with hunter2",
    "high",
    "acme",
    "staging",
    Contract(frozenset({"a", "b"}), ("a/*",), ("x@y.example",), (("a", "b"),), {"audiences": 4}),
)


def _conceal(goal: str) -> str:
    return goal.replace("hunter2", "[concealed]")


def test_a_task_is_read_as_it_was_written_but_for_what_must_not_be():
    written = msgspec.json.decode(msgspec.json.encode(task_fields(TASK, _conceal)))

    read = read_task(written)

    assert read.goal == "log in with [concealed]"
    assert read.contract == TASK.contract
    assert "hunter2" not in str(written)
    assert (read.id, read.kind, read.opened, read.expires) == ("t1", "declared", 1.5, 99.0)
    assert (read.risk, read.tenant, read.environment) == ("high", "acme", "staging")


def test_a_task_without_a_goal_can_be_written():
    implicit = Task("t", "implicit", 1.0)

    assert read_task(task_fields(implicit, _conceal)) == implicit


@pytest.mark.parametrize("fields", [None, {}, [], {"id": 1, "kind": "declared", "opened": 0}, {"id": "t", "kind": "x"}])
def test_anything_else_is_no_task(fields: object):
    with pytest.raises(ValueError, match="no task"):
        read_task(fields)


def test_a_row_has_all_of_a_task():
    kept = TaskHistory(TASK, "owner", ("agent",), 5.0, TaskState(), "completed", seq=7)

    made = encode_row(kept, TaskState(number=3), _conceal)
    again = decode_row(StoredTask(made.id, made.seq, made.meta, digest_of(made.state)))

    assert (again.parties, again.owner, again.used, again.ended, again.seq) == (
        ("agent",),
        "owner",
        5.0,
        "completed",
        7,
    )
    assert (again.state, again.changed, again.digest) == (None, False, digest_of(made.state))
    assert b"hunter2" not in made.meta


@pytest.mark.parametrize("meta", [b"", b"\xc1", msgspec.msgpack.encode({}), msgspec.msgpack.encode({"task": {}})])
def test_a_row_that_is_damaged_is_an_error(meta: bytes):
    with pytest.raises(ValueError, match="no task"):
        decode_row(StoredTask("t", 1, meta, b""))


@pytest.mark.parametrize("change", [{"version": 3}, {"version": None}])
def test_a_row_whose_state_is_of_another_version_is_an_error(change: dict[str, int | None]):
    """The state is read when it is needed. The task would be refused from then on, though the journal has all of it."""
    made = encode_row(TaskHistory(TASK, "owner", ("agent",), 5.0), TaskState(), _conceal)
    meta = msgspec.msgpack.encode({**msgspec.msgpack.decode(made.meta), **change})

    with pytest.raises(ValueError, match="version"):
        decode_row(StoredTask(made.id, made.seq, meta, b""))


@pytest.mark.parametrize(
    ("ended", "now", "status"),
    [(None, 98.9, "open"), (None, 99.0, "expired"), ("completed", 0.0, "completed"), ("cancelled", 100.0, "cancelled")],
)
def test_a_task_says_where_it_stands(ended: str | None, now: float, status: str):
    assert TaskHistory(TASK, "o", (), 0, ended=ended).status(now) == status  # type: ignore[arg-type] - one of the two


def test_an_implicit_task_has_no_end_of_its_own():
    assert TaskHistory(Task("t", "implicit", 0), "o", (), 0).status(10**9) == "open"


def test_a_task_weighs_what_it_keeps():
    kept = TaskHistory(TASK, "o", (), 0)
    light = TaskHistory(TASK, "o", (), 0, TaskState())
    heavy = TaskHistory(TASK, "o", (), 0, TaskState(trusted=set(range(100))))
    facts = Table(0.0, {str(number): Cell() for number in range(100)})
    counting = TaskHistory(TASK, "o", (), 0, TaskState(declared={"refunded": facts}))

    assert kept.weight == 0 < light.weight
    assert heavy.weight == light.weight + 100
    assert counting.weight >= light.weight + 100
    assert not kept.is_busy
