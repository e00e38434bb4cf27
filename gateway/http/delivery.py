"""One exchange on the wire: its body in, its answer out, and what happens when the client leaves.

A client that leaves is cancellation on the 2026-07-28 wire ("Cancellation" of its streamable HTTP page). On the
wires before it only ends the delivery. Either way the upstream sees what it would have seen without a gateway:
its own connection closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import structlog

from gateway import reasons
from gateway.config import Limits
from gateway.errors import UpstreamError
from gateway.http.channel import Channel, ClientGone
from gateway.http.exchange import Answer, Exchange, Stream
from gateway.http.keepalive import KeepAlive
from gateway.http.listeners import Listeners
from gateway.model.decision import Refusal
from gateway.protocol.headers import is_event_stream

log = structlog.get_logger("gateway.transport")

BODY_SECONDS: Final = 30.0
"""How long a client may take to send a request's body: a slow one must not hold a place for ever."""

_LENGTH_DIGITS: Final = 19
"""Digits of the longest body that anybody could send."""


class Delivery:
    """Carries exchanges, and counts them."""

    def __init__(self, limits: Limits) -> None:
        self._keep_alive = limits.keep_alive.total_seconds()
        self._in_flight_limit = limits.in_flight
        self._idle: set[asyncio.Task[Any]] = set()
        self._listeners = Listeners()
        self._draining = False
        self._working: set[asyncio.Task[Any]] = set()
        self._streams: set[asyncio.Task[Any]] = set()

    @property
    def in_flight(self) -> int:
        """Exchanges in progress, without streams that wait for news."""
        return len(self._working) - len(self._streams)

    @property
    def streams(self) -> int:
        """Streams that wait for news."""
        return len(self._streams)

    def become_stream(self) -> None:
        """Count the exchange of the running task as a stream from now on."""
        self._streams.add(cast("asyncio.Task[Any]", asyncio.current_task()))

    def drain(self) -> None:
        self._draining = True
        for task in self._idle:
            task.cancel()

    def announce_changed_lists(self) -> None:
        """Tell listening clients that their lists may have changed."""
        self._listeners.announce()

    async def ended(self, within: float) -> None:
        """Wait until all work has ended, or `within` seconds have passed."""
        if self._working:
            await asyncio.wait(self._working, timeout=within)

    async def converse(
        self,
        exchange: Exchange,
        handle: Callable[[Exchange], Awaitable[Answer | Stream | None]],
        channel: Channel,
        *,
        counted: bool = True,
        refuse_full: Callable[[Channel], Awaitable[None]] | None = None,
    ) -> None:
        """Answer one exchange. The work stops when the client leaves. `handle` returns `None` after it has sent the answer.

        `counted`: the exchange is in progress, and a drain waits for its end. `refuse_full` answers in the place of `handle`
        when as many exchanges are in progress as may be.
        """
        if channel.is_left:
            return
        if refuse_full is not None and len(self._working) - len(self._streams) >= self._in_flight_limit:
            await refuse_full(channel)
            return
        worker = cast("asyncio.Task[Any]", asyncio.current_task())
        if counted:
            self._working.add(worker)
        channel.on_leave = worker.cancel
        try:
            answer = await handle(exchange)
            if hasattr(answer, "body"):
                whole = cast("Answer", answer)
                await channel.respond(whole.status, whole.headers, whole.body)
            elif answer is not None:
                await self._send_stream(cast("Stream", answer), channel)
        except asyncio.CancelledError:
            if not channel.is_left:
                raise
        except ClientGone:
            return
        except Exception:
            # A defect of the gateway. Nothing more is sent: the server closes the connection, or answers 500 if
            # nothing was sent yet. It is told here because the server's own log would hold a traceback.
            log.exception("defect", method=exchange.method)
            raise
        finally:
            channel.on_leave = None
            self._working.discard(worker)
            self._streams.discard(worker)

    async def _send_stream(self, stream: Stream, channel: Channel) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        if self._draining and stream.idle:
            await stream.close()
            channel.start(503, ((b"retry-after", b"1"),))
            channel.end()
            return
        if stream.idle:
            self._idle.add(task)
        try:
            await (self._pump_events if is_event_stream(stream.headers) else self._pump)(stream, channel)
        except asyncio.CancelledError:
            if not (self._draining and stream.idle):
                raise
            channel.end()
        else:
            # The answer leaves at the end of this turn, so that the client does not wait while `close` settles it. What
            # the client sends next is read in a later turn, so that it is handled after `close` has begun.
            await asyncio.sleep(0)
        finally:
            self._idle.discard(task)
            await stream.close()

    async def _pump(self, stream: Stream, channel: Channel) -> None:
        try:
            chunk = await anext(stream, None)
        except UpstreamError:
            # The upstream broke off before anything of the body. See below.
            channel.start(stream.status, stream.headers)
            return
        if stream.whole:
            await channel.respond(stream.status, stream.headers, chunk or b"")
            return
        channel.start(stream.status, stream.headers)
        try:
            while chunk is not None:
                await channel.write(chunk)
                chunk = await anext(stream, None)
        except UpstreamError:
            # The upstream broke off in mid-body. Returning without completing the answer makes the server
            # close the connection, which is what the client would have seen from the upstream itself.
            return
        channel.end()

    async def _pump_events(self, stream: Stream, channel: Channel) -> None:
        channel.start(stream.status, stream.headers)
        keep_alive = KeepAlive(channel.write, self._keep_alive)
        end = None
        if stream.idle:
            self._listeners.add(keep_alive, stream)
            end = stream.listen(keep_alive.notify)
        try:
            async for chunk in stream:
                await keep_alive.pass_on(chunk)
        except UpstreamError:
            # As above.
            return
        finally:
            self._listeners.remove(keep_alive)
            if end is not None:
                end()
            await keep_alive.stop()
        channel.end()


async def read_body(channel: Channel, limit: int) -> bytes | Refusal:
    """Return the whole body, of at most `limit` bytes, or the refusal to read it. Raises `ClientGone`."""
    request = channel.request
    if request.is_complete:
        body = channel.take()
        return body if len(body) <= limit else _too_large(limit)
    declared = next((value for name, value in channel.request.headers if name == b"content-length"), b"0").lstrip(b"0")
    # Zeros before a number are legal, and as many as a header has room for; a number of so many digits Python refuses.
    if len(declared) > _LENGTH_DIGITS or int(declared or b"0") > limit:
        return _too_large(limit)
    reader = _ReadingTask(cast("asyncio.Task[Any]", asyncio.current_task()))
    # Not `asyncio.timeout`, which costs several times as much.
    timer = asyncio.get_running_loop().call_later(BODY_SECONDS, reader.stop)
    try:
        return await _read(channel, limit)
    except asyncio.CancelledError:
        if not reader.stopped or reader.task.uncancel() > 0:
            raise
        return reasons.REQUEST_SLOW.refusal()
    finally:
        timer.cancel()


class _ReadingTask:
    """A reading task with a way to stop it."""

    __slots__ = ("stopped", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self.task.cancel()


async def _read(channel: Channel, limit: int) -> bytes | Refusal:
    chunks: list[bytes] = []
    size = 0
    while chunk := await channel.read():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            return _too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> Refusal:
    return reasons.REQUEST_TOO_LARGE.refusal(limit=limit)
