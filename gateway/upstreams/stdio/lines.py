"""Lines out of the chunks of a child's output. Pure.

asyncio's own `readline` stops at 64 KiB; a tool result of some megabytes is one line.
"""

from __future__ import annotations

from typing import Final

MAX_LINE: Final = 64 * 2**20
"""Bytes of one message. Larger than any result that a model can read; a bound, so that a server that never ends its
line cannot fill the memory."""


class LineTooLong(Exception):
    """A line beyond the limit. Later lines can no longer be told apart, so nothing more is read."""


class LineSplitter:
    """Feeds on chunks, gives whole lines without their line end. Empty lines are left out."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._line = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines ended by `chunk`. Raises `LineTooLong`."""
        *ended, rest = chunk.split(b"\n")
        if ended:
            self._line += ended[0]
            ended[0] = bytes(self._line)
            self._line.clear()
        self._line += rest
        if max(map(len, (self._line, *ended))) > self._limit:
            self._limit = -1
            self._line.clear()
            raise LineTooLong
        return [line for line in (line.rstrip(b"\r") for line in ended) if line]
