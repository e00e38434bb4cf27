"""Header lines in the usual writing, of requests and of answers: one space after the colon, and visible ASCII. Pure."""

from __future__ import annotations

import re
from typing import Final

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


def read_usual_lines(lines: bytes) -> tuple[list[tuple[bytes, bytes]], bytes | None] | None:
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
