"""Readers of listings. A definition that was read before is not parsed again. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.upstreams.catalogue import definitions, pins
from gateway.upstreams.catalogue.definitions import MAX_KNOWN, DefinitionTerms, Seen
from gateway.upstreams.catalogue.fold import ListingRead
from gateway.upstreams.catalogue.pins import UnpinnableDefinition

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        if len(self._remembered) > _REMEMBERED or sum(map(len, self._remembered)) > definitions.MAX_BYTES // 4:
            self._remembered.clear()

    def _describe(self, item: Seen) -> str:
        problem = item.problem if isinstance(item, UnpinnableDefinition) else ""
        return f"{self._terms.upstream} lists a {self._terms.subject} that cannot be read: {problem}"
