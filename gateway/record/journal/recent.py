"""Counts of recent decisions: by hour and outcome, and the agents and reasons with the most refusals. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.record.journal.placed import EntryPlace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.model.wire import JsonObject
    from gateway.record.journal.index_file import StoppedRows


class NamedCount(NamedTuple):
    """The number of refused calls with a name: of an agent, or of a reason."""

    name: str
    calls: int


class CallCount(NamedTuple):
    """The numbers of calls of one caller by outcome, with the entry of the latest call."""

    name: str
    allowed: int
    asked: int
    stopped: int
    last: JsonObject


class RecentDecisions(NamedTuple):
    """The decisions since an hour. `hours` counts these by hour since the epoch and outcome. `is_whole` tells whether the index
    covers all of that time."""

    hours: Mapping[tuple[int, int], int]
    agents: list[NamedCount]
    codes: list[NamedCount]
    is_whole: bool


class Tally:
    """Counts by digest, each with a place where the name behind the digest stands."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.places: dict[int, EntryPlace] = {}

    def add(self, digest: int | None, count: int, place: EntryPlace) -> None:
        """Add to the count of a digest; nothing without one."""
        if digest is not None:
            self.counts[digest] += count
            self.places.setdefault(digest, place)


def names_of(entry: JsonObject) -> Iterator[str]:
    """Yield the agent of an entry, and the codes of its reasons."""
    principal: Any = entry.get("principal") or {}
    reasons: Any = entry.get("reasons") or ()
    for name in (principal.get("id"), *(reason.get("code") for reason in reasons)):
        if isinstance(name, str):
            yield name


def tally_stopped(stopped: Iterable[tuple[int, StoppedRows]]) -> tuple[Tally, Tally]:
    """Return the refusals by agent, and by reason. The rows come with their segment, the last segment first."""
    agents, codes = Tally(), Tally()
    for number, rows in stopped:
        place = EntryPlace(number, rows.last)
        agents.add(rows.agent, rows.calls, place)
        for code in (rows.codes or "").strip('"').split('""'):
            codes.add(int(code) if code else None, rows.calls, place)
    return agents, codes
