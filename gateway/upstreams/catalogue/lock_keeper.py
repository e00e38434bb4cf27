"""The keeper of the lock file in a running process: pins of first use go in, pins of people come out."""

from __future__ import annotations

import asyncio
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from gateway.base.concurrency.background import Job, Pause, in_thread
from gateway.model.errors import ConfigurationError, StoreError
from gateway.upstreams.catalogue import lockfile

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence
    from pathlib import Path

    from gateway.upstreams.catalogue.first_use import FirstPins
    from gateway.upstreams.catalogue.ledger import CatalogueLedger
    from gateway.upstreams.catalogue.pins import Lock, Pinned, Subject

log = structlog.get_logger("gateway.upstream")

_LOCK_POLL_SECONDS: Final = 2.0
"""Seconds between looks at the lock file: a pin made by `opagate catalogue pin` takes effect in a running gateway."""
_STALE: Final = (-1, -1, -1)
"""The signature of no file."""

ClearedNames: TypeAlias = "Mapping[tuple[str, Subject], Iterable[str]]"
_FreshPins: TypeAlias = "tuple[str, Subject, Mapping[str, Pinned]]"
_NONE: Final[ClearedNames] = MappingProxyType({})


class LockKeeper:
    """The keeper of one lock file. Raises `ConfigurationError` for an unreadable file. `on_adopted` is called for each
    upstream with other pins than before. `first` has the pins of first use of all gateways."""

    def __init__(
        self,
        path: Path,
        ledger: CatalogueLedger,
        on_adopted: Callable[[str], None],
        first: FirstPins | None = None,
    ) -> None:
        self._first = first
        self._has_published = False
        self.problem: str | None = None
        self._path = path
        self._ledger = ledger
        self._on_adopted = on_adopted
        self._on_pinned: Callable[[], object] = lambda: None
        self._writing = asyncio.Lock()
        self._job: Job | None = None
        self._pause = Pause()
        self._signature: tuple[int, int, int] | None = lockfile.signature_of(path)
        ledger.begin_with(lockfile.load(path))
        self._found = self._signature is not None
        """Whether there was a lock file. One that goes away does not take its pins with it."""

    def start(self) -> None:
        """Follow the file until `stop`."""
        self._job = Job.begin_repeating(self._follow, "catalogue lock")

    def look_now(self) -> None:
        """Look at the file at once, in the place of waiting for the next look."""
        self._pause.end()

    async def stop(self) -> None:
        """End the following; the last pins of first use stay for `flush`."""
        if self._job is not None:
            await self._job.stop()

    def on_pinned(self, told: Callable[[], object]) -> None:
        """Have `told` called whenever somebody has pinned other definitions than before."""
        self._on_pinned = told

    async def flush(self) -> None:
        """Write first-use pins into the lock file. A pin in the file, or of another gateway, is never replaced."""
        async with self._writing:
            await self._publish()
            fresh: list[_FreshPins] = [
                (name, subject, definitions.fresh) for name, subject, definitions in self._ledger if definitions.fresh
            ]
            if not fresh:
                return
            try:
                await self._amend(partial(_add_first, await self._agree(fresh)))
            except (ConfigurationError, StoreError) as error:
                self._tell_unusable(error.message)

    async def begin_with(self, upstreams: Container[str]) -> None:
        """Put the pins of the file into force for new upstreams. Raises `ConfigurationError` for a file that is gone, or unreadable."""
        async with self._writing:
            lock = await in_thread(partial(lockfile.load, self._path))
            if self._found and await in_thread(partial(lockfile.signature_of, self._path)) is None:
                raise lockfile.gone(self._path)
            self._ledger.begin_with(lock, upstreams)
            self._has_published = False

    async def reload(self) -> None:
        """Read a changed lock file again. A missing or unreadable file leaves the pins unchanged."""
        async with self._writing:
            signature = await in_thread(partial(lockfile.signature_of, self._path))
            if signature is None and self._found:
                self._signature = _STALE
                self._tell_unusable(lockfile.gone(self._path).message)
                return
            if signature == self._signature:
                return
            try:
                lock = await in_thread(partial(lockfile.load, self._path))
            except ConfigurationError as error:
                self._tell_unusable(error.message)
                return
            await self._tell_others(lock)
            await self._adopt(lock)
            self._signature, self.problem, self._found = signature, None, signature is not None

    async def pin(self, change: Callable[[Lock], Lock], cleared: ClearedNames) -> None:
        """Write a person's pins, and put them into force. Raises `ConfigurationError`."""
        async with self._writing:
            await self._amend(change, cleared, by_person=True)

    async def _follow(self) -> None:
        await self._pause.rest(_LOCK_POLL_SECONDS)
        await self.flush()
        await self.reload()

    async def _agree(self, fresh: Sequence[_FreshPins]) -> Sequence[_FreshPins]:
        """Return the pins of first use as all gateways have them. Raises `StoreError`."""
        if self._first is None:
            return fresh
        return [(name, subject, await self._first.agree(name, subject, pinned)) for name, subject, pinned in fresh]

    async def _publish(self) -> None:
        """Tell other gateways of the pins in the file of a start, before they meet the definitions. A failed attempt is made again."""
        if self._first is None or self._has_published:
            return
        try:
            for name, subject, definitions in self._ledger:
                await self._first.publish(name, subject, definitions.pins)
        except StoreError as error:
            log.warning("catalogue.pins-untold", problem=error.message)
            return
        self._has_published = True

    async def _tell_others(self, lock: Lock) -> None:
        """Tell other gateways of the pins that a person has changed."""
        if self._first is None:
            return
        try:
            for name, subject, definitions in self._ledger:
                before = {**definitions.fresh, **definitions.pins}
                await self._first.replace(name, subject, before, {**definitions.fresh, **lock.of(name, subject)})
        except StoreError as error:
            log.warning("catalogue.pins-untold", problem=error.message)

    async def _amend(
        self, change: Callable[[Lock], Lock], cleared: ClearedNames = _NONE, *, by_person: bool = False
    ) -> None:
        lock = await in_thread(partial(lockfile.amend, self._path, change, existing=self._found))
        # Another process may have written since: the next look at the file must read it.
        self._signature, self.problem, self._found = _STALE, None, True
        if by_person:
            await self._tell_others(lock)
        await self._adopt(lock, cleared)

    async def _adopt(self, lock: Lock, cleared: ClearedNames = _NONE) -> None:
        others = False
        for name, subject, _ in self._ledger:
            if await self._ledger.adopt(name, subject, lock.of(name, subject), cleared.get((name, subject), ())):
                self._on_adopted(name)
                others = True
        if others:
            self._on_pinned()

    def _tell_unusable(self, problem: str) -> None:
        """Log the problem once, until the file is usable or the problem changes. Unwritten pins of first use are gone
        with the process, and the next process trusts the first definition seen."""
        if problem != self.problem:
            self.problem = problem
            log.error("catalogue.lock-unusable", problem=problem)


def _add_first(fresh: Iterable[_FreshPins], lock: Lock) -> Lock:
    """Return the lock with pins of first use, each where it has none."""
    for upstream, subject, pinned in fresh:
        for name, pin in pinned.items():
            if name not in lock.of(upstream, subject):
                lock = lock.pinned(upstream, subject, [pin.definition], pin.at)
    return lock
