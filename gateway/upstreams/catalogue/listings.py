"""The gateway's own listings of upstreams: at the start, at intervals, and after an announced or seen change."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from gateway.base.concurrency.background import Job
from gateway.model.errors import GatewayError, UpstreamError, UpstreamStarting, UpstreamTimeout, UpstreamUnreachable
from gateway.upstreams.catalogue import lister
from gateway.upstreams.catalogue.lister import PinnedResources

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gateway.base.concurrency.worker_thread import WorkerThread
    from gateway.config import CatalogueSettings
    from gateway.model.wire import UpstreamTransport
    from gateway.upstreams.catalogue.ledger import CatalogueLedger
    from gateway.upstreams.catalogue.overlaps import Overlap

log = structlog.get_logger("gateway.upstream")

_BACK_OFF: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds between attempts at an upstream that could not be listed."""
_PATIENCE_SECONDS: Final = 10.0
"""How long a call waits for a first listing before its caller is told that the upstream is starting."""
_PAUSE_SECONDS: Final = 10.0
"""Seconds between two listings that an upstream caused, by an announcement or by a new item in a client's list."""


@dataclass(slots=True)
class ListingState:
    """The state of an upstream's listing. `retry_at` is the earliest time for a call to cause an attempt. `pinned`
    counts new pins of the upstream. `is_slow`: the last attempt took too long. `is_down`: it found no upstream. After an announcement, the next listing is at `relist_at` at the earliest."""

    revision: str | None = None
    refreshed: float | None = None
    error: str | None = None
    is_slow: bool = False
    is_down: bool = False
    unlisted: str | None = None
    announces: frozenset[str] = frozenset()
    failures: int = 0
    retry_at: float = 0.0
    pinned: int = 0
    relist_at: float = 0.0
    attempt: Job | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class UpstreamListings:
    """The listings of all upstreams, for use from one event loop. `after` runs after each listing, with its upstream."""

    def __init__(
        self,
        settings: CatalogueSettings,
        transports: Mapping[str, UpstreamTransport],
        ledger: CatalogueLedger,
        worker: WorkerThread,
        *,
        clock: Callable[[], float],
        now: Callable[[], str],
        after: Callable[[str], Awaitable[None]],
        is_pinned: Callable[[str, str], bool],
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self.states = {name: ListingState() for name in ledger.definitions}
        self._interval = settings.refresh.total_seconds()
        self._transports = transports
        self._ledger = ledger
        self._worker = worker
        self._clock = clock
        self._now = now
        self._after = after
        self._is_pinned = is_pinned
        self._overlap_log = OverlapLog()
        self._patience = patience
        self._jobs: dict[str, Job] = {}

    def start(self) -> None:
        """Keep listing in the background until `stop`."""
        for name in self._transports:
            if name not in self._jobs:
                self._jobs[name] = Job.begin_repeating(partial(self._keep, name), f"listing of {name}")

    async def stop(self) -> None:
        """End the background work, also attempts under way."""
        await self._stop(tuple(self.states))

    async def adopt(self, transports: Mapping[str, UpstreamTransport], changed: Iterable[str]) -> None:
        """List by these ways from now on, and `changed` upstreams again at once. An upstream without a way is listed no more."""
        self._transports = transports
        for name in transports:
            self.states.setdefault(name, ListingState())
        self.start()
        for name in changed:
            self.expect_pins(name)
        await self._stop([name for name in self.states if name not in transports])

    async def _stop(self, upstreams: Iterable[str]) -> None:
        jobs = [job for name in upstreams if (job := self._jobs.pop(name, None)) is not None]
        await asyncio.gather(*(job.stop() for job in jobs))
        states = [self.states[name] for name in upstreams]
        await asyncio.gather(*(state.attempt.stop() for state in states if state.attempt is not None))
        for state in states:
            state.attempt, state.failures = None, 0

    async def refresh(self, upstream: str | None = None) -> None:
        """List one upstream, or all, now. Failures are in the states."""
        names = list(self.states) if upstream is None else [upstream]
        await asyncio.gather(*(self._attempt(name).wait() for name in names))

    async def ensure(self, upstream: str) -> None:
        """Have the upstream listed at least once, if possible. Callers at the same time share a listing, and wait for some
        seconds."""
        state = self.states[upstream]
        if upstream not in self._transports:
            return
        if not self._ledger.is_listed(upstream) and (state.attempt is not None or self._clock() >= state.retry_at):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._attempt(upstream).wait()

    def explain(self, upstream: str) -> UpstreamError:
        """Return why an upstream is not listed."""
        state = self.states[upstream]
        if state.attempt is not None or state.is_slow or state.error is None:
            return UpstreamStarting(f"upstream {upstream} has not listed its tools yet", "try again in some seconds")
        return UpstreamUnreachable(state.error, "try again; if it goes on, have the operator look at the upstream")

    def retry(self) -> None:
        """List each upstream without a listing again."""
        for name, state in self.states.items():
            if state.failures:
                self._attempt(name)

    def relist(self, upstream: str) -> None:
        """List the upstream again, after an announced change or a new item."""
        self.states[upstream].wake.set()

    def expect_pins(self, upstream: str) -> None:
        """List the upstream again, at once: its pins are others than before, and listings under way may be older."""
        state = self.states[upstream]
        state.pinned += 1
        state.relist_at = 0.0
        self.relist(upstream)

    def _attempt(self, name: str) -> Job:
        state = self.states[name]
        if state.attempt is None:
            state.attempt = Job(partial(self._list, name, state), f"attempt to list {name}")
        return state.attempt

    async def _list(self, name: str, state: ListingState) -> None:
        try:
            found = await self._take_inventory(name, state)
        except GatewayError as error:
            state.error, state.is_slow = error.message, isinstance(error, UpstreamTimeout)
            state.is_down = isinstance(error, UpstreamUnreachable)
            state.failures += 1
            state.retry_at = self._clock() + _BACK_OFF[0]
        else:
            state.error, state.unlisted, state.announces = None, found.unlisted, found.announces
            state.is_slow = state.is_down = False
            state.failures = 0 if found.unlisted is None else state.failures + 1
            state.revision, state.refreshed = found.revision, self._clock()
            await self._note(name, found)
            await self._after(name)
        finally:
            state.attempt = None

    async def _note(self, name: str, found: lister.Inventory) -> None:
        """Hand the lists to the ledger. Tools come last: they make the upstream count as listed."""
        note = partial(self._ledger.note, name, at=self._now(), complete=True, own=True)
        await note("instructions", found.instructions)
        if found.unlisted is None:
            await note("prompt", found.prompts)
        if found.resources is not None:
            await note("resource", found.resources)
        await note("tool", found.tools)
        overlaps = self._ledger.definitions[name]["tool"].overlaps
        self._overlap_log.tell(name, await self._worker.run(sum(map(len, found.tools)), overlaps))

    async def _take_inventory(self, name: str, state: ListingState) -> lister.Inventory:
        """Return a listing younger than the pins for its comparison."""
        while True:
            pinned = state.pinned
            known = self._ledger.definitions[name]["resource"]
            pinned_resources = PinnedResources(partial(self._is_pinned, name), (*known.pinned(), *known.passing))
            found = await lister.inventory(
                name,
                self._transports[name],
                worker=self._worker,
                pinned=pinned_resources,
                # After a failure the server is asked in both ways again: it may have become an older one.
                known=None if state.failures else state.revision,
            )
            if state.pinned == pinned:
                return found

    async def _keep(self, name: str) -> None:
        """List an upstream when its time has come, or after an announced change."""
        state, loop = self.states[name], asyncio.get_running_loop()
        interval = self._interval
        if state.failures:
            interval = min(interval, _BACK_OFF[min(state.failures, len(_BACK_OFF)) - 1])
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await state.wake.wait()
                await asyncio.sleep(state.relist_at - loop.time())
        state.wake.clear()
        state.relist_at = loop.time() + _PAUSE_SECONDS
        await self._attempt(name).wait()


class OverlapLog:
    """The pairs of patterns logged since the gateway's start."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    def tell(self, upstream: str, overlaps: Iterable[Overlap]) -> None:
        """Log the new overlaps of an upstream."""
        for overlap in overlaps:
            pair = (overlap.place, overlap.earlier, overlap.later)
            if pair not in self._told:
                self._told.add(pair)
                log.warning("catalogue.labels-overlap", upstream=upstream, problem=overlap.sentence)
