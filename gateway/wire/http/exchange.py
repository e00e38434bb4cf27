"""The interface between the HTTP edge and the pipeline: a request in, an answer or a stream out. The gateway adds events of its own to a
stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from msgspec import Struct

from gateway.model.decision import Refusal
from gateway.model.wire import Headers
from gateway.wire.protocol.headers import HeaderFields

# --- requests and answers --------------------------------------------------------------------------------


async def _no_body() -> bytes:
    return b""


def _do_nothing() -> None:
    """Do nothing."""


class Exchange(Struct, frozen=True):
    """A request to an MCP endpoint or to `/tasks`, checked as far as HTTP alone goes, before its body is read.

    `url` is the address that the client used, without query. `certificates` are DER, verified by TLS: the client's own first, then its
    authorities. `fields` are the headers by name. `body` reads the body once, or returns the refusal of a large or slow body. `become_stream` tells the edge that the
    request waits for news from now on, `welcome` that its caller is known.
    """

    method: str
    upstream: str
    url: str
    headers: Headers
    fields: HeaderFields
    client_ip: str | None = None
    certificates: tuple[bytes, ...] = ()
    path: str = ""
    body: Callable[[], Awaitable[bytes | Refusal]] = _no_body
    become_stream: Callable[[], None] = _do_nothing
    welcome: Callable[[], None] = _do_nothing


class Answer(Protocol):
    """A complete answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...


class Stream(Protocol):
    """An answer with a body still arriving, iterated once. `close` is called in any case, after its end or the client's
    departure, and a cancellation does not cut it short. `idle`: it waits for news, not for the result of a call;
    draining ends such streams first. `is_events`: its messages are server-sent events. `whole`, after a chunk: that was the last one. `announcement` are the events that
    tell the reader of changed lists, if any. `listen` has a callable called with each event of the gateway's own for the
    reader, and returns the end of it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def idle(self) -> bool: ...
    @property
    def is_events(self) -> bool: ...
    @property
    def whole(self) -> bool: ...
    @property
    def announcement(self) -> bytes: ...

    def listen(self, say: Callable[[bytes], None], /) -> Callable[[], None]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    async def __anext__(self) -> bytes: ...
    async def close(self) -> None: ...


# --- events of the gateway -------------------------------------------------------------------------------


COMMENT: Final = b": keep-alive\n\n"
_BOUNDARIES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


class KeepAlive:
    """A sender of one stream. Its own events come only between the stream's events, and never during the sending of a
    chunk. A slow client can make that sending long."""

    __slots__ = (
        "_between_events",
        "_interval",
        "_last",
        "_loop",
        "_notices",
        "_send",
        "_sending",
        "_tail",
        "_timer",
        "_waiting",
    )

    def __init__(self, send: Callable[[bytes], Awaitable[None]], interval: float) -> None:
        self._send = send
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._between_events = True
        self._tail = b""
        self._sending: asyncio.Task[None] | None = None
        self._waiting = b""
        self._notices = b""
        self._timer = self._loop.call_later(interval, self._tick)

    async def pass_on(self, chunk: bytes) -> None:
        self._between_events = False
        if self._sending is not None:
            await self._sending
        await self._send(chunk)
        self._last = self._loop.time()
        self._tail = (self._tail + chunk)[-4:] if len(chunk) < 4 else chunk[-4:]
        self._between_events = self._tail.endswith(_BOUNDARIES)
        self._say_what_waits()

    def announce(self, events: bytes) -> None:
        """Say this as soon as there is a place for it; the same once, however often."""
        self._waiting = events
        self._say_what_waits()

    def notify(self, events: bytes) -> None:
        """Say this as soon as there is a place for it, after all that waits already."""
        self._notices += events
        self._say_what_waits()

    async def stop(self) -> None:
        self._timer.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    def _tick(self) -> None:
        left = self._last + self._interval - self._loop.time()
        if left <= 0 and self._has_place:
            self._begin()
        self._timer = self._loop.call_later(left if left > 0 else self._interval, self._tick)

    def _say_what_waits(self) -> None:
        if (self._waiting or self._notices) and self._has_place:
            self._begin()

    @property
    def _has_place(self) -> bool:
        return self._between_events and self._sending is None

    def _begin(self) -> None:
        self._sending = self._loop.create_task(self._say())
        self._last = self._loop.time()

    async def _say(self) -> None:
        text, self._waiting, self._notices = self._waiting + self._notices or COMMENT, b"", b""
        await self._send(text)
        self._sending = None
        self._say_what_waits()


_APART_SECONDS: Final = 0.005
"""Between two that are told: each then lists anew, and a list of thirty tools takes the gateway nearly as long."""
_SPREAD_SECONDS: Final = 10.0
"""Within which all are told, however many they are."""


class Listeners:
    """All open streams. Announcements reach the streams in turn, so that calls go on meanwhile."""

    def __init__(self) -> None:
        self._streams: dict[KeepAlive, Stream] = {}
        self._untold: dict[KeepAlive, Stream] = {}
        self._telling: asyncio.TimerHandle | None = None

    def add(self, keep_alive: KeepAlive, stream: Stream) -> None:
        """Tell the reader of a stream from now on."""
        self._streams[keep_alive] = stream

    def remove(self, keep_alive: KeepAlive) -> None:
        self._streams.pop(keep_alive, None)
        self._untold.pop(keep_alive, None)

    def announce(self) -> None:
        """Tell each open stream that a list has changed. A stream already waiting keeps its turn."""
        self._untold |= self._streams
        if self._telling is None:
            self._tell_next(min(_APART_SECONDS, _SPREAD_SECONDS / (len(self._untold) or 1)))

    def _tell_next(self, apart: float) -> None:
        self._telling = None
        while self._untold:
            keep_alive = next(iter(self._untold))
            if events := self._untold.pop(keep_alive).announcement:
                keep_alive.announce(events)
                self._telling = asyncio.get_running_loop().call_later(apart, self._tell_next, apart)
                return
