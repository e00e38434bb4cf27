"""Parsers of requests and of answers in pieces. Pure. They accept less than HTTP allows: one framing, only the coding `chunked`, no
tunnel, no upgrade, a bounded head, few requests before their answers. No leniency of llhttp is switched on. So llhttp refuses two
lengths, a length beside a coding, bare line ends, folded lines, and a space before a colon.
"""

from __future__ import annotations

import re
from typing import Final

import httptools
from msgspec import Struct

from gateway.model.wire import Headers

# --- requests --------------------------------------------------------------------------------------------


HEAD_BYTES: Final = 64 * 2**10
"""Bytes of a request's head, or of the fields after its body: the parser keeps them all, however many there are. Of the
fields after a body, at most as many again pass uncounted, where they arrive together with the end of the body."""

WAITING: Final = 16
"""Requests of a connection that may wait for the answer before them. Each takes some kilobytes, and thousands fit into
one read. Hardly any client sends one before it has the answer."""


class ParseFault(Struct, frozen=True):
    """A reason to read no more of a connection: the status of the refusal, and its sentence."""

    status: int
    sentence: str


INVALID: Final = ParseFault(400, "Invalid HTTP request received.")
TOO_LARGE: Final = ParseFault(431, "The request's head is too large.")


class Request(Struct, eq=False):
    """A request whose head has arrived. `path` and `query` stand as they were sent. `body` holds the bytes that arrived
    and were not taken yet. `is_complete`: all of the body has arrived. `is_discarded`: its reader has gone."""

    method: str
    path: str
    query: bytes
    version: str
    headers: Headers
    keep_alive: bool = True
    expects_continue: bool = False
    body: bytes | bytearray = b""
    is_complete: bool = False
    is_discarded: bool = False


class RequestParser:
    """A reader of one connection. `requests` have no whole answer yet, the oldest first; the server removes each with its
    answer. After a `fault`, or when it `has_ended`, the parser reads nothing more."""

    __slots__ = (
        "_current",
        "_fields",
        "_llhttp",
        "_part",
        "_target",
        "fault",
        "has_ended",
        "in_head",
        "kept",
        "requests",
    )

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: ParseFault | None = None
        self.has_ended = False
        """The last request of the connection has arrived: it asked for no further one."""
        self.in_head = False
        """A head has begun, and is not complete."""
        self._llhttp: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._current: Request | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._part = 0
        self.kept = 0
        """Bytes that are held of a head that is not complete, at most."""

    def feed(self, data: bytes) -> None:
        """Read on. A part has no more bytes than a head may still have, so that a head that is too large never counts
        as complete."""
        while data and self.fault is None and not self.has_ended:
            room = HEAD_BYTES - self.kept
            if room <= 0:
                self.fault = TOO_LARGE
                return
            self._feed_part(data[:room])
            data = data[room:]

    def close(self) -> None:
        """Drop the llhttp parser, to break the reference cycle between the parser and its callbacks."""
        self._llhttp = None

    def _feed_part(self, part: bytes) -> None:
        self._part = len(part)
        self.kept += self._part
        while self._llhttp is not None:
            try:
                self._llhttp.feed_data(part)
            except httptools.HttpParserUpgrade as stopped:
                # llhttp takes the rest for the other protocol. The offer is not taken up (RFC 9110 section 7.8), so
                # another parser reads the request without it. A tunnel is not an offer.
                head = self._head_without_offer()
                if head is None:
                    self.fault = INVALID
                    return
                self._llhttp = httptools.HttpRequestParser(self)
                part = head + part[stopped.args[0] :]
            except httptools.HttpParserError:
                if not self.has_ended:
                    self.fault = INVALID
                return
            else:
                return

    def _head_without_offer(self) -> bytes | None:
        """Return the head of the current request without its offer of another protocol."""
        parser = self._llhttp
        if parser is None or parser.get_method() == b"CONNECT":
            return None
        lines = [b"%b %b HTTP/%b" % (parser.get_method(), self._target, parser.get_http_version().encode())]
        for name, value in self._fields:
            kept = value
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                kept = b", ".join([option for option in options if option.lower() not in _OFFER])
            if name not in _OFFER and kept:
                lines.append(name + b": " + kept)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    # --- called by llhttp. An exception stops it, and `_feed_part` hears of it -------------------------

    def on_message_begin(self) -> None:
        if self.has_ended:
            raise httptools.HttpParserError("a request follows the last one")
        # llhttp does not tell where in the part a message begins: nearly always at its first byte.
        self.kept = self._part
        self._current = None
        self._fields = []
        self._target = b""
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # The fields after a body are not headers: RFC 9110 section 6.5.1 forbids to merge them.
        if self.in_head:
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._llhttp
        if parser is None or len(self.requests) > WAITING:
            raise httptools.HttpParserError("too many requests wait for the answer before them")
        version = parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise httptools.HttpParserError("the request is of another version of HTTP")
        codings: list[bytes] = []
        expects_continue = False
        for name, value in self._fields:
            if name == b"transfer-encoding":
                codings.append(value.lower())
            elif name == b"expect" and value.lower() == b"100-continue":
                expects_continue = version == "1.1"
        if codings and (codings != [b"chunked"] or version == "1.0"):
            # Another coding would not be undone, and HTTP/1.0 has none (RFC 9112 section 6.1): others see another body.
            raise httptools.HttpParserError("the request has a transfer coding that is not read")
        path, query = self._split_target()
        if parser.should_upgrade():
            return
        self.in_head = False
        request = Request(parser.get_method().decode("ascii"), path, query, version, tuple(self._fields))
        request.keep_alive = version == "1.1" and parser.should_keep_alive()
        request.expects_continue = expects_continue
        self._current = request
        self.requests.append(request)
        # The headers are kept with the request; they need not be kept twice.
        self._fields = []

    def on_body(self, body: bytes) -> None:
        self.kept = 0
        request = self._current
        if request is None or request.is_discarded:
            return
        if not request.body:
            request.body = body
        elif isinstance(request.body, bytearray):
            request.body += body
        else:
            request.body = bytearray(request.body) + body

    def on_message_complete(self) -> None:
        request = self._current
        # An offer of another protocol ends here without a request.
        if request is None:
            return
        request.is_complete = True
        self._current = None
        self.has_ended = not request.keep_alive

    def _split_target(self) -> tuple[str, bytes]:
        """Return the path and the query of the target. The host of an absolute target replaces the header's
        (RFC 9112 section 3.2.2)."""
        target = self._target
        if b"#" in target:
            raise httptools.HttpParserError("the request's target has a fragment")
        if not target.startswith((b"/", b"*")):
            named = _ABSOLUTE.match(target)
            if named is None:
                raise httptools.HttpParserError("the request's target is not one of HTTP")
            host = named[1]
            self._fields = [(name, host if name == b"host" else value) for name, value in self._fields]
            target = target[named.end() - 1 :]
        path, _, query = target.partition(b"?")
        return path.decode("ascii"), query


_ABSOLUTE: Final = re.compile(rb"https?://([^/?@]+)/", re.IGNORECASE)
_OFFER: Final = frozenset({b"upgrade", b"http2-settings"})


# --- answers ---------------------------------------------------------------------------------------------


MAX_HEAD: Final = 64 * 2**10
"""Bytes of an answer that are no body, without a break: its head, interim answers before it, trailers after it. What
one read of the socket brings is read whole, and may come on top."""
MAX_FIELDS: Final = 256
"""Header fields of an answer, those of interim answers and trailers included."""


class ResponseParser:
    """An answer. `feed` it until `complete` or `fault`; `close` then drops its buffers. `status` is 0 until the head
    has arrived. A reader takes the `pieces` of the body; `size` is their length."""

    __slots__ = (
        "_chunked",
        "_fields",
        "_found",
        "_llhttp",
        "_no_body",
        "_sized",
        "complete",
        "excess",
        "fault",
        "headers",
        "keep_alive",
        "pieces",
        "size",
        "status",
        "until_closed",
    )  # fmt: skip

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.pieces: list[bytes] = []
        self.size = 0
        self.complete = False
        self.fault: str | None = None
        """Why this is no answer, as a clause that repeats nothing of it."""
        self.excess = False
        """Something came after the end."""
        self.keep_alive = False
        """The peer is willing to be asked again."""
        self.until_closed = False
        """The body has no end but that of the connection."""
        self._found: list[tuple[bytes, bytes]] = []
        self._fields = 0
        self._no_body = 0
        self._chunked = False
        self._sized = False
        self._llhttp: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    @property
    def begun(self) -> bool:
        """Return whether any data has arrived."""
        return self.status != 0 or self._no_body > 0

    def feed(self, data: bytes) -> None:
        """Read on. Whitespace between answers counts for nothing; everything else after the end is excess."""
        if self._llhttp is None:
            self.excess = True
            return
        self._no_body += len(data)
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("it changes the protocol")
        except httptools.HttpParserError as error:
            self._refuse(f"it is not valid HTTP/1.1 ({error})")
        if self._no_body > MAX_HEAD:
            self._refuse("its head or its trailers are too long")

    def close(self) -> None:
        """Drop the llhttp parser, to break the reference cycle between the parser and its callbacks."""
        self._llhttp = None

    def _refuse(self, why: str) -> None:
        if self.complete:
            self.excess = True
        elif self.fault is None:
            self.fault = why

    # --- called by the parser. Nothing here raises: a fault is noted, and the rest counts for nothing ---

    def on_message_begin(self) -> None:
        self.excess = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._fields > MAX_FIELDS:
            self._refuse("it has too many header fields")
        if self.status or self.fault is not None:
            return
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"transfer-encoding":
            if self._chunked or value.lower() != b"chunked":
                self._refuse("its transfer coding is not chunked, once")
            self._chunked = True
        elif name == b"content-length":
            self._sized = True
        self._found.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._llhttp
        if parser is None or self.status or self.fault is not None:
            return
        status, version = parser.get_status_code(), parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse("it is not HTTP/1")
        elif version == "1.0" and self._chunked:
            self._refuse("it is chunked, which HTTP/1.0 does not know")
        elif not 200 <= status < 600:
            self._interrupt(status)
        else:
            self.status = status
            self.headers = tuple(self._found)
            self.keep_alive = parser.should_keep_alive()
            self.until_closed = not (self._chunked or self._sized or status in {204, 304})

    def _interrupt(self, status: int) -> None:
        if not 100 <= status < 200 or status == 101:
            self._refuse("its status is none that was asked for")
        self._found.clear()
        self._chunked = self._sized = False

    def on_body(self, body: bytes) -> None:
        if self.status and self.fault is None and not self.complete:
            self._no_body = 0
            self.pieces.append(body)
            self.size += len(body)

    def on_message_complete(self) -> None:
        if self.status and self.fault is None:
            self.complete = True
