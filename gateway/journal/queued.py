"""An entry on its way to the disk, and the caller that waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.journal.segment import Pending


class QueuedEntry:
    """An entry that waits for the write of its turn. `lost` hears of its failure, for a caller that does not wait."""

    __slots__ = ("_error", "_is_ended", "_lost", "_waiter", "entry")

    def __init__(self, entry: Pending, lost: Callable[[JournalError], object] | None) -> None:
        self.entry = entry
        self._lost = lost
        self._waiter: asyncio.Future[None] | None = None
        self._is_ended = False
        self._error: JournalError | None = None

    def end(self, error: JournalError | None = None) -> None:
        """Note the durable entry, or the error of its write, and wake the waiting caller."""
        if self._is_ended:
            return
        self._is_ended, self._error = True, error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if error is not None and self._lost is not None:
            self._lost(error)

    async def wait(self) -> None:
        """Return when the entry is as durable as configured. Raises `JournalError` for an unwritten entry. A cancelled
        caller does not take its entry back."""
        if not self._is_ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise JournalError(self._error.message, self._error.remedy)

    async def outlast(self) -> asyncio.CancelledError | None:
        """Wait as `wait` does, also if the caller is cancelled meanwhile. Return the cancellation: the caller has to raise
        it. A task of its own for the wait would cost more than the write."""
        cancelled: asyncio.CancelledError | None = None
        while not self._is_ended:
            try:
                await self.wait()
            except asyncio.CancelledError as error:
                cancelled = error
            except JournalError:
                break
        if self._error is not None:
            raise JournalError(self._error.message, self._error.remedy)
        return cancelled
