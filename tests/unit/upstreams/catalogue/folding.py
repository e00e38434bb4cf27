"""Definitions of one sort at one upstream, with the events that are folded into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import ToolLabels, Upstream
from gateway.model.target import Effect, Pin
from gateway.upstreams.catalogue.definitions import Definitions, DefinitionTerms
from gateway.upstreams.catalogue.fold import CatalogueEvent, InstructionsSeen, PinsAdopted, fold
from gateway.upstreams.catalogue.ledger import DefinitionReader
from gateway.upstreams.catalogue.pins import Definition, PinChange, Pinned, read_definition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.upstreams.catalogue.definitions import Seen
    from gateway.upstreams.catalogue.pins import Subject

AT = "2026-11-25T00:00:00Z"
SETTINGS = Upstream(
    url="http://127.0.0.1:1/mcp",
    audience="files.example",
    trust="trusted",
    tenant="acme",
    environment="staging",
    aggregates=("mail.example",),
    tools={"read_*": ToolLabels(effect=Effect.READ, egress=False)},
)


def defined(raw: bytes) -> Definition:
    item = read_definition(raw)
    assert isinstance(item, Definition)
    return item


class Case:
    def __init__(self, *pinned: bytes, first_use: bool = True, subject: Subject = "tool") -> None:
        self.changes: list[PinChange] = []
        terms = DefinitionTerms("files", SETTINGS, subject, first_use)
        self.definitions = Definitions(terms)
        self.reader = DefinitionReader(terms)
        self.adopt({defined(raw).name: Pinned(defined(raw), AT) for raw in pinned})

    def fold(self, event: CatalogueEvent) -> bool:
        folded = fold(self.definitions, event)
        self.definitions = folded.definitions
        self.changes += folded.changes
        return folded.needs_listing

    def note(self, items: Sequence[bytes], at: str = AT, *, complete: bool, own: bool) -> bool:
        return self.fold(self.reader.read_listing(items, at, complete=complete, own=own))

    def adopt(self, pinned: Mapping[str, Pinned], cleared: Iterable[str] = ()) -> bool:
        return self.fold(PinsAdopted(pinned, frozenset(cleared)))

    def doubt(self, said: Seen) -> None:
        self.fold(InstructionsSeen(said))

    def own(self, *items: bytes) -> None:
        self.note(items, complete=True, own=True)

    def passing(self, *items: bytes, complete: bool = True) -> bool:
        return self.note(items, complete=complete, own=False)

    def pin(self, name: str = "read_file") -> Pin | None:
        return self.definitions.target(name).pin
