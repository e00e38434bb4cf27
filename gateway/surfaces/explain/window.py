"""The entries around a recorded decision, found by the index or read from the place of the decision outwards.

A large journal is not read whole.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from gateway.record.journal import reader
from gateway.record.journal.chain import Chain, ChainKeys, timestamp
from gateway.record.journal.columns import Search
from gateway.record.journal.entry import opened_by
from gateway.record.journal.placed import (
    BUDGET,
    EntryPlace,
    PlacedLine,
    lines_before,
    lines_from,
    place_after,
    read_at,
    read_line,
)
from gateway.record.journal.several import collect, time_of

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model.wire import JsonObject
    from gateway.record.journal.entry_index import EntryIndex
    from gateway.record.journal.several import NamedEntry, NamedJournal

_TIME: Final = re.compile(rb'"time":"([^"]+)"')
_ENDS: Final = re.compile(rb'"kind":"(?:settled|abandoned)"')
_DECISIONS: Final = frozenset({"call", "refused"})
_NEWEST: Final = EntryPlace(sys.maxsize, 0)
_SAME_ID: Final = 500
"""Entries with the id of one approval or decision."""
_AFTER: Final = 2 * 2**20
"""Bytes after the decision: calls counted before it may stand there, and its outcome."""


class JournalWindow:
    """The entries of a journal before a place, within a budget of bytes. `is_cut` tells whether the budget was over first.

    Without a place all entries count: the decision is in another journal.
    """

    def __init__(
        self,
        folder: Path,
        place: EntryPlace | None,
        key: ChainKeys,
        index: EntryIndex,
        budget: int = BUDGET,
    ) -> None:
        self._folder = folder
        self._place = place
        self._chain = None if key is None else Chain.of(key)
        self._budget = budget
        self._index = index
        self.is_cut = False

    def outcome(self, decision: str) -> list[JsonObject]:
        """Return the entries about a decision after its own, oldest first."""
        found = self._find_all(decision) if self._place is None else self._after()
        return [entry for entry in found if entry.get("id") == decision and entry["kind"] not in _DECISIONS]

    def approval(self, identifier: str) -> list[JsonObject]:
        """Return the entries of an approval before the place, oldest first."""
        return [entry for entry in self._find_all(identifier) if entry["kind"] == "approval"]

    def _find_all(self, identifier: str) -> list[JsonObject]:
        """Return the entries with an id before the place, oldest first, as the index finds them."""
        mark = msgspec.json.encode(identifier)
        search = Search({"id": identifier})
        page = self._index.find_page(search, lambda line: mark in line, before=self._place, count=_SAME_ID)
        return [entry for _, entry in reversed(page.found) if entry.get("id") == identifier]

    def tasks(self, ids: Collection[str], *, since: float) -> list[JsonObject]:
        """Return the entries of tasks and the outcomes of their calls, oldest first, from a time on. Raises `JournalError`."""
        marks = list(map(msgspec.json.encode, ids))
        begin = timestamp(since).encode("ascii")
        before = _NEWEST if self._place is None else place_after(self._folder, self._place, _AFTER)
        lines, self.is_cut = self._index.find_task_lines(ids, before, since=begin.decode(), budget=self._budget)
        found: list[JsonObject] = []
        ends: list[PlacedLine] = []
        for placed in lines:
            if _ENDS.search(placed.line, 0, 200):
                ends.append(placed)
            elif any(mark in placed.line for mark in marks) and not _is_before(placed.line, begin):
                entry = read_line(self._folder, *placed, self._chain)
                found += [entry] if _is_of(entry, ids) else []
        calls = {opened_by(str(entry.get("kind")), entry) for entry in found}
        found += [read_line(self._folder, *end, self._chain) for end in ends if _id_of(end.line) in calls]
        return sorted(found, key=lambda entry: cast("int", entry["seq"]))

    def with_texts(self, texts: Collection[str], *, since: float) -> list[JsonObject]:
        """Return the `call` entries with one of some texts, up to the place, and the outcomes of their calls, oldest first."""
        marks, begin = list(map(msgspec.json.encode, texts)), timestamp(since).encode("ascii")
        found = [] if self._place is None else [read_at(self._folder, self._place)]
        ends: dict[str, PlacedLine] = {}
        for placed in self._before():
            if _is_before(placed.line, begin):
                break
            if _ENDS.search(placed.line, 0, 200):
                ends[_id_of(placed.line)] = placed
            elif any(mark in placed.line for mark in marks):
                entry = read_line(self._folder, *placed, self._chain)
                end = ends.get(str(entry.get("id"))) if entry["kind"] == "call" else None
                found += [entry] if end is None else [entry, read_line(self._folder, *end, self._chain)]
        return sorted(found, key=lambda entry: cast("int", entry["seq"]))

    def _before(self) -> Iterable[PlacedLine]:
        read = 0
        for placed in lines_before(self._folder, self._place):
            read += len(placed.line)
            if read > self._budget:
                self.is_cut = True
                return
            yield placed

    def _after(self) -> Iterable[JsonObject]:
        """Yield the relevant entries from the place on."""
        read = 0
        for place, line in () if self._place is None else lines_from(self._folder, self._place):
            read += len(line)
            if read > _AFTER:
                return
            yield read_line(self._folder, place, line, self._chain)


class JointWindow:
    """The entries of several journals. The first part has the decision, and the others have entries of the same tasks."""

    def __init__(self, parts: Sequence[JournalWindow]) -> None:
        self._parts = parts

    @property
    def is_cut(self) -> bool:
        """Return whether a part had more entries than its budget."""
        return any(part.is_cut for part in self._parts)

    def outcome(self, decision: str) -> list[JsonObject]:
        """Return the entries about a decision after its own, oldest first."""
        return self._merge(part.outcome(decision) for part in self._parts)

    def approval(self, identifier: str) -> list[JsonObject]:
        """Return the entries of an approval, oldest first."""
        return self._merge(part.approval(identifier) for part in self._parts)

    def tasks(self, ids: Collection[str], *, since: float) -> list[JsonObject]:
        """Return the entries of tasks and the outcomes of their calls, oldest first, from a time on. Raises `JournalError`."""
        return self._merge(part.tasks(ids, since=since) for part in self._parts)

    def with_texts(self, texts: Collection[str], *, since: float) -> list[JsonObject]:
        """Return the `call` entries with one of some texts, and the outcomes of their calls, oldest first."""
        return self._merge(part.with_texts(texts, since=since) for part in self._parts)

    def _merge(self, found: Iterable[list[JsonObject]]) -> list[JsonObject]:
        return list(merge(*found, key=time_of))


class JournalFiles:
    """The entries of journals, from all of their files. Commands have time for it, and leave the gateway's index alone."""

    def __init__(self, journals: Sequence[NamedJournal]) -> None:
        self._journals = journals
        self._found: dict[str, tuple[NamedEntry, ...]] = {}

    def decision(self, identifier: str) -> NamedEntry | None:
        """Return a decision by its id, with its gateway. Raises `JournalError`."""
        return next((found for found in self._find(identifier) if found.entry["kind"] in _DECISIONS), None)

    def outcome(self, decision: str) -> list[JsonObject]:
        """Return the entries about a decision after its own, oldest first."""
        return [entry for entry in self.approval(decision) if entry["kind"] not in _DECISIONS]

    def approval(self, identifier: str) -> list[JsonObject]:
        """Return the entries with an id, oldest first."""
        return [found.entry for found in self._find(identifier)]

    def _find(self, identifier: str) -> tuple[NamedEntry, ...]:
        if identifier not in self._found:
            self._found[identifier] = tuple(
                collect(self._journals, lambda each: reader.find(each.folder, identifier, key=each.keys))
            )
        return self._found[identifier]

    def tasks(self, ids: Collection[str], *, since: float) -> Iterator[JsonObject]:  # noqa: ARG002 - all files are read
        """Return the entries of tasks and the outcomes of their calls, oldest first."""
        found = collect(self._journals, lambda each: reader.tasks(each.folder, ids, key=each.keys))
        return (one.entry for one in found)

    def with_texts(self, texts: Collection[str], *, since: float) -> Iterator[JsonObject]:  # noqa: ARG002 - all files are read
        """Return the `call` entries with one of some texts, and the outcomes of their calls, oldest first."""
        found = collect(self._journals, lambda each: reader.with_texts(each.folder, texts, key=each.keys))
        return (one.entry for one in found)


def _is_before(line: bytes, begin: bytes) -> bool:
    return (time := _TIME.search(line, 0, 200)) is not None and time[1] < begin


def _id_of(line: bytes) -> str:
    return msgspec.json.decode(line, type=_EntryHeading).id


class _EntryHeading(msgspec.Struct):
    id: str = ""


def _is_of(entry: JsonObject, ids: Collection[str]) -> bool:
    """Return whether an entry names one of the tasks. An outcome names its call alone."""
    named: Any = entry.get("task")
    return (cast("dict[str, Any]", named).get("id") if isinstance(named, dict) else named) in ids


def since_of(decision: JsonObject) -> float:
    """Return the time at which the task of a decision was opened; the epoch, if earlier tasks count or the record does not tell."""
    history: Any = decision.get("history")
    if not isinstance(history, dict) or "carried" in history:
        return 0.0
    opened: Any = cast("dict[str, Any]", history).get("opened")
    return float(opened) - 1.0 if isinstance(opened, int | float) else 0.0
