"""A Unix socket for people with an account on this machine: a JSON object a line, each way.

The kernel names the account and the process of the peer, and the sender of each line (`SO_PEERCRED`, `SO_PASSCRED`, Linux).
Programs below the gateway are refused under every account: they do the work of agents.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import structlog

from gateway.base.concurrency.background import Job
from gateway.base.control import processes
from gateway.base.control.processes import HeldProcess
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import ConfigurationError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

log = structlog.get_logger("gateway")

_LINE: Final = 64 * 2**10
PEERS: Final = 64
"""Connections at once. Root has a place beyond these."""
PEERS_OF_ACCOUNT: Final = 16
"""Connections of one account at once: no account keeps all places from others."""
ROOT: Final = 0
IDLE_SECONDS: Final = 60.0
"""For the next request of a peer: a silent one keeps no place from others."""
_SEND_SECONDS: Final = 60.0
_BACKLOG: Final = 128
_CREDENTIALS: Final = struct.Struct("3i")
_SCM_CREDENTIALS: Final = 2


class Account(NamedTuple):
    """The account behind a request. `has_terminal`: a person may sit before the program that asks."""

    uid: int
    has_terminal: bool


class Peer:
    """A connected program. `uid` is the number of its account."""

    def __init__(self, connection: socket.socket, process: HeldProcess, uid: int) -> None:
        self.uid = uid
        self.process = process
        self._connection = connection
        self._received = bytearray()

    async def send(self, document: dict[str, Any]) -> None:
        """Send one line. Raises `TimeoutError` if the peer does not take it."""
        async with asyncio.timeout(_SEND_SECONDS):
            await asyncio.get_running_loop().sock_sendall(self._connection, msgspec.json.encode(document) + b"\n")

    async def next_line(self) -> bytes:
        """Return the next line; empty at the end. Raises `ValueError` for a longer line than any request is, and
        `ForeignSender`."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > _LINE:
                raise ValueError
            chunk = await self._receive()
            if not chunk:
                end = len(self._received) - 1
                break
            self._received += chunk
        line = bytes(self._received[: end + 1])
        del self._received[: end + 1]
        return line

    async def wait_for_end(self) -> None:
        """Wait until the peer closes its end. Raises `ForeignSender`."""
        while await self._receive():
            pass

    def judge(self) -> Account | Reason:
        """Return the account behind the peer's requests, or the reason why the gateway does not hear the peer."""
        if self.process.number == os.getpid():
            return Account(self.uid, has_terminal=True)
        ancestry = self.process.find_ancestry()
        if ancestry is None:
            return reasons.SOCKET_UNSEEN.reason()
        if processes.is_below(ancestry, os.getpid()):
            return reasons.SOCKET_DESCENDANT.reason()
        return Account(self.uid, has_terminal=ancestry[0].terminal != 0)

    async def _receive(self) -> bytes:
        while True:
            with suppress(BlockingIOError):
                # There is no room for descriptors: the kernel drops these.
                data, ancillary, _, _ = self._connection.recvmsg(_LINE, socket.CMSG_SPACE(_CREDENTIALS.size))
                if data and not any(self._is_own(*message) for message in ancillary):
                    raise ForeignSender
                return data
            await _wait_for_data(self._connection)

    def _is_own(self, level: int, kind: int, data: bytes) -> bool:
        """Return whether a message of the kernel names the peer's own process as the sender."""
        is_sender = (level, kind, len(data)) == (socket.SOL_SOCKET, _SCM_CREDENTIALS, _CREDENTIALS.size)
        return is_sender and _CREDENTIALS.unpack(data)[0] == self.process.number


class ForeignSender(Exception):
    """A line from another process than the connected one: the connection was handed on, or stolen."""


async def _wait_for_data(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(connection, lambda: readable.done() or readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(connection)


@dataclass(frozen=True, slots=True)
class SocketName:
    """The names of a socket in errors: its owner, and the remedy for a socket that cannot be made."""

    owner: str
    remedy: str


class LineSocket:
    """A server on a Unix socket. `answer` gets each line with the account behind it, and returns whether the peer may send another.

    Accounts permitted by `mode` may connect, and `answer` decides by the account.
    """

    def __init__(
        self,
        path: Path,
        name: SocketName,
        answer: Callable[[bytes, Peer, Account], Awaitable[bool]],
        *,
        mode: int = 0o666,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self.path = path
        self._mode = mode
        self._name = name
        self._answer = answer
        self._idle = idle
        self._connected = set[asyncio.Task[None]]()
        self._by_account = Counter[int]()
        self._noted = -math.inf

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen until the stack ends. Raises `ConfigurationError`."""
        if not hasattr(socket, "SO_PEERCRED") or not processes.shows_own_processes():
            raise ConfigurationError(
                f"the socket of {self._name.owner} cannot be used: this system does not name the process of a peer",
                "use Linux, with /proc of the gateway's own PID namespace",
            )
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._bind(listener)
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"the socket {self.path} of {self._name.owner} cannot be made: {error.strerror or error}",
                self._name.remedy,
            ) from error
        stack.callback(listener.close)
        stack.push_async_callback(self._stop, Job.begin_repeating(partial(self._accept, listener), self._name.owner))

    def _bind(self, listener: socket.socket) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        listener.bind(str(self.path))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.path.chmod(self._mode)
        listener.listen(_BACKLOG)

    async def _stop(self, accepting: Job) -> None:
        self.path.unlink(missing_ok=True)
        await accepting.stop()
        for task in self._connected:
            task.cancel()
        if self._connected:
            await asyncio.wait(self._connected)

    async def _accept(self, listener: socket.socket) -> None:
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        task = asyncio.create_task(self._serve(connection))
        self._connected.add(task)
        task.add_done_callback(self._connected.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(0)
            number, uid, _ = _CREDENTIALS.unpack(
                connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            with HeldProcess(connection, number) as process:
                peer = Peer(connection, process, uid)
                with suppress(OSError, TimeoutError, ValueError):
                    # The peer has gone, says nothing, or sent a longer line than any request is.
                    refusal = await self._hear(peer)
                    if refusal is not None:
                        await peer.send(describe_refusal(refusal))

    @contextmanager
    def _counted(self, uid: int) -> Generator[None]:
        """Count a connection of an account for the length of a block."""
        self._by_account[uid] += 1
        try:
            yield
        finally:
            self._by_account[uid] -= 1
            if not self._by_account[uid]:
                del self._by_account[uid]

    async def _hear(self, peer: Peer) -> Reason | None:
        """Answer the requests of a peer. Return the reason why the gateway does not hear it any more."""
        account = peer.judge()
        if isinstance(account, Reason):
            # Without a wait for its first line: a silent program of an agent keeps no place from people.
            return self._note(peer, account)
        with self._counted(peer.uid):
            if not has_place(peer.uid, self._by_account[peer.uid], self._by_account.total()):
                return reasons.SOCKET_BUSY.reason()
            try:
                return await self._answer_lines(peer)
            except ForeignSender:
                return self._note(peer, reasons.SOCKET_SENDER.reason())

    async def _answer_lines(self, peer: Peer) -> Reason | None:
        while line := await self._next_line(peer):
            # Parents end, and a program hands its connection on: each request is judged for itself.
            account = peer.judge()
            if isinstance(account, Reason):
                return self._note(peer, account)
            if not await self._answer(line, peer, account):
                return None
        return None

    def _note(self, peer: Peer, reason: Reason) -> Reason:
        """Return a refusal. Log at most one refusal a second."""
        now = asyncio.get_running_loop().time()
        if now - self._noted >= 1:
            self._noted = now
            fields = {"code": reason.code, "process": peer.process.number, "account": peer.uid}
            log.warning("socket.refused", socket=self.path.name, **fields)
        return reason

    async def _next_line(self, peer: Peer) -> bytes:
        async with asyncio.timeout(self._idle):
            return await peer.next_line()


def has_place(uid: int, own: int, connected: int) -> bool:
    """Return whether a connection has a place. `own` and `connected` count it: those of its account, and all."""
    return own <= PEERS_OF_ACCOUNT and (connected <= PEERS or uid == ROOT)


def describe_refusal(reason: Reason) -> dict[str, Any]:
    """Return the answer to a refused request."""
    return {"error": {"code": reason.code, "message": reason.message, "remedy": reason.remedy}}


def own_uid() -> int:
    """Return the number of this process's account."""
    return os.getuid()
