"""A load generator: N keep-alive connections, each sending the same prepared request as soon as it has its answer, or
after a pause.

It costs some 20 µs a call, so that the target is what is measured. Loopback only, bounded in time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools

PATIENCE = 20.0
"""Seconds that a run waits for answers after its time; a target that gives none then ends the benchmark."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prepared HTTP request, and a text that a right answer contains."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    proof: bytes

    def encoded(self) -> bytes:
        parts = urlsplit(self.url)
        lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class Load:
    """How many connections there are, and for how many seconds each waits after an answer before it asks again."""

    connections: int
    pause: float = 0.0

    def __str__(self) -> str:
        return f"{self.connections}, with pauses" if self.pause else str(self.connections)


@dataclass(slots=True)
class Sample:
    """What one run measured. `latencies` in seconds, one for each call; `failures` are answers without the proof."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list[float])
    failures: int = 0


class _Connection(asyncio.Protocol):
    def __init__(self, request: Request, encoded: bytes, sample: Sample, stop: float, pause: float) -> None:
        self._request = request
        self._encoded = encoded
        self._sample = sample
        self._stop = stop
        self._pause = pause
        self._body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the target closed the connection"))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._sample.latencies.append(now - self._sent)
        if self._request.proof not in self._body or self._parser.get_status_code() != 200:
            self._sample.failures += 1
        self._body.clear()
        self._parser = httptools.HttpResponseParser(self)
        if now < self._stop and self._pause:
            self.done.get_loop().call_later(self._pause, self._send)
        elif now < self._stop:
            self._send()
        else:
            self.done.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._encoded)


async def run(request: Request, *, load: Load, seconds: float) -> Sample:
    """Send for `seconds`."""
    parts = urlsplit(request.url)
    sample = Sample()
    loop = asyncio.get_running_loop()
    encoded = request.encoded()
    began = time.perf_counter()
    opened = [
        await loop.create_connection(
            lambda: _Connection(request, encoded, sample, began + seconds, load.pause),
            parts.hostname or "",
            parts.port or 80,
        )
        for _ in range(load.connections)
    ]
    async with asyncio.timeout(seconds + PATIENCE):
        await asyncio.gather(*(protocol.done for _, protocol in opened))
    sample.seconds = time.perf_counter() - began
    return sample
