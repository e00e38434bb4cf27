"""The end of a journal on disk: adds lines, begins segments, and leaves no half line behind.

Nothing here waits; `writer` decides when, and what is told to whom.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.model.errors import JournalError
from gateway.record.journal.chain import FORMAT, GENESIS, MAX_LINE
from gateway.record.journal.compression import SUFFIX
from gateway.record.journal.storage import Disk, SegmentIdentity, discard, segment_path, write_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.record.journal.chain import Chain
    from gateway.record.journal.recovery import End

LONGEST_FIELDS: Final = MAX_LINE - 256
"""Bytes of the longest kind and fields together. The rest of a line takes at most 256."""


class Pending(Struct):
    """An entry that waits to be written. `fields` is encoded; `opens` and `closes` are call ids."""

    kind: str
    fields: bytes
    opens: str | None = None
    closes: str | None = None


class Appender:
    """Adds lines to the last segment. `durable`: a finished segment is synced before the next begins. `fingerprints` names the
    key of the digests in the entries."""

    def __init__(
        self, folder: Path, chain: Chain, disk: Disk, *, limit: int, durable: bool, fingerprints: str = ""
    ) -> None:
        self._folder = folder
        self._chain = chain
        self._disk = disk
        self._limit = limit
        self._durable = durable
        self._fingerprints = fingerprints
        self._fd: int | None = None
        self._kept: SegmentIdentity | None = None
        self._lines = 0
        self._journal = ""
        self.number = 0
        self.path = segment_path(folder, self.number)
        self.size = 0
        self.seq = 0
        self.link = GENESIS
        self.open: dict[str, None] = {}
        self.broken: JournalError | None = None
        """Set when the files are in a state that only a new start can put right."""

    def resume(self, end: End, time: str) -> None:
        """Go on after the last line of a journal. After a compressed segment, or one under an earlier key, begin the next.

        Raises `OSError`.
        """
        self._journal, self._lines, self.path = end.journal, end.lines, end.path
        self.number, self.size, self.seq, self.link = end.number, end.size, end.seq, end.link
        self.open = dict.fromkeys(end.unsettled)
        if end.path.suffix == SUFFIX or end.chain.key_id != self._chain.key_id:
            self._next_segment(time)
        else:
            self._fd = self._disk.open(end.path)
            self._kept = SegmentIdentity.of(self._fd)

    def begin(self, journal: str, time: str) -> None:
        """Begin a journal in an empty folder. Raises `OSError`."""
        self._journal = journal
        self._next_segment(time)

    def change_chain(self, chain: Chain, time: str) -> None:
        """Begin a segment under another key, unless the key is the same. Raises `JournalError` and `OSError`: nothing changed."""
        if chain.key_id == self._chain.key_id:
            return
        if (problem := self.broken or self.changed()) is not None:
            raise problem
        before, self._chain = self._chain, chain
        try:
            self._next_segment(time)
        except OSError:
            self._chain = before
            raise

    def append(self, entries: Sequence[Pending], time: str) -> tuple[int, JournalError | None]:
        """Write entries in order: how many were written, and why not all of them."""
        done = 0
        while done < len(entries):
            if self.broken is not None:
                return done, self.broken
            try:
                status = os.lstat(self.path)
                is_same = (status.st_dev, status.st_ino) == self._kept and status.st_size == self.size
                if not is_same and (changed := self.changed()) is not None:
                    return done, changed
                done += self._write_some(entries[done:] if done else entries, time)
            except JournalError as error:
                return done, error
            except OSError as error:
                return done, self.broken or self.changed() or self._failure(error)
            except Exception as error:  # noqa: BLE001 - the callers of the entries wait for an answer
                # A defect comes before the write, or the next append finds the file changed. Its text may quote an entry.
                told = error if isinstance(error, RuntimeError) else type(error).__name__
                problem = f"the journal {self.path} cannot be written: {told}"
                remedy = "report this, and start the gateway again"
                return done, JournalError(problem, remedy)
        return done, None

    def changed(self) -> JournalError | None:
        """Return why no entry may be added, if the last segment's file has changed."""
        try:
            changed = None if self._kept is None else self._kept.changed(self.path, self.size)
        except OSError as error:
            return self._failure(error, "make the folder readable for the gateway")
        if changed is None:
            return None
        return JournalError(
            f"the journal {self.path} cannot be written: {changed}",
            "put it back as it was, or find out who it was and start the gateway again",
        )

    def sync(self) -> None:
        """Wait until the segment is on disk. May run in a thread, as long as nothing is appended. Raises `OSError`."""
        if self._fd is None:
            raise OSError(errno.EBADF, "the segment is closed")
        self._disk.sync(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None

    def fail(self, error: OSError) -> JournalError:
        """Stop for good: nobody can say what of the last writes is on disk."""
        self.broken = self._failure(error, "mend the disk, then start the gateway again")
        return self.broken

    def _write_some(self, entries: Sequence[Pending], time: str) -> int:
        """Write once: as many entries as the segment has room for, at least one."""
        file, size, seq, link = self._fd, self.size, self.seq, self.link
        if file is None:
            raise OSError(errno.EBADF, "the segment is closed")
        lines: list[bytes] = []
        for entry in entries:
            line, following = self._chain.linked(seq + 1, time, entry.kind, entry.fields, link)
            if size + len(line) >= self._limit and self._lines + len(lines) > 1:
                break
            lines.append(line)
            size, seq, link = size + len(line) + 1, seq + 1, following
        if not lines:
            self._next_segment(time)
            return 0
        data = b"\n".join(lines) + b"\n"
        try:
            written = self._disk.write(file, data)
            if written < len(data):
                write_all(self._disk, file, data[written:])
        except OSError as error:
            self._cut_off(file, error)
            raise
        self.size, self.seq, self.link = size, seq, link
        self._lines += len(lines)
        for entry in entries[: len(lines)]:
            if entry.opens is not None:
                self.open[entry.opens] = None
            elif entry.closes is not None:
                self.open.pop(entry.closes, None)
        return len(lines)

    def _cut_off(self, file: int, error: OSError) -> None:
        """Take back the part of a failed write, so that no half line breaks the chain."""
        try:
            if self._disk.size(file) != self.size:
                self._disk.truncate(file, self.size)
        except OSError:
            self.fail(error)

    def _next_segment(self, time: str) -> None:
        """Begin a file. Until its first line is on disk the one before stays the last."""
        if self._fd is not None and self._durable:
            self._sync_last(self._fd)
        number = self.number + 1
        path = segment_path(self._folder, number)
        line, link = self._chain.linked(self.seq + 1, time, "segment", self._heading(number), self.link)
        fd = self._disk.create(path)
        try:
            write_all(self._disk, fd, line + b"\n")
            self._disk.sync(fd)
            self._disk.sync_folder(self._folder)
        except OSError as error:
            discard(self._disk, fd, path)
            if path.exists():
                self.fail(error)
            raise
        self.close()
        self._fd, self._kept, self._lines, self.number, self.path = fd, SegmentIdentity.of(fd), 1, number, path
        self.size, self.seq, self.link = len(line) + 1, self.seq + 1, link

    def _sync_last(self, fd: int) -> None:
        try:
            self._disk.sync(fd)
        except OSError as error:
            self.fail(error)
            raise

    def _heading(self, number: int) -> bytes:
        return msgspec.json.encode(
            {
                "format": FORMAT,
                "segment": number,
                "journal": self._journal,
                "chain": self._chain.name,
                "key": self._chain.key_id,
                "fingerprints": self._fingerprints,
                "open": list(self.open),
            }
        )

    def _failure(
        self, error: OSError, remedy: str = "free space on its file system; until then calls are refused"
    ) -> JournalError:
        return JournalError(f"the journal {self.path} cannot be written: {error.strerror}", remedy)
