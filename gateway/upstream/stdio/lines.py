"""Lines out of the chunks of a child's output. Pure.

asyncio's own `readline` stops at 64 KiB; a tool result of some megabytes is one line.
"""

from __future__ import annotations

from typing import Final

MAX_LINE: Final = 64 * 2**20
"""Bytes of one message. Larger than any result that a model can read; a bound, so that a server that never ends its
line cannot fill the memory."""


class LineTooLong(Exception):
    """A line went beyond the limit. What follows can no longer be told apart, so nothing more is read."""


class LineSplitter:
    """Feeds on chunks, gives whole lines without their line end. Empty lines are left out."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` ends. Raises `LineTooLong`."""
        *ended, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for part in ended:
            self._keep(part)
            lines.append(b"".join(self._parts))
            self._parts.clear()
            self._size = 0
        if rest:
            self._keep(rest)
        return [line for line in (line.rstrip(b"\r") for line in lines) if line]

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise LineTooLong
        self._parts.append(part)
