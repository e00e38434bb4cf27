"""The files of a journal: names, permissions, and the few calls to the system that the writer makes.

<journal>/lock                held while a gateway writes, with the name of its process
<journal>/00000001.jsonl      segments, in order; the last one is written
<journal>/00000001.jsonl.zst  a closed segment, compressed; see `compression`
<journal>/00000001.jsonl.torn what a crash left of a last line, moved aside
<journal>/floor.json          where the journal begins, if its first segments were pruned
<journal>/index/entries.db    where the entries are, for the console; see `entry_index`
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from gateway.base.file_access import ExposedFile, require_own_folder
from gateway.model.errors import JournalError
from gateway.record.journal.compression import SUFFIX, compress_segment, open_compressed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

_SEGMENT = re.compile(r"([0-9]{8})\.jsonl(?:\.zst)?")
_PRUNING = "prune.lock"


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.jsonl"


def is_segment(name: str) -> bool:
    """Return whether a file name is that of a segment."""
    return _SEGMENT.fullmatch(name) is not None


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return the segments of a journal, in order. Raises `JournalError` if the folder cannot be read."""
    try:
        # A crash may leave a segment twice. Its plain file is whole then, and sorts before the other one.
        paths = sorted(folder.iterdir(), reverse=True)
        found = {int(match[1]): path for path in paths if (match := _SEGMENT.fullmatch(path.name))}
    except FileNotFoundError as error:
        raise JournalError(
            f"there is no journal {folder}",
            "a gateway makes it at its start; name the configuration of that gateway with --config",
        ) from error
    except OSError as error:
        raise JournalError(
            f"the journal {folder} cannot be read: {error.strerror}", "name the folder that journal.path names"
        ) from error
    return sorted(found.items())


def find_segment(folder: Path, number: int) -> Path | None:
    """Return the file of a segment, `None` if there is none."""
    plain = segment_path(folder, number)
    return next((path for path in (plain, plain.with_name(plain.name + SUFFIX)) if path.exists()), None)


def open_segment(path: Path) -> BinaryIO:
    """Open the lines of a segment, also if its plain file was compressed meanwhile. Raises `OSError` and `DamagedSegment`."""
    if path.suffix == SUFFIX:
        return open_compressed(path)
    try:
        return path.open("rb")
    except FileNotFoundError:
        return open_compressed(path.with_name(path.name + SUFFIX))


def segment_size(path: Path) -> int:
    """Return the bytes of all lines of a segment. Raises `OSError` and `DamagedSegment`."""
    with open_segment(path) as file:
        return file.seek(0, os.SEEK_END)


def compress_closed(folder: Path, disk: Disk, is_stopped: Callable[[], bool]) -> None:
    """Compress the segments before the last one. Do nothing while another process prunes. Raises `OSError`."""
    with suppress(BlockingIOError), hold_pruning(folder):
        for _, path in segments(folder)[:-1]:
            if path.suffix != SUFFIX and not compress_segment(path, disk, is_stopped):
                return


@contextmanager
def hold_pruning(folder: Path) -> Generator[None]:
    """Keep others from pruning and compressing. Raises `OSError`, and `BlockingIOError` if another process does so now."""
    descriptor = os.open(folder / _PRUNING, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def has_begun(folder: Path) -> bool:
    """Return whether there is a journal in a folder. Raises `JournalError`."""
    return folder.exists() and bool(segments(folder))


class InUse(JournalError):
    """Another gateway uses the folder."""


_HOLDER: Final = re.compile(rb"(process [0-9]{1,10} on [A-Za-z0-9._-]{1,255})\n")
_LONGEST_HOLDER: Final = 300


class Disk:
    """The system calls of the writer. Every method raises `OSError`."""

    def create(self, path: Path) -> int:
        """Create a file for appending only, readable by its owner only."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    # The function itself, since a method around it would be entered for each write.
    write = staticmethod(os.write)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fsync(fd)

    def sync_folder(self, folder: Path) -> None:
        """Makes a new or removed name in a folder durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        os.close(fd)


def prepare_folder(folder: Path, disk: Disk) -> None:
    """Make the folder if there is none; refuse one in which others can remove files. Raises `JournalError`."""
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            disk.sync_folder(folder.parent)
        mode = folder.stat().st_mode
        if stat.S_ISDIR(mode):
            require_own_folder(folder)
    except ExposedFile as exposed:
        raise JournalError(f"the journal folder is not safe: {exposed}", exposed.remedy) from None
    except OSError as error:
        raise JournalError(
            f"the journal folder {folder} cannot be made: {error.strerror}", "set journal.path to a writable folder"
        ) from error
    if not stat.S_ISDIR(mode):
        raise JournalError(f"{folder} is not a folder", "set journal.path to a folder")


def lock(folder: Path, name: str = "lock", use: str = "writes to the journal") -> int:
    """Take the lock of a folder for a single gateway, for as long as the returned descriptor is open. It ends with the
    process. Raises `InUse` if another process has it, with that process, and `JournalError` if locking fails."""
    try:
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(
            f"{folder} cannot be locked: {error.strerror}", "make the folder writable for the gateway"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _read_holder(fd)
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise InUse(
                f"another gateway {use} {folder}{holder}",
                "stop it, or give this one a state folder and a journal of its own",
            ) from None
        raise JournalError(
            f"{folder} cannot be locked: {error.strerror}", "put it on a file system that has locks (flock)"
        ) from error
    _write_holder(fd)
    return fd


def require_unwritten(folder: Path) -> None:
    """Raises `InUse` if another process writes to an existing journal, and `JournalError` if nobody can tell."""
    if has_begun(folder):
        os.close(lock(folder))


def _write_holder(fd: int) -> None:
    """Name this process in its lock file. A full disk keeps nobody from locking."""
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _read_holder(fd: int) -> str:
    """Return the process that has the lock, as the end of a sentence; empty without a whole name."""
    with suppress(OSError):
        found = _HOLDER.fullmatch(os.pread(fd, _LONGEST_HOLDER, 0))
        if found is not None:
            return f" ({found[1].decode()})"
    return ""


class SegmentIdentity(NamedTuple):
    """The identity of an open segment's file, to detect its removal, replacement or change by another process. Data
    written through a descriptor alone may be in a file without a name."""

    device: int
    inode: int

    @classmethod
    def of(cls, fd: int) -> SegmentIdentity:
        """Raises `OSError`."""
        status = os.fstat(fd)
        return cls(status.st_dev, status.st_ino)

    def changed(self, path: Path, size: int) -> str | None:
        """Return the change of the file at its path, or of its size. Raises `OSError` if the check fails."""
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return "somebody has removed or moved it"
        if (status.st_dev, status.st_ino) != self:
            return "somebody has put another file in its place"
        if status.st_size != size:
            return f"somebody has written to it: it has {status.st_size} bytes, and was left with {size}"
        return None


def set_aside(path: Path, torn: bytes, disk: Disk) -> Path:
    """Keep what a crash left of a last line beside its segment. Raises `OSError`."""
    aside = path.with_name(path.name + ".torn")
    fd = os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(disk, fd, torn + b"\n")
        disk.sync(fd)
    finally:
        os.close(fd)
    disk.sync_folder(path.parent)
    return aside


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    """Write everything: a call that writes a part is followed by one for the rest, or fails. Raises `OSError`."""
    written = disk.write(fd, data)
    while written < len(data):
        written += disk.write(fd, data[written:])


def discard(disk: Disk, fd: int, path: Path) -> None:
    """Remove a file that could not be begun."""
    with suppress(OSError):
        disk.close(fd)
    with suppress(OSError):
        path.unlink()
