"""Long looks, beside the event loop: one thread for all of them.

Python lets one thread run at a time, and takes turns between them. So calls go on while a large message is looked through,
each of their turns a few milliseconds late. With more threads than one they would wait for each of them in turn. What is
looked at must not change meanwhile, or be made to bear it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

AT_ONCE: Final = 8 * 2**10
"""Bytes that are looked through on the event loop itself: a few milliseconds at most. Calls with a page of text are
common, and to hand one over costs more than to look at it."""

Found = TypeVar("Found")


class Aside:
    """The thread. It begins with the first long look."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "aside")
        self._closed = False

    def takes(self, size: int) -> bool:
        """Whether a look at so many bytes is a long one."""
        return size > AT_ONCE and not self._closed

    async def look(self, size: int, look: Callable[[], Found]) -> Found:
        """What `look` finds in so many bytes. Long looks are taken in the order in which they were asked for."""
        if not self.takes(size):
            return look()
        return await asyncio.get_running_loop().run_in_executor(self._worker, look)

    def close(self) -> None:
        """Look at everything at once from now on. What was asked for before comes to its end."""
        self._closed = True
        self._worker.shutdown(wait=False)
