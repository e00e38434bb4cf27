"""An index of the journal for pages: decisions by filters, one decision by its id, and the entries of a task.

<journal>/index/00000001.index    the columns of a closed segment, with a MAC under the journal's key

The index is derived, and made when a page first asks. A file that is absent, altered, or of another segment is made anew.
The columns of the last segment stay in memory and grow with it. Every found line is checked with the journal's key.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

from gateway.background import ThreadTurns
from gateway.errors import JournalError
from gateway.journal.chain import MAX_LINE, Chain, timestamp
from gateway.journal.columns import Column, Search, SegmentColumns, TaskRows
from gateway.journal.entry import opened_by
from gateway.journal.placed import BUDGET, EntryPage, EntryPlace, PlacedLine, find_last_line, read_line, unreadable
from gateway.journal.reader import entry_of
from gateway.journal.storage import open_segment, segment_path, segment_size, segments

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from gateway.model.wire import JsonObject

_FOLDER: Final = "index"
_FILE: Final = re.compile(r"([0-9]{8})\.index")
_ALLOWED: Final = re.compile(rb'"kind":"call".*"effect":"allow"')
_KEPT: Final = 80 * 2**20
"""Bytes of columns in memory, enough for 1 GB of journal. The least used columns beyond it are read again from their files."""
_READS: Final = 20_000
"""Lines that one search reads at most."""


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

    def __init__(self, folder: Path, key: bytes | None, rest: Callable[[float], None] = time.sleep) -> None:
        self._folder = folder
        self._chain = Chain.of(key)
        self._key = token_bytes(32) if key is None else key
        self._is_stored = key is not None
        self._rest = rest
        self._kept: OrderedDict[int, tuple[_FileState, SegmentColumns]] = OrderedDict()
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
        found: list[tuple[EntryPlace, JsonObject]] = []
        searched = looked = 0
        with self._lock:
            for columns, end, resume in self._walk(before, _Allowance(budget)):
                if columns is None:
                    return EntryPage(found, resume, searched)
                with self._open_segment(columns.segment) as file:
                    for row in columns.find(search, end):
                        place = EntryPlace(columns.segment, columns.offset(row))
                        if len(found) == count:
                            return EntryPage(found, found[-1][0], searched)
                        if looked == _READS:
                            return EntryPage(found, place._replace(offset=place.offset + 1), searched)
                        looked += 1
                        line = _line_at(file, place)
                        if fits(line):
                            found.append((place, read_line(self._folder, place, line, self._chain)))
                searched += columns.offset(end - 1) if end else 0
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
        found: list[TaskLine] = []
        searched = looked = 0
        with self._lock:
            allowance = _Allowance(budget)
            seen = self._tasks_after(before, allowance)
            for columns, end, resume in self._walk(before, allowance):
                if columns is None:
                    return TaskPage(found, resume, searched)
                with self._open_segment(columns.segment) as file:
                    for task in sorted(columns.tasks.values(), key=lambda one: -one.last):
                        if task.last >= end or task.task in seen or not columns.has_values(task.last, values):
                            continue
                        place = EntryPlace(columns.segment, columns.offset(task.last))
                        if len(found) == count:
                            return TaskPage(found, found[-1].place, searched)
                        if looked == _READS:
                            return TaskPage(found, place._replace(offset=place.offset + 1), searched)
                        looked += 1
                        last = read_line(self._folder, place, _line_at(file, place), self._chain)
                        if fits(last, task):
                            found.append(self._with_counts(place, last, task, columns.begun, allowance))
                seen.update(columns.tasks)
                searched += columns.offset(end - 1) if end else 0
        return TaskPage(found, None, searched)

    def find_task_lines(
        self, tasks: Collection[str], before: EntryPlace, *, since: str, budget: int = BUDGET
    ) -> tuple[list[PlacedLine], bool]:
        """Return the lines that name one of the tasks, and the outcomes of their calls; and whether more were left out.

        `since` is the time of the earliest line that counts. The lines are not checked. Raises `JournalError`.
        """
        found: list[PlacedLine] = []
        calls: list[str] = []
        read = 0
        with self._lock:
            visited: list[tuple[SegmentColumns, int]] = []
            for columns, end, _ in self._walk(before, _Allowance(budget)):
                if columns is None:
                    return found, True
                visited.append((columns, end))
                for line in self._lines(columns, _rows_of_tasks(columns, tasks, end)):
                    read += len(line.line)
                    if read > budget or len(found) >= _READS:
                        return found, True
                    found.append(line)
                    calls += _call_of(line.line)
                if columns.begun < since:
                    break
            for columns, end in visited if calls else ():
                found += self._lines(columns, columns.find_ends(calls, end))
        return found, False

    def broken_lines(self) -> int:
        """Return the number of damaged lines in the indexed segments in memory."""
        # Without the lock: a page that needs no index does not wait for one that is being made.
        return sum(columns.broken for _, columns in list(self._kept.values()))

    def _lines(self, columns: SegmentColumns, rows: Iterator[int]) -> list[PlacedLine]:
        with self._open_segment(columns.segment) as file:
            places = (EntryPlace(columns.segment, columns.offset(row)) for row in rows)
            return [PlacedLine(place, _line_at(file, place)) for place in places]

    def _tasks_after(self, before: EntryPlace | None, allowance: _Allowance) -> set[bytes]:
        """Return the tasks with a call from a place on: earlier pages have them."""
        seen: set[bytes] = set()
        if before is None:
            return seen
        for columns, _, _ in self._walk(None, allowance):
            if columns is None or columns.segment < before.segment:
                break
            end = columns.row_at(before.offset) if columns.segment == before.segment else 0
            seen.update(task.task for task in columns.tasks.values() if task.last >= end)
        return seen

    def _with_counts(
        self, place: EntryPlace, last: JsonObject, task: TaskRows, begun: str, allowance: _Allowance
    ) -> TaskLine:
        """Return a task with the counts of all segments since it was opened. `begun` is the time at which its last segment begins."""
        opened, calls, asked, stopped = _opened_at(last), task.calls, task.asked, task.stopped
        for columns, _, _ in self._walk(EntryPlace(place.segment - 1, sys.maxsize), allowance):
            if begun <= opened:
                break
            if columns is None:
                return TaskLine(place, last, calls, asked, stopped, is_whole=False)
            begun = columns.begun
            if (more := columns.tasks.get(task.task)) is not None:
                calls, asked, stopped = calls + more.calls, asked + more.asked, stopped + more.stopped
        return TaskLine(place, last, calls, asked, stopped, is_whole=True)

    def _walk(
        self, before: EntryPlace | None, allowance: _Allowance
    ) -> Iterator[tuple[SegmentColumns | None, int, EntryPlace | None]]:
        """Yield the columns of the segments, the last one first, with the number of rows before a place.

        Without columns the allowance is used up, and the place to go on from is given.
        """
        found = segments(self._folder)
        self._forget_removed(frozenset(number for number, _ in found))
        for number, path in reversed(found):
            if before is not None and number > before.segment:
                continue
            is_first = before is not None and number == before.segment
            try:
                columns = self._columns(number, path, allowance, is_last=number == found[-1][0])
            except FileNotFoundError:
                return  # pruned meanwhile, with all before
            except OSError as error:
                raise unreadable(path, error) from error
            if columns is None:
                yield None, 0, before if is_first else EntryPlace(number, segment_size(path))
                return
            end = columns.row_at(before.offset) if before is not None and is_first else len(columns)
            yield columns, end, None

    def _columns(self, number: int, path: Path, allowance: _Allowance, *, is_last: bool) -> SegmentColumns | None:
        """Return the columns of a segment; `None` if too much has to be indexed first."""
        state = _state_of(path)
        known, columns = self._kept.get(number, (None, None))
        if columns is not None and known != state and not _has_grown(known, state):
            columns = None
        if columns is None and not is_last:
            columns = self._load(number, path, state)
        columns = columns or SegmentColumns(number, self._key)
        if state.size > columns.size:
            if not allowance.take(state.size - columns.size):
                return None
            self._extend(columns, path)
            if not is_last:
                self._store(columns)
        self._kept[number] = (state, columns)
        self._kept.move_to_end(number)
        self._shed()
        return columns

    def _extend(self, columns: SegmentColumns, path: Path) -> None:
        """Index the lines that the columns lack. Raises `OSError`, and `JournalError` for a line that is too long."""
        turns = ThreadTurns(self._rest)
        with open_segment(path) as file:
            file.seek(columns.size)
            while (line := file.readline(MAX_LINE + 1)).endswith(b"\n"):
                columns.add(line[:-1], self._chain)
                turns.give()
        if len(line) > MAX_LINE:
            raise JournalError(f"{path} has a line that is too long", "run `opagate journal verify`")

    def _load(self, number: int, path: Path, state: _FileState) -> SegmentColumns | None:
        """Return the stored columns of a segment, if they are of exactly this segment."""
        if not self._is_stored:
            return None
        data = _read_file(self._index_path(number), most=state.size + MAX_LINE)
        columns = None if data is None else SegmentColumns.load(data, number, self._key)
        if columns is None or columns.size != state.size:
            return None
        last = find_last_line(path)
        return columns if last is not None and self._chain.checked(last) == (columns.link or None) else None

    def _store(self, columns: SegmentColumns) -> None:
        """Write the columns of a closed segment. A disk without room leaves them in memory."""
        if not self._is_stored:
            return
        path = self._index_path(columns.segment)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(columns.dump())
            fresh.rename(path)

    def _index_path(self, number: int) -> Path:
        return self._folder / _FOLDER / f"{number:08d}.index"

    def _forget_removed(self, numbers: frozenset[int]) -> None:
        """Remove the index of segments that retention removed."""
        if numbers == self._numbers:
            return
        self._numbers = numbers
        for number in [one for one in self._kept if one not in numbers]:
            del self._kept[number]
        with suppress(OSError):
            for path in (self._folder / _FOLDER).iterdir():
                match = _FILE.fullmatch(path.name)
                if match is not None and int(match[1]) not in numbers:
                    path.unlink()

    def _shed(self) -> None:
        """Forget the least used columns beyond the memory for them. The columns in use stay."""
        weight = sum(columns.weight for _, columns in self._kept.values())
        while weight > _KEPT and len(self._kept) > 1:
            _, (_, columns) = self._kept.popitem(last=False)
            weight -= columns.weight

    @contextmanager
    def _open_segment(self, number: int) -> Generator[BinaryIO]:
        path = segment_path(self._folder, number)
        try:
            with open_segment(path) as file:
                yield file
        except OSError as error:
            raise unreadable(path, error) from error


def _rows_of_tasks(columns: SegmentColumns, tasks: Collection[str], end: int) -> Iterator[int]:
    rows = {row for task in tasks for row in columns.find(Search({"task": task}), end)}
    return iter(sorted(rows, reverse=True))


def _line_at(file: BinaryIO, place: EntryPlace) -> bytes:
    file.seek(place.offset)
    return file.readline(MAX_LINE + 1).removesuffix(b"\n")


def _state_of(path: Path) -> _FileState:
    status = path.stat()
    return _FileState(status.st_ino, segment_size(path), status.st_mtime_ns)


def _has_grown(known: _FileState | None, state: _FileState) -> bool:
    """Return whether lines were added to a file, as the writer adds them."""
    return known is not None and known.inode == state.inode and known.size < state.size


def _read_file(path: Path, *, most: int) -> bytes | None:
    """Return the content of a plain file of at most so many bytes."""
    try:
        # Without O_NONBLOCK a pipe in the place of the file would keep the reader waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            return file.read() if stat.S_ISREG(status.st_mode) and status.st_size <= most else None
    except OSError:
        return None


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
