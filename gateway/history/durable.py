"""Durable history: folded again from the journal, starting at the last snapshot.

    restored = restore(history, store)                  # at start, after the journal was opened
    rebuild(history, entries, restored)                 # entries of the journal, at least those after restored.seq
    rewind(history, end)                                # where the journal ends, before anything new is recorded
    await snapshot(history, store, position)            # at once, now and then, and at the end

The journal is the record; a snapshot only saves reading it from its beginning, and takes the states of unused tasks.
An event is folded before it is journalled. So a snapshot may know more than the entries up to its position say, and what
it knows already is left out when the entries are folded. What is unclear counts as having happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.base.concurrency.background import in_thread
from gateway.history.declared.accounts import FactAccounts
from gateway.history.events import (
    Confirmed,
    Event,
    Observed,
    Reading,
    Released,
    Reserved,
    Settled,
    TaskEnded,
    TaskOpened,
    end_of,
    from_fields,
    verdict_of,
)
from gateway.history.new_events import lost_result
from gateway.history.states import decode_row, read_task
from gateway.history.store import Checkpoint, StoreReplaced
from gateway.history.task_history import TaskHistory, declared_size
from gateway.model.caller import name_job
from gateway.model.errors import HistoryError
from gateway.model.task import Task
from gateway.model.wire import JsonObject

if TYPE_CHECKING:
    from gateway.history.building import History
    from gateway.history.jobs import Jobs
    from gateway.history.store import Row, Store, Stored

BATCH: Final = 32
"""Tasks that are written down in one turn of the event loop."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The state is that of `journal` up to the entry `seq`; zero if nothing was stored. `problem` says why a store that
    there is was not used; then the whole journal has to be read."""

    journal: str | None = None
    seq: int = 0
    problem: HistoryError | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`journal` is the id of the journal that was read, `seq` its last entry, `events` how many were folded."""

    journal: str | None
    seq: int
    events: int


def restore(history: History, store: Store) -> Restored:
    """Take over the content of the store. A changed or damaged store is emptied and reported; the journal has all of
    its content."""
    history.states.attach(store)
    try:
        stored = store.load()
        if stored is None:
            return Restored()
        found = read_stored_tasks(stored, store, history.states.accounts, history.states.jobs)
        for kept in found:
            if kept.carries:
                history.states.load(kept)
    except HistoryError as error:
        _discard(history, store)
        return Restored(problem=error)
    except ValueError as error:
        _discard(history, store)
        return Restored(problem=HistoryError(f"the snapshots {store.path} cannot be read: {error}"))
    for kept in sorted(found, key=lambda kept: kept.used):
        history.tasks.admit(kept)
    return Restored(stored.journal, stored.seq)


def read_stored_tasks(stored: Stored, store: Store, accounts: FactAccounts, jobs: Jobs) -> list[TaskHistory]:
    """Return the tasks of a store. The accounts and the jobs take over their rows. Raises `HistoryError` and `ValueError`."""
    tasks = [row for row in stored.tasks if not accounts.restore(row, store) and not jobs.restore(row)]
    return [decode_row(row) for row in tasks]


def _discard(history: History, store: Store) -> None:
    """Forget the snapshots, and accounts that were taken over already: the whole journal is read."""
    store.discard()
    history.states.accounts = FactAccounts()
    history.states.jobs.forget_all()


def rebuild(history: History, entries: Iterable[JsonObject], restored: Restored) -> Rebuilt:
    """Fold the entries of a journal in order, without entries that the snapshots have. Calls still open at the end
    belong to the previous gateway. They count as settled with an unknown outcome and uninspected results. Raises `HistoryError` for a damaged
    entry."""
    run = _Rebuild(history, restored)
    for entry in entries:
        run.take(entry)
    run.close()
    return Rebuilt(run.journal, run.seq, run.events)


def lost_end(history: History, restored: Restored, rebuilt: Rebuilt, end: int) -> JsonObject | None:
    """Return the fields of a `cut` entry if the snapshots know entries after `end`, where the journal ended; else `None`.

    A journal with another id has none of the known entries.
    """
    known = max((restored.seq, history.states.accounts.known, *(kept.seq for kept in history.tasks.all())))
    found = end if rebuilt.journal == restored.journal else 0
    return None if known <= found else {"journal": restored.journal, "entries": found, "known": known}


def rewind(history: History, end: int) -> None:
    """Have the snapshots know nothing of entries after `end`, the last of the journal that the gateway found.

    A journal may end before its snapshots: its last lines went with the power, or somebody cut them off. Their numbers
    are given anew, to calls that would be taken for known at the next start. What the tasks did stays.
    """
    history.states.accounts.rewind(end)
    history.states.jobs.rewind(end)
    for kept in history.tasks.all():
        if kept.seq > end:
            kept.seq, kept.changed = end, True


async def snapshot(history: History, store: Store, position: Callable[[], tuple[str, int]]) -> StoreReplaced | None:
    """Write down what has changed, and let unused states leave memory.

    `position` gives the id of the journal and the number of its last written entry. One at a time. Gives what is wrong
    if the store is not the one that was written before; then everything is written anew. Raises `HistoryError` if the
    store cannot be written; the next snapshot then has all that this one would have had.
    """
    try:
        await _save(history, store, position, whole=False)
    except StoreReplaced as replaced:
        history.states.note_lost()
        await _save(history, store, position, whole=True)
        return replaced
    return None


async def _save(history: History, store: Store, position: Callable[[], tuple[str, int]], *, whole: bool) -> None:
    journal, seq = position()
    # With states gone that the store alone had, the journal has to be read from its beginning.
    seq = seq if history.states.are_whole else 0
    made, gone = history.states.changes(lambda: position()[1])
    rows: list[Row] = []
    try:
        for made_row in made:
            rows.append(made_row)
            if len(rows) % BATCH == 0:
                await asyncio.sleep(0)
        await in_thread(partial(store.save, Checkpoint(journal, seq, tuple(rows), gone, whole)))
    except BaseException:
        history.states.note_saved(rows, gone, done=False)
        raise
    history.states.note_saved(rows, gone, done=True)


class _Rebuild:
    """A run over a journal. `calls` maps each open call to its task. A call enters with its reservation or with a
    snapshot's state. It leaves with its closing event."""

    def __init__(self, history: History, restored: Restored) -> None:
        self._history = history
        self._calls: dict[str, TaskHistory] = {}
        self._stored = restored.seq
        self.journal = restored.journal
        self.seq = 0
        self.events = 0
        for kept in history.tasks.all():
            if kept.open_calls:
                self._calls.update(dict.fromkeys(history.states.load(kept).open, kept))

    def take(self, entry: JsonObject) -> None:
        self.seq = cast("int", entry["seq"])
        take = _TAKERS.get(cast("str", entry["kind"]))
        if take is None:
            return
        try:
            take(self, entry)
            self._history.states.accounts.take(entry)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise HistoryError(
                f"entry {self.seq} of the journal cannot be read: {error}", "run `opagate journal verify`"
            ) from error

    def close(self) -> None:
        for call, kept in list(self._calls.items()):
            self._abandon(kept, call)
        self._history.states.accounts.abandon()

    def segment(self, entry: JsonObject) -> None:
        """Begin another journal than that of the snapshots: keep the snapshots, and fold all of its entries."""
        journal = cast("str", entry["journal"])
        if journal != self.journal:
            self._stored = 0
            self._history.states.accounts.rewind(0)
            for kept in self._history.tasks.all():
                kept.seq, kept.changed = 0, True
        self.journal = journal

    def call(self, entry: JsonObject) -> None:
        fields = cast("JsonObject | None", entry.get("history"))
        if fields is None:
            return
        event = from_fields(fields)
        if not isinstance(event, Reserved):
            raise ValueError("a call is no reservation")  # noqa: TRY004 - damaged input, as all others here
        self._history.tasks.forget(event.at)
        task_id = cast("str", cast("JsonObject", entry["task"])["id"])
        kept = self._task(task_id, lambda: _read_caller(cast("JsonObject", entry["principal"])), fields, event.at)
        if kept is None or self.seq <= kept.seq:
            return
        self._calls[event.call] = kept
        self._fold(kept, event, event.at)
        self._fold(kept, verdict_of(entry, event.call), event.at)

    def exposed(self, entry: JsonObject) -> None:
        event, at = from_fields(entry), cast("float", entry["at"])
        self._history.tasks.forget(at)
        kept = self._task(cast("str", entry["task"]), lambda: _read_names(entry), entry, at)
        if kept is not None and self.seq > kept.seq:
            self._fold(kept, event, at)

    def observed(self, entry: JsonObject) -> None:
        event = from_fields(entry)
        if isinstance(event, Reading):
            self._read(entry, event)
            return
        kept = self._history.tasks.find(cast("str", entry["task"]))
        if kept is not None and self.seq > kept.seq and isinstance(event, Observed) and event.call in self._calls:
            self._fold(kept, event, kept.used)

    def _read(self, entry: JsonObject, event: Reading) -> None:
        self._history.tasks.forget(event.at)
        kept = self._task(cast("str", entry["task"]), lambda: _read_names(entry), entry, event.at)
        if kept is not None and self.seq > kept.seq:
            self._fold(kept, event, event.at)

    def settled(self, entry: JsonObject) -> None:
        call = cast("str", entry["id"])
        kept = self._calls.get(call)
        if kept is None or self.seq <= kept.seq:
            return
        if (fields := cast("JsonObject | None", entry.get("history"))) is not None:
            self._fold(kept, from_fields(fields), kept.used)
        self._fold(kept, Settled(call, end_of(str(entry.get("outcome", "")))), kept.used)

    def confirmed(self, entry: JsonObject) -> None:
        kept = self._history.tasks.find(cast("str", entry["task"]))
        if kept is not None and self.seq > kept.seq:
            self._fold(kept, Confirmed(cast("str", entry["id"]), cast("Any", entry["end"])), kept.used)

    def abandoned(self, entry: JsonObject) -> None:
        call = cast("str", entry["id"])
        kept = self._calls.get(call)
        if kept is not None and self.seq > kept.seq:
            self._abandon(kept, call)

    def _abandon(self, kept: TaskHistory, call: str) -> None:
        self._fold(kept, lost_result(self._history.states.load(kept), call), kept.used)
        self._fold(kept, Settled(call, "unknown"), kept.used)

    def task(self, entry: JsonObject) -> None:
        event = from_fields(entry)
        kept = self._history.tasks.find(cast("str", entry["task"]))
        if kept is None:
            declared = entry.get("declared")
            if declared is None or self.seq <= self._stored:
                return
            task = read_task(declared)
            size = declared_size(task, event) if isinstance(event, TaskOpened) else 0
            owner, job, agent = _read_names(entry)
            kept = TaskHistory(task, owner, _parties(entry), task.opened, size=size, job=job, agent=agent)
            self._history.tasks.admit(kept)
        if self.seq <= kept.seq:
            return
        if isinstance(event, TaskEnded):
            kept.ended = event.how
        self._fold(kept, event, kept.used)

    def configuration(self, entry: JsonObject) -> None:
        """Fold new labels into all tasks of that moment."""
        fields = cast("JsonObject | None", entry.get("history"))
        if fields is None:
            return
        event = from_fields(fields)
        for kept in tuple(self._history.tasks.all()):
            if kept.ended is None and self.seq > kept.seq:
                self._fold(kept, event, kept.used)

    def _task(self, task_id: str, read: Callable[[], _Names], fields: JsonObject, at: float) -> TaskHistory | None:
        """Return the task of a call or a reading. An implicit task begins with its first entry; a declared task has an
        entry of its own. A task missing from a snapshot had ended by then."""
        kept = self._history.tasks.find(task_id)
        if kept is None and "opened" in fields and self.seq > self._stored:
            opened = cast("float", fields["opened"])
            owner, job, agent = read()
            task = Task(task_id, "implicit", opened)
            kept = TaskHistory(task, owner, _parties(fields), at, job=job, agent=agent)
            self._history.tasks.admit(kept)
        return kept

    def _fold(self, kept: TaskHistory, event: Event, now: float) -> None:
        """Fold an event, unless a snapshot has it already."""
        try:
            self._history.ledger.fold(kept, event, now)
        except ValueError:
            return
        finally:
            if isinstance(event, Released | Settled):
                self._calls.pop(event.call, None)
        self.events += 1


_Names = tuple[str, str, str]
"""The owner of a task, the name of its job, and its agent for people."""


def _read_names(fields: JsonObject) -> _Names:
    """Return the names in an entry without a principal (`TaskHistory.names`). An entry of an earlier release has the owner alone."""
    owner = cast("str", fields["owner"])
    return owner, cast("str", fields.get("job", owner)), cast("str", fields.get("agent", ""))


def _read_caller(principal: JsonObject) -> _Names:
    """Return the names in the principal of a `call` entry."""
    agent, user = cast("str", principal["id"]), cast("str | None", principal.get("user"))
    return cast("str", principal["key"]), name_job(cast("str", principal["issuer"]), user or agent), agent


def _parties(fields: JsonObject) -> tuple[str, ...]:
    """Return the parties of a task."""
    return tuple(cast("Iterable[str]", fields["parties"]))


_Taker = Callable[[_Rebuild, JsonObject], None]
_TAKERS: Final[dict[str, _Taker]] = {
    "segment": _Rebuild.segment,
    "call": _Rebuild.call,
    "exposed": _Rebuild.exposed,
    "observed": _Rebuild.observed,
    "settled": _Rebuild.settled,
    "confirmed": _Rebuild.confirmed,
    "abandoned": _Rebuild.abandoned,
    "task": _Rebuild.task,
    "configuration": _Rebuild.configuration,
}
