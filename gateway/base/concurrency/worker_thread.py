"""A single thread for long work, such as the inspection of a large message, so that the event loop goes on meanwhile.
Python's threads take turns. Other calls go on, each turn some milliseconds late; with more threads each call would wait
for all others. The input of the work must not change meanwhile, or the work must allow for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

AT_ONCE: Final = 8 * 2**10
"""Bytes on which work is done on the event loop itself: a few milliseconds at most. Calls with a page of text are common,
and to hand one to the thread costs more than the work does."""

_TURN: Final = 0.0005
"""Seconds of work between two pauses of the thread."""
_PAUSE: Final = 0.00005
"""Seconds of a pause: the time in which another thread wakes."""

Found = TypeVar("Found")


class _Turn(threading.local):
    """The end of the latest pause of this thread, on the monotonic clock; `None` where no work is given to a thread."""

    since: float | None = None


_turn = _Turn()


def give_way() -> None:
    """Let the event loop go on if this is a worker's thread and its turn is over. Do nothing on any other thread.

    RE2 gives up the interpreter's lock during each search, and the interpreter then counts the loop's wait from its
    beginning. A thread that searches all the time would keep the lock from the loop for as long as its work takes.
    """
    if _turn.since is None or time.monotonic() - _turn.since < _TURN:
        return
    time.sleep(_PAUSE)
    _turn.since = time.monotonic()


def _begin_turns() -> None:
    """Have this thread give way from now on."""
    _turn.since = time.monotonic()


class WorkerThread:
    """The thread, started at the first long piece of work."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "worker", _begin_turns)
        self._closed = False

    async def run(self, size: int, work: Callable[[], Found]) -> Found:
        """Return the result of `work` on `size` bytes: few bytes at once, many in the thread, in the order of the
        calls."""
        if size <= AT_ONCE or self._closed:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Do all work at once from now on. Work already given to the thread comes to its end."""
        self._closed = True
        self._executor.shutdown(wait=False)
