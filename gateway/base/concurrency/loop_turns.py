"""Turns of the event loop for long work, a piece a turn, with the callers in rotation.

A large result is looked at in pieces. Without rotation each large result takes a piece of the same turn, and short
calls of other callers wait for all pieces.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Turn: TypeAlias = Callable[[], Awaitable[None]]
"""Waits for a turn of the event loop in which the next piece may be done."""


async def next_turn() -> None:
    """Wait for the next turn of the event loop, beside all others in the queue."""
    await asyncio.sleep(0)


class LoopTurns:
    """The queue of callers with work to do. A caller with many pieces waits longer; the wait of other callers stays the
    same."""

    __slots__ = ("_granting", "_waiting")

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._granting = False

    async def take(self, caller: str) -> None:
        """Wait for a turn without other work. `caller` is the key of the principal."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        if not self._granting:
            self._granting = True
            loop.call_soon(self._grant, loop)
        await turn

    def _grant(self, loop: asyncio.AbstractEventLoop) -> None:
        """Grant this turn to the caller with the longest wait, and come again in the next turn while callers wait."""
        while self._waiting:
            caller, pieces = next(iter(self._waiting.items()))
            turn = pieces.popleft()
            if pieces:
                self._waiting.move_to_end(caller)
            else:
                del self._waiting[caller]
            # The client of a cancelled piece has left.
            if not turn.done():
                turn.set_result(None)
                break
        self._granting = bool(self._waiting)
        if self._granting:
            loop.call_soon(self._grant, loop)
