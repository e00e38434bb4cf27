"""An upstream's answer on its way back to the client: passed on chunk by chunk, looked at, counted, and settled
exactly once, whether it ends, fails, is cut off, or the client leaves."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.errors import UpstreamBroken, UpstreamError
from gateway.model import Headers, UpstreamReply

EndedAs = Literal["completed", "cancelled", "failed", "limited"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. `digest` is the SHA-256 of what was passed on; `size` is in bytes."""

    ended: EndedAs
    status: int
    size: int
    digest: str


class Transform(Protocol):
    """Looks at an answer, and may change it, without holding more of it than it must."""

    async def feed(self, chunk: bytes) -> bytes: ...
    async def finish(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an obligation allows an answer: `seconds` until its end, `size` in bytes."""

    seconds: float | None = None
    size: int | None = None


class Relay:
    """One answer. Iterated once by the edge; `close` must follow in any case."""

    def __init__(
        self,
        reply: UpstreamReply,
        *,
        headers: Headers,
        on_end: Callable[[Ending], Awaitable[None]],
        transform: Transform | None = None,
        bounds: Bounds = Bounds(),
        idle: bool = False,
        on_broken: Callable[[UpstreamError], bytes | None] = lambda _error: None,
    ) -> None:
        self.status = reply.status
        self.headers = headers
        self.idle = idle
        self._reply = reply
        self._on_end = on_end
        self._on_broken = on_broken
        self._transform = transform
        self._bounds = bounds
        self._hash = hashlib.sha256()
        self._size = 0
        self._ended: EndedAs = "cancelled"
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    async def _chunks(self) -> AsyncGenerator[bytes]:
        try:
            async with asyncio.timeout(self._bounds.seconds):
                async for chunk in self._reply.chunks:
                    passed = await self._transform.feed(chunk) if self._transform else chunk
                    if passed:
                        yield self._counted(passed)
                rest = await self._transform.finish() if self._transform else b""
                if rest:
                    yield self._counted(rest)
            self._ended = "completed"
        except TimeoutError:
            self._ended = "limited"
            raise UpstreamBroken("the answer took longer than policy allows") from None
        except UpstreamError as error:
            if self._ended != "limited":
                self._ended = "failed"
            last_words = self._on_broken(error)
            if last_words is None:
                raise
            yield last_words

    def _counted(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._bounds.size is not None and self._size > self._bounds.size:
            self._ended = "limited"
            raise UpstreamBroken("the answer is larger than policy allows")
        self._hash.update(chunk)
        return chunk

    async def close(self) -> None:
        """End the exchange with the upstream and settle. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        await self._reply.close()
        await self._on_end(Ending(self._ended, self.status, self._size, self._hash.hexdigest()))
