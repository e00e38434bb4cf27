"""The ledger of all definitions: it folds events one at a time for each upstream, and tells each change."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.upstreams.catalogue import definitions as bounds
from gateway.upstreams.catalogue import pins
from gateway.upstreams.catalogue.definitions import MAX_KNOWN, Definitions, DefinitionTerms, Seen
from gateway.upstreams.catalogue.fold import (
    CatalogueEvent,
    FoldedDefinitions,
    InstructionsSeen,
    ListingRead,
    PinsAdopted,
    TermsAdopted,
    fold,
)
from gateway.upstreams.catalogue.pins import SUBJECTS, UnpinnableDefinition

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from gateway.base.concurrency.worker_thread import WorkerThread
    from gateway.config import Upstream
    from gateway.model.target import TargetCredential
    from gateway.upstreams.catalogue.pins import Lock, PinChange, Pinned, Subject

_REMEMBERED: Final = MAX_KNOWN
"""Raw definitions that are remembered."""


class DefinitionReader:
    """The reader of the definitions of a sort at an upstream. Listings are read in turn."""

    def __init__(self, terms: DefinitionTerms) -> None:
        self._terms = terms
        self._remembered: dict[bytes, Seen] = {}

    def read_listing(self, items: Sequence[bytes], at: str, *, complete: bool, own: bool) -> ListingRead:
        """Return a listing, each item given as its bytes. A listing of more than `MAX_KNOWN` items is never complete."""
        self._forget()
        found: dict[str, Seen] = {}
        problems: list[str] = []
        for raw in items[:MAX_KNOWN]:
            item = self._read_item(raw)
            if item.name is None:
                problems.append(self._describe(item))
            elif item.name in found:
                found[item.name] = UnpinnableDefinition("it is defined twice in one listing")
            else:
                found[item.name] = item
        return ListingRead(found, tuple(problems), at, complete and len(items) <= MAX_KNOWN, own)

    def _read_item(self, raw: bytes) -> Seen:
        item = self._remembered.get(raw)
        if item is None:
            item = pins.read_listed(raw, self._terms.subject)
            if len(raw) <= pins.MAX_LISTED:
                self._remembered[raw] = item
        return item

    def _forget(self) -> None:
        """Make room before a listing."""
        if len(self._remembered) > _REMEMBERED or sum(map(len, self._remembered)) > bounds.MAX_BYTES // 4:
            self._remembered.clear()

    def _describe(self, item: Seen) -> str:
        problem = item.problem if isinstance(item, UnpinnableDefinition) else ""
        return f"{self._terms.upstream} lists a {self._terms.subject} that cannot be read: {problem}"


_TOLD_AT_ONCE: Final = 64
"""Changes that are told of in one turn of the event loop."""
_PIN_BYTES: Final = 256
"""The weight of a pin where the worker thread may put pins into force."""


class _SettledListing(NamedTuple):
    """A listing without a changed definition."""

    definitions: Definitions
    complete: bool
    items: tuple[bytes, ...]


class CatalogueLedger:
    """The definitions of each upstream by subject. Until an event is folded, calls see the definitions before it."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        credentials: Mapping[str, TargetCredential | None],
        worker: WorkerThread,
        *,
        first_use: bool,
        on_change: Callable[[PinChange], None],
    ) -> None:
        self.definitions: dict[str, dict[Subject, Definitions]] = {}
        self._readers: dict[tuple[str, Subject], DefinitionReader] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._first_use = first_use
        for name, upstream in upstreams.items():
            self.add(name, upstream, credentials[name])
        self._settled: dict[tuple[str, Subject], _SettledListing] = {}
        self._untold: deque[PinChange] = deque()
        self._worker = worker
        self._on_change = on_change

    def __iter__(self) -> Iterator[tuple[str, Subject, Definitions]]:
        """Yield the definitions of each upstream and subject."""
        for name, sorts in tuple(self.definitions.items()):
            for subject, definitions in tuple(sorts.items()):
                yield name, subject, definitions

    def is_listed(self, upstream: str) -> bool:
        """Return whether the gateway itself has listed the tools of an upstream."""
        return self.definitions[upstream]["tool"].listed

    def has_pins(self, upstream: str) -> bool:
        """Return whether an upstream has a pin of any subject."""
        return any(definitions.pins or definitions.fresh for definitions in self.definitions[upstream].values())

    def add(self, upstream: str, settings: Upstream, credential: TargetCredential | None) -> None:
        """Begin with an upstream that was never listed."""
        self._turns[upstream] = asyncio.Lock()
        self.definitions[upstream] = {}
        for subject in SUBJECTS:
            terms = DefinitionTerms(upstream, settings, subject, self._first_use, credential)
            self.definitions[upstream][subject] = Definitions(terms)
            self._readers[upstream, subject] = DefinitionReader(terms)

    async def adopt_terms(self, upstream: str, settings: Upstream, credential: TargetCredential | None) -> None:
        """Put other settings of an upstream into force, such as labels of its tools."""
        for subject in SUBJECTS:
            adopted = TermsAdopted(DefinitionTerms(upstream, settings, subject, self._first_use, credential))
            targets = len(self.definitions[upstream][subject].targets)
            await self._fold(upstream, subject, targets * _PIN_BYTES, partial(_give, adopted))

    def begin_with(self, lock: Lock, upstreams: Container[str] | None = None) -> None:
        """Put the pins of the lock file into force before anything is listed, for all upstreams or the named ones."""
        for name, subject, definitions in self:
            if upstreams is not None and name not in upstreams:
                continue
            folded = fold(definitions, PinsAdopted(lock.of(name, subject)))
            self.definitions[name][subject] = folded.definitions

    async def note(
        self, upstream: str, subject: Subject, items: Sequence[bytes], at: str, *, complete: bool, own: bool
    ) -> bool:
        """Take in a listing, and return whether an own listing is needed. A listing of a client that said nothing new is not read again."""
        before = self.definitions[upstream][subject]
        listing = _SettledListing(before, complete, tuple(items))
        if not own and not self._turns[upstream].locked() and self._settled.get((upstream, subject)) == listing:
            return False
        read = partial(self._readers[upstream, subject].read_listing, items, at, complete=complete, own=own)
        folded = await self._fold(upstream, subject, sum(map(len, items)), read)
        if not own and folded.definitions is before and not folded.needs_listing:
            self._settled[upstream, subject] = listing
        return folded.needs_listing

    async def adopt(
        self, upstream: str, subject: Subject, pinned: Mapping[str, Pinned], cleared: Iterable[str] = ()
    ) -> bool:
        """Put pins into force, and return whether any differ from before."""
        adopted = PinsAdopted(pinned, frozenset(cleared))
        return (await self._fold(upstream, subject, len(pinned) * _PIN_BYTES, lambda: adopted)).needs_listing

    async def doubt(self, upstream: str, said: Seen) -> None:
        """Take in instructions that differ from the pinned ones."""
        await self._fold(upstream, "instructions", 0, lambda: InstructionsSeen(said))

    def tell_rest(self) -> None:
        """Tell all changes that are left."""
        while self._untold:
            self._tell()

    async def _fold(
        self, upstream: str, subject: Subject, size: int, read: Callable[[], CatalogueEvent]
    ) -> FoldedDefinitions:
        """Read and fold an event of so many bytes, after all earlier events of the upstream."""
        async with self._turns[upstream]:
            before = self.definitions[upstream][subject]
            folded = await self._worker.run(size, lambda: _without_copies(before, fold(before, read())))
            self.definitions[upstream][subject] = folded.definitions
            self._untold.extend(folded.changes)
        self._tell()
        return folded

    def _tell(self) -> None:
        for _ in range(min(_TOLD_AT_ONCE, len(self._untold))):
            self._on_change(self._untold.popleft())
        if self._untold:
            asyncio.get_running_loop().call_soon(self._tell)


def _give(event: CatalogueEvent) -> CatalogueEvent:
    return event


def _without_copies(before: Definitions, folded: FoldedDefinitions) -> FoldedDefinitions:
    """Return the same; after an event without news, with the very definitions of before."""
    after = folded.definitions
    is_same = all(getattr(before, name) == getattr(after, name) for name in Definitions.__struct_fields__)
    return folded._replace(definitions=before) if is_same else folded
