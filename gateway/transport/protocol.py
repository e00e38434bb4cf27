"""HTTP/1.1 on one connection, as uvicorn does it, with bounds on what a stranger can hold open.

Requests have the client's certificate in their scope, and whether the client is still there.
"""

from __future__ import annotations

import _ssl
import asyncio
import re
import ssl
import sys
from functools import partial
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.transport.concurrency import ConcurrencyLimit
from gateway.transport.draining import QUIET, has_unread
from gateway.transport.exchange import Presence
from gateway.transport.write_coalescing import CoalescingTransport

HEAD_BYTES: Final = 64 * 2**10
"""Bytes of a request's head, or of the fields after its body: the parser keeps them all, however many there are. Of the
fields after a body, at most as many again pass uncounted, where they arrive together with the end of the body."""

WAITING: Final = 16
"""Requests of a connection that may wait for the answer before them. Each takes some kilobytes, and thousands fit into what
is read at once. Hardly any client sends one before it has the answer."""


class _Waiting(list[Any]):
    """Pipelined requests that wait for the answer before theirs, the next last. An empty deque would take 760 bytes of
    each connection, for a rare kind of client."""

    __slots__ = ()

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)


class _Flow(FlowControl):
    """Has an event only once an answer waits for its reader: the deque in each takes 760 bytes of a connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False

    def pause_writing(self) -> None:
        if not self.write_paused:
            self._is_writable_event = asyncio.Event()
            super().pause_writing()


class Protocol(HttpToolsProtocol):
    """The HTTP protocol of uvicorn, with two additions to the scope: the client's presence, and its verified certificates (DER).

    uvicorn waits for a head without a bound (RFC 9112 section 9.5 leaves it to the server). Here a whole head has to come within
    `head` seconds while no request is being answered. The time begins with the connection, or with the first byte after an answer.
    This byte may be the rest of a body, or an empty line: neither is a reason to wait longer.
    """

    __slots__ = (
        "_all",
        "_arrived",
        "_certificates",
        "_counted",
        "_deadline",
        "_fed",
        "_head_begun",
        "_head_seconds",
        "_kept_bytes",
        "_last_cycle",
        "_offered",
        "_presence",
        "_quiet_since",
        "_stop",
    )

    def __init__(self, connections: ConcurrencyLimit, head: float, stop: Stop, **options: Any) -> None:
        super().__init__(**options)
        self.pipeline = cast("Any", _Waiting())
        self._all = connections
        self._head_seconds = head
        self._stop = stop
        self._head_begun = False
        self._last_cycle: RequestResponseCycle | None = None
        self._quiet_since = 0.0
        self._kept_bytes = 0
        self._fed = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._counted: str | None = None
        self._offered = False
        self._arrived = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(CoalescingTransport(transport))
        self.flow = _Flow(self.transport)
        tls = transport.get_extra_info("ssl_object")
        self._presence = Presence()
        self._certificates = () if tls is None else _verified(tls)
        address = self.client[0] if self.client else ""
        if not self._all.admit(address):
            transport.abort()
            return
        self._counted = address
        self._quiet_since = self.loop.time()
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)
        self._presence.leave()
        if self._counted is not None:
            self._all.leave(self._counted)

    def data_received(self, data: bytes) -> None:
        """Feed the parser no more than a head may still have, so that none is whole before it is found too large."""
        while data:
            room = HEAD_BYTES - self._kept_bytes
            if room <= 0:
                self._give_up(b"431 Request Header Fields Too Large", b"The request's head is too large.")
                return
            self._feed(data[:room])
            if self.transport.is_closing():
                return
            data = data[room:]
        if self._deadline is None and not self._answering:
            self._expect_head()

    def _feed(self, part: bytes) -> None:
        self._fed = len(part)
        self._kept_bytes += self._fed
        self._arrived = part
        super().data_received(part)
        self._arrived = b""

    def on_message_begin(self) -> None:
        # The parser does not tell where in the part a message begins: nearly always at its first byte.
        self._kept_bytes = self._fed
        self._offered = False
        self._head_begun = True
        super().on_message_begin()
        scope = cast("dict[str, Any]", self.scope)
        scope["opagate.presence"] = self._presence
        scope["opagate.certificates"] = self._certificates

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= WAITING:
            raise httptools.HttpParserError("too many requests wait for the answer before them")
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise httptools.HttpParserError("the request is of another version of HTTP")
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or version == "1.0"):
            # Another coding would not be undone, and HTTP/1.0 has none (RFC 9112 section 6.1): others see another body.
            raise httptools.HttpParserError("the request has a transfer coding that is not read")
        self._take_authority()
        if self.parser.should_upgrade():
            self._offered = True
            return
        self._expect_nothing()
        self._head_begun = False
        super().on_headers_complete()
        if self._stop.begun:
            self.close_after_answer()
        # uvicorn would append the fields after a body to these (RFC 9110 section 6.5.1: they must not be merged).
        self.headers = []

    def _take_authority(self) -> None:
        """Take the host of an absolute target, whatever the header says (RFC 9112 section 3.2.2)."""
        if b"#" in self.url:
            raise httptools.HttpParserError("the request's target has a fragment")
        if self.url.startswith((b"/", b"*")):
            return
        named = _ABSOLUTE.match(self.url)
        if named is None:
            raise httptools.HttpParserError("the request's target is none of HTTP")
        self.headers[:] = [(name, named[1] if name == b"host" else value) for name, value in self.headers]

    def on_body(self, body: bytes) -> None:
        self._kept_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._offered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        cast("CoalescingTransport", self.transport).flush()
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """uvicorn found an offer of another protocol, and the parser has stopped at the end of the head. It would take the
        body for the next request. The offer is not taken up (RFC 9110 section 7.8), so the request is read without it."""
        method, stopped = self.parser.get_method(), sys.exc_info()[1]
        if method == b"CONNECT" or not isinstance(stopped, httptools.HttpParserUpgrade):
            self.send_400_response("Invalid HTTP request received.")
            return
        line = b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())
        head = _without_offer(line, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn has it.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        super().data_received(head + self._arrived[stopped.args[0] :])

    def send_400_response(self, msg: str) -> None:
        """Send a 400 response only where no answer has begun or is due: uvicorn would write into it."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        of_this = cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started)
        if of_this and not self.pipeline:
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def close_after_answer(self) -> None:
        """Have the last unsent answer say `connection: close`. Earlier answers keep the connection open, so that each queued
        request gets its answer."""
        cycle, before = cast("RequestResponseCycle | None", self.cycle), self._last_cycle
        if cycle is None or cycle.response_started or not cycle.keep_alive:
            return
        if before is not None and not before.response_started:
            before.keep_alive = True
        cycle.keep_alive = False
        self._last_cycle = cycle

    def close_if_quiet(self) -> None:
        """Close the connection unless a request is being read or answered, or may be on its way."""
        if self._answering or self._head_begun or self.loop.time() - self._quiet_since < QUIET:
            return
        if not has_unread(self.transport):
            self.transport.close()
            self._drop_unread()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._drop_unread()

    @property
    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _expect_head(self) -> None:
        late = partial(self._give_up, b"408 Request Timeout", b"The request's head did not arrive in time.")
        self._deadline = self.loop.call_later(self._head_seconds, late)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self, status: bytes, sentence: bytes) -> None:
        self._expect_nothing()
        if self._answering:
            self.transport.abort()
            return
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, len(sentence), sentence)
            )
            self.transport.close()
        self._drop_unread()

    def _drop_unread(self) -> None:
        """Drop unread output: a closed connection stays until the client has read everything, and this one has had its
        time."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()


def _without_offer(line: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """The head of a request, without what offers another protocol."""
    kept = [line]
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            value = b", ".join(option for option in options if option.lower() not in _OFFER)  # noqa: PLW2901
        if name not in _OFFER and value:
            kept.append(name + b": " + value)
    return b"\r\n".join(kept) + b"\r\n\r\n"


_ABSOLUTE: Final = re.compile(rb"https?://([^/?@]+)/", re.IGNORECASE)
_OFFER: Final = frozenset({b"upgrade", b"http2-settings"})


class Stop:
    """The order to stop. After it each answer closes its connection."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False


def _verified(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the client's certificate and its issuers up to the authority, as verified by the handshake."""
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return ()
    handshake = cast("Any", tls)._sslobj  # noqa: SLF001 - `SSLObject.get_verified_chain` is there from Python 3.13 on
    chain = cast("list[_ssl.Certificate] | None", handshake.get_verified_chain())
    return (own,) if chain is None else tuple(link.public_bytes(_ssl.ENCODING_DER) for link in chain)
