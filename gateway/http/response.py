"""Answers to the client: an answer with its body on the way, and a whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from gateway.http.failures import ExchangeError, Lost
from gateway.model.wire import Headers

if TYPE_CHECKING:
    from gateway.http.client import OutboundConnection
    from gateway.http.response_parser import ResponseParser


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
    """A complete answer from one read, with the interface of `Response`. Its connection is already free for another request."""

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
