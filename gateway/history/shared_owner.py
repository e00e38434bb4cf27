"""The memory that a gateway has of one log: its known length, and the entries on the way there. No I/O."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.history.events import Confirmed, Released, Reserved, Settled
from gateway.history.shared_accounts import list_accounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.base.store.engine import Log
    from gateway.history.shared_forms import Entry, Snapshot
    from gateway.model.errors import HistoryError


@dataclass(slots=True)
class Waiting:
    """An entry that waits for its place in the log; without an entry, a look for later events. `accounts` count its call."""

    entry: Entry | None
    depends: bool
    accounts: frozenset[str] = frozenset()
    done: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: HistoryError) -> None:
        """Tell those who wait of an error. The entry itself goes on waiting."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # an entry may have nobody who waits
            self.done = asyncio.get_running_loop().create_future()

    def settle(self, *, is_kept: bool) -> None:
        """Wake the callers that wait for the entry. `is_kept`: the log has it."""
        if not self.done.done():
            self.done.set_result(is_kept)


@dataclass(slots=True)
class OwnerLog:
    """The log of one owner, in the memory of this gateway. `is_cold`: the log has to be read before the next append.

    `begun` are the tasks with a begin in the log, `known` also tasks with a begin on the way there. `callers` has the replica of each open call, and
    `counted` the accounts that count it. `waiting` has the entries that are folded, and not yet known to be in the log.
    `is_in_line`: another gateway was first, and this one has a turn to come. `base` are the tasks as of an event before: after a lost
    race the log is read from there. It has tasks that are over by the clock here alone, since another gateway may have used them.
    """

    key: str
    log: Log
    is_cold: bool = True
    version: int = 0
    snapshot: int = 0
    known: set[str] = field(default_factory=set[str])
    begun: set[str] = field(default_factory=set[str])
    callers: dict[str, str] = field(default_factory=dict[str, str])
    counted: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    waiting: deque[Waiting] = field(default_factory=deque[Waiting])
    writer: asyncio.Task[None] | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    is_in_line: bool = False
    base: Snapshot | None = None

    def find_base(self, most: int) -> Snapshot | None:
        """Return the tasks that were kept in a race, unless more than `most` events came since."""
        return None if self.base is None or self.version - self.base.version > most else self.base

    def note_snapshot(self, read: Snapshot | None) -> None:
        """Note the snapshot that the log was read from. The one in memory is none of the store."""
        if read is None or read is not self.base:
            self.snapshot = 0 if read is None else read.version

    def settle(self, batch: Sequence[Waiting]) -> None:
        """Tell the waiting callers that the log has their entries, the first ones of the queue."""
        for waiting in batch:
            self.waiting.popleft()
            if waiting.entry is not None and waiting.entry.begun is not None:
                self.begun.add(waiting.entry.task)
            waiting.settle(is_kept=True)

    def follow_call(self, entry: Entry, replica: str) -> frozenset[str]:
        """Note the gateway and the accounts of an open call until the call ends. Return the accounts that the entry concerns."""
        event = entry.event
        if isinstance(event, Reserved):
            self.callers[event.call] = replica
            names = list_accounts(event)
            if names:
                self.counted[event.call] = names
            return names
        if isinstance(event, Released | Settled):
            self.callers.pop(event.call, None)
            return self.counted.pop(event.call, frozenset())
        return list_accounts(event) if isinstance(event, Confirmed) else frozenset()
