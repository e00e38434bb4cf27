"""The states of the kept tasks, in memory or in the store, and their stored forms.

The only part of history that reads and writes a store. A store that several gateways share would take its place. A state
of a task that was long unused is in the store alone. Each stored form is a type that msgspec writes and reads as it stands.
So a new field of a state or of an event needs no line here. `events` has the forms of events. A snapshot of another version
is refused, and the journal is read instead."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from gateway.history.declared.accounts import FactAccounts
from gateway.history.jobs import Jobs
from gateway.history.state import TaskState
from gateway.history.store import Row, digest_of
from gateway.history.task_history import TaskHistory
from gateway.model.errors import HistoryError
from gateway.model.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.history.store import Store, StoredTask
    from gateway.model.wire import JsonObject

VERSION: Final = 22
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
    job: str
    agent: str


def task_fields(task: Task, conceal: Callable[[str], str]) -> JsonObject:
    """Return a declared task for the record. `conceal` takes out of the goal what must not be written down."""
    return msgspec.to_builtins(conceal_task(task, conceal))


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
        task=conceal_task(kept.task, conceal),
        owner=kept.owner,
        parties=kept.parties,
        size=kept.size,
        used=kept.used,
        ended=kept.ended,
        open=bool(state.open),
        carries=state.concerns_caller,
        job=kept.job,
        agent=kept.agent,
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
        job=row.job,
        agent=row.agent,
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


def conceal_task(task: Task, conceal: Callable[[str], str]) -> Task:
    """Return a task without the credentials in its goal."""
    if task.goal is None:
        return task
    ground = task.ground
    if ground is not None and ground.goal is not None:
        ground = replace(ground, goal=conceal(ground.goal))
    return replace(task, goal=conceal(task.goal), ground=ground)


RESIDENT: Final = 60.0
"""Seconds after which an unused task may leave memory."""
MAX_WEIGHT: Final = 4_000_000
"""Digests in memory above which the longest unused tasks leave it early: about 500 MB."""


class TaskStates:
    """The kept tasks by id, and their states. `conceal` takes the credentials out of a goal before a row has it."""

    def __init__(self, conceal: Callable[[str, TaskHistory], str] = lambda _goal, _kept: "") -> None:
        self._conceal = conceal
        self._store: Store | None = None
        self.accounts = FactAccounts()
        """The declared facts beside those of tasks."""
        self.jobs = Jobs()
        """What the tasks of each job have read. `build_history` sets it by the settings."""
        self.by_id: Final[dict[str, TaskHistory]] = {}
        """Task id → task. Only `add` and `remove` change it."""
        self._gone: set[str] = set()  # rows that the store still has, so not many, also when it cannot be written
        self._lost: set[str] = set()  # tasks whose state the store alone had, and has no more

    def attach(self, store: Store) -> None:
        """Let states leave memory for this store from now on."""
        self._store = store

    def add(self, kept: TaskHistory) -> None:
        """Keep the state of a task."""
        self.by_id[kept.task.id] = kept
        if kept.task.id in self._gone:
            self._gone.remove(kept.task.id)
            kept.stored = True

    def remove(self, kept: TaskHistory) -> None:
        """Keep the state of a task no longer, and have the store drop its row."""
        del self.by_id[kept.task.id]
        self._lost.discard(kept.task.id)
        if kept.stored:
            self._gone.add(kept.task.id)

    def load(self, kept: TaskHistory) -> TaskState:
        """Return the state of a task, back from the store if it had left memory. Raises `HistoryError`."""
        if kept.state is None:
            kept.state = self._read(kept) if kept.digest else TaskState()
        return kept.state

    def _read(self, kept: TaskHistory) -> TaskState:
        if self._store is None:
            raise HistoryError(f"the state of the task {kept.task.id} is not kept", "start the gateway again")
        data = self._store.state(kept.task.id, kept.digest)
        try:
            return decode_state(data)
        except ValueError as error:
            raise HistoryError(f"the task {kept.task.id} cannot be read: {error}", "remove the snapshots") from error

    # --- snapshots -----------------------------------------------------------------------------------

    def changes(self, position: Callable[[], int]) -> tuple[Iterator[Row], tuple[str, ...]]:
        """Return new and changed tasks as rows, and the ids of tasks that the store should drop. Each row is made on
        demand. `position` is the number of the journal's last written entry at that time."""
        changed = [kept for kept in self.by_id.values() if kept.changed]
        accounts, gone = self.accounts.changes(position)
        # Jobs come last: each then has what the states of its tasks have.
        jobs, cold = self.jobs.changes(position)
        return chain(map(partial(self._row, position), changed), accounts, jobs), (*self._gone, *gone, *cold)

    def _row(self, position: Callable[[], int], kept: TaskHistory) -> Row:
        kept.seq, kept.changed = position(), False
        fresh = encode_row(kept, self.load(kept), partial(self.conceal_goal, kept))
        kept.digest = digest_of(fresh.state)
        return fresh

    def conceal_goal(self, kept: TaskHistory, goal: str) -> str:
        """Return the goal of a task with its credentials concealed, for the journal and the store."""
        return self._conceal(goal, kept)

    def note_saved(self, rows: Sequence[Row], gone: Sequence[str], *, done: bool) -> None:
        """Note that changes were written, or could not be: then they are still to be stored."""
        if done:
            self._gone.difference_update(gone)
        ids = [written.id for written in rows]
        own = self.accounts.note_saved(ids, gone, done=done) | self.jobs.note_saved(ids, gone, done=done)
        for written in rows:
            if written.id in own:
                continue
            kept = self.by_id.get(written.id)
            if kept is not None:
                kept.stored, kept.changed = kept.stored or done, kept.changed or not done
            elif done:
                self._gone.add(written.id)

    def note_lost(self) -> None:
        """Note that the store lost everything. States in memory are written again; other states are lost until the
        journal is read."""
        self._gone.clear()
        self.accounts.note_lost()
        self.jobs.note_lost()
        for kept in self.by_id.values():
            kept.stored = False
            if kept.state is None:
                self._lost.add(kept.task.id)
            else:
                kept.changed = True

    @property
    def are_whole(self) -> bool:
        """Return whether the state of every task is in memory or in the store."""
        return not self._lost

    def shed(self, now: float, *, max_weight: int = MAX_WEIGHT) -> int:
        """Drop stored states from memory, the least recently used first. Return the number of dropped states."""
        if self._store is None:
            return 0
        left, weight = 0, sum(kept.weight for kept in self.by_id.values())
        for kept in sorted(self.by_id.values(), key=lambda kept: kept.used):
            if now - kept.used <= RESIDENT and weight <= max_weight:
                break
            if kept.state is not None and not kept.changed and not kept.is_busy:
                weight -= kept.weight
                kept.state = None
                kept.subjects.clear()
                left += 1
        return left
