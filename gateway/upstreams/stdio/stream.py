"""The arriving answer to a request: a JSON document, or server-sent events over several connections. MCP 2025-11-25,
transports, "Sending Messages to the Server" and "Resumability and Redelivery"; 2026-07-28, streamable HTTP, "Receiving
Messages"."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.model.error_codes import INTERNAL_ERROR
from gateway.model.errors import UpstreamError
from gateway.model.wire import RequestId
from gateway.upstreams.stdio import wire
from gateway.upstreams.stdio.child import is_power_of_two

log = structlog.get_logger("gateway.upstream.stdio")

MAX_EVENTS: Final = 1024
MAX_BYTES: Final = 8 * 2**20
"""What is kept of a session for a client that lost its connection, or that is slow. The newest event is kept
whatever its size, so a large result is never lost for being large."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """`sequence` counts from 1 within its stream."""

    sequence: int
    data: bytes


class Backlog:
    """Bounds on the kept events of a group of streams together, in events and bytes. The oldest events go first."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._kept: deque[tuple[MessageStream, StreamEvent]] = deque()
        self._bytes = 0

    def keep(self, stream: MessageStream, event: StreamEvent) -> None:
        self._kept.append((stream, event))
        self._bytes += len(event.data)
        while len(self._kept) > 1 and (len(self._kept) > self._max_events or self._bytes > self._max_bytes):
            oldest, lost = self._kept.popleft()
            self._bytes -= len(lost.data)
            oldest.lose(lost)

    def drop(self, stream: MessageStream) -> None:
        """Keep nothing more of a stream."""
        self._kept = deque(item for item in self._kept if item[0] is not stream)
        self._bytes = sum(len(event.data) for _, event in self._kept)


class MessageStream:
    """Messages for one request, or (number 0) a session's messages without a request. `resumable` streams number their
    events and keep delivered ones for `Last-Event-ID`. One child writes a stream, and at most one `StreamResponse` at a
    time reads it; a new connection takes over."""

    def __init__(self, number: int, backlog: Backlog, *, resumable: bool, request: RequestId | None = None) -> None:
        self.number = number
        self.request = request
        self.resumable = resumable
        self.finished = False
        self.abandoned = False
        self.connection: StreamResponse | None = None
        self._backlog = backlog
        self._events: deque[StreamEvent] = deque()
        self._last = 0
        self._delivered = 0
        self._dropped = 0
        self._failure: UpstreamError | None = None
        self._error: int | None = None
        self._opened = False
        self._answered = False
        self._wake = asyncio.Event()

    @property
    def listening(self) -> bool:
        """Return whether a client waits for messages: a connected client, or a client with an unanswered request."""
        return not self.abandoned and (self.connection is not None or not self._opened)

    @property
    def silent(self) -> bool:
        """Return whether no message has come yet."""
        return self._last == 0 and not self.finished

    @property
    def spent(self) -> bool:
        """Return whether the stream has ended and delivered everything."""
        return self.finished and not self._events

    # --- written ---------------------------------------------------------------------------------------

    def publish(self, data: bytes, *, last: bool = False, error: int | None = None) -> None:
        """Add a message. `last` is the response to the request; `error` its error code, if any."""
        if self.finished:
            return
        self.finished = self._answered = last
        self._error = error
        self._last += 1
        event = StreamEvent(self._last, data)
        self._events.append(event)
        self._backlog.keep(self, event)
        self._wake.set()

    def fail(self, failure: UpstreamError) -> None:
        """End the stream without a response. Before the answer has begun this is an exception of `begun`; after, an
        error response, since the HTTP status has been sent."""
        if self.finished:
            return
        if self.request is not None and (self._opened or self._events):
            text = wire.error(self.request, INTERNAL_ERROR, failure.message)
            self.publish(text, last=True, error=INTERNAL_ERROR)
        self._failure = failure
        self.finish()

    def finish(self) -> None:
        """End the stream without a further message."""
        self.finished = True
        self._wake.set()

    def abandon(self) -> None:
        """Drop the stream after the final loss of its reader."""
        self.abandoned = self.finished = True
        self._events.clear()
        self._backlog.drop(self)
        self._wake.set()

    def lose(self, event: StreamEvent) -> None:
        """Note that the backlog has dropped the oldest event."""
        self._events.popleft()
        if event.sequence > self._delivered:
            self._dropped += 1
            if is_power_of_two(self._dropped):
                log.warning("upstream.message-dropped", stream=self.number, size=len(event.data), so_far=self._dropped)

    # --- read ------------------------------------------------------------------------------------------

    async def begun(self, patience: float) -> bool:
        """Wait for the first message, and return whether a message came. Raises the failure of the stream."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self.silent:
                    await self.changed()
        if self._failure is not None and not self._events:
            raise self._failure
        return not self.silent

    def sole_response(self) -> tuple[bytes, int | None] | None:
        """Take the only message of the stream, if a response, and return the message with its error code."""
        if not (self._answered and len(self._events) == 1):
            return None
        data = self._events[0].data
        self.abandon()
        return data, self._error

    def connect(self, *, after: int | None = None, prime: bool = False, left: Callable[[], None]) -> StreamResponse:
        """Begin to deliver, from the first undelivered event or `after` an event seen by the client. `prime` sends an
        event without data first: the client can resume from its id. `left` is called once, if the client goes before
        the end of the finished stream.
        """
        if self.connection is not None:
            self.connection.end()
        if after is not None:
            self._delivered = after
        self._opened = True
        first = b"id: %d-%d\ndata: \n\n" % (self.number, self._delivered) if prime else b""
        self.connection = StreamResponse(self, first, left)
        return self.connection

    def knows(self, sequence: int) -> bool:
        """Return whether an event of this number has been published."""
        return 0 <= sequence <= self._last

    def take(self) -> bytes:
        """Return the undelivered messages as server-sent events."""
        fresh = [event for event in self._events if event.sequence > self._delivered]
        if fresh:
            self._delivered = fresh[-1].sequence
        if not self.resumable:
            self._events.clear()
            self._backlog.drop(self)
        return b"".join(self._render(event) for event in fresh)

    async def changed(self) -> None:
        self._wake.clear()
        await self._wake.wait()

    def wake(self) -> None:
        self._wake.set()

    def _render(self, event: StreamEvent) -> bytes:
        name = b"id: %d-%d\n" % (self.number, event.sequence) if self.resumable else b""
        return name + b"event: message\ndata: " + event.data + b"\n\n"


class StreamResponse:
    """An HTTP response with a stream. It is an iterator, not a generator, so that a cancelled read can be resumed."""

    def __init__(self, stream: MessageStream, first: bytes, left: Callable[[], None]) -> None:
        self._stream = stream
        self._first = first
        self._left = left
        self._ended = False
        self.stall: tuple[float, UpstreamError] | None = None
        """Seconds until the next message, counted while somebody waits for it, and what an answer fails with then."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._ended:
            first, self._first = self._first, b""
            if chunk := first + self._stream.take():
                return chunk
            if self._stream.finished:
                self.end()
                break
            await self._wait()
        raise StopAsyncIteration

    async def _wait(self) -> None:
        """Wait for a message, or for the end of a stalled answer."""
        if self.stall is None:
            await self._stream.changed()
            return
        seconds, failure = self.stall
        stalling = asyncio.get_running_loop().call_later(seconds, self._stream.fail, failure)
        try:
            await self._stream.changed()
        finally:
            stalling.cancel()

    def be_patient(self) -> None:
        """Wait for the next message without an end."""
        self.stall = None

    async def close(self) -> None:
        """Note that the client has gone, or has read all. May be called at any time."""
        if not self._ended:
            self.end()
            self._left()

    def end(self) -> None:
        """Deliver nothing more."""
        self._ended = True
        self._stream.connection = None
        self._stream.wake()
