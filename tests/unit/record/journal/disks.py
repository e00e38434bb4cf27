"""A disk that can be full, slow or broken."""

from __future__ import annotations

import errno
import os
import threading

from gateway.record.journal.storage import Disk


class WatchedDisk(Disk):
    """A real disk that notes what is asked of it; a sync can be held up, and made to fail."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.failure: OSError | None = None
        self.full = False
        self.syncing = threading.Event()

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.done.append("write")
        return super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self.done.append("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self.syncing.set()
        assert self.go.wait(10)
        if self.failure is not None:
            raise self.failure
        self.done.append("sync")
        super().sync(fd)


class ShortDisk(Disk):
    """A real disk with room for so many bytes more, of which the last write gets a part."""

    def __init__(self) -> None:
        self.left: int | None = None

    def write(self, fd: int, data: bytes) -> int:
        if self.left is None:
            return super().write(fd, data)
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = super().write(fd, data[: self.left])
        self.left -= done
        return done
