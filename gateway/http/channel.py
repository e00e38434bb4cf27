"""The way of a request into the gateway, and of its answer out. `connection` has the bytes on the wire."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.http.request_parser import Request
    from gateway.http.server_connection import Connection

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
        "_connection",
        "_left",
        "_news",
        "certificates",
        "client_ip",
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
        self._connection = connection
        self._chunked = False
        self._left: int | None = None
        """Bytes of the body that are still to be sent; `None` if the head does not say."""
        self._news: asyncio.Event | None = None

    @property
    def client(self) -> tuple[str, int] | None:
        """The client's address and port."""
        return self._connection.address_of("peername")

    @property
    def server(self) -> tuple[str, int] | None:
        """The address and port that the client has reached."""
        return self._connection.address_of("sockname")

    @property
    def is_encrypted(self) -> bool:
        """The connection has TLS."""
        return self._connection.is_encrypted

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
        if self._connection.is_read_paused:
            self._connection.resume_reading()
        return taken if isinstance(taken, bytes) else bytes(taken)

    async def read(self) -> bytes:
        """Return the next bytes of the request's body, or none at its end. Raises `ClientGone`."""
        request = self.request
        while not (request.body or request.is_complete or self.is_left):
            if request.expects_continue and not self.has_started:
                request.expects_continue = False
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
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
        if self._connection.is_full:
            await self._connection.drain()
        if self.is_left:
            return
        if status not in _BODILESS:
            headers = (*headers, (b"content-length", b"%d" % len(body)))
        head = self._head(status, headers)
        if self.request.method == "HEAD" or status in _BODILESS:
            body = b""
        self._connection.write_whole(head, body)
        self.has_ended = True
        self._connection.finish(self)
        if self._news is not None:
            self._news.set()

    def start(self, status: int, headers: _Fields) -> None:
        """Send the head of an answer."""
        head = self._head(status, headers)
        if not self.is_left:
            self._connection.write(head)

    async def write(self, data: bytes) -> None:
        """Send a part of the body, when the client has read enough of the parts before."""
        if self._connection.is_full:
            await self._connection.drain()
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
        self._connection.write(data)

    def end(self) -> None:
        """End the answer."""
        if self.has_ended or not self.has_started:
            raise RuntimeError("an answer ends twice, or before its head")
        if self.is_left:
            return
        if self._left and self.request.method != "HEAD":
            raise RuntimeError("the body of an answer is shorter than its content-length")
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self._finish()

    def fail(self) -> None:
        """Answer 500, or cut off an answer that has begun. A client must not take a part for the whole."""
        if self.has_ended or self.is_left:
            return
        self.keep_alive = False
        if self.has_started:
            self._connection.close()
        else:
            body = b"" if self.request.method == "HEAD" else _FAILURE
            self._connection.write_whole(self._head(500, _FAILURE_FIELDS), body)
            self._finish()

    def end_work(self, task: asyncio.Task[None]) -> None:
        """Note the end of the work for the request. An error, or work without an answer, fails the request."""
        self._connection.serving.tasks.discard(task)
        if not task.cancelled():
            # asyncio logs an error that is never asked for, with its traceback.
            task.exception()
        if not self.has_ended:
            self.fail()

    def _finish(self) -> None:
        self.has_ended = True
        self._connection.finish(self)
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
        connection = self._connection
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
