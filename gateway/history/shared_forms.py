"""The forms of a shared log: its entries, and the snapshot of all tasks of an owner. Pure: no I/O, no clock.

Each is sealed under the digest of its owner, so none opens under another owner. A snapshot is a durable record."""

from __future__ import annotations

import hmac
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from gateway.base.store.records import RecordKind
from gateway.history.events import Event, Reserved
from gateway.history.jobs import JobRecord
from gateway.history.states import VERSION, conceal_task, decode_row, decode_state, encode_row
from gateway.history.store import StoredTask
from gateway.history.task_history import TaskHistory
from gateway.model.errors import HistoryError
from gateway.model.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.base.store.records import SealedStore
    from gateway.history.states import TaskStates

FORM: Final = 1
"""The form of an event of a log."""


class Begun(Struct, frozen=True, omit_defaults=True):
    """A task with its first entry. Its job is that of the log."""

    task: Task
    owner: str
    agent: str
    parties: tuple[str, ...]
    size: int = 0


class Entry(Struct, frozen=True, omit_defaults=True):
    """An event of a task, or its begin alone. `number` counts the entries of a gateway, so it finds its own. `used` is the
    time at which the event used the task."""

    number: int
    task: str
    used: float | None = None
    event: Event | None = None
    begun: Begun | None = None


class Written(Struct, frozen=True):
    """An event of the log, with the entries of one append. `replica` names their gateway."""

    form: int
    replica: str
    entries: tuple[Entry, ...]

    def has_reserved(self, call: str) -> bool:
        """Return whether an entry is the reservation of a call."""
        return any(isinstance(each.event, Reserved) and each.event.call == call for each in self.entries)


class Snapshot(Struct, frozen=True):
    """The tasks of an owner after the event `version` of its log: rows and states as in `states`, whose form is `states`.
    `callers` has the replica of each open call, and `job` what the job has read."""

    states: int
    version: int
    tasks: tuple[tuple[str, bytes, bytes], ...]
    callers: dict[str, str]
    job: JobRecord | None = None


SNAPSHOTS: Final = RecordKind("history", Snapshot, "nothing: the whole logs are read instead")


class _Formed(Protocol):
    """An entry with the number of its form."""

    @property
    def form(self) -> int: ...


AnyEntry = TypeVar("AnyEntry", bound=_Formed)


class Sealing:
    """The seal of one store. `key` makes the digests of owners; all gateways of a deployment have the same."""

    def __init__(self, store: SealedStore, key: bytes) -> None:
        self._store = store
        self._key = key

    def digest(self, owner: str) -> bytes:
        """Return the digest by which the store knows an owner."""
        return hmac.digest(self._key, b"owner " + owner.encode(), "sha256")[:16]

    def seal_entries(self, digest: bytes, replica: str, entries: Iterable[Entry]) -> bytes:
        """Return the stored bytes of the entries of one append."""
        written = Written(FORM, replica, tuple(entries))
        return self._store.seal(f"history of {digest.hex()}", msgspec.msgpack.encode(written))

    def open_entries(self, digest: bytes, sealed: bytes) -> Written:
        """Return stored entries. Raises `HistoryError` for others, and for those of a later release."""
        return self.open(f"history of {digest.hex()}", sealed, _WRITTEN, FORM)

    def open(self, name: str, sealed: bytes, decoder: msgspec.msgpack.Decoder[AnyEntry], form: int) -> AnyEntry:
        """Return an entry that was sealed under a name. Raises `HistoryError` as `open_entries` does. `form` is the present form."""
        opened = self._store.open(name, sealed)
        if opened is None:
            raise HistoryError("the shared history is sealed with a key that this gateway does not have", _REMEDY)
        try:
            entry = decoder.decode(opened)
        except msgspec.MsgspecError as error:
            raise HistoryError(f"an event of the shared history cannot be read: {error}", _REMEDY) from error
        if entry.form > form:
            raise HistoryError("a later release of the gateway wrote an event of the shared history", _LATER)
        return entry


_REMEDY: Final = "give each gateway of the store the same keys (settings `keys`)"
_LATER: Final = "start that release"
_WRITTEN: Final = msgspec.msgpack.Decoder(Written)


def describe_begin(kept: TaskHistory, states: TaskStates) -> Begun:
    """Return the begin of a task, without the credentials in its goal."""
    task = conceal_task(kept.task, partial(states.conceal_goal, kept))
    return Begun(task, kept.owner, kept.agent, kept.parties, kept.size)


def begin_task(begun: Begun, job: str, used: float) -> TaskHistory:
    """Return a task at its begin in the log of a job."""
    return TaskHistory(begun.task, begun.owner, begun.parties, used, size=begun.size, job=job, agent=begun.agent)


def make_snapshot(
    job: str, version: int, tasks: Iterable[TaskHistory], states: TaskStates, callers: Mapping[str, str]
) -> Snapshot:
    """Return the snapshot of an owner. Nothing that is not in the log may be folded into the states."""
    rows = [encode_row(kept, states.load(kept), partial(states.conceal_goal, kept)) for kept in tasks]
    stored = tuple((row.id, row.meta, row.state) for row in rows)
    return Snapshot(VERSION, version, stored, dict(callers), states.jobs.record(job))


def read_tasks(snapshot: Snapshot) -> list[TaskHistory]:
    """Return the tasks of a snapshot with their states. Raises `HistoryError`."""
    found: list[TaskHistory] = []
    try:
        for identifier, meta, state in snapshot.tasks:
            kept = decode_row(StoredTask(identifier, 0, meta, b""))
            kept.state, kept.stored = decode_state(state), False
            found.append(kept)
    except ValueError as error:
        raise HistoryError(f"a snapshot of the shared history cannot be read: {error}", _REMEDY) from error
    return found


def make_error(problem: str) -> HistoryError:
    """Return the refusal of what needs the shared history."""
    return HistoryError(f"the shared history cannot be used: {problem}", "see the setting `store`, and the server")
