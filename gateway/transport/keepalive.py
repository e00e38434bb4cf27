"""Comments on an idle event stream, so that nothing between gateway and client closes it.

MCP 2026-07-28, streamable HTTP, "Receiving Messages": a line that begins with a colon carries no data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

COMMENT: Final = b": keep-alive\n\n"
_BOUNDARIES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class KeepAlive:
    """Watches one stream. `passing` is told of each chunk before it is sent.

    A comment is sent only between events, never inside one, and never while a chunk is being sent.
    """

    __slots__ = ("_between_events", "_interval", "_last", "_loop", "_send", "_sending", "_tail", "_timer")

    def __init__(self, send: Callable[[Any], Awaitable[None]], interval: float) -> None:
        self._send = send
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._between_events = True
        self._tail = b""
        self._sending: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(interval, self._tick)

    async def passing(self, chunk: bytes) -> None:
        self._last = self._loop.time()
        self._tail = (self._tail + chunk)[-4:] if len(chunk) < 4 else chunk[-4:]
        self._between_events = self._tail.endswith(_BOUNDARIES)
        if self._sending is not None:
            await self._sending
            self._sending = None

    async def stop(self) -> None:
        self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    def _tick(self) -> None:
        waited = self._loop.time() - self._last
        if waited >= self._interval and self._between_events:
            self._sending = self._loop.create_task(self._comment())
            self._last = self._loop.time()
            waited = 0.0
        self._timer = self._loop.call_later(max(self._interval - waited, 0.05), self._tick)

    async def _comment(self) -> None:
        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
