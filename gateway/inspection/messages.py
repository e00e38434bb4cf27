"""An answer taken apart into its JSON-RPC messages, and put together again.

A message is held until it is whole, then shown to a callable that keeps it, changes it or drops it. What is larger
than the hold passes on unseen, or, where nothing may pass unseen, ends the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gateway.errors import UpstreamBroken
from gateway.protocol import sse

HOLD: Final = 256 * 2**10
"""Bytes of one message that are held back to look at it. Larger ones stream on unseen."""
HOLD_LISTS: Final = 8 * 2**20
"""Bytes of one message where none may pass unseen: lists, and streams that may replay one."""

See = Callable[[bytes], Awaitable[bytes | None]]
"""Given a whole message: the same object to keep it, another one in its place, or `None` to drop it."""


class Rewrites(Protocol):
    """Rewrites what goes on: whole messages, and, part by part, those that are too large to be held."""

    def document(self, data: bytes, /) -> bytes: ...
    def event(self, raw: bytes, data: bytes, /) -> bytes: ...
    def part(self, chunk: bytes, /) -> bytes: ...
    def end(self) -> bytes: ...
    def text(self, chunk: bytes, /) -> bytes: ...
    def text_end(self) -> bytes: ...


class JsonMessages:
    """An answer that is one JSON document. `last_words` may give another in its place, if it was dropped."""

    def __init__(
        self,
        see: See,
        *,
        hold: int,
        unseen: bool,
        last_words: Callable[[], bytes | None],
        rewrite: Rewrites | None = None,
    ) -> None:
        self._see = see
        self._rewrite = rewrite
        self._last_words = last_words
        self._hold = hold
        self._unseen = unseen
        self._parts: list[bytes] = []
        self._size = 0
        self._passing = False

    async def feed(self, chunk: bytes) -> bytes:
        if self._passing:
            return self._part(chunk)
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size <= self._hold:
            return b""
        _allow_unseen(allowed=self._unseen)
        self._passing = True
        return self._part(self._held())

    async def finish(self) -> bytes:
        if self._passing:
            return b"" if self._rewrite is None else self._rewrite.end()
        body = self._held()
        if not body:
            return b""
        seen = await self._see(body)
        if seen is None:
            return self._last_words() or b""
        return seen if self._rewrite is None else self._rewrite.document(seen)

    def _part(self, chunk: bytes) -> bytes:
        return chunk if self._rewrite is None else self._rewrite.part(chunk)

    def _held(self) -> bytes:
        held = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        return held


class EventMessages:
    """An answer that is a stream of server-sent events. `last_words` may add a message at its end."""

    def __init__(
        self,
        see: See,
        *,
        hold: int,
        unseen: bool,
        last_words: Callable[[], bytes | None],
        rewrite: Rewrites | None = None,
    ) -> None:
        self._see = see
        self._rewrite = rewrite
        self._unseen = unseen
        self._last_words = last_words
        self._splitter = sse.Splitter(hold)

    async def feed(self, chunk: bytes) -> bytes:
        passed = [await self._pass(event) for event in self._splitter.feed(chunk)]
        return passed[0] if len(passed) == 1 else b"".join(passed)

    async def finish(self) -> bytes:
        words = self._last_words()
        rest = b"" if self._rewrite is None else self._rewrite.end()
        if words is not None:
            return rest + sse.encode(words)
        # What is held back is of an event that never ended, which a client ignores.
        return self._splitter.rest() if self._rewrite is None else rest

    async def _pass(self, event: sse.Event) -> bytes:
        if not event.whole:
            _allow_unseen(allowed=self._unseen)
            return event.raw if self._rewrite is None else self._rewrite.part(event.raw)
        if self._rewrite is None:
            return await self._seen(event)
        return self._rewrite.end() + await self._seen(event)

    async def _seen(self, event: sse.Event) -> bytes:
        if not event.data:
            return event.raw
        seen = await self._see(event.data)
        if seen is event.data:
            return event.raw if self._rewrite is None else self._rewrite.event(event.raw, event.data)
        return b"" if seen is None else sse.encode(seen, event.id)


class Texts:
    """An answer that is neither, and holds no messages: it is only rewritten."""

    def __init__(self, rewrite: Rewrites) -> None:
        self._rewrite = rewrite

    async def feed(self, chunk: bytes) -> bytes:
        return self._rewrite.text(chunk)

    async def finish(self) -> bytes:
        return self._rewrite.text_end()


def _allow_unseen(*, allowed: bool) -> None:
    if not allowed:
        raise UpstreamBroken(
            "the upstream sent a list, or an event that may hold one, that is too large to be filtered",
            "have the upstream send pages",
        )
