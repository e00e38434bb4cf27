"""A parser of answers in pieces. Pure. It accepts less than HTTP allows: one framing, only the coding `chunked`, no
upgrade, a bounded head. No leniency of llhttp is switched on. So llhttp refuses two lengths, a length beside a coding,
bare line ends, folded lines, and a space before a colon.
"""

from __future__ import annotations

from typing import Final

import httptools

from gateway.model.wire import Headers

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
