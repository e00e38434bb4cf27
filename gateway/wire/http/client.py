"""A client for requests to one address, over kept connections. It sends a request once. It sends again only with the caller's
permission, after a kept connection proved closed before any part of an answer.

A connection has one exchange at a time. It is used again only after a complete request and a complete answer without further
bytes.
"""

from __future__ import annotations

import asyncio
import re
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, Protocol, cast

from gateway.model.wire import Headers
from gateway.wire.http.dial import Address, AnswerTimeout, ExchangeError, Lost, Malformed, Stalled, Unsendable, connect
from gateway.wire.http.parsers import ResponseParser

IDLE_SECONDS: Final = 4.0
"""How long an unused connection is kept: common servers close theirs after 5 s, and a request that is sent into a
closing connection is lost."""

_LINE: Final = b"%b: %b\r\n"
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [^\r\n\0]*+\r\n)*+")
"""Lines of which none can be read as anything but one header field (RFC 9110 section 5)."""

_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""Seconds of silence until the system asks the peer whether it is there, between two such questions, and how many: two minutes."""

HIGH_WATER: Final = 128 * 2**10
"""Bytes of a body that wait to be taken before the peer is made to wait. One more read may come on top."""


class Client:
    """A client for one event loop. `connect`: seconds until a connection. `tls` gives the context of each new connection to
    an address with TLS. The sender bounds the requests at once, so connections have no limit here."""

    def __init__(
        self, address: Address, *, connect: float, tls: Callable[[], ssl.SSLContext] = ssl.create_default_context
    ) -> None:
        self._address = address
        self._connect = connect
        self._tls = tls
        self._kept: dict[OutboundConnection, None] = {}
        """Connections that carry nothing, the one that was used last at the end."""
        self._open: set[OutboundConnection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._host = b" HTTP/1.1\r\nhost: " + address.authority + b"\r\n"

    async def request(
        self,
        method: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | None = None,
        *,
        within: float,
        target: bytes | None = None,
        again: bool = False,
    ) -> Response:
        """Send a request; the answer, when its head is there. `within`: seconds until then, connecting included.

        `target` is the address's own, if not given. `headers` are without Host and Content-Length, which are written
        here. `again`: the request may be sent a second time. Raises an `ExchangeError`.
        """
        loop = asyncio.get_running_loop()
        head = self._head(method, target or self._address.target, headers, body)
        now = loop.time()
        deadline = now + within
        connection = self._find_unused(now)
        may_repeat = again and connection is not None
        while True:
            if connection is None:
                connection = await self._fresh(min(self._connect, deadline - loop.time()))
            waiter = connection.send(head, body or b"", deadline)
            try:
                return await waiter
            except Lost as lost:
                if lost.begun or not may_repeat:
                    raise
            except asyncio.CancelledError:
                _abandon(connection, waiter)
                raise
            connection, may_repeat = None, False

    async def aclose(self) -> None:
        """Abort every connection with its exchange. The client takes no request after it."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._emptied = asyncio.get_running_loop().create_future()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await self._emptied

    def _head(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes | None) -> bytes:
        fields = b"".join(map(_LINE.__mod__, headers))
        # One line for each field: a line that a value smuggled in would be one too many.
        if _FIELDS.fullmatch(fields) is None or fields.count(b"\n") != len(headers):
            raise Unsendable("a header of the request cannot be sent")
        length = b"" if body is None else b"content-length: %d\r\n" % len(body)
        return b"%b %b%b%b%b\r\n" % (method, target, self._host, length, fields)

    def _find_unused(self, now: float) -> OutboundConnection | None:
        """Return the last used connection that is still usable."""
        while self._kept:
            connection, _ = self._kept.popitem()
            if now - connection.free_since < IDLE_SECONDS and connection.is_usable():
                return connection
            connection.close()
        return None

    async def _fresh(self, within: float) -> OutboundConnection:
        connection = OutboundConnection(self)
        try:
            # In a task of its own, for a time limit holds for the task in which it began, and who asks may go on in
            # another (`shielding`).
            tls = self._tls() if self._address.tls else None
            connecting = connect(self._address, connection, tls=tls, within=within)
            await asyncio.get_running_loop().create_task(connecting)
        except BaseException:
            # uvloop closes a connection that nobody waits for any more, and does not tell it if it was just made.
            self.lost(connection)
            raise
        return connection

    # --- for the connections -----------------------------------------------------------------------

    def opened(self, connection: OutboundConnection) -> None:
        self._open.add(connection)
        if self._emptied is not None:
            connection.abort()

    def freed(self, connection: OutboundConnection) -> None:
        self._kept[connection] = None
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    def lost(self, connection: OutboundConnection) -> None:
        self._kept.pop(connection, None)
        self._open.discard(connection)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)

    def _sweep(self) -> None:
        """Close what nobody has used for too long."""
        self._sweeping = None
        loop = asyncio.get_running_loop()
        for connection in tuple(self._kept):
            left = connection.free_since + IDLE_SECONDS - loop.time()
            if left > 0:
                self._sweeping = loop.call_later(left, self._sweep)
                return
            del self._kept[connection]
            connection.close()


def _abandon(connection: OutboundConnection, waiter: asyncio.Future[Response]) -> None:
    """End an exchange whose caller has gone, and close its answer."""
    if waiter.cancelled():
        connection.give_up(waiter)
    elif waiter.exception() is None:
        # The answer has come, and nobody is there to close it.
        waiter.result().close()


class Owner(Protocol):
    """An owner that hears when the connection opens, when it can carry another exchange, and when an opened connection
    ends."""

    def opened(self, connection: OutboundConnection) -> None: ...
    def freed(self, connection: OutboundConnection) -> None: ...
    def lost(self, connection: OutboundConnection) -> None: ...


class OutboundConnection(asyncio.Protocol):
    """Protocol of one client connection, for an event loop to connect."""

    __slots__ = (
        "_deadline",
        "_loop",
        "_owner",
        "_parser",
        "_poll",
        "_response",
        "_timer",
        "_transport",
        "_waiter",
        "free_since",
        "paused",
    )

    def __init__(self, owner: Owner) -> None:
        self.free_since = 0.0
        """Loop time at which the last exchange ended."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._poll: Any = None
        self._parser: ResponseParser | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self.paused = False
        """The peer has to wait until the body is read."""
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- for the client ----------------------------------------------------------------------------

    def is_usable(self) -> bool:
        """Return whether a request can be sent. This detects a peer's close or unasked data even before the event loop
        does. Otherwise the request would be lost, or take old data for its answer."""
        return not self._transport.is_closing() and (self._poll is None or not self._poll.poll(0))

    def send(self, head: bytes, body: bytes, deadline: float) -> asyncio.Future[Response]:
        """Begin an exchange. The future fails with `Lost`, `Malformed`, or `AnswerTimeout` if no answer begins before the
        deadline. Whoever does not wait for it calls `give_up`."""
        waiter: asyncio.Future[Response] = self._loop.create_future()
        if self._transport.is_closing():
            # It was lost as soon as it was there, and nobody tells a second time.
            waiter.set_exception(Lost("the connection was closed", begun=False))
            return waiter
        self._waiter, self._deadline = waiter, deadline
        # A timer that runs out too early begins anew, so most exchanges leave it alone.
        if self._timer is None or self._timer.when() > deadline:
            self._watch(deadline)
        if len(body) < HIGH_WATER:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return waiter

    def give_up(self, waiter: asyncio.Future[Response], error: ExchangeError | None = None) -> None:
        """End the exchange that `send` gave this future for, unless its answer has come. The connection may carry
        another exchange by now, which is none of the caller's affair."""
        if waiter is self._waiter:
            self.abort(error)

    def abort(self, error: ExchangeError | None = None) -> None:
        """End the connection at once, with its exchange, if any."""
        self._transport.abort()
        self._fail(error or Lost("the exchange was given up", begun=True))

    def close(self) -> None:
        """End a connection that carries nothing."""
        self._transport.close()

    # --- for the response --------------------------------------------------------------------------

    def taken(self, response: Response) -> None:
        """Resume reading: the reader has taken all bytes of the response."""
        if response is self._response:
            self._resume()

    def leave(self, response: Response, error: ExchangeError) -> None:
        if response is self._response:
            self.abort(error)

    # --- for the transport -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("socket")
        if peer.family != getattr(socket, "AF_UNIX", None):
            # A stream of events may be silent for hours; one whose peer has vanished must end.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEP_ALIVE:
                if hasattr(socket, name):
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(peer.fileno(), select.POLLIN)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            if self._waiter is None:
                # Nothing was asked.
                self._transport.abort()
                return
            parser = self._parser = ResponseParser()
        parser.feed(data)
        if parser.status and self._waiter is not None:
            if self._waiter.done():
                self.abort()
                return
            self._response = Response(self, parser)
            self._waiter.set_result(self._response)
            self._waiter = None
        if parser.fault is not None:
            self.abort(Malformed(parser.fault))
        elif parser.complete:
            self._finish(parser)
        elif self._response is not None:
            self._response.arrived()
            if parser.size > HIGH_WATER and not self.paused:
                self.paused = True
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        parser, response = self._parser, self._response
        if parser is not None and response is not None and parser.until_closed and exc is None:
            self._response = None
            response.end()
        self._fail(Lost("the connection was closed", begun=parser is not None and parser.begun))
        self._owner.lost(self)

    def _finish(self, parser: ResponseParser) -> None:
        response = cast("Response", self._response)
        self._parser = self._response = None
        parser.close()
        response.end()
        if parser.keep_alive and not parser.excess:
            self._become_free()
        else:
            self._transport.abort()

    def _become_free(self) -> None:
        """Offer the connection for another exchange, unless a part of the request is still to be sent."""
        transport = self._transport
        if transport.get_write_buffer_size() or transport.is_closing():
            transport.abort()
            return
        if self.paused:
            self._resume()
        self.free_since = self._loop.time()
        self._owner.freed(self)

    def _fail(self, error: ExchangeError) -> None:
        waiter, response, parser = self._waiter, self._response, self._parser
        self._waiter = self._response = self._parser = None
        if parser is not None:
            parser.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if response is not None:
            response.fail(error)

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._watch(self._deadline)
        else:
            self.abort(AnswerTimeout("no answer in time"))

    def _resume(self) -> None:
        self.paused = False
        self._transport.resume_reading()


class Response:
    """An answer whose head has arrived. Iterate once, for the body; a cancelled read can be taken up again. A body with a
    wrong end raises `Lost` or `Malformed`, or their translation. `close` must follow."""

    __slots__ = ("_connection", "_ended", "_error", "_parser", "_waiter", "headers", "idle", "status", "translate")

    def __init__(self, connection: OutboundConnection, parser: ResponseParser) -> None:
        self.status = parser.status
        self.headers: Headers = parser.headers
        self._connection = connection
        self._parser = parser
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: ExchangeError | None = None
        self.translate: Callable[[ExchangeError], Exception] | None = None
        self.idle: float | None = None
        """Seconds until the next byte, counted while somebody waits for it; `None` without an end."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        parser = self._parser
        while not parser.pieces:
            if self._error is not None:
                raise self._error if self.translate is None else self.translate(self._error) from None
            if self._ended:
                raise StopAsyncIteration
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            stalling = None if self.idle is None else loop.call_later(self.idle, self.close, Stalled("it stalled"))
            try:
                await self._waiter
            finally:
                self._waiter = None
                if stalling is not None:
                    stalling.cancel()
        taken = parser.pieces[0] if len(parser.pieces) == 1 else b"".join(parser.pieces)
        parser.pieces.clear()
        parser.size = 0
        if self._connection.paused:
            self._connection.taken(self)
        return taken

    def close(self, error: ExchangeError | None = None) -> None:
        """Give up on missing data; the waiting reader gets `error`. Safe to call at any time, and again."""
        if not self._ended and self._error is None:
            error = error or Lost("the exchange was given up", begun=True)
            self.fail(error)
            self._connection.leave(self, error)

    def be_patient(self) -> None:
        """Wait for the next bytes without an end."""
        self.idle = None

    async def aclose(self) -> None:
        """Close the response where a coroutine is expected."""
        self.close()

    def arrived(self) -> None:
        """Note an arrival. The connection calls this method and the two below."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self) -> None:
        self._ended = True
        if self._waiter is not None:
            self.arrived()

    def fail(self, error: ExchangeError) -> None:
        self._error = error
        self.arrived()
