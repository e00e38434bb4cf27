"""The definitions of one sort at one upstream, such as its tools: the seen and the pinned, and the resulting targets.
No I/O. Each has its last listed definition, its pin, and a mark if another definition was seen under this pin. Such a
suspect stays so until a person pins again. A definition listed before a new pin is compared with the pin too. The
difference is forgiven once the upstream lists the pinned definition."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.catalogue import labels, overlaps, pins
from gateway.catalogue.pins import INSTRUCTIONS, Definition, PinChange, Pinned, UnpinnableDefinition
from gateway.errors import ConfigurationError
from gateway.model.target import Effect, Labels, Pin, Target, TargetCredential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.catalogue.overlaps import Overlap
    from gateway.catalogue.pins import Subject
    from gateway.config import Upstream
    from gateway.model.wire import JsonObject

_Seen: TypeAlias = Definition | UnpinnableDefinition

MAX_KNOWN: Final = 4_096
"""Tools of one upstream that are known, and as many of each other sort; any other is as one that is not listed. What an
upstream lists is held in memory and, by first use, in the lock file: one that gives its tools new names each time must
not fill them."""
MAX_PINNED: Final = 2 * MAX_KNOWN
"""Pins of one upstream, of one sort, beyond which none is made by first use any more."""

MAX_BYTES: Final = 64 * 2**20
"""Bytes of the definitions of one upstream, of one sort, that are held, those of pins among them: four times what one own
listing may have. A new one beyond it is as one that is not listed, and one that has changed as one that cannot be read."""

_NO_ROOM: Final = "its upstream has more definitions, or larger ones, than are held"
_REMEMBERED: Final = MAX_KNOWN
"""Raw definitions kept so that one that was seen before is not parsed again."""
_WITHOUT: Final = frozenset({Pin.UNPINNED, Pin.UNREVIEWED})
"""The states of what has no pin."""
_READ: Final = Labels(effect=Effect.READ)


class Definitions:
    """The definitions of one sort. `first_use`: a definition without a pin gets a pin. `on_change` is called for each
    changed state."""

    def __init__(
        self,
        name: str,
        settings: Upstream,
        subject: Subject,
        *,
        first_use: bool,
        on_change: Callable[[PinChange], None],
        credential: TargetCredential | None = None,
    ) -> None:
        self.name = name
        self.subject: Subject = subject
        self.listed = False
        self.fresh: dict[str, Pinned] = {}
        """Pins made by first use, not yet in the lock file."""
        self._settings = settings
        self._first_use = first_use
        self._credential = credential
        self._on_change = on_change
        self._pins: Mapping[str, Pinned] = {}
        self._seen: dict[str, _Seen] = {}
        self._shown: frozenset[str] = frozenset()
        """The names in the gateway's own last listing. What else is seen, only clients were shown."""
        self._suspects: dict[str, _Seen] = {}
        self._passing: dict[str, Definition] = {}
        self._targets: dict[str, Target] = {}
        self._made_from: dict[str, _Seen] = {}
        self._raws: dict[bytes, _Seen] = {}
        self._unreadable: tuple[str, ...] = ()

    def target(self, name: str) -> Target:
        return self._targets.get(name) or self._target(name)

    def draft(self, on_change: Callable[[PinChange], None]) -> Definitions:
        """Return a copy, to be changed elsewhere and put in the place of the original. Definitions read before are
        shared."""
        draft = Definitions(
            self.name,
            self._settings,
            self.subject,
            first_use=self._first_use,
            on_change=on_change,
            credential=self._credential,
        )
        draft.listed, draft.fresh, draft._pins = self.listed, dict(self.fresh), self._pins
        draft._seen, draft._suspects, draft._passing = dict(self._seen), dict(self._suspects), dict(self._passing)
        draft._shown = self._shown
        draft._targets, draft._made_from = dict(self._targets), dict(self._made_from)
        draft._raws, draft._unreadable = self._raws, self._unreadable
        return draft

    # --- what comes in ---

    def note(self, items: Sequence[bytes], at: str, *, complete: bool, own: bool) -> bool:
        """Take in a listing, each item as its bytes. Return whether the gateway's own listing is needed to settle the
        state. `own`: the gateway asked, in the newest revision of the upstream. An answer to a client may show less of
        a definition, so its pin waits for an own listing. The answer may also show other tools, by the client's
        capabilities and past. So a tool missing there is not gone, and a tool found only there stays after an own
        listing. Until the first own listing, all definitions are unknown. Otherwise an upstream could gain trust for
        definitions hidden from the gateway."""
        found, problems = self._read(items[:MAX_KNOWN])
        complete = complete and len(items) <= MAX_KNOWN
        gone = self._gone(found) if complete and own else frozenset[str]()
        for name in gone:
            del self._seen[name]
        found = self._with_room(found)
        passing = len(self._passing)
        for name, item in found.items():
            self._trust_first(name, item, at, own=own)
            self._suspect(name, item, own=own)
        self._seen.update(found if own else self._wider(found))
        self.listed = self.listed or (complete and own)
        if complete:
            self._unreadable = problems
            self._shown = frozenset(found) if own else self._shown
        self._rebuild(self._seen if complete else found, gone)
        return len(self._passing) > passing

    def adopt(self, pinned: Mapping[str, Pinned], cleared: Iterable[str] = ()) -> bool:
        """Put the pins of the lock file into force, and return whether any differ from before. `cleared` are names that
        a person has just pinned. After a change, listings under way may be older than the pins."""
        again = frozenset(cleared)
        before, self._pins = self._pinned(), pinned
        self.fresh = {name: pin for name, pin in self.fresh.items() if name not in pinned and name not in again}
        self._passing = {
            name: first for name, first in self._passing.items() if name not in pinned and name not in again
        }
        after = self._pinned()
        anew = again.union(name for name in {*before, *after} if before.get(name) != after.get(name))
        for name in sorted(anew):
            self._suspects.pop(name, None)
            if name in self._seen and self._differs(name):
                self._on_change(
                    PinChange("changed", self.name, self.subject, name, self._known(name), self._seen[name])
                )
        self._rebuild(self._seen, ())
        return not anew.isdisjoint(after)

    def doubt(self, said: Definition | UnpinnableDefinition) -> None:
        """Take in instructions of an answer to a client, different from the pinned instructions."""
        if self._known(INSTRUCTIONS) is not None:
            self._suspect(INSTRUCTIONS, said, own=False)
            self._rebuild(self._seen, ())

    # --- what it says ---

    def compared(self, said: Definition | UnpinnableDefinition) -> Pin:
        """Return how the instructions in a client's answer compare with the pinned ones, regardless of earlier answers.
        Trust by first use applies only to the gateway's own listing."""
        if not self.listed:
            return Pin.UNKNOWN
        known = self._known(INSTRUCTIONS)
        if known is None:
            return self._without
        return Pin.MATCH if isinstance(said, Definition) and said.digest == known.digest else Pin.CHANGED

    def changes(self, *, known: bool) -> tuple[PinChange, ...]:
        """Return the differences from the pins; for a suspect definition, the version behind the suspicion. `known`:
        see `compare`."""
        return pins.compare(self.name, self.subject, self._pinned(), {**self._seen, **self._suspects}, known=known)

    def definitions(self) -> Iterable[Definition]:
        """Yield all held definitions, each once."""
        pinned = (pin.definition for pin in (*self._pins.values(), *self.fresh.values()))
        seen = chain(self._seen.values(), self._suspects.values(), self._passing.values(), pinned)
        return {id(item): item for item in seen if isinstance(item, Definition)}.values()

    def names(self) -> frozenset[str]:
        return frozenset(self._seen)

    def pinned_names(self) -> frozenset[str]:
        return frozenset(self._pinned())

    def renewed(self, name: str | None) -> tuple[tuple[Definition, ...], frozenset[str]]:
        """Return the definitions trusted by a person's pin of a name, or all changed definitions, as last listed, and
        the names of removed pins. Raises `ConfigurationError`."""
        changed = {change.name for change in self.changes(known=True)}
        names = self.names() & (changed if name is None else {name})
        gone = self.pinned_names() - self.names() if name is None else frozenset[str]()
        return tuple(self._trustworthy(each) for each in sorted(names)), gone

    def _trustworthy(self, name: str) -> Definition:
        seen = self._seen[name]
        if isinstance(seen, UnpinnableDefinition):
            problem = f"{self.name}/{pins.visible(name)} cannot be pinned: {seen.problem}"
            raise ConfigurationError(problem, "have the upstream mended")
        return seen

    def states(self) -> dict[str, Pin]:
        """Return the state of each listed definition."""
        return {name: self._state(name) for name in sorted(self._seen)}

    def warnings(self) -> tuple[str, ...]:
        if not self.listed or self.subject != "tool":
            return self._unreadable
        schemas = {
            name: item.document.get("inputSchema") for name, item in self._seen.items() if isinstance(item, Definition)
        }
        overlapping = tuple(overlap.sentence for overlap in self.overlaps())
        return labels.check(self.name, self._settings.tools, schemas) + overlapping + self._unreadable

    def overlaps(self) -> tuple[Overlap, ...]:
        """Return the label patterns with different labels for a listed tool, or for a URI."""
        tools = overlaps.of_tools(self.name, self._settings.tools, self._seen)
        return tools + overlaps.of_resources(self.name, self._settings.resources)

    # --- judging ---

    def _pinned(self) -> dict[str, Pinned]:
        return {**self.fresh, **self._pins}

    def _known(self, name: str) -> Definition | None:
        pin = self._pins.get(name) or self.fresh.get(name)
        return pin.definition if pin else self._passing.get(name)

    def _read(self, items: Sequence[bytes]) -> tuple[dict[str, _Seen], tuple[str, ...]]:
        found: dict[str, _Seen] = {}
        problems: list[str] = []
        if len(self._raws) > _REMEMBERED or sum(map(len, self._raws)) > MAX_BYTES // 4:
            self._raws.clear()
        for raw in items:
            item = self._raws.get(raw)
            if item is None:
                item = pins.read_listed(raw, self.subject)
                if len(raw) <= pins.MAX_LISTED:
                    self._raws[raw] = item
            if item.name is None:
                problems.append(f"{self.name} lists a {self.subject} that cannot be read: {item.problem}")
            elif item.name in found:
                found[item.name] = UnpinnableDefinition("it is defined twice in one listing")
            else:
                found[item.name] = item
        return found, tuple(problems)

    def _gone(self, found: Mapping[str, _Seen]) -> frozenset[str]:
        """Return the tools removed by an own listing: tools missing since the previous own listing. If room is short,
        every tool missing from this listing goes."""
        gone = self._shown - found.keys()
        if len(self._seen.keys() | found.keys()) - len(gone) > MAX_KNOWN:
            gone = frozenset(self._seen.keys() - found.keys())
        return gone

    def _with_room(self, found: dict[str, _Seen]) -> dict[str, _Seen]:
        """Return the known definitions, and as many new ones as fit."""
        names, size = MAX_KNOWN - len(self._seen), MAX_BYTES - sum(item.size for item in self.definitions())
        kept: dict[str, _Seen] = {}
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

    def _trust_first(self, name: str, item: _Seen, at: str, *, own: bool) -> None:
        if not self._first_use or isinstance(item, UnpinnableDefinition) or name in self._suspects:
            return
        known = self._known(name)
        if known is None and len(self._pins) + len(self.fresh) + len(self._passing) >= MAX_PINNED:
            return
        if known is None and not own:
            self._passing[name] = item
        elif own and (known is None or name in self._passing):
            first = self._passing.pop(name, item)
            trusted = item if pins.is_view_of(first, item) else first
            self.fresh[name] = Pinned(trusted, at)
            self._on_change(PinChange("added", self.name, self.subject, name, None, trusted))

    def _suspect(self, name: str, item: _Seen, *, own: bool) -> None:
        known = self._known(name)
        if isinstance(item, Definition) and (
            known is None or item.digest == known.digest or (not own and pins.is_view_of(item, known))
        ):
            return
        if self._suspects.get(name) != item:
            self._suspects[name] = item
            self._on_change(PinChange("changed", self.name, self.subject, name, known, item))

    def _wider(self, found: Mapping[str, _Seen]) -> dict[str, _Seen]:
        """Return the fuller of two views of each definition, to be pinned."""
        wider = dict(found)
        for name, item in found.items():
            known = self._seen.get(name)
            if isinstance(known, Definition) and isinstance(item, Definition) and pins.is_view_of(item, known):
                wider[name] = known
        return wider

    def _state(self, name: str) -> Pin:
        if name not in self._seen or not self.listed:
            return Pin.UNKNOWN
        if name in self._suspects or self._differs(name):
            return Pin.CHANGED
        return self._without if self._known(name) is None else Pin.MATCH

    def _differs(self, name: str) -> bool:
        """Return whether the definition was last seen in another form than pinned."""
        seen, known = self._seen[name], self._known(name)
        return isinstance(seen, UnpinnableDefinition) or (known is not None and not pins.is_view_of(seen, known))

    @property
    def _without(self) -> Pin:
        return Pin.UNPINNED if self._first_use else Pin.UNREVIEWED

    def _rebuild(self, names: Iterable[str], gone: Iterable[str]) -> None:
        for name in gone:
            del self._targets[name], self._made_from[name]
            self._on_change(PinChange("removed", self.name, self.subject, name, self._known(name), None))
        for name in names:
            old, seen = self._targets.get(name), self._seen[name]
            if old is not None and self._made_from[name] is seen and self._judged(name) == (old.pin, old.definition):
                continue
            new = self._targets[name] = self._target(name)
            self._made_from[name] = seen
            if new.pin in _WITHOUT and (old is None or old.pin not in _WITHOUT):
                self._on_change(PinChange("unpinned", self.name, self.subject, name, None, seen))

    def _target(self, name: str) -> Target:
        seen, (pin, digest) = self._seen.get(name), self._judged(name)
        definition = seen if isinstance(seen, Definition) else None
        target = target_of(
            self.name,
            self._settings,
            self.subject,
            name,
            pin=pin,
            definition=definition,
            credential=self._credential,
        )
        return target if digest is None else replace(target, definition=digest)

    def _judged(self, name: str) -> tuple[Pin, str | None]:
        """Return the state of a definition, and the digest of its pin if the definition matches the pin."""
        pin = self._state(name)
        known = self._known(name) if pin is Pin.MATCH else None
        return pin, None if known is None else known.digest


def target_of(
    upstream: str,
    settings: Upstream,
    subject: Subject,
    name: str,
    *,
    pin: Pin,
    definition: Definition | None,
    credential: TargetCredential | None = None,
) -> Target:
    """Return the target for `subject` and `name`, with its labels and the given state of its definition."""
    place = (settings.audience, settings.tenant, settings.environment, settings.trust)
    if subject == "instructions":
        return Target(
            "resource",
            upstream,
            "",
            *place,
            labels=_READ,
            pin=pin,
            aggregates=settings.aggregates,
            credential=credential,
        )
    if subject == "prompt":
        return Target(
            "prompt",
            upstream,
            name,
            *place,
            labels=_READ,
            pin=pin,
            aggregates=settings.aggregates,
            credential=credential,
        )
    return Target(
        "tool",
        upstream,
        name,
        *place,
        labels=labels.labels_for(name, settings.tools),
        pin=pin,
        annotations={} if definition is None else _annotations(definition.document),
        schema=None if definition is None else definition.document.get("inputSchema"),
        aggregates=settings.aggregates,
        credential=credential,
    )


def resource_of(
    upstream: str, settings: Upstream, name: str, labels: Labels, credential: TargetCredential | None
) -> Target:
    """Return a resource as the target of a call. The name is empty for the upstream itself."""
    place = (settings.audience, settings.tenant, settings.environment, settings.trust)
    return Target(
        "resource",
        upstream,
        name,
        *place,
        labels=labels,
        aggregates=settings.aggregates,
        credential=credential,
    )


def _annotations(document: JsonObject) -> JsonObject:
    annotations = document.get("annotations")
    return annotations if isinstance(annotations, dict) else {}
