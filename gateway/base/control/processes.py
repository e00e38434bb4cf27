"""Processes of this machine as Linux shows them in `/proc`: descent from this process, and the terminal of a process.

The gateway adopts the orphans below it (`own_process`). So a program that the gateway started stays below the gateway,
also after its parents have ended. A parent's number is free again only after its children have their new parent.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from pathlib import Path
from typing import Final, NamedTuple, Self

_SO_PEERPIDFD: Final = 77
_TRIES: Final = 16
"""Readings of the parents of a process. Parents that end in the middle of a reading make another necessary."""
_DEEPEST: Final = 64
"""Parents above a process, more than any honest program has. A longer row would let its owner keep the gateway reading."""


class ProcessEntry(NamedTuple):
    """A line of `/proc`. `terminal` is the number of the controlling terminal, 0 without one."""

    number: int
    parent: int
    terminal: int
    started: int


class HeldProcess:
    """The process at the other end of a Unix socket. A descriptor holds it: a later process with the same number is another one."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        self.number = number
        self._descriptor = _descriptor_of_peer(connection, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def is_alive(self) -> bool:
        """Return whether the process is there to see, and has not ended yet."""
        if self._descriptor is None:
            return False
        watched = select.poll()
        watched.register(self._descriptor, select.POLLIN)
        return not watched.poll(0)

    def find_ancestry(self) -> tuple[ProcessEntry, ...] | None:
        """Return the process with its parents; `None` if it has ended, or this system does not show them."""
        found = find_ancestry(self.number)
        return found if self.is_alive() else None


def _descriptor_of_peer(connection: socket.socket, number: int) -> int | None:
    """Return a descriptor of the process; `None` if it has ended, or its PID namespace is not below the gateway's (number 0)."""
    if number <= 0:
        return None
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            return None
    try:
        # Linux before 6.5 knows the number alone. Another process has the number only after a whole round of numbers.
        return os.pidfd_open(number)
    except OSError:
        return None


def find_ancestry(number: int) -> tuple[ProcessEntry, ...] | None:
    """Return a process with its parents, the process first. `None` if they cannot be seen, or do not stay the same."""
    before = _read_ancestry(number)
    for _ in range(_TRIES):
        found = _read_ancestry(number)
        # A parent that ends gives its children another parent first. Two equal readings name living parents.
        if found is not None and found == before:
            return found
        before = found
    return None


def _read_ancestry(number: int) -> tuple[ProcessEntry, ...] | None:
    found: list[ProcessEntry] = []
    while number > 0:
        entry = read_process(number)
        if entry is None or len(found) == _DEEPEST:
            return None
        found.append(entry)
        number = entry.parent
    return tuple(found)


def read_process(number: int) -> ProcessEntry | None:
    """Return a process; `None` if there is no such process to see."""
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return ProcessEntry(number, int(fields[1]), int(fields[4]), int(fields[19]))


def is_below(ancestry: tuple[ProcessEntry, ...], number: int) -> bool:
    """Return whether a process with these parents was started below the process with a number."""
    return any(entry.number == number for entry in ancestry[1:])


def shows_own_processes() -> bool:
    """Return whether `/proc` shows the numbers that this process and the sockets use."""
    try:
        return Path("/proc/self").readlink().name == str(os.getpid())
    except OSError:
        return False
