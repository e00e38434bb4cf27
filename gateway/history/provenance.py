"""Which calls of a task made what policy was told of another one. Pure: no I/O, no clock, no randomness.

    provenance = Provenance(entry)                       # the `call` entry that is asked about
    for earlier in entries_of_its_task:        # of the journal, in their order
        if not provenance.take(earlier):
            break
    explanation = provenance.explanation()                        # the facts, and for each the calls that made it

The entries are folded as after a crash, so the facts are those of the decision, but for what the record has as digests
alone. Kept is what history keeps of one task, and a line for each call that began something: no more than that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from gateway.errors import HistoryError
from gateway.history.events import Event, Observed, Read, Reserved, Settled, Touch
from gateway.history.facts import facts
from gateway.history.fields import from_fields, release_of
from gateway.history.fold import apply
from gateway.history.new_events import lost_result
from gateway.history.state import TaskState
from gateway.model.content import CallContent, Sighting
from gateway.model.facts import SessionFacts
from gateway.model.target import Role

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

DENIALS: Final = 8
"""Denied calls that an explanation names, the latest."""
_CHAIN: Final = 16
"""So many credentials back a chain is explanation."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A call, as the record names it; or a reading outside of one. `number` counts both in their task from 1; `used` are
    the fingerprints of the credentials in the arguments of the call."""

    id: str
    number: int
    time: str
    target: str
    used: tuple[str, ...] = ()
    reading: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """A call that made a fact, and how, in words that follow "this call"."""

    call: Mark
    how: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """`facts` are those of the decision; `destinations` is how many the call itself has, if that is known. `missing`
    counts the earlier calls of the task that are not in the journal: with them, facts would be larger. `declared` is
    what was declared of the task, if it was."""

    facts: SessionFacts
    destinations: int | None
    missing: int
    declared: JsonObject
    causes: Mapping[str, tuple[Cause, ...]] = field(repr=False)
    """Member of `session` → the calls that made it, in their order; for credentials, `credentials/0` and so on."""


class Provenance:
    """One decision, and what is known of the calls before it."""

    def __init__(self, entry: JsonObject) -> None:
        """`entry` is the `call` entry. Raises `HistoryError` for one that is damaged."""
        with _readable(entry):
            self._entry = cast("Mapping[str, Any]", entry)
            self._seq: int = self._entry["seq"]
            self._own = _reserved(entry)
            self._mark = _mark(entry, self._own)
        self._seen = 0
        self._declared: JsonObject = {}
        self._state = TaskState()
        self._open: dict[str, Mark] = {}
        self._begun: dict[tuple[str, str], Mark] = {}  # (member of session, name) → the first call of it
        self._latest: dict[str, tuple[float, Mark]] = {}  # audience → when its last call was
        self._destinations: dict[int, Mark] = {}
        self._shown: dict[str, Mark] = {}  # credential → the call whose result showed it
        self._readings: set[int] = set()  # numbers that no call has
        self._presented: dict[str, Mark] = {}
        self._results: dict[int, Mark] = {}  # untrusted results whose words are known
        self._carried: dict[int, dict[str, Mark]] = {}  # result → audience → the first call that carried its words
        self._unkept: dict[str, Mark] = {}
        self._flooded: dict[str, Mark] = {}
        self._read: dict[str, Mark] = {}  # label → the call that first read so
        self._denied: list[Mark] = []

    def take(self, entry: JsonObject) -> bool:
        """One entry of the task, in the order of the journal. False when nothing after it matters. Raises
        `HistoryError` for an entry that is damaged."""
        with _readable(entry):
            fields = cast("Mapping[str, Any]", entry)
            before = fields["seq"] < self._seq
            match fields["kind"]:
                case "call":
                    self._call(entry, before=before)
                case "observed" if before:
                    self._observe(entry)
                case "settled" if before:
                    if (read := fields.get("history")) is not None:
                        self._observe(read)
                    self._settle(fields["id"])
                case "abandoned" if before:
                    self._abandon(fields["id"])
                case "task" if before:
                    self._declared = fields.get("declared") or self._declared
                    self._fold(from_fields(entry))
                case _:
                    pass
            return before or self._seen < self._own.number - 1

    def explanation(self) -> Explanation:
        """The facts for the decision and where they came from. Raises `HistoryError` if its entry is damaged."""
        self._begin(self._own, self._mark)
        with _readable(cast("JsonObject", self._entry)):
            known = self._known()
        mine = self._own.destinations
        causes = {name: tuple(sorted(made, key=_number)) for name, made in self._causes(known) if made}
        missing = self._own.number - 1 - self._seen
        return Explanation(known, None if mine is None else len(mine), max(missing, 0), self._declared, causes)

    def _known(self) -> SessionFacts:
        found: Mapping[str, Any] = self._entry.get("found") or {}
        behind: Sequence[str] | None = self._entry["target"].get("aggregates")
        delegation = cast("Sequence[Any]", self._entry["principal"]["delegation"])
        depth = None if behind == [] else len(delegation) + (behind is not None)
        known = facts(self._state, self._own.at, call=self._own.call, content=_content(self._own, found), depth=depth)
        return replace(
            known,
            call_destinations=None,
            ungrounded=_pointers(found.get("ungrounded", ())),
            followed=_pointers(found.get("followed", ())),
        )

    # --- folding -------------------------------------------------------------------------------------

    def _call(self, entry: JsonObject, *, before: bool) -> None:
        """A call that was counted before this one. One whose entry comes after was under way when this was decided."""
        event = _reserved(entry)
        if event.number >= self._own.number or event.call == self._own.call:
            return
        self._seen += 1
        mark = _mark(entry, event)
        if before and (released := release_of(entry, event.call)) is not None:
            self._fold(event)
            self._fold(released)
            if released.denied:
                self._denied = [*self._denied[1 - DENIALS :], mark]
        else:
            self._begin(event, mark)

    def _begin(self, event: Reserved, mark: Mark) -> None:
        if not self._fold(event):
            return
        self._open[event.call] = mark
        touch = event.touch
        self._touch(touch, mark)
        for system in touch.reached:
            if event.at >= self._latest.get(system, (0.0, mark))[0]:
                self._latest[system] = (event.at, mark)
        for digest in event.destinations or ():
            self._destinations.setdefault(digest, mark)
        for fingerprint in event.credentials:
            if fingerprint in self._state.presented:
                self._presented.setdefault(fingerprint, mark)
        for number in event.fed:
            self._carried.setdefault(number, {}).setdefault(touch.audience, mark)
        if event.flooded:
            self._flooded.setdefault(touch.audience, mark)

    def _touch(self, touch: Touch, mark: Mark) -> None:
        named = [("tenants", touch.tenant), ("environments", touch.environment)]
        for system in touch.reached:
            named += [("audiences", system), *([("write_audiences", system)] if touch.write else [])]
        for member, name in named:
            if name is not None:
                self._begun.setdefault((member, name), mark)

    def _observe(self, entry: JsonObject) -> None:
        event = from_fields(entry)
        if isinstance(event, Observed) and (mark := self._open.get(event.call)) is not None:
            self._seen_in(event, mark, self._state.open[event.call].touch.audience)
        elif isinstance(event, Read) and event.number < self._own.number:
            mark = _reading(entry, event)
            if not event.late and event.number not in self._readings:
                self._readings.add(event.number)
                self._seen += 1
            self._seen_in(event, mark, event.audience)

    def _seen_in(self, event: Observed | Read, mark: Mark, audience: str) -> None:
        self._labelled(event, mark)
        for shown in event.credentials:
            if shown.fingerprint in self._state.credentials:
                self._shown.setdefault(shown.fingerprint, mark)
        if mark.number in self._state.results:
            self._results.setdefault(mark.number, mark)
        if audience in self._state.unkept:
            self._unkept.setdefault(audience, mark)

    def _abandon(self, call: str) -> None:
        if (mark := self._open.get(call)) is not None:
            self._seen_in(lost_result(self._state, call), mark, self._state.open[call].touch.audience)
        self._settle(call)

    def _settle(self, call: str) -> None:
        mark = self._open.pop(call, None)
        if mark is not None:
            self._labelled(Settled(call), mark)

    def _labelled(self, event: Event, mark: Mark) -> None:
        """Fold an event that says that something was read, and note what it raised."""
        state = self._state
        untrusted, confidentiality = state.untrusted, state.confidentiality
        self._fold(event)
        if state.untrusted and not untrusted:
            self._read["untrusted"] = mark
        if state.confidentiality is not confidentiality:
            self._read["confidentiality"] = mark

    def _fold(self, event: Event) -> bool:
        """Whether the event could be folded. One that happens twice is left out, as it is after a crash."""
        try:
            apply(self._state, event)
        except ValueError:
            return False
        return True

    # --- telling -------------------------------------------------------------------------------------

    def _causes(self, known: SessionFacts) -> Iterator[tuple[str, list[Cause]]]:
        for member, verb in _BEGUN.items():
            yield member, [Cause(mark, f"{verb} {name}") for (of, name), mark in self._begun.items() if of == member]
        window = sorted(known.audiences_in_window or ())
        yield "audiences_in_window", [Cause(self._latest[name][1], f"touched {name}") for name in window]
        reached = Counter(self._destinations.values())
        yield "destinations", [Cause(mark, f"was the first to {_several(count)}") for mark, count in reached.items()]
        yield "in_flight", [Cause(mark, "was open") for mark in self._open.values()]
        yield "denials", [Cause(mark, "was refused") for mark in self._denied]
        yield "spread", self._spread(known.spread or 0)
        read = {label: [Cause(mark, _READ[label])] for label, mark in self._read.items()}
        yield "labels/untrusted", read.get("untrusted", [])
        yield "labels/confidentiality", read.get("confidentiality", [])
        yield "labels", [cause for causes in read.values() for cause in causes]
        yield "ungrounded", read.get("untrusted", [])
        for index, fact in enumerate(known.credentials or ()):
            yield f"credentials/{index}", list(self._credential(fact.sighting.fingerprint))

    def _spread(self, width: int) -> list[Cause]:
        """The result that went furthest, and the calls that carried it on; or those that may have carried the rest."""
        number = next((number for number, fed in self._state.fed.items() if len(fed) == width), None)
        if number is not None:
            carried = self._carried.get(number, {})
            source = [Cause(self._results[number], "read the untrusted data")] if number in self._results else []
            return [*source, *(Cause(mark, f"carried words of it to {name}") for name, mark in carried.items())]
        return [
            *(Cause(mark, f"read more of {name} than is kept apart") for name, mark in self._unkept.items()),
            *(Cause(mark, f"may have carried it to {name}") for name, mark in self._flooded.items()),
        ]

    def _credential(self, fingerprint: str) -> Iterator[Cause]:
        """The call whose result showed it, and those whose results showed what that call used, and so on."""
        if fingerprint not in self._shown:
            first = self._presented.get(fingerprint)
            if first is not None and first.number < self._own.number:
                yield Cause(first, "was the first to carry it")
            return
        named: set[str] = set()
        waiting = [fingerprint]
        how = ""
        while waiting and len(named) < _CHAIN:
            one = waiting.pop(0)
            mark = self._shown.get(one)
            if one in named or mark is None:
                continue
            named.add(one)
            yield Cause(
                mark, how or ("showed the credential" if mark.reading else "showed the credential in its result")
            )
            waiting.extend(mark.used)
            how = "showed a credential that was used on the way there"


_BEGUN: Final = {
    "audiences": "was the first to touch",
    "write_audiences": "was the first to change",
    "tenants": "was the first in tenant",
    "environments": "was the first in environment",
}
_READ: Final = {
    "untrusted": "was the first to read something untrusted",
    "confidentiality": "was the first to read something so confidential",
}


def _several(count: int) -> str:
    return "reach one destination" if count == 1 else f"reach {count} destinations"


def _number(cause: Cause) -> int:
    return cause.call.number


def _reserved(entry: JsonObject) -> Reserved:
    event = from_fields(cast("JsonObject", entry["history"]))
    if not isinstance(event, Reserved):
        raise ValueError("a call is no reservation")  # noqa: TRY004 - damaged input, as all others here
    return event


def _mark(entry: JsonObject, event: Reserved) -> Mark:
    fields = cast("Mapping[str, Any]", entry)
    return Mark(event.call, event.number, str(fields["time"]), str(fields["target"]["id"]), event.credentials)


def _reading(entry: JsonObject, event: Read) -> Mark:
    fields = cast("Mapping[str, Any]", entry)
    source = str(fields.get("source", event.audience))
    if event.late:
        source = f"{source}, the late result of call {event.number},"
    return Mark(str(fields["id"]), event.number, str(fields["time"]), source, event.used, reading=True)


def _content(event: Reserved, found: Mapping[str, Any]) -> CallContent | None:
    """What of the arguments the record has. `None` if they were not looked at whole."""
    if event.destinations is None or found.get("credentials", ()) is None:
        return None
    held = found.get("credentials", ())
    given = frozenset(item["pointer"] for item in held if item["origin"] == "user")
    return CallContent(sightings=tuple(map(_sighting, held)), grounded=given)


def _pointers(written: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if written is None else tuple(written)


def _sighting(item: Mapping[str, Any]) -> Sighting:
    role = item["role"]
    return Sighting(
        item["fingerprint"],
        item["detector"],
        item["pointer"],
        role and Role(role),
        item["form"],
        shown_by=item.get("shown_by"),
    )


@contextmanager
def _readable(entry: JsonObject) -> Generator[None]:
    """Turns what a damaged entry raises into a sentence."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HistoryError(
            f"entry {entry.get('seq')} of the journal cannot be read: {error}", "run `opagate journal verify`"
        ) from error
