"""The calls of a task behind the facts of another call. Pure: no I/O, no clock, no randomness.

    provenance = Provenance(entry)                       # the `call` entry that is asked about
    for earlier in entries_of_its_tasks:        # of `provenance.tasks`, from the journal, in their order
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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import structs

from gateway.history.carried import STRIDE, carried
from gateway.history.events import Reading, Released, Reserved, Touch, from_fields, unpack, verdict_of
from gateway.history.exposure import FORM
from gateway.history.facts import facts
from gateway.history.reading_marks import Mark, ReadingMarks, reserved
from gateway.model.content import CallContent, Sighting
from gateway.model.errors import HistoryError
from gateway.model.facts import CredentialFact, SessionFacts
from gateway.model.shingles import gram
from gateway.model.target import Role

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

DENIALS: Final = 8
"""Denied calls that an explanation names, the latest."""
_CHAIN: Final = 16
"""So many credentials back a chain is explanation."""


@dataclass(frozen=True, slots=True)
class Cause:
    """A call behind a fact. `how` tells the part of the call, in words after "this call"."""

    call: Mark
    how: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The facts of a decision with their causes. `destinations` is the number of the call's own destinations, if known.
    `missing` counts earlier calls of the task without a journal entry, which would enlarge facts. `declared` is the
    declaration of the task, if any."""

    facts: SessionFacts
    destinations: int | None
    missing: int
    declared: JsonObject
    causes: Mapping[str, tuple[Cause, ...]] = field(repr=False)
    """Member of `session` → the calls that made it, in their order; for credentials, `credentials/0` and so on."""


class Provenance:
    """A decision with the known calls before it."""

    def __init__(self, entry: JsonObject) -> None:
        """Begin with `entry`, the `call` entry to explain. Raises `HistoryError` for a damaged entry."""
        with _readable(entry):
            self._entry = cast("Mapping[str, Any]", entry)
            self._own = reserved(entry)
            self._marks = ReadingMarks()
            self._mark = self._marks.mark(entry, self._own)
            self._task: str = self._entry["task"]["id"]
            carries: Sequence[str] = self._entry["history"].get("carried", ())
        self._earlier = {task: ReadingMarks(task) for task in carries}
        self._seen = 0
        self._has_passed = False
        self._declared: JsonObject = {}
        self._begun: dict[tuple[str, str], Mark] = {}  # (member of session, name) → the first call of it
        self._latest: dict[str, tuple[float, Mark]] = {}  # audience → when its last call was
        self._destinations: dict[int, Mark] = {}
        self._readings: set[int] = set()  # numbers that no call has
        self._presented: dict[str, Mark] = {}
        self._carried: dict[int, dict[str, Mark]] = {}  # result → audience → the first call that carried its words
        self._parts: list[tuple[frozenset[int], Mark]] = []  # grams of credentials, and the call that carried them
        self._possible_carriers: dict[str, Mark] = {}
        self._denied: list[Mark] = []

    @property
    def tasks(self) -> frozenset[str]:
        """The ids of the task and of the earlier ones that its readings are carried on from."""
        return frozenset({self._task, *self._earlier})

    def take(self, entry: JsonObject) -> bool:
        """Take one entry of the tasks, in the order of the journal. Return false when no later entry matters. Raise
        `HistoryError` for a damaged entry."""
        with _readable(entry):
            fields = cast("Mapping[str, Any]", entry)
            # Entries of several journals have numbers of their own, so the place of the decision divides them.
            self._has_passed |= fields["kind"] == "call" and fields["id"] == self._own.call
            before = not self._has_passed
            earlier = self._earlier_task(fields)
            if earlier is not None:
                if before:
                    earlier.take(entry)
                return True
            match fields["kind"]:
                case "call":
                    self._call(entry, before=before)
                case "observed" if before:
                    self._observe(entry)
                case "settled" | "abandoned" if before:
                    self._marks.take(entry)
                case "task" if before:
                    self._declared = fields.get("declared") or self._declared
                    self._marks.fold(from_fields(entry))
                case _:
                    pass
            return before or self._seen < self._own.number - 1

    def explanation(self) -> Explanation:
        """Return the facts for the decision, with their sources. Raises `HistoryError` if its entry is damaged."""
        self._begin(self._own, self._mark)
        with _readable(cast("JsonObject", self._entry)):
            known = self._find_known()
        mine = self._own.destinations
        causes = {name: tuple(sorted(made, key=_order)) for name, made in self._causes(known) if made}
        missing = self._own.number - 1 - self._seen
        count = None if mine is None else len(unpack(mine + self._own.inside))
        return Explanation(known, count, max(missing, 0), self._declared, causes)

    def _find_known(self) -> SessionFacts:
        found: Mapping[str, Any] = self._entry.get("found") or {}
        target: Mapping[str, Any] = self._entry["target"]
        behind: Sequence[str] | None = target.get("aggregates")
        delegation = cast("Sequence[Any]", self._entry["principal"]["delegation"])
        depth = None if behind == [] else len(delegation) + (behind is not None) + target.get("agent", False)
        content = _content(self._own, found)
        before = carried([marks.state for marks in self._earlier.values()])
        known = facts(
            self._marks.state, self._own.at, call=self._own.call, content=content, depth=depth, carried=before
        )
        return structs.replace(
            known,
            credentials=_with_plain_words(known.credentials, found),
            call_destinations=None,
            call_own_destinations=0 if self._own.destinations is None else len(self._own.unnamed_inside),
            ungrounded=_pointers(found.get("ungrounded", ())),
            followed=_pointers(found.get("followed", ())),
        )

    # --- folding -------------------------------------------------------------------------------------

    def _earlier_task(self, fields: Mapping[str, Any]) -> ReadingMarks | None:
        """Return the earlier task that an entry is of. An outcome names only its call."""
        if fields["kind"] in {"settled", "abandoned"}:
            return next((marks for marks in self._earlier.values() if fields["id"] in marks.open), None)
        named = fields["task"]
        return self._earlier.get(named if isinstance(named, str) else named["id"])

    def _call(self, entry: JsonObject, *, before: bool) -> None:
        """Add a call counted before this one. A call with a later entry was under way at the decision."""
        event = reserved(entry)
        if event.number >= self._own.number or event.call == self._own.call:
            return
        self._seen += 1
        mark = self._marks.mark(entry, event)
        verdict = verdict_of(entry, event.call) if before else None
        if isinstance(verdict, Released):
            self._marks.fold(event)
            self._marks.fold(verdict)
            if verdict.denied:
                self._denied = [*self._denied[1 - DENIALS :], mark]
            return
        self._begin(event, mark)
        if verdict is not None:
            self._marks.fold(verdict)

    def _begin(self, event: Reserved, mark: Mark) -> None:
        if not self._marks.begin(event, mark):
            return
        touch = event.touch
        self._touch(touch, event.unnamed, mark)
        for system in touch.reached:
            if event.at >= self._latest.get(system, (0.0, mark))[0]:
                self._latest[system] = (event.at, mark)
        for digest in unpack(event.destinations or b""):
            self._destinations.setdefault(digest, mark)
        for fingerprint in event.credentials:
            if fingerprint in self._marks.state.presented:
                self._presented.setdefault(fingerprint, mark)
        for number in event.source_results:
            self._carried.setdefault(number, {}).setdefault(touch.audience, mark)
        if event.has_partial_source:
            self._possible_carriers.setdefault(touch.audience, mark)
        if event.exposed and event.call != self._own.call and {*touch.reached} & {*self._own.touch.reached}:
            self._parts.append((frozenset(unpack(event.exposed)), mark))

    def _touch(self, touch: Touch, unnamed: tuple[str, ...], mark: Mark) -> None:
        named = [("tenants", touch.tenant), ("environments", touch.environment)]
        named += [("unnamed_systems", system) for system in unnamed]
        for system in touch.reached:
            named += [("audiences", system), *([("write_audiences", system)] if touch.write else [])]
        for member, name in named:
            if name is not None:
                self._begun.setdefault((member, name), mark)

    def _observe(self, entry: JsonObject) -> None:
        event = from_fields(entry)
        if isinstance(event, Reading):
            if event.number >= self._own.number:
                return
            if not event.late and event.number not in self._readings:
                self._readings.add(event.number)
                self._seen += 1
        self._marks.observe(entry)

    # --- telling -------------------------------------------------------------------------------------

    def _causes(self, known: SessionFacts) -> Iterator[tuple[str, list[Cause]]]:
        for member, verb in _BEGUN.items():
            yield member, [Cause(mark, f"{verb} {name}") for (of, name), mark in self._begun.items() if of == member]
        window = sorted(known.audiences_in_window or ())
        yield "audiences_in_window", [Cause(self._latest[name][1], f"touched {name}") for name in window]
        reached = Counter(self._destinations.values())
        yield "destinations", [Cause(mark, f"was the first to {_several(count)}") for mark, count in reached.items()]
        yield "in_flight", [Cause(mark, "was open") for mark in self._marks.open.values()]
        yield "denials", [Cause(mark, "was refused") for mark in self._denied]
        yield "spread", self._spread(known.spread or 0)
        read = {label: self._readers(label) for label in _READ}
        yield "labels/untrusted", read["untrusted"]
        yield "labels/confidentiality", read["confidentiality"]
        yield "labels", [cause for causes in read.values() for cause in causes]
        yield "ungrounded", read["untrusted"]
        yield "confidential_systems", [*self._confidential()]
        for index, fact in enumerate(known.credentials or ()):
            parts = self._carried_parts(fact.fingerprint) if fact.form == FORM else ()
            yield f"credentials/{index}", [*self._credential(fact.fingerprint), *parts]

    def _all_marks(self) -> Iterator[ReadingMarks]:
        """Yield the marks of the earlier tasks, the earliest first, and those of the task."""
        yield from reversed(self._earlier.values())
        yield self._marks

    def _readers(self, label: str) -> list[Cause]:
        """Return the calls that first read so: one of each task, and each call once."""
        found: dict[str, Mark] = {}
        for marks in self._all_marks():
            if (mark := marks.read.get(label)) is not None:
                found.setdefault(mark.id, mark)
        return [Cause(mark, _MARKED if mark.agent is not None else _READ[label]) for mark in found.values()]

    def _confidential(self) -> Iterator[Cause]:
        for marks in self._all_marks():
            for system, mark in marks.confidential.items():
                yield Cause(mark, f"was the first to read something confidential from {system.audience}")

    def _result(self, number: int) -> Mark | None:
        """Return the call that showed a result. Those of earlier tasks are numbered below zero (`carried`)."""
        if number >= 0:
            return self._marks.results.get(number)
        index, number = divmod(-number, STRIDE)
        return list(self._earlier.values())[index].results.get(number)

    def _spread(self, width: int) -> list[Cause]:
        """Return the result with the widest spread, and the calls that carried, or may have carried, its words."""
        number = next(
            (number for number, reached in self._marks.state.carried_to.items() if len(reached) == width), None
        )
        if number is not None:
            reader = self._result(number)
            source = [] if reader is None else [Cause(reader, "read the untrusted data")]
            carriers = self._carried.get(number, {})
            return [*source, *(Cause(mark, f"carried words of it to {name}") for name, mark in carriers.items())]
        partial = [item for marks in self._all_marks() for item in marks.partial_sources.items()]
        return [
            *(Cause(mark, f"read more of {name} than is kept apart") for name, mark in partial),
            *(Cause(mark, f"may have carried it to {name}") for name, mark in self._possible_carriers.items()),
        ]

    def _find_shower(self, fingerprint: str) -> Mark | None:
        """Return the call whose result showed a credential first, in whichever task."""
        return next((marks.shown[fingerprint] for marks in self._all_marks() if fingerprint in marks.shown), None)

    def _carried_parts(self, fingerprint: str) -> Iterator[Cause]:
        """Yield the earlier calls that carried parts of a credential to the same system."""
        shingles = (marks.state.shingles.get(fingerprint, ()) for marks in self._all_marks())
        grams = {gram(shingle) for found in shingles for shingle in found}
        for exposed, mark in self._parts:
            if exposed & grams:
                yield Cause(mark, "carried a part of the credential there")

    def _credential(self, fingerprint: str) -> Iterator[Cause]:
        """Yield the call whose result showed the credential, then the calls behind that call's credentials, and so on."""
        if self._find_shower(fingerprint) is None:
            first = self._presented.get(fingerprint)
            if first is not None and first.number < self._own.number:
                yield Cause(first, "was the first to carry it")
            return
        named: set[str] = set()
        waiting = [fingerprint]
        how = ""
        while waiting and len(named) < _CHAIN:
            one = waiting.pop(0)
            mark = self._find_shower(one)
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
    "unnamed_systems": "was the first to write, without a name in goal or contract, to",
}
_READ: Final = {
    "untrusted": "was the first to read something untrusted",
    "confidentiality": "was the first to read something so confidential",
}


_MARKED: Final = "marked the job by what it read"


def _several(count: int) -> str:
    return "reach one destination" if count == 1 else f"reach {count} destinations"


def _order(cause: Cause) -> tuple[bool, int]:
    """Calls of earlier tasks go first."""
    return cause.call.task is None, cause.call.number


def _content(event: Reserved, found: Mapping[str, Any]) -> CallContent | None:
    """Return the recorded content of the arguments. `None` without complete inspection."""
    if event.destinations is None or found.get("credentials", ()) is None:
        return None
    held = found.get("credentials", ())
    given = frozenset(item["pointer"] for item in held if item["origin"] == "user")
    return CallContent(sightings=tuple(map(_sighting, held)), grounded=given)


def _with_plain_words(
    credentials: tuple[CredentialFact, ...] | None, found: Mapping[str, Any]
) -> tuple[CredentialFact, ...] | None:
    """Return the facts with the marks of the record. The arguments alone tell plain words and places, and a record has none."""
    held: Sequence[Any] = found.get("credentials") or ()
    if credentials is None or len(credentials) != len(held):
        return credentials
    return tuple(
        structs.replace(fact, plain_word=bool(item.get("plain_word")), pointed_at=bool(item.get("pointed_at")))
        for fact, item in zip(credentials, held, strict=True)
    )


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
