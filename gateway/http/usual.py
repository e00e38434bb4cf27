"""Readers of whole requests and answers in the usual writing. Pure. llhttp would call Python for each of their lines.

Usual lines have one space after the colon and visible ASCII. The only framing is one `content-length`. The connection stays
open, and nothing follows the body. llhttp reads each usual message in the same way, which the tests compare.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.http.request_parser import HEAD_BYTES, Request, RequestParser
from gateway.http.response_parser import MAX_FIELDS, MAX_HEAD
from gateway.model.wire import Headers

_LINE: Final = re.compile(rb"([^:]++): ([^\r]++)\r\n")
_FRAMING: Final = frozenset(
    {
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"proxy-connection",
        b"upgrade",
        b"http2-settings",
        b"expect",
    }
)
"""Headers that say how a message is read, or whether another one follows."""


def _read_lines(lines: bytes) -> tuple[list[tuple[bytes, bytes]], bytes | None] | None:
    """Return the headers and the `content-length`; `None` for two lengths, a coding, or a connection that does not stay open.

    `lines` were matched before, each with its line end.
    """
    headers: list[tuple[bytes, bytes]] = []
    size: bytes | None = None
    for written, value in _LINE.findall(lines):
        name = written.lower()
        if name in _FRAMING:
            if name == b"content-length" and size is None:
                size = value
            elif name != b"connection" or value != b"keep-alive":
                return None
        headers.append((name, value))
    return headers, size


def feed_requests(parser: RequestParser, data: bytes) -> None:
    """Read the next data of a connection. A single usual request does not need llhttp."""
    if parser.is_idle and not parser.requests and (request := read_usual_request(data)) is not None:
        parser.requests.append(request)
        parser.kept = 0
    else:
        parser.feed(data)


def read_usual_request(data: bytes) -> Request | None:
    """Return a whole request in the usual writing; `None` for all other bytes."""
    head = _USUAL_REQUEST.match(data) if len(data) <= HEAD_BYTES else None
    if head is None:
        return None
    method, path, query, lines = head.groups()
    if (read := _read_lines(lines)) is None:
        return None
    headers, size = read
    body = data[head.end() :]
    if (size or b"0") != b"%d" % len(body):
        return None
    return Request(
        _USUAL_METHODS[method], path.decode(), query or b"", "1.1", tuple(headers), body=body, is_complete=True
    )


_USUAL_METHODS: Final = {b"POST": "POST", b"GET": "GET", b"DELETE": "DELETE"}
_USUAL_REQUEST: Final = re.compile(
    rb"(POST|GET|DELETE) (/[A-Za-z0-9/._~%:@!$&'()*+,;=-]*+)(?:\?([A-Za-z0-9/?._~%:@!$&'()*+,;=-]*+))? HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++: [!-~]++(?: [!-~]++)*+\r\n)++)\r\n"
)
"""The groups are the method, the path, the query and the lines of the fields."""


def read_usual_response(data: bytes) -> tuple[int, Headers, bytes] | None:
    """Return the status, headers and body of a whole answer in the usual writing; `None` for all other bytes."""
    head = _USUAL_ANSWER.match(data) if len(data) <= MAX_HEAD else None
    if head is None:
        return None
    status, lines = head.groups()
    if (read := _read_lines(lines)) is None:
        return None
    headers, size = read
    body = data[head.end() :]
    if size != b"%d" % len(body) or status in _BODILESS or len(headers) > MAX_FIELDS:
        return None
    return int(status), tuple(headers), body


_USUAL_ANSWER: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [!-~]++)++\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++: [!-~]++(?: [!-~]++)*+\r\n)++)\r\n"
)
"""The groups are the status and the lines of the fields."""
_BODILESS: Final = frozenset({b"204", b"304"})
