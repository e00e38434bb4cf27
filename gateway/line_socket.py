"""A Unix socket for people with an account on this machine: a JSON object a line, each way.

The kernel names the account of the peer (`SO_PEERCRED`, Linux).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway import reasons
from gateway.errors import ConfigurationError
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

_LINE: Final = 64 * 2**10
_PEERS: Final = 64
"""Connections at once."""
IDLE_SECONDS: Final = 60.0
"""For the next request of a peer: a silent one keeps no place from others."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A connected program. `uid` is the number of its account."""

    uid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, document: dict[str, Any]) -> None:
        """Send one line."""
        self.writer.write(msgspec.json.encode(document) + b"\n")
        await self.writer.drain()


@dataclass(frozen=True, slots=True)
class SocketName:
    """The names of a socket in errors: its owner, and the remedy for a socket that cannot be made."""

    owner: str
    remedy: str


class LineSocket:
    """A server on a Unix socket. `answer` gets each line, and returns whether the peer may send another.

    Accounts permitted by `mode` may connect, and `answer` decides by `Peer.uid`.
    """

    def __init__(
        self,
        path: Path,
        name: SocketName,
        answer: Callable[[bytes, Peer], Awaitable[bool]],
        *,
        mode: int = 0o666,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self.path = path
        self._mode = mode
        self._name = name
        self._answer = answer
        self._idle = idle
        self._connected = 0

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen until the stack ends. Raises `ConfigurationError`."""
        if not hasattr(socket, "SO_PEERCRED"):
            raise ConfigurationError(
                f"the socket of {self._name.owner} cannot be used: this system does not name the account of a peer",
                "use Linux",
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, self.path, limit=_LINE)
            self.path.chmod(self._mode)
        except OSError as error:
            raise ConfigurationError(
                f"the socket {self.path} of {self._name.owner} cannot be made: {error.strerror or error}",
                self._name.remedy,
            ) from error
        stack.callback(self._stop, server)

    def _stop(self, server: asyncio.Server) -> None:
        server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connected += 1
        try:
            peer = Peer(peer_uid(writer.get_extra_info("socket")), reader, writer)
            if self._connected > _PEERS:
                await peer.send(describe_refusal(reasons.SOCKET_BUSY.reason()))
                return
            while line := await self._next_line(reader):
                if not await self._answer(line, peer):
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


def describe_refusal(reason: Reason) -> dict[str, Any]:
    """Return the answer to a refused request."""
    return {"error": {"code": reason.code, "message": reason.message, "remedy": reason.remedy}}


def peer_uid(connection: socket.socket) -> int:
    """Return the number of the account at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid


def own_uid() -> int:
    """Return the number of this process's account."""
    return os.getuid()
