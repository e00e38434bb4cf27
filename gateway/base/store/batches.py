"""A queue whose items are written together. Items that come while a write is under way share the next write."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Batches(Generic[Item, Outcome]):
    """The queue of one engine. `write` takes at most `most` items, and gives an outcome or an error for each.

    An error that `write` raises is that of each item.
    """

    def __init__(
        self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]], most: int, name: str
    ) -> None:
        self._write = write
        self._most = most
        self._name = name
        self._queue: deque[tuple[Item, asyncio.Future[Outcome]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Outcome:
        """Write an item, and return its outcome. A cancelled caller goes after that."""
        written: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append((item, written))
        if self._writer is None:
            self._start_writer()
        try:
            return await asyncio.shield(written)
        except asyncio.CancelledError:
            await asyncio.wait([written])
            raise

    def _start_writer(self) -> None:
        self._writer = asyncio.create_task(self._write_queue(), name=self._name)
        self._writer.add_done_callback(self._forget_writer)

    async def _write_queue(self) -> None:
        while self._queue:
            await self._write_together([self._queue.popleft() for _ in range(min(len(self._queue), self._most))])

    def _forget_writer(self, writer: asyncio.Task[None]) -> None:
        """Give the queue to the next writer. A cancelled writer, also one that never ran, leaves nobody waiting."""
        self._writer = None
        if writer.cancelled():
            while self._queue:
                self._queue.popleft()[1].cancel()
        elif self._queue:
            self._start_writer()

    async def _write_together(self, waiting: Sequence[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await self._write([item for item, _ in waiting])
        except GeneratorExit:
            # The event loop is gone, and the callers with it.
            raise
        except BaseException as error:
            for _, written in waiting:
                if isinstance(error, Exception):
                    written.set_exception(error)
                else:
                    written.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, written), outcome in zip(waiting, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    written.set_exception(outcome)
                else:
                    written.set_result(outcome)
