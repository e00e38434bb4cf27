"""A parser of requests in pieces. Pure. It accepts less than HTTP allows: one framing, only the coding `chunked`, no
tunnel, a bounded head, few requests before their answers. No leniency of llhttp is switched on. So llhttp refuses two
lengths, a length beside a coding, bare line ends, folded lines, and a space before a colon.
"""

from __future__ import annotations

import re
from typing import Final

import httptools
from msgspec import Struct

from gateway.model.wire import Headers

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
