"""One exchange on the wire: the request, the answer to it, and the departure of the client.

A client that leaves is cancellation on the 2026-07-28 wire ("Cancellation" of its streamable HTTP page). On the
wires before it only ends the delivery. Either way the upstream sees what it would have seen without a gateway:
its own connection closes. `server_connection` has the bytes on the wire.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import structlog

from gateway.config import Limits
from gateway.model.errors import UpstreamError
from gateway.wire.http.exchange import Answer, Exchange, KeepAlive, Listeners, Stream

if TYPE_CHECKING:
    from gateway.wire.http.parsers import Request
    from gateway.wire.http.server_connection import Connection

log = structlog.get_logger("gateway.transport")

_Fields = Sequence[tuple[bytes, bytes]]

JOINED_BYTES: Final = 64 * 2**10
"""Bytes of a body that are copied behind their head, so that both are one write."""

_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+")
"""Lines of which none can be read as anything but one header field (RFC 9110 section 5)."""

_LINE: Final = b"%b: %b\r\n"

_FAILURE: Final = b"Internal Server Error"
_FAILURE_FIELDS: Final = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAILURE)),
)

_PHRASES: Final = {int(status): status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES: Final = {
    number: b"HTTP/1.1 %d %b\r\n" % (number, _PHRASES.get(number, b"")) for number in range(200, 600)
}
_BODILESS: Final = frozenset({204, 304})
"""Statuses of answers without a body."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Channel:
    """A request, and the answer to it. After the client has left, the answer goes nowhere, without an error. Then
    `on_leave` is called, if the worker for the client has set it.

    The body of the answer has the length of its `content-length`, or is chunked. To HTTP/1.0, it may last until the end of the
    connection.
    """

    __slots__ = (
        "_chunked",
        "_left",
        "_news",
        "certificates",
        "client_ip",
        "connection",
        "has_ended",
        "has_started",
        "is_left",
        "keep_alive",
        "on_leave",
        "request",
    )

    def __init__(self, request: Request, connection: Connection) -> None:
        self.request = request
        self.client_ip = connection.client_ip
        self.certificates = connection.certificates
        """The client's verified certificate and its issuers (DER)."""
        self.is_left = False
        """The client has closed the connection."""
        self.on_leave: Callable[[], object] | None = None
        self.keep_alive = request.keep_alive
        """The connection carries another request after this answer."""
        self.has_started = False
        self.has_ended = False
        self.connection = connection
        self._chunked = False
        self._left: int | None = None
        """Bytes of the body that are still to be sent; `None` if the head does not say."""
        self._news: asyncio.Event | None = None

    @property
    def client(self) -> tuple[str, int] | None:
        """The client's address and port."""
        return self.connection.address_of("peername")

    @property
    def server(self) -> tuple[str, int] | None:
        """The address and port that the client has reached."""
        return self.connection.address_of("sockname")

    @property
    def is_encrypted(self) -> bool:
        """The connection has TLS."""
        return self.connection.is_encrypted

    def welcome(self) -> None:
        """Note that the client is a known caller."""
        self.connection.serving.places.welcome(self.connection)

    def leave(self) -> None:
        """Note the departure of the client, and wake the workers for the request."""
        self.is_left = True
        if self.on_leave is not None:
            self.on_leave()
        self.tell_news()

    def take(self) -> bytes:
        """Return the bytes of the request's body that have arrived since the last time."""
        request = self.request
        taken, request.body = request.body, b""
        if self.connection.is_read_paused:
            self.connection.resume_reading()
        return taken if isinstance(taken, bytes) else bytes(taken)

    async def read_chunk(self) -> bytes:
        """Return the next bytes of the request's body, or none at its end. Raises `ClientGone`."""
        request = self.request
        while not (request.body or request.is_complete or self.is_left):
            if request.expects_continue and not self.has_started:
                request.expects_continue = False
                self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await self.hear_news()
        if self.is_left:
            raise ClientGone
        return self.take()

    async def hear_news(self) -> None:
        """Wait until bytes arrive, the client leaves, or the answer has ended."""
        self._news = self._news or asyncio.Event()
        self._news.clear()
        await self._news.wait()

    def tell_news(self) -> None:
        """Wake the readers of the request."""
        if self._news is not None:
            self._news.set()

    # --- the answer --------------------------------------------------------------------------------

    async def respond(self, status: int, headers: _Fields, body: bytes) -> None:
        """Send a whole answer. It has a length unless its status has no body (RFC 9110 section 8.6)."""
        if self.connection.is_full:
            await self.connection.drain()
        if self.is_left:
            return
        if status not in _BODILESS:
            headers = (*headers, (b"content-length", b"%d" % len(body)))
        head = self._head(status, headers)
        if self.request.method == "HEAD" or status in _BODILESS:
            body = b""
        self.connection.write_whole(head, body)
        self.has_ended = True
        self.connection.finish(self)
        if self._news is not None:
            self._news.set()

    def start(self, status: int, headers: _Fields) -> None:
        """Send the head of an answer."""
        head = self._head(status, headers)
        if not self.is_left:
            self.connection.write(head)

    async def write(self, data: bytes) -> None:
        """Send a part of the body, when the client has read enough of the parts before."""
        if self.connection.is_full:
            await self.connection.drain()
        if self.has_ended or not self.has_started:
            raise RuntimeError("a part of a body comes before its head or after its end")
        if self.is_left or not data or self.request.method == "HEAD":
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise RuntimeError("the body of an answer is longer than its content-length")
        self.connection.write(data)

    def end(self) -> None:
        """End the answer."""
        if self.has_ended or not self.has_started:
            raise RuntimeError("an answer ends twice, or before its head")
        if self.is_left:
            return
        if self._left and self.request.method != "HEAD":
            raise RuntimeError("the body of an answer is shorter than its content-length")
        if self._chunked:
            self.connection.write(b"0\r\n\r\n")
        self._finish()

    def fail(self) -> None:
        """Answer 500, or cut off an answer that has begun. A client must not take a part for the whole."""
        if self.has_ended or self.is_left:
            return
        self.keep_alive = False
        if self.has_started:
            self.connection.close()
        else:
            body = b"" if self.request.method == "HEAD" else _FAILURE
            self.connection.write_whole(self._head(500, _FAILURE_FIELDS), body)
            self._finish()

    def end_work(self, task: asyncio.Task[None]) -> None:
        """Note the end of the work for the request. An error, or work without an answer, fails the request."""
        self.connection.serving.tasks.discard(task)
        if not task.cancelled():
            # asyncio logs an error that is never asked for, with its traceback.
            task.exception()
        if not self.has_ended:
            self.fail()

    def _finish(self) -> None:
        self.has_ended = True
        self.connection.finish(self)
        if self._news is not None:
            self._news.set()

    def _head(self, status: int, headers: _Fields) -> bytes:
        if self.has_started:
            raise RuntimeError("an answer begins twice")
        fields = b"".join(map(_LINE.__mod__, headers))
        # A line that a value brought in would be one too many.
        if _FIELDS.fullmatch(fields) is None or fields.count(b"\n") != len(headers):
            raise RuntimeError("a header of the answer cannot be sent")
        self.has_started = True
        request = self.request
        says_close = False
        for name, value in headers:
            name = name.lower()  # noqa: PLW2901 - the same header
            if name == b"content-length":
                self._left = int(value)
            elif name == b"transfer-encoding":
                raise RuntimeError("the coding of an answer is not its author's to choose")
            elif name == b"connection":
                says_close = b"close" in value.lower()
        # A client that was not told to go on may leave the body out, and what it sends next would be taken for it.
        connection = self.connection
        if (
            says_close
            or (request.expects_continue and not request.is_complete)
            or (connection.serving.is_stopping and connection.is_last(self))
        ):
            self.keep_alive = False
        if self._left is None and status not in _BODILESS and request.method != "HEAD" and request.version == "1.1":
            self._chunked = True
            fields += b"transfer-encoding: chunked\r\n"
        if not (self.keep_alive or says_close):
            fields += b"connection: close\r\n"
        return b"%b%b\r\n" % (_STATUS_LINES[status], fields)


class Delivery:
    """Carries exchanges, and counts them."""

    def __init__(self, limits: Limits) -> None:
        self.adopt_limits(limits)
        self._idle: set[asyncio.Task[Any]] = set()
        self._listeners = Listeners()
        self._draining = False
        self._working: set[asyncio.Task[Any]] = set()
        self._streams: set[asyncio.Task[Any]] = set()

    def adopt_limits(self, limits: Limits) -> None:
        """Take these limits for exchanges to come."""
        self._keep_alive = limits.keep_alive.total_seconds()
        self._in_flight_limit = limits.in_flight

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
            await (self._pump_events if stream.is_events else self._pump)(stream, channel)
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
