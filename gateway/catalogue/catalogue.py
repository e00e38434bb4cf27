"""The catalogue: every tool and prompt of every upstream with labels and the state of its pin, and pins of
instructions. `target` is on the way of every call, and only looks up. Two sources fill the catalogue: the gateway's own
listings, and each passing list of tools or prompts (`observe`). A definition that differs from its pin takes effect at
once. The difference stays in effect until a person pins again, or the gateway restarts. Restoring the old definition
does not help, since some model has seen the other definition. Differing instructions are shown to no client, so each
answer with instructions is judged by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import structlog

from gateway.background import Job, in_thread
from gateway.catalogue import lister as listing
from gateway.catalogue import lockfile, pins
from gateway.catalogue.definitions import MAX_KNOWN, Definitions, resource_of
from gateway.catalogue.labels import highest, labels_of_resource
from gateway.catalogue.overlap_log import OverlapLog
from gateway.catalogue.pins import SUBJECTS
from gateway.errors import ConfigurationError, GatewayError
from gateway.model.target import Effect, Labels, Pin, Sensitivity, Target, TargetCredential
from gateway.worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.catalogue.pins import Definition, Lock, PinChange, Pinned, Subject
    from gateway.config import CatalogueSettings, Upstream
    from gateway.model.wire import UpstreamTransport

TargetType: TypeAlias = Literal["tool", "resource", "prompt"]
Given = TypeVar("Given")

log = structlog.get_logger("gateway.upstream")

_START_SECONDS: Final = 10.0
"""How long `start` waits for first listings. An upstream that is later than that is listed in the background."""
_BACK_OFF: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds between attempts at an upstream that could not be listed."""
_PAUSE_SECONDS: Final = 10.0
"""Between two listings that an upstream had asked for: by saying that it has changed, or by showing clients something new."""
_LOCK_POLL_SECONDS: Final = 2.0
"""How often the lock file is looked at: a pin made by `opagate catalogue pin` takes effect in a running gateway."""
_TOLD_AT_ONCE: Final = 64
"""Changes that are told of in one turn of the event loop."""
_PIN_BYTES: Final = 256
"""What a pin counts for when it is weighed whether to put pins into force in the worker thread."""

_STALE: Final = (-1, -1, -1)
"""The signature of no file."""


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """The state of an upstream. `states` maps a kind and a name to a pin. `refreshed` is in seconds since the epoch.
    `unlisted` has the reason for missing prompts. `warnings` are sentences.
    """

    upstream: str
    listed: bool
    revision: str | None
    refreshed: float | None
    error: str | None
    unlisted: str | None
    states: Mapping[tuple[Subject, str], Pin]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class _ListingState:
    """The state of an upstream's listing. `retry_at` is the earliest time for a call to cause an attempt. `pinned`
    counts new pins of the upstream. After an announcement, the next listing is at `relist_at` at the earliest."""

    revision: str | None = None
    refreshed: float | None = None
    error: str | None = None
    unlisted: str | None = None
    announces: frozenset[str] = frozenset()
    failures: int = 0
    retry_at: float = 0.0
    pinned: int = 0
    relist_at: float = 0.0
    attempt: Job | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


_Names: TypeAlias = "Mapping[tuple[str, Subject], Iterable[str]]"
_Fresh: TypeAlias = "tuple[str, Subject, Mapping[str, Pinned]]"
_NONE: Final[_Names] = MappingProxyType({})

_READ: Final = Labels(effect=Effect.READ)


class Catalogue:
    """The definitions and pins of all upstreams, for use from one event loop. Raises `ConfigurationError` for an
    unreadable lock file. `clock` gives seconds since the epoch. `on_change` is called once for each change of a
    definition's state. `credential_of` gives the gateway's credential for an upstream."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        settings: CatalogueSettings,
        transports: Mapping[str, UpstreamTransport],
        *,
        clock: Callable[[], float],
        on_change: Callable[[PinChange], None] = lambda _: None,
        credential_of: Callable[[str], TargetCredential | None] = lambda _: None,
    ) -> None:
        self._upstreams = upstreams
        self._settings = settings
        self._transports = transports
        self._clock = clock
        self._on_change = on_change
        self._on_pinned: Callable[[], object] = lambda: None
        self._untold: deque[PinChange] = deque()
        self._overlap_log = OverlapLog()
        self._worker = WorkerThread()
        self._credentials = {name: credential_of(name) for name in upstreams}
        first_use = settings.trust == "first_use"
        self._definitions: dict[str, dict[Subject, Definitions]] = {
            name: {
                subject: Definitions(
                    name,
                    upstream,
                    subject,
                    first_use=first_use,
                    on_change=self._untold.append,
                    credential=self._credentials[name],
                )
                for subject in SUBJECTS
            }
            for name, upstream in upstreams.items()
        }
        self._unnamed = {
            name: resource_of(name, upstream, "", _READ, self._credentials[name])
            for name, upstream in upstreams.items()
        }
        self._states = {name: _ListingState() for name in upstreams}
        self._signature: tuple[int, int, int] | None = lockfile.signature_of(settings.lock)
        lock = lockfile.load(settings.lock)
        for name, definitions in self._all():
            definitions.adopt(lock.of(name, definitions.subject))
        self._found = self._signature is not None
        """Whether there was a lock file. One that goes away does not take its pins with it."""
        self._lock_error: str | None = None
        self._writing = asyncio.Lock()
        self._jobs: list[Job] = []

    # --- on the way of every call ---

    def target(self, upstream: str, type: TargetType, name: str) -> Target:  # noqa: A002 - the field's own name
        """Return the target of a call. Raises `KeyError` for an unknown upstream. The protocol only reads resources and
        prompts, so their effect is a read. Prompts have no labels in the configuration, nor has the resource without a
        URI, the upstream itself."""
        if type != "resource":
            return self._definitions[upstream][type].target(name)
        if not name:
            return self._unnamed[upstream]
        settings = self._upstreams[upstream]
        labels = labels_of_resource(name, settings.resources, settings.tools)
        return resource_of(upstream, settings, name, labels, self._credentials[upstream])

    def highest(self, upstream: str) -> Sensitivity:
        """Return the highest sensitivity of any tool of this upstream. Data from an unknown tool counts with this
        sensitivity. Raises `KeyError` for an unknown upstream."""
        labelled = self._upstreams[upstream].tools.values()
        return highest([Labels().sensitivity, *(item.sensitivity for item in labelled if item.sensitivity is not None)])

    def tools(self, upstream: str) -> tuple[Target, ...]:
        """Return the listed tools of an upstream. Raises `KeyError` for an unknown upstream."""
        definitions = self._definitions[upstream]["tool"]
        return tuple(definitions.target(name) for name in sorted(definitions.names()))

    def audience(self, upstream: str) -> str:
        """Return the system of an upstream. Raises `KeyError` for an unknown upstream."""
        return self._upstreams[upstream].audience

    async def observe(self, upstream: str, subject: Subject, items: Sequence[bytes], *, complete: bool) -> bool:
        """Take note of the tools or prompts in a passing list, each item as sent by the upstream.

        The answer goes on when this has returned, unless the list is too long for a comparison with the pins (false).
        `complete`: the answer has all items (one page, no cursor before or after).
        """
        if len(items) > MAX_KNOWN:
            return False
        await self.ensure(upstream)
        if await self._note(upstream, subject, items, complete=complete, own=False):
            self.relist(upstream)
        return True

    def relist(self, upstream: str) -> None:
        """List the upstream again, after an announced change or a new item."""
        self._states[upstream].wake.set()

    async def instructions(self, upstream: str, said: bytes) -> Pin:
        """Return how passing instructions (a JSON value) compare with the pinned ones. Only matching instructions may
        go on."""
        await self.ensure(upstream)
        item = await self._worker.run(len(said), partial(pins.read_listed, said, "instructions"))
        pin = self._definitions[upstream]["instructions"].compared(item)
        if pin is Pin.CHANGED:
            await self._changed(upstream, "instructions", 0, lambda definitions: definitions.doubt(item))
        return pin

    def state(self, upstream: str, subject: Subject, name: str) -> Pin | None:
        """Return the comparison of the last seen definition with its pin."""
        return self._definitions[upstream][subject].target(name).pin

    async def ensure(self, upstream: str) -> None:
        """Have the upstream listed at least once, if possible. Callers at the same time share a listing."""
        state = self._states[upstream]
        if self._listed(upstream) or (state.attempt is None and self._clock() < state.retry_at):
            return
        await self._attempt(upstream).wait()

    # --- keeping it true ---

    async def start(self) -> None:
        """List every upstream, for at most 10 s, and keep listing in the background until `stop`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self.refresh()
        self._jobs = [Job.repeating(partial(self._keep, name), f"listing of {name}") for name in self._definitions]
        self._jobs.append(Job.repeating(self._follow_lock, "catalogue lock"))

    def retry(self) -> None:
        """List each upstream without a listing again. Some ask the gateway first, before the gateway listens."""
        for name, state in self._states.items():
            if state.failures:
                self._attempt(name)

    async def stop(self) -> None:
        """End the background work; unwritten first-use pins go into the lock file."""
        jobs = [*self._jobs, *(state.attempt for state in self._states.values() if state.attempt)]
        self._jobs = []
        await asyncio.gather(*(job.stop() for job in jobs))
        self._worker.close()
        await self.flush()
        while self._untold:
            self._tell()

    def announces(self, upstream: str) -> frozenset[str]:
        """Return the sorts of lists, such as `tools`, whose changes the server announces to its clients."""
        return self._states[upstream].announces

    async def refresh(self, upstream: str | None = None) -> None:
        """List one upstream, or all, now. Failures are in `status()`."""
        names = list(self._definitions) if upstream is None else [upstream]
        await asyncio.gather(*(self._attempt(name).wait() for name in names))

    def _attempt(self, name: str) -> Job:
        state = self._states[name]
        if state.attempt is None:
            state.attempt = Job(partial(self._list, name, state), f"attempt to list {name}")
        return state.attempt

    async def _list(self, name: str, state: _ListingState) -> None:
        try:
            found = await self._inventory(name, state)
        except GatewayError as error:
            state.error = error.message
            state.failures += 1
            state.retry_at = self._clock() + _BACK_OFF[0]
        else:
            state.error, state.unlisted, state.announces = None, found.unlisted, found.announces
            state.failures = 0 if found.unlisted is None else state.failures + 1
            state.revision, state.refreshed = found.revision, self._clock()
            await self._note(name, "instructions", found.instructions, complete=True, own=True)
            if found.unlisted is None:
                await self._note(name, "prompt", found.prompts, complete=True, own=True)
            await self._note(name, "tool", found.tools, complete=True, own=True)
            overlaps = self._definitions[name]["tool"].overlaps
            self._overlap_log.tell(name, await self._worker.run(sum(map(len, found.tools)), overlaps))
            await self.flush()
        finally:
            state.attempt = None

    async def _inventory(self, name: str, state: _ListingState) -> listing.Inventory:
        """Return a listing younger than the pins for its comparison."""
        while True:
            pinned = state.pinned
            found = await listing.inventory(name, self._transports[name], worker=self._worker)
            if state.pinned == pinned:
                return found

    async def _keep(self, name: str) -> None:
        """List an upstream when its time has come, or after an announced change."""
        state, loop = self._states[name], asyncio.get_running_loop()
        interval = self._settings.refresh.total_seconds()
        if state.failures:
            interval = min(interval, _BACK_OFF[min(state.failures, len(_BACK_OFF)) - 1])
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await state.wake.wait()
                await asyncio.sleep(state.relist_at - loop.time())
        state.wake.clear()
        state.relist_at = loop.time() + _PAUSE_SECONDS
        await self._attempt(name).wait()

    # --- changing what is known ---

    async def _note(
        self, upstream: str, subject: Subject, items: Sequence[bytes], *, complete: bool, own: bool
    ) -> bool:
        noted = partial(Definitions.note, items=items, at=self._now(), complete=complete, own=own)
        return await self._changed(upstream, subject, sum(map(len, items)), noted)

    async def _changed(
        self, upstream: str, subject: Subject, size: int, change: Callable[[Definitions], Given]
    ) -> Given:
        """Change the state of an upstream as a whole. Until the end, calls are judged by the earlier state, and other
        changes wait."""
        async with self._states[upstream].turn:
            news: list[PinChange] = []
            draft = self._definitions[upstream][subject].draft(news.append)
            given = await self._worker.run(size, partial(change, draft))
            self._definitions[upstream][subject] = draft
            self._untold.extend(news)
        self._tell()
        return given

    def _tell(self) -> None:
        for _ in range(min(_TOLD_AT_ONCE, len(self._untold))):
            self._on_change(self._untold.popleft())
        if self._untold:
            asyncio.get_running_loop().call_soon(self._tell)

    # --- the lock file ---

    def on_pinned(self, told: Callable[[], object]) -> None:
        """Have `told` called whenever somebody has pinned other definitions than before."""
        self._on_pinned = told

    async def flush(self) -> None:
        """Write first-use pins into the lock file. A pin in the file by now is never replaced."""
        async with self._writing:
            fresh: list[_Fresh] = [
                (name, definitions.subject, dict(definitions.fresh))
                for name, definitions in self._all()
                if definitions.fresh
            ]
            if not fresh:
                return
            try:
                await self._amend(partial(_with_first, fresh))
            except ConfigurationError as error:
                self._tell_unusable(error.message)

    async def reload(self) -> None:
        """Read a changed lock file again. A missing or unreadable file leaves the pins unchanged."""
        async with self._writing:
            signature = await in_thread(partial(lockfile.signature_of, self._settings.lock))
            if signature is None and self._found:
                self._signature = _STALE
                self._tell_unusable(lockfile.gone(self._settings.lock).message)
                return
            if signature == self._signature:
                return
            try:
                lock = await in_thread(partial(lockfile.load, self._settings.lock))
            except ConfigurationError as error:
                self._tell_unusable(error.message)
                return
            await self._adopt(lock)
            self._signature, self._lock_error, self._found = signature, None, signature is not None

    def _tell_unusable(self, problem: str) -> None:
        """Log the problem once, until the file is usable or the problem changes. Unwritten pins of first use are gone
        with the process, and the next process trusts the first definition seen."""
        if problem != self._lock_error:
            self._lock_error = problem
            log.error("catalogue.lock-unusable", problem=problem)

    async def _follow_lock(self) -> None:
        await asyncio.sleep(_LOCK_POLL_SECONDS)
        await self.flush()
        await self.reload()

    async def _amend(self, change: Callable[[Lock], Lock], cleared: _Names = _NONE) -> None:
        lock = await in_thread(partial(lockfile.amend, self._settings.lock, change, existing=self._found))
        # Another process may have written since: the next look at the file must read it.
        self._signature, self._lock_error, self._found = _STALE, None, True
        await self._adopt(lock, cleared)

    async def _adopt(self, lock: Lock, cleared: _Names = _NONE) -> None:
        others = False
        for name, definitions in self._all():
            pinned, again = lock.of(name, definitions.subject), cleared.get((name, definitions.subject), ())
            adopted = partial(Definitions.adopt, pinned=pinned, cleared=again)
            if await self._changed(name, definitions.subject, len(pinned) * _PIN_BYTES, adopted):
                self._states[name].pinned += 1
                self._states[name].relist_at = 0.0
                self.relist(name)
                others = True
        if others:
            self._on_pinned()

    def _all(self) -> tuple[tuple[str, Definitions], ...]:
        return tuple((name, definitions) for name, sorts in self._definitions.items() for definitions in sorts.values())

    def _listed(self, upstream: str) -> bool:
        return self._definitions[upstream]["tool"].listed

    # --- for people ---

    def status(self) -> tuple[UpstreamStatus, ...]:
        return tuple(self._status(name, sorts) for name, sorts in self._definitions.items())

    def _status(self, name: str, sorts: Mapping[Subject, Definitions]) -> UpstreamStatus:
        state = self._states[name]
        warnings = tuple(warning for definitions in sorts.values() for warning in definitions.warnings())
        return UpstreamStatus(
            upstream=name,
            listed=self._listed(name),
            revision=state.revision,
            refreshed=state.refreshed,
            error=state.error,
            unlisted=state.unlisted,
            states={
                (definitions.subject, name): pin
                for definitions in sorts.values()
                for name, pin in definitions.states().items()
            },
            warnings=warnings + ((self._lock_error,) if self._lock_error else ()),
        )

    def changes(self, upstream: str | None = None) -> tuple[PinChange, ...]:
        """Return all differences from the pins, of every listed upstream."""
        return tuple(
            change
            for name, definitions in self._all()
            if definitions.listed and upstream in (None, name)
            for change in definitions.changes(known=self._has_pins(name))
        )

    def _has_pins(self, upstream: str) -> bool:
        return any(definitions.pinned_names() for definitions in self._definitions[upstream].values())

    async def pin(self, upstream: str, name: str | None = None) -> tuple[PinChange, ...]:
        """Trust the named definition, or all changed definitions, of an upstream as last listed. Returns the changes.
        With `name`, even an unchanged definition is pinned again. Without a name, the pins of unlisted definitions are
        removed. Raises `ConfigurationError`."""
        if not self._listed(upstream):
            problem = self._states[upstream].error or "nobody asked it yet"
            raise ConfigurationError(f"the tools of {upstream} are not known: {problem}", "start it, then pin again")
        sorts = [definitions for definitions in self._definitions[upstream].values() if definitions.listed]
        renewals = [_Renewal(upstream, definitions.subject, *definitions.renewed(name)) for definitions in sorts]
        if name is not None and not any(renewal.trusted for renewal in renewals):
            raise ConfigurationError(f"{upstream} lists no {pins.visible(name)!r}", "see `opagate catalogue show`")
        touched: dict[tuple[str, Subject], Iterable[str]] = {(upstream, each.subject): each.names for each in renewals}
        changed = tuple(item for item in self.changes(upstream) if item.name in touched[upstream, item.subject])
        async with self._writing:
            await self._amend(partial(_renew, renewals, self._now()), touched)
        return changed

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_first(fresh: Iterable[_Fresh], lock: Lock) -> Lock:
    for upstream, subject, pinned in fresh:
        for name, pin in pinned.items():
            if name not in lock.of(upstream, subject):
                lock = lock.pinned(upstream, subject, [pin.definition], pin.at)
    return lock


@dataclass(frozen=True, slots=True)
class _Renewal:
    """The newly trusted and the removed definitions of an upstream."""

    upstream: str
    subject: Subject
    trusted: tuple[Definition, ...]
    gone: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        return self.gone | {item.name for item in self.trusted}


def _renew(renewals: Iterable[_Renewal], at: str, lock: Lock) -> Lock:
    for renewal in renewals:
        lock = lock.without(renewal.upstream, renewal.subject, renewal.gone)
        lock = lock.pinned(renewal.upstream, renewal.subject, renewal.trusted, at)
    return lock
