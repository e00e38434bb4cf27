"""The history of many gateways: one log for each owner of a job, in a store that the gateways share.

The log has every event of every task of its owner, in one order. A gateway folds it, and names the version that it knows
with each append. So a call is decided on exactly the state before its reservation. If another gateway was first, the log is
folded anew. An event that depends on the state is then made again, and any other keeps its content and gets a later place.

All that waits for one owner is one append, and the store carries out the appends of all owners together. An entry that no
caller waits for goes with the next one. A log that cannot be reached refuses its owner's calls, and is read before the next
one. What happened to a forwarded call waits for the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from itertools import count, islice
from typing import TYPE_CHECKING, Final

import structlog

from gateway.base.store.engine import Append, Log, require_seen
from gateway.history.events import Exposed, Reading, Released, Reserved, Settled, TaskEnded
from gateway.history.new_events import lost_result
from gateway.history.shared_accounts import SharedAccounts, list_accounts
from gateway.history.shared_forms import (
    SNAPSHOTS,
    Entry,
    Sealing,
    Written,
    begin_task,
    describe_begin,
    make_error,
    make_snapshot,
    read_tasks,
)
from gateway.history.shared_owner import OwnerLog, Waiting
from gateway.history.shared_reading import NAME, SNAPSHOT_AFTER, LogReader
from gateway.history.states import MAX_WEIGHT
from gateway.history.task_history import TaskHistory
from gateway.model.errors import HistoryError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from gateway.base.store.records import SealedStore
    from gateway.history.building import History
    from gateway.history.declared.marks import AccountReading
    from gateway.history.declared.tables import Tables
    from gateway.history.events import Event
    from gateway.model.facts import DeclaredFacts
    from gateway.model.task import TaskEnd

log = structlog.get_logger("gateway.history")

_AT_ONCE: Final = 256
"""Entries in one append."""
_BASE_AFTER: Final = 16
"""Events that a gateway in a race may fold again. With more of them it keeps the tasks in memory, too."""
_RETRY: Final = 0.25
"""Seconds until entries without a caller that waits are tried again."""
_LATER: Final = 0.01
"""Seconds until entries that no caller waits for are written alone."""
_LOOK_AGAIN: Final = 0.004
"""Seconds between two looks for this gateway's turn."""
_OWNERS: Final = 10_000
"""Owners that are kept, also without tasks."""
_DEPENDING: Final = (Reserved, Reading, Exposed)
"""Events that are made from the state before them. A begin of a task is one more."""


class SharedLog:
    """The logs of all owners in a shared store. `replica` names this gateway, and `key` makes the digests of owners.

    `attach` comes before the first event. `clock` gives seconds since the epoch, and `deadline` is the time in seconds that a
    call waits for the log. `list_living` names the gateways that have not ended: the open calls of any other are lost.
    """

    is_shared = True

    def __init__(
        self,
        store: SealedStore,
        key: bytes,
        replica: str,
        *,
        clock: Callable[[], float],
        deadline: float,
        list_living: Callable[[], Awaitable[frozenset[str]]],
    ) -> None:
        self._deadline = deadline
        self._clock = clock
        self._list_living = list_living
        self._store = store
        self._snapshots = store.of(SNAPSHOTS)
        self._sealing = Sealing(store, key)
        self._reader = LogReader(store, self._sealing)
        self.accounts = SharedAccounts(store, self._sealing, replica)
        self._replica = replica
        self._numbers = count(1)
        self._owners: dict[str, OwnerLog] = {}
        self._room = _OWNERS
        self._later: list[OwnerLog] = []
        """Owners with entries that are written later."""

    def attach(self, history: History) -> None:
        """Fold the events of other gateways into this history."""
        self._tasks, self._ledger, self._states = history.tasks, history.ledger, history.states
        history.tasks.subscribe(self._doubt)

    def note(self, kept: TaskHistory, event: Event | None, used: float | None, /) -> None:
        """Take in a folded event, or the begin of a task for `None`. `used` is the time at which the event used the task."""
        owner = self._owner(kept.job)
        begun = None if kept.task.id in owner.known else describe_begin(kept, self._states)
        owner.known.add(kept.task.id)
        entry = Entry(next(self._numbers), kept.task.id, used, event, begun)
        accounts = owner.follow_call(entry, self._replica)
        self._queue(owner, Waiting(entry, event is None or isinstance(event, _DEPENDING), accounts))

    def has_begun(self, owner: str, task_id: str, /) -> bool:
        """Return whether the log has the begin of a kept task."""
        return task_id in self._owner(owner).begun

    def shed(self, max_weight: int = MAX_WEIGHT) -> None:
        """Let the tasks of the longest unused callers leave memory, down to a weight of all tasks.

        A caller with an open call or a waiting entry stays.
        """
        self.accounts.sweep(self._clock())
        held = {owner.key: self._list_tasks(owner) for owner in self._owners.values()}
        left = sum(kept.weight for tasks in held.values() for kept in tasks)
        for key, tasks in sorted(held.items(), key=lambda item: max((kept.used for kept in item[1]), default=0.0)):
            owner = self._owners[key]
            if left <= max_weight:
                return
            if owner.waiting or owner.writer is not None or self._replica in owner.callers.values():
                continue
            left -= sum(kept.weight for kept in tasks)
            for kept in tasks:
                self._tasks.remove(kept)
            self._states.jobs.drop(key)
            del self._owners[key]

    async def catch_up(self, owner: str, /) -> None:
        """Fold the events of other gateways up to now. Raises `HistoryError`."""
        known = self._owner(owner)
        if await self._is_current(known) and self._owners.get(owner) is known:
            return
        known = self._owner(owner)
        self._queue(known, Waiting(None, depends=True))
        self._begin_writing(known)
        await self._wait(known)

    def expect_facts(self, reading: AccountReading, /) -> None:
        """Take the declared facts of a call from the accounts at the place of its reservation."""
        self.accounts.expect(reading)

    async def read_facts(self, reading: AccountReading, /) -> DeclaredFacts:
        """Return these facts. Raises `HistoryError`."""
        return await self.accounts.read(reading)

    async def read_tables(self, account: str, /) -> Tables | None:
        """Return the facts of an account up to now. Raises `HistoryError`."""
        return await self.accounts.read_tables(account)

    async def confirm(self, owner: str, /) -> bool:
        """Wait until the log has the latest event of an owner, and return whether it does. Raises `HistoryError`."""
        known = self._owners.get(owner)
        if known is None or not known.waiting:
            return True
        self._begin_writing(known)
        return await self._wait(known)

    async def has_reserved(self, owner: str, call: str) -> bool:
        """Return whether the log of an owner has the reservation of a call. Raises `StoreError` and `HistoryError`."""
        return await self._reader.has_reserved(owner, call)

    async def close_lost_calls(self) -> None:
        """Close the open calls of gateways that have ended, also in accounts. Raises `StoreError` and `HistoryError`."""
        has_others = any(set(owner.callers.values()) - {self._replica} for owner in self._owners.values())
        if not has_others and not self.accounts.has_calls_elsewhere():
            return
        living = await self._list_living()
        for owner in self._owners.values():
            if not living.issuperset(owner.callers.values()):
                owner.is_cold = True
                self._queue(owner, Waiting(None, depends=True))
                self._begin_writing(owner)
        await self.accounts.close_lost_calls(living)

    async def close(self) -> None:
        """Write down what waits, for as long as one call would wait, and let go of the rest."""
        self._write_later()
        writers = [owner.writer for owner in self._owners.values() if owner.writer is not None]
        if writers:
            _, late = await asyncio.wait(writers, timeout=self._deadline)
            for writer in late:
                writer.cancel()
            if late:
                await asyncio.wait(late)
                log.error("history.unwritten", owners=len(late))

    # --- the queue of an owner -------------------------------------------------------------------------

    def _owner(self, key: str) -> OwnerLog:
        known = self._owners.get(key)
        if known is None:
            if len(self._owners) >= self._room:
                self._prune()
            known = self._owners[key] = OwnerLog(key, Log(self._sealing.digest(key), NAME))
        return known

    def _queue(self, owner: OwnerLog, waiting: Waiting) -> None:
        owner.waiting.append(waiting)
        if owner.writer is not None:
            owner.woken.set()
        elif len(owner.waiting) == 1:
            if not self._later:
                asyncio.get_running_loop().call_later(_LATER, self._write_later)
            self._later.append(owner)

    def _write_later(self) -> None:
        """Write the entries that no caller waits for."""
        owners, self._later = self._later, []
        for owner in owners:
            if owner.waiting:
                self._begin_writing(owner)

    def _begin_writing(self, owner: OwnerLog) -> None:
        owner.woken.set()
        if owner.writer is None:
            owner.writer = asyncio.create_task(self._write(owner), name="shared history")

    async def _is_current(self, owner: OwnerLog) -> bool:
        """Return whether this gateway knows the whole log. Raises `HistoryError`."""
        if owner.is_cold:
            return False
        seen = owner.version
        try:
            version = await self._store.engine.find_version(owner.log)
            require_seen(owner.log, version, seen)
        except StoreError as error:
            raise make_error(error.message) from error
        # Meanwhile this gateway may have appended more.
        return not owner.is_cold and version <= owner.version

    async def _wait(self, owner: OwnerLog) -> bool:
        waiting = owner.waiting[-1]
        late = make_error(f"no answer within {self._deadline * 1000:.0f} ms")
        # No `asyncio.timeout`: a decision goes on in another task (`run_for_result`).
        timer = asyncio.get_running_loop().call_later(self._deadline, waiting.fail, late)
        try:
            return await asyncio.shield(waiting.done)
        finally:
            timer.cancel()

    def _prune(self) -> None:
        """Forget owners without tasks here. The log of such an owner is read again when it comes back."""
        for owner in tuple(self._owners.values()):
            if owner.writer is None and not owner.waiting and not self._list_tasks(owner):
                self._states.jobs.drop(owner.key)
                del self._owners[owner.key]
        self._room = max(_OWNERS, 2 * len(self._owners))

    def _doubt(self, task_id: str, how: TaskEnd) -> None:
        """Read the log again after a task has ended here by its time: another gateway may have used the task meanwhile."""
        if how != "expired":
            return
        for owner in self._owners.values():
            owner.is_cold = owner.is_cold or task_id in owner.known

    async def _write(self, owner: OwnerLog) -> None:
        """Append all that waits."""
        try:
            while owner.waiting or owner.is_in_line:
                await self._write_next(owner)
        finally:
            owner.writer = None

    async def _write_next(self, owner: OwnerLog) -> None:
        owner.woken.clear()
        try:
            if owner.is_cold:
                # The turn of another gateway ends without an event here.
                while owner.is_in_line and not await self._store.engine.has_turn(owner.log):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_AGAIN)
                await self._load(owner)
            elif not owner.waiting:
                await self._give_turn_back(owner)
            elif all(waiting.entry is None for waiting in owner.waiting):
                await self._look(owner)
            else:
                owner.is_in_line = not await self._append(owner)
        except (StoreError, HistoryError) as error:
            self._fail(owner, error)
            # No `asyncio.wait_for`: in Python 3.11 it forgets a cancellation that comes with an event, and a stop then waits forever.
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY):
                    await owner.woken.wait()

    def _fail(self, owner: OwnerLog, error: StoreError | HistoryError) -> None:
        """Refuse all that waits. Events that no longer depend on a decision stay, and the log is read first."""
        owner.is_cold, owner.is_in_line = True, False
        for waiting in owner.waiting:
            waiting.fail(make_error(error.message))
        owner.waiting = deque(waiting for waiting in owner.waiting if not waiting.depends)

    async def _give_turn_back(self, owner: OwnerLog) -> None:
        """Wait for the calls that are made again, and leave the log to others if none is. Raises `StoreError`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LATER):
                await owner.woken.wait()
        if not owner.waiting:
            await self._store.engine.append(Append({owner.log: owner.version}, []))
            owner.is_in_line = False

    async def _look(self, owner: OwnerLog) -> None:
        """Fold later events for callers that wait for these alone. Raises `StoreError`."""
        batch = list(owner.waiting)
        later = await self._store.engine.read_log(owner.log, owner.version)
        if later:
            self._take_missing(owner, batch, later)
        else:
            owner.settle(batch)

    async def _append(self, owner: OwnerLog) -> bool:
        """Append the next entries, and return whether this gateway knew the whole log. Raises `StoreError`."""
        batch = list(islice(owner.waiting, _AT_ONCE))
        entries = [each.entry for each in batch if each.entry is not None]
        sealed = self._sealing.seal_entries(owner.log.owner, self._replica, entries)
        beside = [
            event
            for each in batch
            if each.entry is not None and each.accounts
            for event in self.accounts.seal_event(each.entry.event, each.accounts)
        ]
        ends = frozenset(account for account, _ in beside)
        append = Append({owner.log: owner.version}, [(owner.log, sealed), *beside], ends)
        missing = await self._store.engine.append(append)
        if missing:
            self._take_missing(owner, batch, missing[owner.log])
            return False
        owner.version += 1
        owner.settle(batch)
        await self._write_snapshot(owner)
        return True

    # --- the events of other gateways ------------------------------------------------------------------

    def _take_missing(self, owner: OwnerLog, batch: Sequence[Waiting], missing: Sequence[bytes]) -> None:
        """Fold the events of other gateways, if no event of this one was folded before its place. Else the log is read."""
        if owner.is_cold or any(waiting.entry is not None for waiting in owner.waiting):
            owner.is_cold = True
            return
        before = self._list_open(owner)
        owner.is_cold = not self._fold_entries(
            owner, [self._sealing.open_entries(owner.log.owner, sealed) for sealed in missing]
        )
        if not owner.is_cold:
            owner.version += len(missing)
            owner.begun = set(owner.known)
            owner.settle(batch)
        self._tell_ends(before)

    async def _load(self, owner: OwnerLog) -> None:
        """Read the log of an owner, and put its state in the place of the present one. Raises `StoreError` and `HistoryError`."""
        looks = list(owner.waiting)
        snapshot, later, version = await self._reader.read(owner)
        tasks = [] if snapshot is None else read_tasks(snapshot)
        living = await self._list_living()
        # Nothing waits from here on: the state becomes that of the log, and then has what waits for the log.
        before = self._list_open(owner)
        for kept in self._list_tasks(owner):
            self._tasks.remove(kept)
        self._states.jobs.replace(owner.key, None if snapshot is None else snapshot.job)
        owner.callers = {} if snapshot is None else dict(snapshot.callers)
        owner.counted = {
            call: names
            for kept in tasks
            for call, event in self._states.load(kept).open.items()
            if (names := list_accounts(event))
        }
        owner.known = {kept.task.id for kept in tasks}
        for kept in sorted(tasks, key=lambda kept: kept.used):
            self._tasks.admit(kept)
        self._fold_entries(owner, later)
        owner.note_snapshot(snapshot)
        if owner.is_in_line and len(later) > _BASE_AFTER:
            owner.base = make_snapshot(owner.key, version, self._list_tasks(owner), self._states, owner.callers)
        self._forget_past(owner, self._clock())
        owner.begun = set(owner.known)
        owner.version, owner.is_cold = version, False
        written = {entry.number for each in later if each.replica == self._replica for entry in each.entries}
        self._fold_waiting(owner, looks, written)
        self._close_lost_calls(owner, living)
        self._tell_ends(before)

    def _list_tasks(self, owner: OwnerLog) -> list[TaskHistory]:
        return [kept for task in owner.known if (kept := self._tasks.find(task)) is not None]

    def _list_open(self, owner: OwnerLog) -> list[str]:
        return [kept.task.id for kept in self._list_tasks(owner) if kept.ended is None]

    def _forget_past(self, owner: OwnerLog, now: float) -> None:
        """Take tasks out of memory whose time is over."""
        for kept in self._list_tasks(owner):
            if self._tasks.is_over(kept, now):
                self._tasks.remove(kept)
                owner.known.discard(kept.task.id)

    def _fold_entries(self, owner: OwnerLog, later: Iterable[Written]) -> bool:
        """Fold entries of the log, each after the tasks whose time was over by then. Return whether all tasks were known."""
        are_known = True
        for written in later:
            for entry in written.entries:
                if entry.used is not None:
                    self._forget_past(owner, entry.used)
                are_known = self._fold(owner, entry, written.replica) and are_known
        return are_known

    def _fold(self, owner: OwnerLog, entry: Entry, replica: str) -> bool:
        """Fold an entry of the log. Return whether its task is known."""
        kept = self._tasks.find(entry.task)
        if kept is None:
            if entry.begun is None:
                return False
            begun = entry.begun
            used = begun.task.opened if entry.used is None else entry.used
            kept = begin_task(begun, owner.key, used)
            self._tasks.admit(kept)
        owner.known.add(entry.task)
        event = entry.event
        if event is not None:
            # An event that does not fit the state here fits at no gateway.
            with suppress(ValueError):
                self._ledger.fold(kept, event, entry.used)
                owner.follow_call(entry, replica)
        elif entry.used is not None:
            self._tasks.use(kept, entry.used)
        if isinstance(event, TaskEnded):
            kept.ended = event.how
        elif isinstance(event, Released) and event.denied:
            asyncio.get_running_loop().call_soon(self._ledger.on_denied, entry.task, event.codes)  # after the fold
        return True

    def _fold_waiting(self, owner: OwnerLog, looks: Iterable[Waiting], written: set[int]) -> None:
        """Fold the waiting entries after the log. An event from another state is taken back."""
        began = set(map(id, looks))
        left = deque[Waiting]()
        for waiting in owner.waiting:
            entry = waiting.entry
            if entry is None:
                if id(waiting) in began:
                    waiting.settle(is_kept=True)
                else:
                    left.append(waiting)
            elif entry.number in written:
                waiting.settle(is_kept=True)
            elif waiting.depends:
                waiting.settle(is_kept=False)
            elif self._fold(owner, entry, self._replica):
                left.append(waiting)
            else:
                waiting.settle(is_kept=False)
        owner.waiting = left

    def _close_lost_calls(self, owner: OwnerLog, living: Collection[str]) -> None:
        """Close the open calls of gateways that have ended. Their results count as read, and as anything.

        This gateway goes on with its own calls, also while its claim waits for a renewal after an outage.
        """
        lost = {call for call, replica in owner.callers.items() if replica not in {*living, self._replica}}
        for kept in self._list_tasks(owner) if lost else ():
            for call in lost.intersection(self._states.load(kept).open):
                self._ledger.append(kept, lost_result(self._states.load(kept), call))
                self._ledger.append(kept, Settled(call, "unknown"))

    def _tell_ends(self, before: Iterable[str]) -> None:
        """Tell of tasks that were open here, and are over in the log."""
        for task in before:
            kept = self._tasks.find(task)
            if kept is None or kept.ended is not None:
                self._tasks.tell_end(task, "expired" if kept is None or kept.ended is None else kept.ended)

    # --- snapshots -------------------------------------------------------------------------------------

    async def _write_snapshot(self, owner: OwnerLog) -> None:
        """Write the tasks of an owner down now and then, so that no gateway has to read a long log."""
        if owner.version - owner.snapshot < SNAPSHOT_AFTER:
            return
        if owner.waiting:
            # States with events that are not in the log yet are none of the log.
            owner.is_cold = owner.version - owner.snapshot > 4 * SNAPSHOT_AFTER
            return
        owner.snapshot = owner.version
        snapshot = make_snapshot(owner.key, owner.version, self._list_tasks(owner), self._states, owner.callers)
        try:
            await self._snapshots.put(owner.log.owner.hex(), snapshot)
        except StoreError as error:
            log.warning("history.snapshot-failed", problem=error.message)
