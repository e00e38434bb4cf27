"""A server on a Unix socket: one JSON object a line, each way. The kernel names the account of the peer (`SO_PEERCRED`, Linux)."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

_LINE: Final = 64 * 2**10
_PEERS: Final = 64
"""Connections at once."""
_IDLE_SECONDS: Final = 60.0
"""For the next request of a peer: a silent one keeps no place from others."""


class LineSocket:
    """A server that answers each line with one line. `answer` gets a line and the number of the peer's account, and returns the answer
    and whether the peer may send another line. `name` is for errors."""

    def __init__(
        self,
        path: Path,
        name: str,
        answer: Callable[[bytes, int], Awaitable[tuple[dict[str, Any], bool]]],
        *,
        mode: int = 0o666,
        idle: float = _IDLE_SECONDS,
    ) -> None:
        self.path = path
        self._name = name
        self._answer = answer
        self._mode = mode
        self._idle = idle
        self._connected = 0

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen until the stack ends. Raises `ConfigurationError`."""
        if not hasattr(socket, "SO_PEERCRED"):
            raise ConfigurationError(
                f"the socket of {self._name} cannot be used: this system does not name the account of a peer",
                "use Linux",
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, self.path, limit=_LINE)
            self.path.chmod(self._mode)
        except OSError as error:
            raise ConfigurationError(
                f"the socket {self.path} of {self._name} cannot be made: {error.strerror or error}",
                "use a short path of the state folder, and let the gateway write there",
            ) from error
        stack.callback(self._stop, server)

    def _stop(self, server: asyncio.Server) -> None:
        server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connected += 1
        try:
            if self._connected > _PEERS:
                return
            uid = peer_uid(writer.get_extra_info("socket"))
            while line := await self._next_line(reader):
                document, may_go_on = await self._answer(line, uid)
                writer.write(msgspec.json.encode(document) + b"\n")
                await writer.drain()
                if not may_go_on:
                    return
        except (ConnectionError, TimeoutError, ValueError):
            # The peer has gone, says nothing, or sent a longer line than any request is.
            pass
        finally:
            self._connected -= 1
            writer.close()

    async def _next_line(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(self._idle):
            return await reader.readline()


def peer_uid(connection: socket.socket) -> int:
    """Return the number of the account at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid


def own_uid() -> int:
    """Return the number of this process's account."""
    return os.getuid()
