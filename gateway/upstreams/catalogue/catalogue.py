"""The catalogue: each tool and prompt of each upstream with its labels and the state of its pin.

`target` is on the way of every call, and only looks up. The gateway's own listings fill the ledger, and so does each
list in a passing answer (`observe`). A definition that differs from its pin takes effect at once, until a person pins
again. Differing instructions are shown to no client, so each answer with instructions is judged by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.letters import spell_out
from gateway.model.errors import ConfigurationError
from gateway.model.target import Effect, Labels, Pin, Sensitivity, Target, TargetCredential
from gateway.upstreams.catalogue import pins
from gateway.upstreams.catalogue.definitions import MAX_KNOWN, Definitions, resource_of
from gateway.upstreams.catalogue.labels import highest, is_pinned_resource, labels_of_resource
from gateway.upstreams.catalogue.ledger import CatalogueLedger
from gateway.upstreams.catalogue.lister import describe_contents
from gateway.upstreams.catalogue.listings import UpstreamListings
from gateway.upstreams.catalogue.lock_keeper import LockKeeper
from gateway.wire.protocol.methods import STATELESS_VERSIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.config import CatalogueSettings, Upstream
    from gateway.model.wire import Json, UpstreamTransport
    from gateway.upstreams.catalogue.first_use import FirstPins
    from gateway.upstreams.catalogue.pins import Definition, Lock, PinChange, Subject

TargetType: TypeAlias = Literal["tool", "resource", "prompt"]

_START_SECONDS: Final = 10.0
"""How long `start` waits for first listings. An upstream that is later than that is listed in the background."""
_PINNED_START_SECONDS: Final = 2.0
"""The same, for upstreams with pins: their lists are known."""
_DEFINED: Final = frozenset({"tools/call", "prompts/get"})
"""Methods whose targets are defined by lists."""
_encode: Final = msgspec.json.encode
_READ: Final = Labels(effect=Effect.READ)


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


class Catalogue:
    """The definitions and pins of all upstreams, for use from one event loop. Raises `ConfigurationError` for an
    unreadable lock file. `clock` gives seconds since the epoch. `on_change` is called once for each change of a
    definition's state. `credential_of` gives the gateway's credential for an upstream. `first` has the pins of first use of
    all gateways on the same records."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        settings: CatalogueSettings,
        transports: Mapping[str, UpstreamTransport],
        *,
        clock: Callable[[], float],
        on_change: Callable[[PinChange], None] = lambda _: None,
        credential_of: Callable[[str], TargetCredential | None] = lambda _: None,
        first: FirstPins | None = None,
    ) -> None:
        self._upstreams = dict(upstreams)
        """The settings by upstream, also of removed upstreams: calls under way ask for them."""
        self.served = frozenset(upstreams)
        """The upstreams of the configuration in force."""
        self._clock = clock
        self._worker = WorkerThread()
        self._credentials = {name: credential_of(name) for name in upstreams}
        self._told: Callable[[], object] = lambda: None
        self._shown: dict[tuple[str, Subject], set[frozenset[str]]] = {}
        """The names in lists shown from the lock file, until the upstream lists them itself."""
        first_use = settings.trust == "first_use"
        self._ledger = CatalogueLedger(
            upstreams, self._credentials, self._worker, first_use=first_use, on_change=on_change
        )
        self.definitions = self._ledger.definitions
        """The definitions of each upstream by sort, as folded last. A call reads them without a function between."""
        self._listings = UpstreamListings(
            settings,
            transports,
            self._ledger,
            self._worker,
            clock=clock,
            now=self._now,
            after=self._take_in_listing,
            is_pinned=self.is_pinned_resource,
        )
        self._keeper = LockKeeper(settings.lock, self._ledger, self._listings.expect_pins, first)
        self._unnamed: dict[str, Target] = {}
        self._name_upstreams(upstreams)

    # --- on the way of every call ---

    def target(self, upstream: str, type: TargetType, name: str) -> Target:  # noqa: A002 - the field's own name
        """Return the target of a call. Raises `KeyError` for an unknown upstream. The protocol only reads resources and
        prompts, so their effect is a read. Prompts have no labels in the configuration, nor has the resource without a
        URI, the upstream itself."""
        if type != "resource":
            definitions = self.definitions[upstream][type]
            return definitions.targets.get(name) or definitions.make_target(name)
        if not name:
            return self._unnamed[upstream]
        settings = self._upstreams[upstream]
        labels = labels_of_resource(name, settings.resources, settings.tools)
        target = resource_of(upstream, settings, name, labels, self._credentials[upstream])
        if not self.is_pinned_resource(upstream, name):
            return target
        pin, digest = self.definitions[upstream]["resource"].judge(name)
        return target if pin is Pin.UNKNOWN else replace(target, pin=pin, definition=digest)

    def is_pinned_resource(self, upstream: str, uri: str) -> bool:
        """Return whether the contents of a resource are pinned. Raises `KeyError` for an unknown upstream."""
        return is_pinned_resource(uri, self._upstreams[upstream].pinned_resources)

    async def ensure(self, upstream: str) -> None:
        """Have the upstream listed at least once, if possible. Callers at the same time share a listing."""
        if not self.definitions[upstream]["tool"].listed:
            await self._listings.ensure(upstream)

    def require_listed(self, upstream: str, method: str | None) -> None:
        """Raise `UpstreamStarting` or `UpstreamUnreachable` for a call to an upstream without a list of tools.

        Without the list nobody can tell whether there is such a tool.
        """
        if method in _DEFINED and not self._ledger.is_listed(upstream):
            raise self._listings.explain(upstream)

    def highest(self, upstream: str) -> Sensitivity:
        """Return the highest sensitivity of any tool of this upstream. Data from an unknown tool counts with this
        sensitivity. Raises `KeyError` for an unknown upstream."""
        labelled = self._upstreams[upstream].tools.values()
        return highest([Labels().sensitivity, *(item.sensitivity for item in labelled if item.sensitivity is not None)])

    def tools(self, upstream: str) -> tuple[Target, ...]:
        """Return the listed tools of an upstream. Raises `KeyError` for an unknown upstream."""
        definitions = self.definitions[upstream]["tool"]
        return tuple(definitions.target(name) for name in sorted(definitions.seen))

    def audience(self, upstream: str) -> str:
        """Return the system of an upstream. Raises `KeyError` for an unknown upstream."""
        return self._upstreams[upstream].audience

    def state(self, upstream: str, subject: Subject, name: str) -> Pin | None:
        """Return the comparison of the last seen definition with its pin."""
        return self.definitions[upstream][subject].target(name).pin

    def announces(self, upstream: str) -> frozenset[str]:
        """Return the sorts of lists, such as `tools`, whose changes the server announces to its clients."""
        return self._listings.states[upstream].announces

    # --- what answers show ---

    async def observe(self, upstream: str, subject: Subject, items: Sequence[bytes], *, complete: bool) -> bool:
        """Take note of the tools or prompts in a passing list, each item as sent by the upstream.

        The answer goes on when this has returned, unless the list is too long for a comparison with the pins (false).
        `complete`: the answer has all items (one page, no cursor before or after).
        """
        if len(items) > MAX_KNOWN:
            return False
        await self.ensure(upstream)
        if await self._ledger.note(upstream, subject, items, self._now(), complete=complete, own=False):
            self.relist(upstream)
        return True

    async def judge_contents(self, upstream: str, uri: str, contents: Json) -> Pin:
        """Return how the contents of a pinned resource, in a passing answer, compare with its pin.

        The first contents are pinned, with `catalogue.trust: first_use`. Others take effect at once, until a person pins again.
        """
        item = describe_contents(uri, contents)
        await self.observe(upstream, "resource", [item], complete=False)
        definitions = self.definitions[upstream]["resource"]
        seen = pins.read_listed(item, "resource")
        if isinstance(seen, pins.UnpinnableDefinition):
            return Pin.CHANGED
        known = definitions.known(uri)
        if known is None:
            return definitions.without_pin
        return Pin.MATCH if seen.digest == known.digest and uri not in definitions.suspects else Pin.CHANGED

    def has_only_pins(self, upstream: str, subject: Subject) -> bool:
        """Return whether the upstream has not listed its definitions yet, and has pins. Raises `KeyError` for an unknown upstream."""
        definitions = self.definitions[upstream][subject]
        return not definitions.listed and bool(definitions.pinned())

    def has_pins(self, upstream: str, subject: Subject) -> bool:
        """Return whether the lock file has such definitions of the upstream. Raises `KeyError` for an unknown upstream."""
        return bool(self.definitions[upstream][subject].pinned())

    def is_away(self, upstream: str) -> bool:
        """Return whether the latest listing found the upstream down or too slow. Raises `KeyError` for an unknown upstream."""
        state = self._listings.states[upstream]
        return state.is_slow or state.is_down

    def is_stateless(self, upstream: str) -> bool:
        """Return whether the latest listing found the upstream to speak a protocol without sessions. Raises `KeyError` for an unknown upstream."""
        return self._listings.states[upstream].revision in STATELESS_VERSIONS

    async def show_pinned(self, upstream: str, subject: Subject) -> tuple[bytes, ...] | None:
        """Return the pinned definitions, to be shown while the upstream cannot list them; `None` without pins. Clients are
        told if the upstream lists others later."""
        definitions = self.definitions[upstream][subject]
        if not definitions.pinned():
            return None
        found = definitions.pinned_items()
        self._shown.setdefault((upstream, subject), set()).add(frozenset(found))
        size = sum(item.size for item in found.values())
        return await self._worker.run(size, lambda: tuple(_encode(item.document) for item in found.values()))

    async def instructions(self, upstream: str, said: bytes) -> Pin:
        """Return how passing instructions (a JSON value) compare with the pinned ones. Only matching instructions may
        go on."""
        await self.ensure(upstream)
        item = await self._worker.run(len(said), partial(pins.read_listed, said, "instructions"))
        pin = self.definitions[upstream]["instructions"].compared(item)
        if pin is Pin.CHANGED:
            await self._ledger.doubt(upstream, item)
        return pin

    def relist(self, upstream: str) -> None:
        """List the upstream again, after an announced change or a new item."""
        self._listings.relist(upstream)

    # --- keeping it true ---

    async def start(self) -> None:
        """List every upstream, for at most 10 s, and keep listing in the background until `stop`."""
        pinned = [name for name in self.definitions if self._ledger.has_pins(name)]
        unpinned = [name for name in self.definitions if name not in pinned]
        await asyncio.gather(
            self._list_first(pinned, _PINNED_START_SECONDS), self._list_first(unpinned, _START_SECONDS)
        )
        self._listings.start()
        self._keeper.start()

    async def _list_first(self, upstreams: Iterable[str], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self.refresh(name) for name in upstreams))

    def retry(self) -> None:
        """List each upstream without a listing again. Some ask the gateway first, before the gateway listens."""
        self._listings.retry()

    async def stop(self) -> None:
        """End the background work; unwritten first-use pins go into the lock file."""
        await asyncio.gather(self._listings.stop(), self._keeper.stop())
        self._worker.close()
        await self._keeper.flush()
        self._ledger.tell_rest()

    async def begin_with(
        self, upstreams: Mapping[str, Upstream], credential_of: Callable[[str], TargetCredential | None]
    ) -> None:
        """Know the definitions of new upstreams by their pins. Raises `ConfigurationError` for an unreadable lock file."""
        for name, settings in upstreams.items():
            if name not in self.definitions:
                self._ledger.add(name, settings, credential_of(name))
        await self._keeper.begin_with(upstreams)

    async def adopt(
        self,
        upstreams: Mapping[str, Upstream],
        transports: Mapping[str, UpstreamTransport],
        *,
        relisted: Iterable[str],
        credential_of: Callable[[str], TargetCredential | None],
    ) -> None:
        """Put other settings and labels into force. The definitions of a removed upstream stay for calls under way."""
        for name, settings in upstreams.items():
            if self._upstreams.get(name) != settings:
                self._credentials[name] = credential_of(name)
                await self._ledger.adopt_terms(name, settings, self._credentials[name])
        self._upstreams |= upstreams
        self._name_upstreams(upstreams)
        self.served = frozenset(upstreams)
        await self._listings.adopt(transports, relisted)

    def _name_upstreams(self, upstreams: Mapping[str, Upstream]) -> None:
        """Make the target of each upstream itself, the resource without a name."""
        for name, settings in upstreams.items():
            self._unnamed[name] = resource_of(name, settings, "", _READ, self._credentials[name])

    async def refresh(self, upstream: str | None = None) -> None:
        """List one upstream, or all, now. Failures are in `status()`."""
        await self._listings.refresh(upstream)

    async def flush(self) -> None:
        """Write first-use pins into the lock file."""
        await self._keeper.flush()

    async def reload(self) -> None:
        """Read a changed lock file again."""
        await self._keeper.reload()

    def look_now(self) -> None:
        """Look at the lock file, and list all upstreams, at once."""
        self._keeper.look_now()
        for upstream in self.definitions:
            self._listings.relist(upstream)

    def on_pinned(self, told: Callable[[], object]) -> None:
        """Have `told` called whenever somebody has pinned other definitions than before, or a list from the lock file
        turns out to be another one."""
        self._told = told
        self._keeper.on_pinned(told)

    async def _take_in_listing(self, upstream: str) -> None:
        """Write the pins of a listing, and have clients told if they were shown another list from the lock file."""
        await self.flush()
        others = False
        for subject, definitions in self.definitions[upstream].items():
            if definitions.listed and (shown := self._shown.pop((upstream, subject), None)):
                usable = {name for name, pin in definitions.states().items() if pin in {Pin.MATCH, Pin.UNPINNED}}
                others = others or shown != {frozenset(usable)}
        if others:
            self._told()

    # --- for people ---

    def status(self) -> tuple[UpstreamStatus, ...]:
        """Return the state of each upstream."""
        return tuple(self._describe(name, sorts) for name, sorts in self.definitions.items() if name in self.served)

    def _describe(self, upstream: str, sorts: Mapping[Subject, Definitions]) -> UpstreamStatus:
        state, problem = self._listings.states[upstream], self._keeper.problem
        warnings = tuple(warning for definitions in sorts.values() for warning in definitions.warnings())
        return UpstreamStatus(
            upstream=upstream,
            listed=self._ledger.is_listed(upstream),
            revision=state.revision,
            refreshed=state.refreshed,
            error=state.error,
            unlisted=state.unlisted,
            states={
                (subject, name): pin
                for subject, definitions in sorts.items()
                for name, pin in definitions.states().items()
            },
            warnings=warnings + ((problem,) if problem else ()),
        )

    def changes(self, upstream: str | None = None) -> tuple[PinChange, ...]:
        """Return all differences from the pins, of every listed upstream."""
        return tuple(
            change
            for name, _, definitions in self._ledger
            if definitions.listed and upstream in (None, name) and name in self.served
            for change in definitions.changes(known=self._ledger.has_pins(name))
        )

    async def pin(self, upstream: str, name: str | None = None) -> tuple[PinChange, ...]:
        """Trust the named definition, or all changed definitions, of an upstream as last listed. Returns the changes.
        With `name`, even an unchanged definition is pinned again. Without a name, the pins of unlisted definitions are
        removed. Raises `ConfigurationError`."""
        if not self._ledger.is_listed(upstream):
            problem = self._listings.states[upstream].error or "nobody asked it yet"
            raise ConfigurationError(f"the tools of {upstream} are not known: {problem}", "start it, then pin again")
        sorts = [definitions for definitions in self.definitions[upstream].values() if definitions.listed]
        renewals = [_Renewal(upstream, definitions.terms.subject, *definitions.renewed(name)) for definitions in sorts]
        if name is not None and not any(renewal.trusted for renewal in renewals):
            raise ConfigurationError(f"{upstream} lists no {spell_out(name)!r}", "see `opagate catalogue show`")
        touched: dict[tuple[str, Subject], Iterable[str]] = {(upstream, each.subject): each.names for each in renewals}
        changed = tuple(item for item in self.changes(upstream) if item.name in touched[upstream, item.subject])
        await self._keeper.pin(partial(_renew, renewals, self._now()), touched)
        return changed

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
