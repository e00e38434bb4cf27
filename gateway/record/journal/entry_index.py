"""An index of the journal for pages: decisions by filters, one decision by its id, and the entries of a task.

The index is derived, and made when a page first asks (`index_file`). The rows of the last segment grow with it. Every found
line is checked with the journal's key.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.record.journal.chain import timestamp
from gateway.record.journal.columns import (
    ALLOWED,
    ASKED,
    DENIED,
    Column,
    Search,
    find_value,
)
from gateway.record.journal.entry import opened_by
from gateway.record.journal.index_file import CallRows, IndexedSegment, StoppedRows, TaskRows
from gateway.record.journal.placed import (
    BUDGET,
    EntryPage,
    EntryPlace,
    PlacedLine,
)
from gateway.record.journal.reader import entry_of
from gateway.record.journal.recent import CallCount, NamedCount, RecentDecisions, Tally, names_of, tally_stopped
from gateway.record.journal.segment_index import END, Allowance, SegmentIndex, read_bytes_at

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.model.wire import JsonObject

_ALLOWED: Final = re.compile(rb'"kind":"call".*"effect":"allow"')
_READS: Final = 20_000
"""Lines that one search reads at most."""
_KEPT_COUNTS: Final = 1_000
_KEPT_ROWS: Final = 2_000
"""Counts of closed segments in memory, and rows of one of these, each some 150 bytes."""


class TaskLine(NamedTuple):
    """A task with its last call. The counts rest on the index, and `is_whole` tells whether they cover all of its calls."""

    place: EntryPlace
    last: JsonObject
    calls: int
    asked: int
    stopped: int
    is_whole: bool


class TaskPage(NamedTuple):
    """Tasks, the one with the latest call first. `before` is the place to go on from."""

    found: list[TaskLine]
    before: EntryPlace | None
    searched: int


class EntryIndex(SegmentIndex):
    """The index of one journal. Its methods read files and may be called from any thread, one at a time."""

    def find_page(
        self,
        search: Search,
        fits: Callable[[bytes], bool],
        *,
        before: EntryPlace | None = None,
        count: int = 50,
        budget: int = BUDGET,
    ) -> EntryPage:
        """Return the last entries before a place whose line fits. `search` finds them, and `fits` decides.

        Raises `JournalError`, also for an edited entry.
        """
        return self.search(lambda: self._find_page(search, fits, before, count, budget))

    def _find_page(
        self, search: Search, fits: Callable[[bytes], bool], before: EntryPlace | None, count: int, budget: int
    ) -> EntryPage:
        found: list[tuple[EntryPlace, JsonObject]] = []
        searched = looked = 0
        for segment, end, resume in self.walk(before, Allowance(budget)):
            if segment is None:
                return EntryPage(found, resume, searched)
            with self.open_segment(segment.number) as file:
                for offset in self.file.find(segment.number, search, end):
                    place = EntryPlace(segment.number, offset)
                    if len(found) == count:
                        return EntryPage(found, found[-1][0], searched)
                    if looked == _READS:
                        return EntryPage(found, place._replace(offset=offset + 1), searched)
                    looked += 1
                    line = read_bytes_at(file, place)
                    if fits(line):
                        found.append((place, self.read_checked(place, line)))
            searched += min(end, segment.size)
        return EntryPage(found, None, searched)

    def find_tasks(
        self,
        values: Mapping[Column, str],
        fits: Callable[[JsonObject, TaskRows], bool],
        *,
        before: EntryPlace | None = None,
        count: int = 50,
        budget: int = BUDGET,
    ) -> TaskPage:
        """Return the tasks whose last call is before a place. `fits` decides by the last call and the rows of its segment.

        Raises `JournalError`, also for an edited entry.
        """
        return self.search(lambda: self._find_tasks(values, fits, before, count, budget))

    def _find_tasks(
        self,
        values: Mapping[Column, str],
        fits: Callable[[JsonObject, TaskRows], bool],
        before: EntryPlace | None,
        count: int,
        budget: int,
    ) -> TaskPage:
        found: list[TaskLine] = []
        searched = looked = 0
        allowance = Allowance(budget)
        seen = self._tasks_after(before, allowance)
        for segment, end, resume in self.walk(before, allowance):
            if segment is None:
                return TaskPage(found, resume, searched)
            tasks = self.file.find_tasks(segment.number)
            with self.open_segment(segment.number) as file:
                for task in tasks:
                    place = EntryPlace(segment.number, task.last)
                    if task.last >= end or task.task in seen or not self.file.has_values(*place, values):
                        continue
                    if len(found) == count:
                        return TaskPage(found, found[-1].place, searched)
                    if looked == _READS:
                        return TaskPage(found, place._replace(offset=place.offset + 1), searched)
                    looked += 1
                    last = self.read_checked(place, read_bytes_at(file, place))
                    if fits(last, task):
                        found.append(self._with_counts(place, last, task, segment.begun, allowance))
            seen.update(task.task for task in tasks)
            searched += min(end, segment.size)
        return TaskPage(found, None, searched)

    def find_task(self, name: str, since: JsonObject, allowance: Allowance) -> tuple[TaskLine | None, bool]:
        """Return a task with its last call, `None` without a call here; and whether all of its time was looked at.

        `since` is a call of the task, which tells when the task was opened. Raises `JournalError`, also for an edited entry.
        """
        return self.search(lambda: self._find_task(name, _opened_at(since), allowance))

    def _find_task(self, name: str, opened: str, allowance: Allowance) -> tuple[TaskLine | None, bool]:
        digest = self.file.digest(name)
        for segment, _, _ in self.walk(None, allowance):
            if segment is None:
                return None, False
            task = self.file.find_task(segment.number, digest)
            if task.calls:
                place = EntryPlace(segment.number, task.last)
                found = self._with_counts(place, self.read_place(place), task, segment.begun, allowance)
                return found, found.is_whole
            if segment.begun <= opened:
                break
        return None, True

    def find_task_lines(
        self, tasks: Collection[str], before: EntryPlace, *, since: str, budget: int = BUDGET
    ) -> tuple[list[PlacedLine], bool]:
        """Return the lines that name one of the tasks, and the outcomes of their calls; and whether more were left out.

        `since` is the time of the earliest line that counts. The lines are not checked. Raises `JournalError`.
        """
        return self.search(lambda: self._find_task_lines(tasks, before, since, budget))

    def _find_task_lines(
        self, tasks: Collection[str], before: EntryPlace, since: str, budget: int
    ) -> tuple[list[PlacedLine], bool]:
        found: list[PlacedLine] = []
        calls: list[str] = []
        visited: list[tuple[IndexedSegment, int]] = []
        read = 0
        for segment, end, _ in self.walk(before, Allowance(budget)):
            if segment is None:
                return found, True
            visited.append((segment, end))
            places = {place for task in tasks for place in self.file.find(segment.number, Search({"task": task}), end)}
            for line in self.read_lines(segment, sorted(places, reverse=True)):
                read += len(line.line)
                if read > budget or len(found) >= _READS:
                    return found, True
                found.append(line)
                calls += _call_of(line.line)
            if segment.begun < since:
                break
        for segment, end in visited if calls else ():
            found += self.read_lines(segment, self.file.find_ends(segment.number, calls, end))
        return found, False

    def count_recent(self, since: int, *, most: int = 5, budget: int = BUDGET) -> RecentDecisions:
        """Return the decisions since an hour (since the epoch), and the agents and reasons with the most refusals.

        The counts rest on the index. Raises `JournalError`, also for an edited entry behind a name.
        """
        return self.search(lambda: self._count_recent(since, most, budget))

    def _count_recent(self, since: int, most: int, budget: int) -> RecentDecisions:
        hours: Counter[tuple[int, int]] = Counter()
        stopped: list[tuple[int, StoppedRows]] = []
        begin, is_whole = timestamp(since * 3600), True
        for segment, _, _ in self.walk(None, Allowance(budget)):
            if segment is None:
                is_whole = False
                break
            for hour, kind, count in self.file.count_hours(segment.number, since):
                hours[hour, kind] += count
            stopped += ((segment.number, rows) for rows in self.file.find_stopped(segment.number, since))
            if segment.begun < begin:
                break
        agents, codes = tally_stopped(stopped)
        return RecentDecisions(hours, self._name(agents, most), self._name(codes, most), is_whole)

    def count_calls(
        self, by: Column, since: int, where: Mapping[Column, str], *, most: int, budget: int = BUDGET
    ) -> tuple[list[CallCount], bool]:
        """Return the calls since an hour by the values of a column, the most frequent ones; and whether the index covers that time.

        The counts rest on the index. Raises `JournalError`, also for an edited entry behind a name.
        """
        return self.search(lambda: self._count_calls(by, since, where, most, budget))

    def _count_calls(
        self, by: Column, since: int, where: Mapping[Column, str], most: int, budget: int
    ) -> tuple[list[CallCount], bool]:
        totals: Counter[int] = Counter()
        kinds: Counter[tuple[int, int]] = Counter()
        places: dict[int, EntryPlace] = {}
        begin, is_whole = timestamp(since * 3600), True
        for segment, _, _ in self.walk(None, Allowance(budget)):
            if segment is None:
                is_whole = False
                break
            for row in self._count_segment(segment, since, by, where):
                totals[row.value] += row.calls
                kinds[row.value, row.kind] += row.calls
                places.setdefault(row.value, EntryPlace(segment.number, row.last))
            if segment.begun < begin:
                break
        found = ((value, self.read_place(places[value])) for value, _ in totals.most_common(most))
        return [
            CallCount(name, kinds[value, ALLOWED], kinds[value, ASKED], kinds[value, DENIED], last)
            for value, last in found
            if (name := find_value(last, by)) is not None and self.file.digest(name) == value
        ], is_whole

    def _count_segment(
        self, segment: IndexedSegment, since: int, by: Column, where: Mapping[Column, str]
    ) -> list[CallRows]:
        """Return the calls of a segment by a column. Those of a closed segment within the time are kept in memory."""
        is_kept = segment.number in self.sealed and segment.begun >= timestamp(since * 3600)
        name = segment.number, by, tuple(where.items())
        if is_kept and name in self.kept:
            return self.kept[name]
        found = sorted(self.file.count_calls(segment.number, since, by, where), key=lambda row: -row.last)
        if is_kept and len(found) <= _KEPT_ROWS:
            self.kept[name] = found
            if len(self.kept) > _KEPT_COUNTS:
                del self.kept[next(iter(self.kept))]
        return found

    def _name(self, tally: Tally, most: int) -> list[NamedCount]:
        """Return the largest counts with the names behind their digests, as checked lines of the journal have these."""
        found: list[NamedCount] = []
        for digest, count in tally.counts.most_common(most):
            entry = self.read_place(tally.places[digest])
            name = next((name for name in names_of(entry) if self.file.digest(name) == digest), None)
            if name is not None:
                found.append(NamedCount(name, count))
        return found

    def _tasks_after(self, before: EntryPlace | None, allowance: Allowance) -> set[int]:
        """Return the tasks with a call from a place on: earlier pages have them."""
        seen: set[int] = set()
        if before is None:
            return seen
        for segment, _, _ in self.walk(None, allowance):
            if segment is None or segment.number < before.segment:
                break
            begin = before.offset if segment.number == before.segment else 0
            seen.update(task.task for task in self.file.find_tasks(segment.number) if task.last >= begin)
        return seen

    def _with_counts(
        self, place: EntryPlace, last: JsonObject, task: TaskRows, begun: str, allowance: Allowance
    ) -> TaskLine:
        """Return a task with the counts of all segments since it was opened. `begun` is the time at which its last segment begins."""
        opened, calls, asked, stopped = _opened_at(last), task.calls, task.asked, task.stopped
        for segment, _, _ in self.walk(EntryPlace(place.segment - 1, END), allowance):
            if begun <= opened:
                break
            if segment is None:
                return TaskLine(place, last, calls, asked, stopped, is_whole=False)
            begun = segment.begun
            more = self.file.find_task(segment.number, task.task)
            calls, asked, stopped = calls + more.calls, asked + more.asked, stopped + more.stopped
        return TaskLine(place, last, calls, asked, stopped, is_whole=True)


def _call_of(line: bytes) -> list[str]:
    """Return the id of an allowed call, which an outcome follows. Return nothing for another line."""
    if not _ALLOWED.search(line, 0, 300):
        return []
    entry = entry_of(line, Path())
    opened = opened_by(str(entry.get("kind")), entry)
    return [] if opened is None else [opened]


def _opened_at(call: JsonObject) -> str:
    """Return the time at which the task of a call was opened; empty if the record does not tell."""
    history: Any = call.get("history")
    opened: Any = cast("dict[str, Any]", history).get("opened") if isinstance(history, dict) else None
    return timestamp(opened) if isinstance(opened, int | float) else ""
