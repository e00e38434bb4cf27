"""The fold of listings, pins and seen instructions into the definitions of an upstream. Pure.

A definition that differs from its pin takes effect at once, and stays in effect until a person pins again. A
definition listed before a new pin is compared with the pin too: that difference is forgiven once the upstream lists
the pinned definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from msgspec import Struct, structs

from gateway.model.target import Pin
from gateway.upstreams.catalogue import definitions as bounds
from gateway.upstreams.catalogue import pins
from gateway.upstreams.catalogue.definitions import MAX_KNOWN, MAX_PINNED, Definitions, DefinitionTerms, Seen
from gateway.upstreams.catalogue.pins import INSTRUCTIONS, Definition, PinChange, Pinned, UnpinnableDefinition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

_NO_ROOM: Final = "its upstream has more definitions, or larger ones, than are held"
_WITHOUT: Final = frozenset({Pin.UNPINNED, Pin.UNREVIEWED})
"""The states of what has no pin."""

# --- events ----------------------------------------------------------------------------------------


class ListingRead(Struct, frozen=True):
    """A listing by name, and the problems of items without a name.

    `own`: the gateway asked, in the newest revision of the upstream. An answer to a client may show less of a
    definition, so its pin waits for an own listing. The answer may also show other tools, by the client's capabilities
    and past. So a tool missing there is not gone, and a tool found only there stays after an own listing.
    """

    found: Mapping[str, Seen]
    problems: tuple[str, ...]
    at: str
    complete: bool
    own: bool


class PinsAdopted(Struct, frozen=True):
    """The pins of the lock file. `cleared` are names that a person has just pinned."""

    pinned: Mapping[str, Pinned]
    cleared: frozenset[str] = frozenset()


class InstructionsSeen(Struct, frozen=True):
    """Instructions of an answer to a client, different from the pinned instructions."""

    said: Seen


class TermsAdopted(Struct, frozen=True):
    """Other settings of the upstream, such as the labels of its tools."""

    terms: DefinitionTerms


CatalogueEvent: TypeAlias = ListingRead | PinsAdopted | InstructionsSeen | TermsAdopted


class FoldedDefinitions(NamedTuple):
    """The definitions after an event, and each change of a state. `needs_listing`: an own listing has to settle it."""

    definitions: Definitions
    changes: tuple[PinChange, ...]
    needs_listing: bool


def fold(before: Definitions, event: CatalogueEvent) -> FoldedDefinitions:
    """Return the definitions after an event. `before` stays as it is."""
    draft = _DefinitionDraft(before)
    if isinstance(event, ListingRead):
        needs_listing = draft.take_listing(event)
    elif isinstance(event, PinsAdopted):
        needs_listing = draft.take_pins(event)
    elif isinstance(event, TermsAdopted):
        needs_listing = draft.take_terms(event.terms)
    else:
        needs_listing = draft.take_instructions(event)
    return FoldedDefinitions(draft.now, tuple(draft.changes), needs_listing)


class _DefinitionDraft:
    """Definitions while an event is taken in. `now` has the draft's own maps, so it follows each step."""

    def __init__(self, before: Definitions) -> None:
        self.changes: list[PinChange] = []
        self._fresh = dict(before.fresh)
        self._seen = dict(before.seen)
        self._suspects = dict(before.suspects)
        self._passing = dict(before.passing)
        self._targets = dict(before.targets)
        self._made_from = dict(before.made_from)
        self.now = structs.replace(
            before,
            fresh=self._fresh,
            seen=self._seen,
            suspects=self._suspects,
            passing=self._passing,
            targets=self._targets,
            made_from=self._made_from,
        )

    def take_listing(self, listing: ListingRead) -> bool:
        """Take in a listing, and return whether an own listing is needed. Until the first own listing, all definitions
        are unknown: an upstream could otherwise gain trust for definitions hidden from the gateway."""
        own = listing.own
        gone = self._find_gone(listing.found) if listing.complete and own else frozenset[str]()
        for name in gone:
            del self._seen[name]
        found = self._keep_with_room(listing.found)
        passing = len(self._passing)
        for name, item in found.items():
            self._trust_first(name, item, listing.at, own=own)
            self._suspect(name, item, own=own)
        self._seen.update(found if own else self._widen(found))
        if listing.complete:
            shown = frozenset(found) if own else self.now.shown
            listed = self.now.listed or own
            self.now = structs.replace(self.now, listed=listed, unreadable=listing.problems, shown=shown)
        self._rebuild(self._seen if listing.complete else found, gone)
        return len(self._passing) > passing

    def take_pins(self, adopted: PinsAdopted) -> bool:
        """Put the pins into force, and return whether any differ from before: listings under way may be older."""
        before, again = self.now.pinned(), adopted.cleared
        self.now = structs.replace(self.now, pins=adopted.pinned)
        for waiting in (self._fresh, self._passing):
            for name in [name for name in waiting if name in adopted.pinned or name in again]:
                del waiting[name]
        after = self.now.pinned()
        anew = again.union(name for name in {*before, *after} if before.get(name) != after.get(name))
        for name in sorted(anew):
            self._suspects.pop(name, None)
            if name in self._seen and self.now.differs(name):
                self._tell("changed", name, self.now.known(name), self._seen[name])
        self._rebuild(self._seen, ())
        return not anew.isdisjoint(after)

    def take_instructions(self, event: InstructionsSeen) -> bool:
        """Take in instructions of an answer to a client."""
        if self.now.known(INSTRUCTIONS) is not None:
            self._suspect(INSTRUCTIONS, event.said, own=False)
            self._rebuild(self._seen, ())
        return False

    def take_terms(self, terms: DefinitionTerms) -> bool:
        """Make all targets anew by other settings. Definitions and pins stay as they are."""
        self.now = structs.replace(self.now, terms=terms)
        for name in self._targets:
            self._targets[name] = self.now.make_target(name)
        return False

    # --- steps ---

    def _tell(
        self,
        kind: Literal["added", "changed", "removed", "unpinned"],
        name: str,
        old: Definition | None,
        new: Seen | None,
    ) -> None:
        self.changes.append(PinChange(kind, self.now.terms.upstream, self.now.terms.subject, name, old, new))

    def _find_gone(self, found: Mapping[str, Seen]) -> frozenset[str]:
        """Return the tools removed by an own listing: tools missing since the previous own listing. If room is short,
        every tool missing from this listing goes."""
        gone = self.now.shown - found.keys()
        if len(self._seen.keys() | found.keys()) - len(gone) > MAX_KNOWN:
            gone = frozenset(self._seen.keys() - found.keys())
        return gone

    def _keep_with_room(self, found: Mapping[str, Seen]) -> dict[str, Seen]:
        """Return the known definitions, and as many new ones as fit."""
        held = sum(item.size for item in self.now.definitions())
        names, size = MAX_KNOWN - len(self._seen), bounds.MAX_BYTES - held
        kept: dict[str, Seen] = {}
        for name, item in found.items():
            known = self._seen.get(name)
            needed = item.size if isinstance(item, Definition) and item != known else 0
            if known is not None:
                kept[name] = item if needed <= size else UnpinnableDefinition(_NO_ROOM, name)
            elif names and needed <= size:
                kept[name] = item
                names -= 1
            size -= needed if needed <= size else 0
        return kept

    def _trust_first(self, name: str, item: Seen, at: str, *, own: bool) -> None:
        """Pin a definition by first use: only one from an own listing gets into the lock file."""
        if not self.now.terms.first_use or isinstance(item, UnpinnableDefinition) or name in self._suspects:
            return
        known = self.now.known(name)
        pinned = len(self.now.pins) + len(self._fresh) + len(self._passing)
        if known is None and pinned >= MAX_PINNED:
            return
        if known is None and not own:
            self._passing[name] = item
        elif own and (known is None or name in self._passing):
            first = self._passing.pop(name, item)
            trusted = item if pins.is_view_of(first, item) else first
            self._fresh[name] = Pinned(trusted, at)
            self._tell("added", name, None, trusted)

    def _suspect(self, name: str, item: Seen, *, own: bool) -> None:
        """Mark a definition that is seen otherwise than pinned."""
        known = self.now.known(name)
        if isinstance(item, Definition) and (
            known is None or item.digest == known.digest or (not own and pins.is_view_of(item, known))
        ):
            return
        if self._suspects.get(name) != item:
            self._suspects[name] = item
            self._tell("changed", name, known, item)

    def _widen(self, found: Mapping[str, Seen]) -> dict[str, Seen]:
        """Return the fuller of two views of each definition, to be pinned."""
        wider = dict(found)
        for name, item in found.items():
            known = self._seen.get(name)
            if isinstance(known, Definition) and isinstance(item, Definition) and pins.is_view_of(item, known):
                wider[name] = known
        return wider

    def _rebuild(self, names: Iterable[str], gone: Iterable[str]) -> None:
        """Make the targets anew whose definition or state has changed."""
        for name in gone:
            del self._targets[name], self._made_from[name]
            self._tell("removed", name, self.now.known(name), None)
        for name in names:
            old, seen = self._targets.get(name), self._seen[name]
            if old is not None and self._made_from[name] is seen and self.now.judge(name) == (old.pin, old.definition):
                continue
            new = self._targets[name] = self.now.make_target(name)
            self._made_from[name] = seen
            if new.pin in _WITHOUT and (old is None or old.pin not in _WITHOUT):
                self._tell("unpinned", name, None, seen)
