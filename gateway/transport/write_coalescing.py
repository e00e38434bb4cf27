"""A transport that combines all writes of one turn of the event loop. A server writes an answer's head, body and end
one after the other. Each write would be a system call, which costs more than all other work on an answer here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_MOST: Final = 64 * 2**10
"""Bytes that are held back at most, so that flow control has its say in the middle of a turn too."""


class CoalescingTransport(asyncio.Transport):
    """A wrapper of another transport that writes at the end of the turn, or on demand."""

    __slots__ = ("_held", "_loop", "_size", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes | bytearray | memoryview[Any]] = []
        self._size = 0
        # Asked many times for each request, and the same here as there.
        self.is_closing = transport.is_closing

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not data:
            return
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST:
            self.flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._held.clear()
        self._size = 0
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + self._size

    def flush(self) -> None:
        """Write the held data now: a whole answer need not wait for the rest of this turn."""
        if not self._held:
            return
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._size = 0
        self._transport.write(data)
