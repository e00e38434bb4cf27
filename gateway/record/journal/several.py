"""The journals of several gateways, read as one: merged by time, each entry with its gateway.

The order within a journal stays. Between journals the clocks of their gateways decide, which differ by a second at most.
"""

from __future__ import annotations

from functools import partial
from heapq import merge
from typing import TYPE_CHECKING, NamedTuple

from gateway.record.journal import reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from gateway.model.wire import JsonObject
    from gateway.record.journal.chain import ChainKeys


class NamedJournal(NamedTuple):
    """The journal of one gateway. `name` tells it apart for people. Without `keys` its lines are read unchecked."""

    name: str
    folder: Path
    keys: ChainKeys = None


class NamedEntry(NamedTuple):
    """An entry, and the name of its gateway."""

    gateway: str
    entry: JsonObject


def time_of(entry: JsonObject) -> str:
    """Return the time of an entry, in a form that sorts."""
    return str(entry.get("time", ""))


def merge_entries(journals: Sequence[NamedJournal], *, after: int = 0) -> Iterator[NamedEntry]:
    """Yield the entries of journals, oldest first, unchecked. `after` is a number of a single journal. Raises `JournalError`."""
    return _merge((each.name, reader.entries(each.folder, after=after)) for each in journals)


def follow_entries(journals: Sequence[NamedJournal]) -> Iterator[NamedEntry | None]:
    """Yield the entries of the last segments, then each new one, and `None` if there is nothing new. Raises `JournalError`."""
    tails = [(each.name, reader.tail(each.folder)) for each in journals]
    while True:
        yield from _merge((name, iter(partial(next, tail), None)) for name, tail in tails)
        yield None


def collect(
    journals: Sequence[NamedJournal], read: Callable[[NamedJournal], Iterable[JsonObject]]
) -> Iterator[NamedEntry]:
    """Yield the entries that `read` finds in each journal, oldest first."""
    return _merge((each.name, read(each)) for each in journals)


def _merge(streams: Iterable[tuple[str, Iterable[JsonObject]]]) -> Iterator[NamedEntry]:
    named = (map(partial(NamedEntry, name), entries) for name, entries in streams)
    return merge(*named, key=lambda found: time_of(found.entry))
