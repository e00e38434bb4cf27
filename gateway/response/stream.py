"""The relay of an upstream's answer to the client: chunk by chunk, inspected, counted, and settled exactly once. The
answer may end, fail, be cut off, or lose its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from gateway.errors import CredentialEnded, UpstreamBroken, UpstreamError
from gateway.model.wire import Headers, UpstreamReply
from gateway.pipeline.completion import run_to_completion

EndedAs = Literal["completed", "cancelled", "failed", "limited"]


class Ending(Struct, frozen=True):
    """The end of an answer. `size` is in bytes; `digest` is over the bytes passed on, if requested."""

    ended: EndedAs
    status: int | None = None
    size: int = 0
    digest: str | None = None


class Hasher(Protocol):
    """Something like `hashlib.sha256()`."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Transform(Protocol):
    """A stage that inspects or changes an answer, and holds the smallest possible part of the answer."""

    async def feed(self, chunk: bytes) -> bytes: ...
    async def finish(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds that an obligation sets on an answer: `seconds` until its end, `size` in bytes."""

    seconds: float | None = None
    size: int | None = None


NO_BOUNDS: Final = Bounds()

ENDED: Final = (
    "the credential under which this call was made has ended, so the gateway cut the answer off",
    "call again if you may; whether the upstream has carried the call out is not known",
)
"""The words for a caller whose answer was cut, and the remedy."""


Listen: TypeAlias = Callable[[Callable[[bytes], None]], Callable[[], None]]
"""Takes a sink of events, and gives its removal."""


def _do_nothing() -> None:
    """Do nothing."""


class Relay:
    """One answer. Iterated once by the edge; `close` must follow in any case.

    `on_sent` is called when `close` begins, before anything is waited for: whatever the caller sends next is looked at
    after it. `announcement` gives the events that tell of changed lists, and is told whether any of the answer was passed
    on. `listen` registers the reader for the gateway's own notices. `on_broken` is asked for the last words of an answer that fails, and told whether any of it was passed on.
    """

    __slots__ = (
        "_after",
        "_announcement",
        "_begun",
        "_bounds",
        "_closed",
        "_closing",
        "_cut",
        "_deadline",
        "_ended",
        "_exhausted",
        "_hasher",
        "_listen",
        "_on_broken",
        "_on_end",
        "_on_sent",
        "_reply",
        "_size",
        "_transform",
        "headers",
        "idle",
        "status",
    )

    def __init__(
        self,
        reply: UpstreamReply,
        *,
        headers: Headers,
        on_end: Callable[[Ending], Awaitable[None]],
        transform: Transform | None = None,
        bounds: Bounds = NO_BOUNDS,
        idle: bool = False,
        hasher: Hasher | None = None,
        on_sent: Callable[[], object] = lambda: None,
        announcement: Callable[[bool], bytes] | None = None,
        listen: Listen | None = None,
        on_broken: Callable[[UpstreamError, bool], bytes | None] = lambda _error, _begun: None,
    ) -> None:
        self.status = reply.status
        self.headers = headers
        self.idle = idle
        self._reply = reply
        self._on_end = on_end
        self._on_sent = on_sent
        self._announcement = announcement
        self._listen = listen
        self._on_broken = on_broken
        self._transform = transform
        self._bounds = bounds
        self._deadline = None if bounds.seconds is None else asyncio.get_running_loop().time() + bounds.seconds
        self._hasher = hasher
        self._size = 0
        self._begun = False
        self._ended: EndedAs = "cancelled"
        self._exhausted = False
        self._closed = False
        self._cut: CredentialEnded | None = None
        self._closing: asyncio.Future[None] | None = None
        self._after: list[Callable[[], object]] = []

    def after(self, leave: Callable[[], object]) -> None:
        """Have `leave` called once the answer has ended and is settled."""
        self._after.append(leave)

    def cut(self) -> None:
        """End the answer now, whatever its reader waits for: the exchange with the upstream is closed. It counts as cancelled."""
        if self._closed or self._exhausted or self._cut is not None:
            return
        self._cut = CredentialEnded(*ENDED)
        self._ended = "cancelled"
        self._closing = asyncio.ensure_future(self._reply.close())

    @property
    def whole(self) -> bool:
        """Return whether the last chunk ended the answer."""
        return self._exhausted

    @property
    def announcement(self) -> bytes:
        """The events, if any, by which the reader of this answer learns that lists may show something else than before."""
        return b"" if self._announcement is None else self._announcement(self._begun)

    def listen(self, say: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `say` called with each event of the gateway for the reader of this answer. Returns the end of it."""
        return _do_nothing if self._listen is None else self._listen(say)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._exhausted:
            if self._cut is not None:
                return self._cut_words(self._cut)
            try:
                chunk = await self._next()
                if chunk:
                    return self._counted(chunk)
            except TimeoutError:
                self._ended = "limited"
                return self._last_words(UpstreamBroken("the answer took longer than policy allows"))
            except UpstreamError as error:
                if self._cut is not None:
                    continue
                if self._ended != "limited":
                    self._ended = "failed"
                return self._last_words(error)
            except Exception:
                # A defect, which the edge tells of; the call has not gone well, whatever it was.
                self._ended = "failed"
                raise
        raise StopAsyncIteration

    async def _next(self) -> bytes:
        """The next piece to pass on; empty while a transform holds it back."""
        try:
            chunk = await (anext(self._reply.chunks) if self._deadline is None else self._in_time(self._deadline))
        except StopAsyncIteration:
            if self._cut is not None:
                raise self._cut from None
            self._exhausted = True
            self._ended = "completed"
            return await self._transform.finish() if self._transform else b""
        if b"\0" in chunk:
            # What is written in two bytes a letter has zeros, and neither JSON nor text in UTF-8 has any.
            raise UpstreamBroken("the answer was withheld: it is not in UTF-8, so it cannot be looked into")
        return await self._transform.feed(chunk) if self._transform else chunk

    async def _in_time(self, deadline: float) -> bytes:
        if asyncio.get_running_loop().time() >= deadline:
            # An upstream that is never waited for is never timed out by waiting.
            raise TimeoutError
        async with asyncio.timeout_at(deadline):
            return await anext(self._reply.chunks)

    def _cut_words(self, error: CredentialEnded) -> bytes:
        """Return the last bytes for the client of a cut answer. A stream that waits for news just ends: its client opens another."""
        if not self.idle:
            return self._last_words(error)
        self._exhausted = True
        raise StopAsyncIteration

    def _last_words(self, error: UpstreamError) -> bytes:
        """Return the last bytes for the client of a failed answer. Raises the error if no bytes are left to send."""
        self._exhausted = True
        words = self._on_broken(error, self._begun)
        if words is None:
            raise error
        return words

    def _counted(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._bounds.size is not None and self._size > self._bounds.size:
            self._ended = "limited"
            raise UpstreamBroken("the answer is larger than policy allows")
        self._begun = True
        if self._hasher is not None:
            self._hasher.update(chunk)
        return chunk

    async def close(self) -> None:
        """End the exchange with the upstream and settle, also if the caller is cancelled meanwhile. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        await run_to_completion(self._end())

    async def _end(self) -> None:
        try:
            self._on_sent()
            await (self._reply.close() if self._closing is None else self._closing)
        finally:
            digest = self._hasher.hexdigest() if self._hasher is not None else None
            try:
                await self._on_end(Ending(self._ended, self.status, self._size, digest))
            finally:
                for leave in self._after:
                    leave()
