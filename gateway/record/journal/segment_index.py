"""The segments of one journal, indexed when a search first asks (`index_file`). The rows of the last segment grow with it.

Every found line is checked with the journal's key. `entry_index` has the searches.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeVar

from gateway.base.concurrency.background import ThreadTurns
from gateway.model.errors import JournalError
from gateway.record.journal.chain import MAX_LINE, Chain, ChainKeys
from gateway.record.journal.columns import UNREADABLE, IndexedLine, read_columns
from gateway.record.journal.index_file import FILE, CallRows, IndexedSegment, IndexFile
from gateway.record.journal.placed import EntryPlace, PlacedLine, find_last_line, read_line, unreadable
from gateway.record.journal.storage import open_segment, segment_path, segment_size, segments

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

    from gateway.model.wire import JsonObject

Result = TypeVar("Result")

END: Final = sys.maxsize
"""Beyond the end of each segment."""


class _FileState(NamedTuple):
    """A state of a segment's file."""

    inode: int
    size: int
    changed: int


class Allowance:
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


class SegmentIndex:
    """The index of one journal's segments. Its methods read files and may be called from any thread, one at a time."""

    def __init__(
        self, folder: Path, key: ChainKeys, rest: Callable[[float], None] = time.sleep, *, file: Path | None = None
    ) -> None:
        """`file` has the rows, by default below the journal."""
        self.folder = folder
        self._keys = key
        self.chain = Chain.of(key)
        self._path = file or folder / FILE
        self.file = IndexFile(self._path, self.chain.key)
        self._rest = rest
        self._known: dict[int, tuple[_FileState, IndexedSegment]] = {}
        self.sealed: set[int] = set()
        self.kept: dict[object, list[CallRows]] = {}
        """Counts of closed segments, which a search keeps."""
        self._numbers: frozenset[int] = frozenset()
        self._lock = threading.Lock()

    def broken_lines(self) -> int:
        """Return the number of damaged lines in the segments that were searched."""
        # Without the lock: a page that needs no index does not wait for one that is being made.
        return sum(segment.broken for _, segment in list(self._known.values()))

    def close(self) -> None:
        """Close the file of the index. The next search opens it again."""
        with self._lock:
            self._forget()
            self.file.close()

    def search(self, work: Callable[[], Result]) -> Result:
        """Search with the lock. A damaged file is made anew, and one that cannot be used gives way to memory."""
        with self._lock:
            self._renew_chain()
            for _ in range(2):
                try:
                    if self.file.was_changed():
                        self._forget()
                    return work()
                except sqlite3.Error:
                    self._forget()
                    self.file.renew()
            self.file.is_stored = False
            return work()

    def _renew_chain(self) -> None:
        """Adopt a new key of the journal, and make all rows of the file anew."""
        chain = Chain.of(self._keys)
        if chain != self.chain:
            self.chain = chain
            self._forget()
            self.file.close()
            self.file = IndexFile(self._path, chain.key)

    def _forget(self) -> None:
        self._known.clear()
        self.sealed.clear()
        self.kept.clear()

    def read_lines(self, segment: IndexedSegment, offsets: Collection[int]) -> list[PlacedLine]:
        with self.open_segment(segment.number) as file:
            places = (EntryPlace(segment.number, offset) for offset in offsets)
            return [PlacedLine(place, read_bytes_at(file, place)) for place in places]

    def read_place(self, place: EntryPlace) -> JsonObject:
        with self.open_segment(place.segment) as file:
            return self.read_checked(place, read_bytes_at(file, place))

    def read_checked(self, place: EntryPlace, line: bytes) -> JsonObject:
        """Return the entry of a line, unchecked without a key. Raises `JournalError` for an edited line."""
        return read_line(self.folder, place, line, None if self._keys is None else self.chain)

    def _find_link(self, line: bytes) -> str | None:
        """Return the link of an unchanged line. Without a key no line can be checked, and all lines have links."""
        return self.chain.link(line) if self._keys is None else self.chain.find_link(line)

    def walk(
        self, before: EntryPlace | None, allowance: Allowance
    ) -> Iterator[tuple[IndexedSegment | None, int, EntryPlace | None]]:
        """Yield the indexed segments, the last one first, with the end of their bytes before a place.

        Without a segment the allowance is used up, and the place to go on from is given.
        """
        found = segments(self.folder)
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
            yield segment, before.offset if before is not None and is_first else END, None

    def _index(self, number: int, path: Path, allowance: Allowance, *, is_last: bool) -> IndexedSegment | None:
        """Return an indexed segment; `None` if too much has to be indexed first."""
        state = _state_of(path)
        known, segment = self._known.get(number, (None, None))
        if segment is not None and known != state and not _has_grown(known, state):
            segment = segment if self._is_of(segment, path, state) else None
        if segment is None and not is_last:
            stored = self.file.load(number)
            if stored is not None and self._is_of(stored, path, state):
                segment = stored
                self.sealed.add(number)
        segment = segment or IndexedSegment(number)
        if state.size > segment.size:
            if not allowance.take(state.size - segment.size):
                return None
            self.sealed.discard(number)
            segment = self._extend(segment, path)
        if not is_last and number not in self.sealed:
            self.file.seal(segment)
            self.sealed.add(number)
        self._known[number] = (state, segment)
        return segment

    def _is_of(self, segment: IndexedSegment, path: Path, state: _FileState) -> bool:
        """Return whether an index is of exactly this segment."""
        if segment.size != state.size:
            return False
        last = find_last_line(path)
        return last is not None and self._find_link(last) == (segment.link or None)

    def _extend(self, segment: IndexedSegment, path: Path) -> IndexedSegment:
        """Index the lines that the index lacks. Raises `OSError`, and `JournalError` for a line that is too long."""
        with open_segment(path) as file:
            return self.file.add(segment, self._read_lines(segment, file, path))

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
        link = self._find_link(line)
        is_broken = link is None or bool(
            self._keys is not None and segment.link and not self.chain.follows(line, segment.link)
        )
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
            self.file.retain(numbers)

    @contextmanager
    def open_segment(self, number: int) -> Generator[BinaryIO]:
        path = segment_path(self.folder, number)
        try:
            with open_segment(path) as file:
                yield file
        except OSError as error:
            raise unreadable(path, error) from error


def read_bytes_at(file: BinaryIO, place: EntryPlace) -> bytes:
    """Return the line at a place of its open segment."""
    file.seek(place.offset)
    return file.readline(MAX_LINE + 1).removesuffix(b"\n")


def _state_of(path: Path) -> _FileState:
    status = path.stat()
    return _FileState(status.st_ino, segment_size(path), status.st_mtime_ns)


def _has_grown(known: _FileState | None, state: _FileState) -> bool:
    """Return whether lines were added to a file, as the writer adds them."""
    return known is not None and known.inode == state.inode and known.size < state.size
