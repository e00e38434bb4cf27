"""Keeper of one server process: it ends the server with all processes of the server, and reports the end.

Run as a program of its own, with the standard library alone: `keeper.py LINK REMOVE MOVES KIND COMMAND…`. The keeper
becomes the "subreaper" of the tree (Linux), so a helper outside of its group and its parent is still the keeper's
child. Without children left, nothing of the tree is left.

`LINK` is a socket to the gateway. Its end, also by a kill of the gateway, ends the tree. The keeper writes `GONE` there
before its exit. A signal could come before the keeper hears any. `REMOVE` is a file to remove at the end with its folder,
or empty.
`MOVES` are descriptors of the server, as `from:to,from:to`. `KIND` is `monitored` if the command runs the server in a
sandbox: its first process outlives SIGTERM, and the server inside hears SIGTERM.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final

GONE: Final = b"."
MONITORED: Final = "monitored"
UNFINISHED: Final = ".new"
"""Suffix of a file that the gateway did not finish to write."""
GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL."""
_AGAIN: Final = 0.05
"""Seconds between two rounds of SIGKILL. A process can start another before it dies."""
_PR_SET_CHILD_SUBREAPER: Final = 36
_UNKNOWN_COMMAND: Final = 127
BY_SIGNAL: Final = 128
"""Exit status of a process that a signal ended, less the signal, as shells have it."""


class Keeper:
    """The tree of one server. `link` is the socket to the gateway."""

    def __init__(self, link: int) -> None:
        self._link = link
        self._server = 0
        self._status: int | None = None
        self._kill_at: float | None = None
        self._is_linked = True
        self._wake, write = os.pipe()
        for end in (self._wake, write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def keep(self, server: int) -> int:
        """Keep the tree of a server until no process is left. Return the server's exit status."""
        self._server = server
        while self._reap():
            if self._status is not None:
                self._end()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._signal(signal.SIGKILL)
            self._wait()
        with contextlib.suppress(OSError):
            os.write(self._link, GONE)
        return _UNKNOWN_COMMAND if self._status is None else self._status

    def _reap(self) -> bool:
        """Take the exits of children, and return whether there are more children."""
        try:
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    return True
                if process == self._server:
                    code = os.waitstatus_to_exitcode(status)
                    self._status = code if code >= 0 else BY_SIGNAL - code
        except ChildProcessError:
            return False

    def _end(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        """Signal the server's group, and each descendant. Systems without `/proc` have the group alone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._server, number)
        signal_tree(number)

    def _wait(self) -> None:
        links = [self._link] if self._is_linked else []
        pause = None if self._kill_at is None else max(_AGAIN, self._kill_at - time.monotonic())
        ready, _, _ = select.select([self._wake, *links], [], [], pause)
        if self._wake in ready:
            os.read(self._wake, 4096)
        if self._link in ready:
            # The gateway writes nothing: it closed its end, or was killed.
            self._is_linked = False
            self._end()

    def _note(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._end()


def signal_tree(number: int) -> None:
    """Signal each descendant of this process."""
    for process in descendants(os.getpid()):
        try:
            os.kill(process, number)
        except (ProcessLookupError, PermissionError):
            continue


def descendants(root: int) -> list[int]:
    """Return the processes below a process, with the help of `/proc`. A dead process counts until seen by its
    parent."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything.
            fields = entry.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        below.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found: list[int] = []
    ahead = [root]
    while ahead:
        children = below.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


def start(command: list[str], moves: list[tuple[int, int]], *, is_monitored: bool = False) -> int:
    """Start the server in a session of its own, and return its process."""
    server = os.fork()
    if server != 0:
        return server
    os.setsid()
    # Python ignores these, and a program inherits that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if is_monitored:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Beyond all targets first, so that no move overwrites another.
    above = 1 + max((target for _, target in moves), default=2)
    held = [(fcntl.fcntl(source, fcntl.F_DUPFD, above), target) for source, target in moves]
    for source, target in held:
        os.dup2(source, target, inheritable=True)
    kept = {0, 1, 2, *(target for _, target in moves)}
    for descriptor in open_descriptors() - kept:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - its only form
    try:
        os.execvp(command[0], command)  # noqa: S606 - the configured command, without a shell
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(_UNKNOWN_COMMAND)


def open_descriptors() -> set[int]:
    found: set[int] = set()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - names of descriptors, not files
        try:
            os.fstat(int(name))
        except OSError:
            continue
        found.add(int(name))
    return found


def become_subreaper() -> None:
    """Make orphans below this process its children. Only Linux has subreapers."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def let_go() -> None:
    """Leave the pipes to the server, so their end is the server's."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def parse_moves(text: str) -> list[tuple[int, int]]:
    pairs = [pair.split(":") for pair in text.split(",") if pair]
    return [(int(source), int(target)) for source, target in pairs]


def main(arguments: list[str]) -> int:
    link, removed, moves = int(arguments[0]), arguments[1], parse_moves(arguments[2])
    os.set_inheritable(link, False)  # noqa: FBT003 - its only form
    become_subreaper()
    keeper = Keeper(link)
    try:
        server = start(arguments[4:], moves, is_monitored=arguments[3] == MONITORED)
        for source, _ in moves:
            os.close(source)
        let_go()
        return keeper.keep(server)
    finally:
        if removed:
            Path(removed).unlink(missing_ok=True)
            Path(removed).with_suffix(UNFINISHED).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                Path(removed).parent.rmdir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
