"""An index of the journal for pages: decisions by filters, one decision by its id, and the entries of a task.

The index is derived, and made when a page first asks (`index_file`). The rows of the last segment grow with it. Every found
line is checked with the journal's key.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, TypeVar, cast

from gateway.base.concurrency.background import ThreadTurns
from gateway.model.errors import JournalError
from gateway.record.journal.chain import MAX_LINE, Chain, ChainKeys, timestamp
from gateway.record.journal.columns import (
    ALLOWED,
    ASKED,
    DENIED,
    UNREADABLE,
    Column,
    IndexedLine,
    Search,
    find_value,
    read_columns,
)
from gateway.record.journal.entry import opened_by
from gateway.record.journal.index_file import FILE, CallRows, IndexedSegment, IndexFile, StoppedRows, TaskRows
from gateway.record.journal.placed import (
    BUDGET,
    EntryPage,
    EntryPlace,
    PlacedLine,
    find_last_line,
    read_line,
    unreadable,
)
from gateway.record.journal.reader import entry_of
from gateway.record.journal.recent import CallCount, NamedCount, RecentDecisions, Tally, names_of, tally_stopped
from gateway.record.journal.storage import open_segment, segment_path, segment_size, segments

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from gateway.model.wire import JsonObject

Result = TypeVar("Result")

_ALLOWED: Final = re.compile(rb'"kind":"call".*"effect":"allow"')
_READS: Final = 20_000
"""Lines that one search reads at most."""
_KEPT_COUNTS: Final = 1_000
_KEPT_ROWS: Final = 2_000
"""Counts of closed segments in memory, and rows of one of these, each some 150 bytes."""
_END: Final = sys.maxsize


class _FileState(NamedTuple):
    """A state of a segment's file."""

    inode: int
    size: int
    changed: int


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


class _Allowance:
    """A bound on the bytes of segments that a search may index. The first segment is always indexed, so that the search gets on."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._is_used = False

    def take(self, size: int) -> bool:
        """Return whether so many further bytes may be indexed now."""
        if size and self._is_used and size > self._left:
            return False
        self._left -= size
        self._is_used = self._is_used or size > 0
        return True


class EntryIndex:
    """The index of one journal. Its methods read files and may be called from any thread, one at a time."""

    def __init__(
        self, folder: Path, key: ChainKeys, rest: Callable[[float], None] = time.sleep, *, file: Path | None = None
    ) -> None:
        """`file` has the rows, by default below the journal."""
        self._folder = folder
        self._keys = key
        self._chain = Chain.of(key)
        self._path = file or folder / FILE
        self._file = IndexFile(self._path, self._chain.key)
        self._rest = rest
        self._known: dict[int, tuple[_FileState, IndexedSegment]] = {}
        self._sealed: set[int] = set()
        self._counted: dict[tuple[int, Column, tuple[tuple[Column, str], ...]], list[CallRows]] = {}
        self._numbers: frozenset[int] = frozenset()
        self._lock = threading.Lock()

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
        return self._search(lambda: self._find_page(search, fits, before, count, budget))

    def _find_page(
        self, search: Search, fits: Callable[[bytes], bool], before: EntryPlace | None, count: int, budget: int
    ) -> EntryPage:
        found: list[tuple[EntryPlace, JsonObject]] = []
        searched = looked = 0
        for segment, end, resume in self._walk(before, _Allowance(budget)):
            if segment is None:
                return EntryPage(found, resume, searched)
            with self._open_segment(segment.number) as file:
                for offset in self._file.find(segment.number, search, end):
                    place = EntryPlace(segment.number, offset)
                    if len(found) == count:
                        return EntryPage(found, found[-1][0], searched)
                    if looked == _READS:
                        return EntryPage(found, place._replace(offset=offset + 1), searched)
                    looked += 1
                    line = _line_at(file, place)
                    if fits(line):
                        found.append((place, read_line(self._folder, place, line, self._chain)))
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
        return self._search(lambda: self._find_tasks(values, fits, before, count, budget))

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
        allowance = _Allowance(budget)
        seen = self._tasks_after(before, allowance)
        for segment, end, resume in self._walk(before, allowance):
            if segment is None:
                return TaskPage(found, resume, searched)
            tasks = self._file.find_tasks(segment.number)
            with self._open_segment(segment.number) as file:
                for task in tasks:
                    place = EntryPlace(segment.number, task.last)
                    if task.last >= end or task.task in seen or not self._file.has_values(*place, values):
                        continue
                    if len(found) == count:
                        return TaskPage(found, found[-1].place, searched)
                    if looked == _READS:
                        return TaskPage(found, place._replace(offset=place.offset + 1), searched)
                    looked += 1
                    last = read_line(self._folder, place, _line_at(file, place), self._chain)
                    if fits(last, task):
                        found.append(self._with_counts(place, last, task, segment.begun, allowance))
            seen.update(task.task for task in tasks)
            searched += min(end, segment.size)
        return TaskPage(found, None, searched)

    def find_task(self, name: str, since: JsonObject, *, budget: int = BUDGET) -> TaskLine | None:
        """Return a task with its last call, `None` without a call here. `since` is a call of it, which tells when it was opened.

        Raises `JournalError`, also for an edited entry.
        """
        return self._search(lambda: self._find_task(name, _opened_at(since), _Allowance(budget)))

    def _find_task(self, name: str, opened: str, allowance: _Allowance) -> TaskLine | None:
        digest = self._file.digest(name)
        for segment, _, _ in self._walk(None, allowance):
            if segment is None:
                return None
            task = self._file.find_task(segment.number, digest)
            if task.calls:
                place = EntryPlace(segment.number, task.last)
                return self._with_counts(place, self._read_place(place), task, segment.begun, allowance)
            if segment.begun <= opened:
                return None
        return None

    def find_task_lines(
        self, tasks: Collection[str], before: EntryPlace, *, since: str, budget: int = BUDGET
    ) -> tuple[list[PlacedLine], bool]:
        """Return the lines that name one of the tasks, and the outcomes of their calls; and whether more were left out.

        `since` is the time of the earliest line that counts. The lines are not checked. Raises `JournalError`.
        """
        return self._search(lambda: self._find_task_lines(tasks, before, since, budget))

    def _find_task_lines(
        self, tasks: Collection[str], before: EntryPlace, since: str, budget: int
    ) -> tuple[list[PlacedLine], bool]:
        found: list[PlacedLine] = []
        calls: list[str] = []
        visited: list[tuple[IndexedSegment, int]] = []
        read = 0
        for segment, end, _ in self._walk(before, _Allowance(budget)):
            if segment is None:
                return found, True
            visited.append((segment, end))
            places = {place for task in tasks for place in self._file.find(segment.number, Search({"task": task}), end)}
            for line in self._lines(segment, sorted(places, reverse=True)):
                read += len(line.line)
                if read > budget or len(found) >= _READS:
                    return found, True
                found.append(line)
                calls += _call_of(line.line)
            if segment.begun < since:
                break
        for segment, end in visited if calls else ():
            found += self._lines(segment, self._file.find_ends(segment.number, calls, end))
        return found, False

    def count_recent(self, since: int, *, most: int = 5, budget: int = BUDGET) -> RecentDecisions:
        """Return the decisions since an hour (since the epoch), and the agents and reasons with the most refusals.

        The counts rest on the index. Raises `JournalError`, also for an edited entry behind a name.
        """
        return self._search(lambda: self._count_recent(since, most, budget))

    def _count_recent(self, since: int, most: int, budget: int) -> RecentDecisions:
        hours: Counter[tuple[int, int]] = Counter()
        stopped: list[tuple[int, StoppedRows]] = []
        begin, is_whole = timestamp(since * 3600), True
        for segment, _, _ in self._walk(None, _Allowance(budget)):
            if segment is None:
                is_whole = False
                break
            for hour, kind, count in self._file.count_hours(segment.number, since):
                hours[hour, kind] += count
            stopped += ((segment.number, rows) for rows in self._file.find_stopped(segment.number, since))
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
        return self._search(lambda: self._count_calls(by, since, where, most, budget))

    def _count_calls(
        self, by: Column, since: int, where: Mapping[Column, str], most: int, budget: int
    ) -> tuple[list[CallCount], bool]:
        totals: Counter[int] = Counter()
        kinds: Counter[tuple[int, int]] = Counter()
        places: dict[int, EntryPlace] = {}
        begin, is_whole = timestamp(since * 3600), True
        for segment, _, _ in self._walk(None, _Allowance(budget)):
            if segment is None:
                is_whole = False
                break
            for row in self._count_segment(segment, since, by, where):
                totals[row.value] += row.calls
                kinds[row.value, row.kind] += row.calls
                places.setdefault(row.value, EntryPlace(segment.number, row.last))
            if segment.begun < begin:
                break
        found = ((value, self._read_place(places[value])) for value, _ in totals.most_common(most))
        return [
            CallCount(name, kinds[value, ALLOWED], kinds[value, ASKED], kinds[value, DENIED], last)
            for value, last in found
            if (name := find_value(last, by)) is not None and self._file.digest(name) == value
        ], is_whole

    def _count_segment(
        self, segment: IndexedSegment, since: int, by: Column, where: Mapping[Column, str]
    ) -> list[CallRows]:
        """Return the calls of a segment by a column. Those of a closed segment within the time are kept in memory."""
        is_kept = segment.number in self._sealed and segment.begun >= timestamp(since * 3600)
        name = segment.number, by, tuple(where.items())
        if is_kept and name in self._counted:
            return self._counted[name]
        found = sorted(self._file.count_calls(segment.number, since, by, where), key=lambda row: -row.last)
        if is_kept and len(found) <= _KEPT_ROWS:
            self._counted[name] = found
            if len(self._counted) > _KEPT_COUNTS:
                del self._counted[next(iter(self._counted))]
        return found

    def _read_place(self, place: EntryPlace) -> JsonObject:
        with self._open_segment(place.segment) as file:
            return read_line(self._folder, place, _line_at(file, place), self._chain)

    def _name(self, tally: Tally, most: int) -> list[NamedCount]:
        """Return the largest counts with the names behind their digests, as checked lines of the journal have these."""
        found: list[NamedCount] = []
        for digest, count in tally.counts.most_common(most):
            entry = self._read_place(tally.places[digest])
            name = next((name for name in names_of(entry) if self._file.digest(name) == digest), None)
            if name is not None:
                found.append(NamedCount(name, count))
        return found

    def broken_lines(self) -> int:
        """Return the number of damaged lines in the segments that were searched."""
        # Without the lock: a page that needs no index does not wait for one that is being made.
        return sum(segment.broken for _, segment in list(self._known.values()))

    def close(self) -> None:
        """Close the file of the index. The next search opens it again."""
        with self._lock:
            self._forget()
            self._file.close()

    def _search(self, work: Callable[[], Result]) -> Result:
        """Search with the lock. A damaged file is made anew, and one that cannot be used gives way to memory."""
        with self._lock:
            self._renew_chain()
            for _ in range(2):
                try:
                    if self._file.was_changed():
                        self._forget()
                    return work()
                except sqlite3.Error:
                    self._forget()
                    self._file.renew()
            self._file.is_stored = False
            return work()

    def _renew_chain(self) -> None:
        """Adopt a new key of the journal, and make all rows of the file anew."""
        chain = Chain.of(self._keys)
        if chain != self._chain:
            self._chain = chain
            self._forget()
            self._file.close()
            self._file = IndexFile(self._path, chain.key)

    def _forget(self) -> None:
        self._known.clear()
        self._sealed.clear()
        self._counted.clear()

    def _lines(self, segment: IndexedSegment, offsets: Collection[int]) -> list[PlacedLine]:
        with self._open_segment(segment.number) as file:
            places = (EntryPlace(segment.number, offset) for offset in offsets)
            return [PlacedLine(place, _line_at(file, place)) for place in places]

    def _tasks_after(self, before: EntryPlace | None, allowance: _Allowance) -> set[int]:
        """Return the tasks with a call from a place on: earlier pages have them."""
        seen: set[int] = set()
        if before is None:
            return seen
        for segment, _, _ in self._walk(None, allowance):
            if segment is None or segment.number < before.segment:
                break
            begin = before.offset if segment.number == before.segment else 0
            seen.update(task.task for task in self._file.find_tasks(segment.number) if task.last >= begin)
        return seen

    def _with_counts(
        self, place: EntryPlace, last: JsonObject, task: TaskRows, begun: str, allowance: _Allowance
    ) -> TaskLine:
        """Return a task with the counts of all segments since it was opened. `begun` is the time at which its last segment begins."""
        opened, calls, asked, stopped = _opened_at(last), task.calls, task.asked, task.stopped
        for segment, _, _ in self._walk(EntryPlace(place.segment - 1, _END), allowance):
            if begun <= opened:
                break
            if segment is None:
                return TaskLine(place, last, calls, asked, stopped, is_whole=False)
            begun = segment.begun
            more = self._file.find_task(segment.number, task.task)
            calls, asked, stopped = calls + more.calls, asked + more.asked, stopped + more.stopped
        return TaskLine(place, last, calls, asked, stopped, is_whole=True)

    def _walk(
        self, before: EntryPlace | None, allowance: _Allowance
    ) -> Iterator[tuple[IndexedSegment | None, int, EntryPlace | None]]:
        """Yield the indexed segments, the last one first, with the end of their bytes before a place.

        Without a segment the allowance is used up, and the place to go on from is given.
        """
        found = segments(self._folder)
        self._forget_removed(frozenset(number for number, _ in found))
        for number, path in reversed(found):
            if before is not None and number > before.segment:
                continue
            is_first = before is not None and number == before.segment
            try:
                segment = self._index(number, path, allowance, is_last=number == found[-1][0])
                if segment is None:
                    yield None, 0, before if is_first else EntryPlace(number, segment_size(path))
                    return
            except FileNotFoundError:
                return  # pruned meanwhile, with all before
            except OSError as error:
                raise unreadable(path, error) from error
            yield segment, before.offset if before is not None and is_first else _END, None

    def _index(self, number: int, path: Path, allowance: _Allowance, *, is_last: bool) -> IndexedSegment | None:
        """Return an indexed segment; `None` if too much has to be indexed first."""
        state = _state_of(path)
        known, segment = self._known.get(number, (None, None))
        if segment is not None and known != state and not _has_grown(known, state):
            segment = segment if self._is_of(segment, path, state) else None
        if segment is None and not is_last:
            stored = self._file.load(number)
            if stored is not None and self._is_of(stored, path, state):
                segment = stored
                self._sealed.add(number)
        segment = segment or IndexedSegment(number)
        if state.size > segment.size:
            if not allowance.take(state.size - segment.size):
                return None
            self._sealed.discard(number)
            segment = self._extend(segment, path)
        if not is_last and number not in self._sealed:
            self._file.seal(segment)
            self._sealed.add(number)
        self._known[number] = (state, segment)
        return segment

    def _is_of(self, segment: IndexedSegment, path: Path, state: _FileState) -> bool:
        """Return whether an index is of exactly this segment."""
        if segment.size != state.size:
            return False
        last = find_last_line(path)
        return last is not None and self._chain.find_link(last) == (segment.link or None)

    def _extend(self, segment: IndexedSegment, path: Path) -> IndexedSegment:
        """Index the lines that the index lacks. Raises `OSError`, and `JournalError` for a line that is too long."""
        with open_segment(path) as file:
            return self._file.add(segment, self._read_lines(segment, file, path))

    def _read_lines(
        self, segment: IndexedSegment, file: BinaryIO, path: Path
    ) -> Iterator[tuple[IndexedSegment, int, IndexedLine]]:
        turns = ThreadTurns(self._rest)
        file.seek(segment.size)
        while (line := file.readline(MAX_LINE + 1)).endswith(b"\n"):
            place = segment.size
            segment, indexed = self._follow(segment, line[:-1])
            yield segment, place, indexed
            turns.give()
        if len(line) > MAX_LINE:
            raise JournalError(f"{path} has a line that is too long", "run `opagate journal verify`")

    def _follow(self, segment: IndexedSegment, line: bytes) -> tuple[IndexedSegment, IndexedLine]:
        """Return the segment after its next line, and the values of that line."""
        link = self._chain.find_link(line)
        is_broken = link is None or bool(segment.link and not self._chain.follows(line, segment.link))
        indexed = IndexedLine(UNREADABLE) if link is None else read_columns(line)
        after = IndexedSegment(
            segment.number,
            segment.size + len(line) + 1,
            link or "",
            segment.begun or indexed.time,
            segment.broken + is_broken,
        )
        return after, indexed

    def _forget_removed(self, numbers: frozenset[int]) -> None:
        """Remove the rows of segments that retention removed."""
        if numbers != self._numbers:
            self._numbers = numbers
            self._known = {number: known for number, known in self._known.items() if number in numbers}
            self._file.retain(numbers)

    @contextmanager
    def _open_segment(self, number: int) -> Generator[BinaryIO]:
        path = segment_path(self._folder, number)
        try:
            with open_segment(path) as file:
                yield file
        except OSError as error:
            raise unreadable(path, error) from error


def _line_at(file: BinaryIO, place: EntryPlace) -> bytes:
    file.seek(place.offset)
    return file.readline(MAX_LINE + 1).removesuffix(b"\n")


def _state_of(path: Path) -> _FileState:
    status = path.stat()
    return _FileState(status.st_ino, segment_size(path), status.st_mtime_ns)


def _has_grown(known: _FileState | None, state: _FileState) -> bool:
    """Return whether lines were added to a file, as the writer adds them."""
    return known is not None and known.inode == state.inode and known.size < state.size


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
