"""A connection with one exchange at a time. It is used again only after a complete request and a complete answer
without further bytes."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol, TypeAlias, cast

from msgspec import Struct

from gateway.http.failures import AnswerTimeout, ExchangeError, Lost, Malformed
from gateway.http.response_parser import ResponseParser, read_usual_response
from gateway.model.wire import Headers

HIGH_WATER: Final = 128 * 2**10
"""Bytes of a body that wait to be taken before the peer is made to wait. One more read may come on top."""


class Response:
    """An answer whose head has arrived. Iterate once, for the body; a cancelled read can be taken up again. A body with a
    wrong end raises `Lost` or `Malformed`, or their translation. `close` must follow."""

    __slots__ = ("_connection", "_ended", "_error", "_parser", "_waiter", "headers", "status", "translate")

    def __init__(self, connection: OutboundConnection, parser: ResponseParser) -> None:
        self.status = parser.status
        self.headers: Headers = parser.headers
        self._connection = connection
        self._parser = parser
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: ExchangeError | None = None
        self.translate: Callable[[ExchangeError], Exception] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        parser = self._parser
        while not parser.pieces:
            if self._error is not None:
                raise self._error if self.translate is None else self.translate(self._error) from None
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
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


class WholeResponse(Struct, eq=False):
    """An answer that arrived whole in one read, with the interface of `Response`. Its connection is free already."""

    status: int
    headers: Headers
    body: bytes | None
    translate: Callable[[ExchangeError], Exception] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        body, self.body = self.body, None
        if not body:
            raise StopAsyncIteration
        return body

    def close(self, error: ExchangeError | None = None) -> None:
        """Do nothing: the answer has ended."""

    async def aclose(self) -> None:
        """Do nothing: the answer has ended."""


AnyResponse: TypeAlias = Response | WholeResponse


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
        self._waiter: asyncio.Future[AnyResponse] | None = None
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

    def send(self, head: bytes, body: bytes, deadline: float) -> asyncio.Future[AnyResponse]:
        """Begin an exchange. The future fails with `Lost`, `Malformed`, or `AnswerTimeout` if no answer begins before the
        deadline. Whoever does not wait for it calls `give_up`."""
        waiter: asyncio.Future[AnyResponse] = self._loop.create_future()
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

    def give_up(self, waiter: asyncio.Future[AnyResponse], error: ExchangeError | None = None) -> None:
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
            # A stream of events may be silent for hours; one whose peer has vanished must end some day.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(peer.fileno(), select.POLLIN)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            waiter = self._waiter
            if waiter is None:
                # Nothing was asked.
                self._transport.abort()
                return
            whole = None if waiter.done() else read_usual_response(data)
            if whole is not None:
                self._waiter = None
                waiter.set_result(WholeResponse(*whole))
                self._become_free()
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
