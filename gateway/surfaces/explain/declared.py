"""The earlier calls behind the declared facts of a recorded decision. Pure: the caller brings the entries of the journal.

The entry of a call has a mark for each fact that counts the call: the account, and the keyed digest of the keys. Calls with the
same mark are one fact. Their marks are folded here by name, where the gateway keeps sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.history.declared.tables import PARTS, Mark
from gateway.history.events import Released, Reserved, Settled, end_of, from_fields, list_ends, verdict_of
from gateway.history.provenance import Cause
from gateway.history.reading_marks import Mark as CallMark
from gateway.policy.document import DECLARED
from gateway.surfaces.explain.window import since_of

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

PARTS_OF_INPUT: Final = DECLARED[:2]


class FactPlace(NamedTuple):
    """The table of a fact, the account with the table (empty for the task), and the digest of the keys. `width` is the length
    of a part of the window, 0 without one."""

    table: str
    owner: str
    key: str
    width: float


@dataclass(slots=True)
class _Counted:
    """An earlier call with its mark. `ends` are the states in which it is now."""

    call: CallMark
    mark: Mark
    at: float
    ends: tuple[str, ...] = ("open",)


def find_cited(decision: Mapping[str, Any]) -> dict[str, FactPlace]:
    """Return the places of the declared facts that the reasons of a decision name. Raises `ValueError` for a damaged entry."""
    pointers = [str(pointer) for reason in decision.get("reasons") or () for pointer in reason.get("facts") or ()]
    split = [pointer.split("/") for pointer in pointers]
    cited = {parts[2] for parts in split if len(parts) > 2 and parts[1] in PARTS_OF_INPUT}
    return {name: place for name, place in _find_places(decision).items() if name in cited}


def _find_places(decision: Mapping[str, Any]) -> dict[str, FactPlace]:
    """Return the places of the declared facts that an entry tells of, by the name of the fact."""
    event = _reserved(decision)
    marks = () if event is None else event.facts
    found = {
        mark.table.partition("@")[0]: FactPlace(mark.table, mark.owner, mark.key, mark.width)
        for mark in marks
        if mark.key
    }
    kept = cast("Mapping[str, tuple[str, str, str, float]]", decision.get("declared", {}).get("places", {}))
    return found | {name: FactPlace(*place) for name, place in kept.items()}


def find_beginning(decision: JsonObject, places: Mapping[str, FactPlace]) -> float:
    """Return the time of the earliest call that may count in the facts at some places. A fact without a window is of its task."""
    at = float(cast("Any", decision)["history"]["at"])
    begins = (at - place.width * (PARTS + 1) if place.width else since_of(decision) for place in places.values())
    return min(begins, default=at)


def _reserved(entry: Mapping[str, Any]) -> Reserved | None:
    history = cast("JsonObject | None", entry.get("history"))
    event = None if history is None or not history.get("facts") else from_fields(history)
    return event if isinstance(event, Reserved) else None


class FactCauses:
    """The calls behind the facts of a decision, from entries in their order. `places` are of the wanted facts."""

    def __init__(self, decision: JsonObject, places: Mapping[str, FactPlace]) -> None:
        self._decision = cast("Mapping[str, Any]", decision)
        self._names = {place: name for name, place in places.items()}
        self._counted: dict[str, list[_Counted]] = {name: [] for name in places}
        self._by_call: dict[str, list[tuple[str, _Counted]]] = {}
        self._anew: set[str] = set()

    def take(self, entry: JsonObject) -> None:
        """Take an entry. Entries after the decision change nothing. Raises `ValueError` for a damaged entry."""
        fields = cast("Mapping[str, Any]", entry)
        if fields["seq"] > self._decision["seq"]:
            return
        match fields["kind"]:
            case "call":
                self._begin(fields)
            case "settled":
                self._end(Settled(str(fields["id"]), end_of(str(fields.get("outcome", "")))))
            case "abandoned":
                self._end(Settled(str(fields["id"]), "unknown"))
            case "confirmed":
                self._correct(str(fields["id"]), str(fields["end"]))
            case _:
                pass

    def _begin(self, entry: Mapping[str, Any]) -> None:
        event = _reserved(entry)
        if event is None:
            return
        verdict = verdict_of(cast("JsonObject", entry), event.call)
        is_own = event.call == self._decision["id"]
        ends = list_ends(verdict) if isinstance(verdict, Released) and not is_own else ("open",)
        task = None if entry["task"]["id"] == self._decision["task"]["id"] else str(entry["task"]["id"])
        call = CallMark(event.call, event.number, str(entry["time"]), str(entry["target"]["id"]), task=task)
        for mark in event.facts:
            name = self._names.get(FactPlace(mark.table, mark.owner, mark.key, mark.width))
            if name is not None:
                counted = _Counted(call, mark, event.at, ends)
                self._by_call.setdefault(event.call, []).append((name, counted))
                if not mark.begins:
                    self._counted[name].append(counted)

    def _end(self, event: Settled) -> None:
        for name, each in self._by_call.pop(event.call, ()):
            each.ends = list_ends(event)
            if each.mark.begins and not {*each.mark.ends}.isdisjoint(each.ends):
                self._counted[name] = [one for one in self._counted[name] if one.ends == ("open",)]
                self._anew.add(name)

    def _correct(self, call: str, end: str) -> None:
        """Take in what became of a call of unknown outcome, as the fold does (`tables.correct`)."""
        for name, calls in self._counted.items():
            for each in calls:
                counts = end in each.mark.ends
                stays = name in self._anew or each.mark.aggregate not in {"count", "sum"}
                if each.call.id == call and (counts or not stays):
                    each.ends = (end,)

    def causes(self) -> dict[str, tuple[Cause, ...]]:
        """Return the calls behind each fact, oldest first, by the pointer of the fact."""
        found: dict[str, tuple[Cause, ...]] = {}
        for name, calls in self._counted.items():
            counted = [each for each in calls if self._counts(each)]
            found[f"/facts/{name}"] = tuple(Cause(each.call, _say(each)) for each in counted)
            found[f"/facts_before/{name}"] = tuple(
                Cause(each.call, _say(each)) for each in counted if each.call.id != self._decision["id"]
            )
        return found

    def _counts(self, each: _Counted) -> bool:
        """Return whether a call counted at the decision: by its state, and by the parts of the window."""
        width, now = each.mark.width, float(self._decision["history"]["at"])
        is_over = width and each.ends != ("open",) and floor(each.at / width) < floor(now / width) - PARTS
        return not is_over and not {*each.mark.ends}.isdisjoint(each.ends)


def _say(each: _Counted) -> str:
    added = "counts" if each.mark.number == "0" else f"added {each.mark.number}"
    return f"{added} ({each.ends[0]})"


def find_causes(
    decision: JsonObject, entries: Iterable[JsonObject], places: Mapping[str, FactPlace]
) -> dict[str, tuple[Cause, ...]]:
    """Return the calls behind the declared facts at some places, by pointer. Raises `ValueError` for a damaged entry."""
    found = FactCauses(decision, places)
    for entry in entries:
        found.take(entry)
    return found.causes()
