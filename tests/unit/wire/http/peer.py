"""A peer that says exactly what it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.wire.http.client import Client
from gateway.wire.http.dial import Address, address_of_url

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Peer:
    """For each request, on whichever connection, the next of `answers`; `None` closes instead, and so does an answer
    in `then_close`. After the last it is silent."""

    answers: list[bytes | None]
    then_close: bool = False
    requests: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0
    left: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    url: str = ""
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while request := await _request(reader):
                self.requests.append(request)
                answer = self.answers.pop(0) if self.answers else b""
                if answer is None:
                    break
                writer.write(answer)
                if self.then_close:
                    break
                await self._tell()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.left += 1
            await self._tell()

    async def _tell(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(300), self.news:
            await self.news.wait_for(met)


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


@asynccontextmanager
async def serving(*answers: bytes | None, tls: ssl.SSLContext | None = None, **how: object) -> AsyncGenerator[Peer]:
    peer = Peer(list(answers), **how)  # pyright: ignore[reportArgumentType] - the fields of Peer
    server = await asyncio.start_server(peer, "127.0.0.1", 0, ssl=tls)
    peer.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    try:
        yield peer
    finally:
        server.close()
        for writer in peer.writers:
            writer.close()
        await server.wait_closed()


@asynccontextmanager
async def asking(
    where: str | Address, *, connect: float = 5.0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Client]:
    chosen = tls or ssl.create_default_context()
    client = Client(address_of_url(where) if isinstance(where, str) else where, connect=connect, tls=lambda: chosen)
    try:
        yield client
    finally:
        await client.aclose()
