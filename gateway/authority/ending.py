"""The end of leases at their brokers: tried again and again until it is proven, or until time has ended the credential."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import structs

from gateway.authority import state
from gateway.authority.model import ENDED_BY_VALUE, Lease, NotEnded, Proof
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from gateway.authority.broker import Broker
    from gateway.authority.model import Credential
    from gateway.authority.register import LeaseRegister
    from gateway.authority.store import LeaseStore
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.leases")

FIRST_PAUSE: Final = 0.2
SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts. Each pause is twice as long as the one before, with up to a quarter more or less."""
ATTEMPT: Final = 10.0
"""Seconds for one attempt."""
LONGEST_WAIT: Final = 60.0
"""Seconds of a pause that a broker asks for."""
_LOOK: Final = 0.05
"""Seconds between two looks for ends that only wait for time."""
AT_ONCE: Final = 16
"""Attempts at one broker at the same time."""
OWED: Final = 50_000
"""Entries that wait for the end of an outage of the journal: more than the open leases have."""
STARTS: Final = 32
"""Ends that start in one turn of the event loop."""


class LeaseRecord:
    """The record of leases: each change goes to the journal and to the store.

    `append` writes to the journal. With `keeps_values` the store also has the values that an issuer wants to see at the end.
    """

    def __init__(
        self, store: LeaseStore, append: Callable[[str, JsonObject], Awaitable[None]], *, keeps_values: bool = False
    ) -> None:
        self._store = store
        self._append = append
        self._owed: deque[tuple[Lease, JsonObject]] = deque(maxlen=OWED)
        self._keeps_values = keeps_values
        self._catching_up = asyncio.Lock()
        self._unsaved: dict[str, Lease] = {}

    async def request(self, lease: Lease, decision: str | None) -> None:
        """Record a request before the broker is asked. Raises `JournalError` and `StoreError`: then nobody may be asked."""
        await self._store.put(lease)
        try:
            await self._append(state.KIND, state.requested_entry(lease, decision))
        except BaseException:
            with suppress(GatewayError):
                await self._store.remove(lease.id)
            raise

    async def keep(self, lease: Lease) -> None:
        """Keep a handle that the broker prepared. Raises `StoreError`."""
        await self._store.put(lease)

    async def issue(self, lease: Lease, credential: Credential, now: float) -> None:
        """Record an issued credential. Raises `JournalError` and `StoreError`: then no call may carry it."""
        is_kept = self._keeps_values and lease.kind in ENDED_BY_VALUE
        await self._store.put(lease, credential if is_kept else None)
        await self._append(state.KIND, state.changed_entry(lease, now))

    async def note(self, lease: Lease, now: float, event: str | None = None) -> None:
        """Record a change that has happened. A failed write is logged: the end of a credential waits for no disk.

        The store keeps a lease until the journal has its end. So no crash in an outage of the journal hides an end.
        """
        if lease.is_open:
            await self._save(lease)
        noted = lease, state.changed_entry(lease, now, event)
        is_first = not self._owed
        if self._owed:
            # The entries of an outage come first: a lease's last entry tells of its present state.
            self._owed.append(noted)
            problem = await self.catch_up()
        elif (problem := await self._write(*noted)) is not None:
            self._owed.append(noted)
        if problem is not None and is_first:
            log.critical("journal.lost", kind=state.KIND, id=lease.id, problem=problem)

    async def catch_up(self) -> str | None:
        """Write the entries of an outage in their order. Return the problem of a journal that takes no more.

        Then the store gets the changes that it lacks: other gateways would take an ended token for active.
        """
        async with self._catching_up:
            while self._owed:
                noted = self._owed[0]
                if (problem := await self._write(*noted)) is not None:
                    return problem
                # A full queue forgets its first entry.
                if self._owed and self._owed[0] is noted:
                    self._owed.popleft()
            for lease in tuple(self._unsaved.values()):
                if self._unsaved.get(lease.id) is lease and not await self._save(lease):
                    break
        return None

    async def _write(self, lease: Lease, entry: JsonObject) -> str | None:
        """Write an entry, and forget a lease that has ended. Return the problem of the journal."""
        try:
            await self._append(state.KIND, entry)
        except GatewayError as error:
            return error.message
        if not lease.is_open:
            await self._save(lease)
        return None

    async def _save(self, lease: Lease) -> bool:
        """Write a change, and return whether the store has it. The log names each lease with a failure once."""
        try:
            await (self._store.put(lease) if lease.is_open else self._store.remove(lease.id))
        except GatewayError as error:
            if lease.id not in self._unsaved:
                log.error("lease.unsaved", id=lease.id, problem=error.message)  # noqa: TRY400 - the message says it all
            self._unsaved[lease.id] = lease
            return False
        self._unsaved.pop(lease.id, None)
        return True


WITHDRAW: Final = 15.0
"""Seconds in which the processes with a credential have to be gone. Then the broker is asked in any case."""


class LeaseEnder:
    """Ends leases at their brokers. `now` gives seconds since the epoch and never goes back.

    `withdraw` ends the processes that a credential was handed over to, before its broker is asked. It returns whether all are proven
    gone, `None` if there was none.
    """

    def __init__(
        self,
        register: LeaseRegister,
        brokers: Mapping[str, Broker],
        record: LeaseRecord,
        *,
        now: Callable[[], float],
        stuck_after: float,
        on_end: Callable[[Lease, float], None] = lambda _lease, _seconds: None,
        withdraw: Callable[[Lease], Awaitable[bool | None]] | None = None,
    ) -> None:
        self._register = register
        self._brokers = brokers
        self._record = record
        self._now = now
        self._stuck_after = stuck_after
        self._on_end = on_end
        self._withdraw = withdraw
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, tuple[Lease, Credential | None]] = {}
        self._starter: asyncio.Task[None] | None = None
        self._is_closing = False
        self._room: dict[str, asyncio.Semaphore] = {}
        self._idle: set[str] = set()

    def start(self, lease: Lease, credential: Credential | None) -> None:
        """Begin to end a lease in the state `ending` or `stuck`. `credential` is its value, for issuers that ask for it."""
        if lease.id in self._jobs or lease.id in self._waiting:
            return
        self._waiting[lease.id] = lease, credential
        if self._starter is None:
            self._starter = asyncio.create_task(self._start_waiting(), name="ends of leases")

    async def _start_waiting(self) -> None:
        """Start a few ends in each turn of the event loop, so that calls go on while thousands of leases end."""
        while self._waiting:
            for identifier in tuple(islice(self._waiting, STARTS)):
                lease, credential = self._waiting.pop(identifier)
                job = asyncio.create_task(self._end(lease, credential), name=f"end {identifier}")
                self._jobs[identifier] = job
                job.add_done_callback(partial(self._forget, identifier))
            await asyncio.sleep(0)
        self._starter = None

    def _forget(self, identifier: str, _job: asyncio.Task[None]) -> None:
        self._jobs.pop(identifier, None)
        self._idle.discard(identifier)

    def stop(self, identifier: str) -> None:
        """Stop to try the end of a lease that an operator abandoned."""
        self._waiting.pop(identifier, None)
        if (job := self._jobs.get(identifier)) is not None:
            job.cancel()

    def stop_waiting(self) -> None:
        """Try no longer the ends that only time brings. The next start goes on with them."""
        self._is_closing = True
        for identifier, job in self._jobs.items():
            if (lease := self._register.get(identifier)) is not None and lease.waits:
                job.cancel()

    async def settle(self, seconds: float) -> None:
        """Wait until all ends that began are over or only wait for time, at most so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while busy := self._busy():
                    await asyncio.wait(busy, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)

    def _busy(self) -> list[asyncio.Task[None]]:
        jobs = [job for identifier, job in self._jobs.items() if identifier not in self._idle]
        return [*jobs, *([] if self._starter is None else [self._starter])]

    def _running(self) -> list[asyncio.Task[None]]:
        return [*self._jobs.values(), *([] if self._starter is None else [self._starter])]

    async def aclose(self) -> None:
        """Stop all attempts. The store keeps the leases for the next start."""
        self._waiting.clear()
        jobs = self._running()
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    async def _end(self, lease: Lease, credential: Credential | None) -> None:
        try:
            await self._record.note(lease, self._now())
            lease = await self._without_processes(lease)
            pause = FIRST_PAUSE
            while True:
                lease, after = await self._try_once(lease, credential)
                if not lease.is_open or (self._is_closing and lease.waits):
                    return
                jitter = random.uniform(0.75, 1.25)  # noqa: S311 - spreads the load, and hides nothing
                await asyncio.sleep(choose_pause(pause * jitter, after, state.life_left(lease, self._now())))
                pause = min(pause * 2, LONGEST_PAUSE)
        except Exception:
            # A defect must not leave a credential alive in silence: the next sweep begins again.
            log.exception("defect", id=lease.id)

    async def _without_processes(self, lease: Lease) -> Lease:
        """Return the lease after the end of the processes that have its credential."""
        if self._withdraw is None:
            return lease
        try:
            async with asyncio.timeout(WITHDRAW):
                are_gone = await self._withdraw(lease)
        except Exception as error:
            # The credential dies at its issuer in any case.
            are_gone = False
            if not isinstance(error, TimeoutError):
                log.exception("defect", id=lease.id)
        if are_gone is None:
            return lease
        if not are_gone:
            log.error("lease.process-left", id=lease.id, upstream=lease.upstream)
        withdrawn = structs.replace(lease, processes="absent" if are_gone else "left")
        self._register.put(withdrawn)
        await self._record.note(withdrawn, self._now(), "withdrawn")
        return withdrawn

    async def _try_once(self, lease: Lease, credential: Credential | None) -> tuple[Lease, float]:
        """Return the lease after one attempt at its broker, and the seconds that the broker asks to wait."""
        result = await self._ask(lease, credential)
        now = self._now()
        if isinstance(result, NotEnded) and state.life_left(lease, now) <= 0:
            lease = state.lapse(lease, Proof("time", now, result.problem))
        elif isinstance(result, NotEnded):
            if result.waits:
                self._idle.add(lease.id)
            return await self._note_attempt(lease, result, now), result.after
        else:
            lease = state.prove(lease, result)
        self._register.remove(lease.id)
        self._on_end(lease, now - (lease.ending_since or now))
        await self._record.note(lease, now)
        return lease, 0.0

    async def _note_attempt(self, lease: Lease, result: NotEnded, now: float) -> Lease:
        tried = state.note_attempt(lease, result, now, self._stuck_after)
        self._register.put(tried)
        if tried.state == "stuck" and lease.state != "stuck":
            log.error("lease.stuck", id=lease.id, broker=lease.broker, upstream=lease.upstream, problem=tried.problem)
            await self._record.note(tried, now)
        return tried

    async def _ask(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        broker = self._brokers.get(lease.broker)
        if broker is None:
            return NotEnded(f"no broker of the name {lease.broker} is configured")
        room = self._room.setdefault(lease.broker, asyncio.Semaphore(AT_ONCE))
        try:
            async with room, asyncio.timeout(ATTEMPT):
                return await broker.end(lease, credential)
        except TimeoutError:
            return NotEnded(f"the broker {lease.broker} did not answer within {ATTEMPT:g} s")
        except Exception:
            log.exception("defect", broker=lease.broker)
            return NotEnded(f"the broker {lease.broker} failed; the log has the defect")


def choose_pause(pause: float, after: float, left: float) -> float:
    """Return the seconds before the next attempt.

    `pause` is the gateway's own, `after` that of the broker, and `left` the rest of the credential's life.
    """
    return max(min(max(pause, min(after, LONGEST_WAIT)), left), SHORTEST_PAUSE)
