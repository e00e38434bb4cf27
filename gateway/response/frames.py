"""An answer taken apart into its JSON-RPC messages, and put together again.

A message is held until it is whole. It loses the names that only the gateway may use. Then a callable keeps it, changes it
or drops it. A message larger than the hold passes unseen, or ends the answer where nothing may pass unseen. Messages on
their way to the client are inspected, and rewritten on demand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gateway.errors import UpstreamBroken
from gateway.loop_turns import Turn, next_turn
from gateway.protocol import sse

HOLD: Final = 256 * 2**10
"""Bytes of one message that are held back to look at it. Larger ones stream on unseen."""
HOLD_LISTS: Final = 8 * 2**20
"""Bytes of one message where none may pass unseen: lists, and streams that may replay one."""

_AT_ONCE: Final = 8 * 2**10
"""Bytes of a stream that are taken apart in one turn of the event loop: they may be thousands of events."""

MessageFilter = Callable[[bytes], Awaitable[bytes | None]]
"""Given a whole message: the same object to keep it, another one in its place, or `None` to drop it."""


class Rewriter(Protocol):
    """A rewriter of passing messages: whole messages, and larger ones part by part."""

    async def document(self, data: bytes, /) -> bytes: ...
    async def event(self, raw: bytes, data: bytes, /) -> bytes: ...
    async def part(self, chunk: bytes, /) -> bytes: ...
    async def end(self) -> bytes: ...
    async def text(self, chunk: bytes, /) -> bytes: ...
    async def text_end(self) -> bytes: ...


class Observer(Protocol):
    """An observer of messages before they pass: whole messages, and larger ones part by part."""

    async def message(self, raw: bytes, data: bytes, /) -> None:
        """Handle a message with its original bytes, or bytes without a message."""
        ...

    async def part(self, chunk: bytes, /) -> None: ...
    async def end(self) -> None: ...
    async def rewritten(self) -> None:
        """Note that the last inspected message has been rewritten."""
        ...


class Downstream:
    """The stages for all data on its way to the client: observation and rewriting."""

    __slots__ = ("_observer", "_rewriter")

    def __init__(self, rewriter: Rewriter | None, observer: Observer | None) -> None:
        self._rewriter = rewriter
        self._observer = observer

    async def document(self, data: bytes) -> bytes:
        if self._observer is not None:
            await self._observer.message(data, data)
        return data if self._rewriter is None else await self._noted(await self._rewriter.document(data))

    async def event(self, raw: bytes, data: bytes) -> bytes:
        if self._observer is not None:
            await self._observer.message(raw, data)
        return raw if self._rewriter is None or not data else await self._noted(await self._rewriter.event(raw, data))

    async def fresh(self, data: bytes, event: bytes) -> bytes:
        """An event that carries a message of the gateway's own making."""
        if self._observer is not None:
            await self._observer.message(data, data)
        return event

    async def part(self, chunk: bytes) -> bytes:
        if self._observer is not None:
            await self._observer.part(chunk)
        return chunk if self._rewriter is None else await self._noted(await self._rewriter.part(chunk))

    async def end(self) -> bytes:
        """Return the rest of the parts of a message."""
        if self._observer is not None:
            await self._observer.end()
        return b"" if self._rewriter is None else await self._noted(await self._rewriter.end())

    async def text(self, chunk: bytes) -> bytes:
        if self._observer is not None:
            await self._observer.part(chunk)
        return chunk if self._rewriter is None else await self._noted(await self._rewriter.text(chunk))

    async def text_end(self) -> bytes:
        if self._observer is not None:
            await self._observer.end()
        return b"" if self._rewriter is None else await self._noted(await self._rewriter.text_end())

    async def rest(self, raw: bytes, data: bytes) -> bytes:
        """Rewrite an unfinished event, or drop the event where rewriting fails: most clients ignore unfinished events."""
        if self._rewriter is not None:
            return b""
        if self._observer is not None:
            await self._observer.message(raw, data)
        return raw

    async def _noted(self, out: bytes) -> bytes:
        if self._observer is not None:
            await self._observer.rewritten()
        return out


def downstream(rewriter: Rewriter | None, observer: Observer | None) -> Downstream | None:
    """`None` if there is nothing to be done."""
    return None if rewriter is None and observer is None else Downstream(rewriter, observer)


class StreamCheck(Protocol):
    """Looks at a message that is too large to be held. Raises `UpstreamBroken` if it must not come to its end."""

    def feed(self, chunk: bytes, /) -> None: ...


class NameFilter(Protocol):
    """Takes the names out of a message that only the gateway may use. Raises `UpstreamBroken` where it cannot."""

    async def without(self, message: bytes, /) -> bytes: ...
    def feed(self, part: bytes, /) -> None: ...
    def end(self) -> None: ...


class Unchecked:
    def feed(self, chunk: bytes, /) -> None:
        """Pass any chunk on."""


class _Messages(ABC):
    """Messages of up to `hold` bytes are held until they are whole; `unseen`: larger ones pass."""

    __slots__ = ("_check", "_checking", "_downstream", "_filter", "_last_words", "_names", "_turn", "_unseen")

    def __init__(
        self,
        filter_message: MessageFilter,
        *,
        hold: int,
        unseen: bool,
        last_words: Callable[[], bytes | None],
        names: NameFilter,
        rewriter: Rewriter | None = None,
        observer: Observer | None = None,
        check: Callable[[], StreamCheck] = Unchecked,
        turn: Turn = next_turn,
    ) -> None:
        self._turn = turn
        self._filter = filter_message
        self._unseen = unseen
        self._last_words = last_words
        self._names = names
        self._downstream = downstream(rewriter, observer)
        self._check = check
        self._checking: StreamCheck | None = None
        self._begin(hold)

    @abstractmethod
    def _begin(self, hold: int) -> None: ...

    def _passes(self, part: bytes) -> None:
        """A part of a message that is too large to be held goes on."""
        self._names.feed(part)
        self._checking = self._checking or self._check()
        self._checking.feed(part)


class JsonMessages(_Messages):
    """An answer of one JSON document. `last_words` may replace a dropped answer."""

    __slots__ = ("_body", "_hold", "_passing")

    def _begin(self, hold: int) -> None:
        self._hold = hold
        self._body = bytearray()
        self._passing = False

    async def feed(self, chunk: bytes) -> bytes:
        if self._passing:
            return await self._part(chunk)
        self._body += chunk
        if len(self._body) <= self._hold:
            return b""
        _allow_unseen(allowed=self._unseen)
        self._passing = True
        return await self._part(self._held())

    async def finish(self) -> bytes:
        if self._passing:
            return b"" if self._downstream is None else await self._downstream.end()
        body = self._held()
        if not body:
            return b""
        seen = await self._filter(await self._names.without(body))
        if seen is None:
            return self._last_words() or b""
        return seen if self._downstream is None else await self._downstream.document(seen)

    async def _part(self, chunk: bytes) -> bytes:
        self._passes(chunk)
        return chunk if self._downstream is None else await self._downstream.part(chunk)

    def _held(self) -> bytes:
        held = bytes(self._body)
        self._body.clear()
        return held


class EventMessages(_Messages):
    """An answer that is a stream of server-sent events. `last_words` may add a message at its end."""

    __slots__ = ("_splitter", "_unbroken")

    def _begin(self, hold: int) -> None:
        self._splitter = sse.Splitter(hold)
        self._unbroken = sse.Unbroken()

    async def feed(self, chunk: bytes) -> bytes:
        if len(chunk) <= _AT_ONCE:
            return await self._fed(chunk)
        passed: list[bytes] = []
        for start in range(0, len(chunk), _AT_ONCE):
            passed.append(await self._fed(chunk[start : start + _AT_ONCE]))
            await self._turn()
        return b"".join(passed)

    async def _fed(self, chunk: bytes) -> bytes:
        passed = [await self._pass(event) for event in self._splitter.feed(chunk)]
        return passed[0] if len(passed) == 1 else b"".join(passed)

    async def finish(self) -> bytes:
        words = self._last_words()
        rest = b"" if self._downstream is None else await self._downstream.end()
        if words is not None:
            return rest + (sse.NEW_EVENT if self._splitter.passing else b"") + sse.encode(words)
        held = self._splitter.rest() if self._unseen else None
        return rest if held is None else rest + await self._unfinished(held)

    async def _unfinished(self, event: sse.Event) -> bytes:
        """Some clients read it all the same, and some read what is no stream."""
        data = event.data or event.raw
        if event.odd or await self._names.without(data) is not data or await self._filter(data) is not data:
            return b""
        return event.raw if self._downstream is None else await self._downstream.rest(event.raw, event.data or b"")

    async def _pass(self, event: sse.Event) -> bytes:
        if event.whole:
            return await self._seen(event)
        _allow_unseen(allowed=self._unseen)
        raw = self._unbroken.feed(event.raw, last=event.last)
        self._passes(raw)
        if event.last:
            self._names.end()
            self._checking = None
        if self._downstream is None:
            return raw
        part = await self._downstream.part(raw)
        return part + await self._downstream.end() if event.last else part

    async def _seen(self, event: sse.Event) -> bytes:
        raw, data = event.raw, event.data
        if event.odd or not self._unseen:
            # A message must not stand where only some reader of streams finds it.
            data = None if data is None else sse.on_one_reading(data)
            raw = sse.anew(event, data)
        if not data:
            return raw if self._downstream is None else await self._downstream.event(raw, b"")
        kept = await self._names.without(data)
        if kept is not data:
            data = sse.on_one_reading(kept)
            raw = sse.anew(event, data)
        seen = await self._filter(data)
        if seen is None:
            return b""
        if seen is data:
            return raw if self._downstream is None else await self._downstream.event(raw, data)
        encoded = sse.encode(seen, event.id)
        return encoded if self._downstream is None else await self._downstream.fresh(seen, encoded)


class OpaqueBody:
    """An answer of another type, without messages. Some clients may find a message in it all the same."""

    def __init__(self, names: NameFilter, rewriter: Rewriter | None = None, observer: Observer | None = None) -> None:
        self._names = names
        self._downstream = Downstream(rewriter, observer)

    async def feed(self, chunk: bytes) -> bytes:
        self._names.feed(chunk)
        return await self._downstream.text(chunk)

    async def finish(self) -> bytes:
        return await self._downstream.text_end()


def _allow_unseen(*, allowed: bool) -> None:
    if not allowed:
        raise UpstreamBroken(
            "the upstream sent something of which nothing may pass unseen, such as a list, that is too large to be looked at",
            "have the upstream send pages",
        )
