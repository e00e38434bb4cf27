"""Calls at a steady rate: each begins at its time in the plan, whether or not earlier calls have their answers."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import httptools

from benchmarks.gateway.load import PATIENCE, Request

_CONNECTIONS = 16


class _Answers(asyncio.Protocol):
    """A connection that sends one call at a time. `done` has the time of the answer."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._encoded = request.encoded()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the target closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._request.proof in self._body and self._parser.get_status_code() == 200:
            self.done.set_result(time.perf_counter())
        else:
            self.done.set_exception(SystemExit(f"a wrong answer: {bytes(self._body[:200])!r}"))

    async def call(self) -> float:
        """Send the call, and return the time of its answer."""
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._transport.write(self._encoded)
        return await self.done

    def close(self) -> None:
        """Close the connection, which has no open call."""
        self._transport.close()


async def run_paced(request: Request, *, rate: float, seconds: float) -> list[float]:
    """Return the seconds of each call from its planned time to its answer."""
    parts, loop = urlsplit(request.url), asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda: _Answers(request), parts.hostname or "", parts.port or 80))[1]
        for _ in range(_CONNECTIONS)
    ]
    free: asyncio.Queue[_Answers] = asyncio.Queue()
    for one in opened:
        free.put_nowait(one)
    begun = time.perf_counter() + 0.05

    async def one_call(planned: float) -> float:
        await asyncio.sleep(planned - time.perf_counter())
        begun = time.perf_counter()
        connection = await free.get()
        answered = await connection.call()
        free.put_nowait(connection)
        return answered - begun

    async with asyncio.timeout(seconds + PATIENCE):
        found = await asyncio.gather(*(one_call(begun + number / rate) for number in range(int(rate * seconds))))
    for one in opened:
        one.close()
    return found
