"""The stored forms of a task: its row in a snapshot, its state, and its declaration. Pure: no I/O, no clock, no randomness.

Each form is a type that msgspec writes and reads as it stands. A new field of a state or of an event needs no line here.
`events` has the forms of events. A snapshot of another version is refused, and the journal is read instead.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from gateway.history.state import TaskState
from gateway.history.store import Row
from gateway.history.task_history import TaskHistory
from gateway.model.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.history.store import StoredTask
    from gateway.model.wire import JsonObject

VERSION: Final = 14
"""The version of the forms in a snapshot. Raise it with each change of `TaskState`, of an event, or of `_TaskRow`."""


class _AnyRow(Struct):
    """The part of a row that has the same form in each version."""

    version: int


class _TaskRow(Struct):
    """The row of a task, beside its state. `open` and `carries` are as in `TaskHistory`."""

    version: int
    task: Task
    owner: str
    parties: tuple[str, ...]
    size: int
    used: float
    ended: Literal["completed", "cancelled"] | None
    open: bool
    carries: bool


def task_fields(task: Task, conceal: Callable[[str], str]) -> JsonObject:
    """Return a declared task for the record. `conceal` takes out of the goal what must not be written down."""
    return msgspec.to_builtins(_conceal(task, conceal))


def read_task(fields: object) -> Task:
    """Return the task that was written so. Raises `ValueError` for anything else."""
    try:
        return msgspec.convert(fields, Task)
    except msgspec.ValidationError as error:
        raise ValueError(f"no task: {error}") from error


def encode_row(kept: TaskHistory, state: TaskState, conceal: Callable[[str], str]) -> Row:
    """Return the row of a task."""
    row = _TaskRow(
        version=VERSION,
        task=_conceal(kept.task, conceal),
        owner=kept.owner,
        parties=kept.parties,
        size=kept.size,
        used=kept.used,
        ended=kept.ended,
        open=bool(state.open),
        carries=state.concerns_caller,
    )
    return Row(kept.task.id, kept.seq, msgspec.msgpack.encode(row), encode_state(state))


def decode_row(stored: StoredTask) -> TaskHistory:
    """Return a task without its state. Raises `ValueError` for a damaged row, and for a row of another version."""
    try:
        version = msgspec.msgpack.decode(stored.meta, type=_AnyRow).version
        if version != VERSION:
            raise ValueError(f"they have version {version}, and this gateway reads version {VERSION} alone")
        row = msgspec.msgpack.decode(stored.meta, type=_TaskRow)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no task: {error}") from error
    return TaskHistory(
        row.task,
        row.owner,
        row.parties,
        row.used,
        ended=row.ended,
        seq=stored.seq,
        digest=stored.digest,
        stored=True,
        open_calls=row.open,
        carries=row.carries,
        size=row.size,
    )


def encode_state(state: TaskState) -> bytes:
    """Return a state, whole."""
    return msgspec.msgpack.encode(state)


def decode_state(data: bytes) -> TaskState:
    """Return the state that was encoded. Raises `ValueError` for anything else."""
    try:
        return _STATES.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no state of a task: {error}") from error


_STATES: Final = msgspec.msgpack.Decoder(TaskState)


def _conceal(task: Task, conceal: Callable[[str], str]) -> Task:
    return task if task.goal is None else replace(task, goal=conceal(task.goal))
