"""The desk on a Unix socket: one JSON object a line, each way. The kernel names the account of the peer (`SO_PEERCRED`, Linux).

| request | answer |
|---|---|
| `{"do": "list"}` | `{"ok": [summary, …]}` |
| `{"do": "show", "id": …}` | `{"ok": question}` |
| `{"do": "vote", "id": …, "vote": {"answer", "shown", "scopes", "end_task"}}` | `{"ok": summary}` |
| `{"do": "endorsements"}` | `{"ok": [endorsement, …]}` |
| `{"do": "revoke", "selection": {"id", "principal", "tool", "kind", "all"}}` | `{"ok": [endorsement, …]}`: the revoked ones |
| `{"do": "watch"}` | `{"ok": summary}` for each change, until the peer closes |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import structlog
from msgspec import Struct

from gateway.approvals.endorsement import Selection
from gateway.approvals.model import Person
from gateway.approvals.office import Answer, Office
from gateway.errors import ConfigurationError, GatewayError
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

log = structlog.get_logger("gateway.approvals")

_LINE: Final = 64 * 2**10
_PEERS: Final = 64
"""Connections at once."""
_IDLE_SECONDS: Final = 60.0
"""For the next request of a peer: a silent one keeps no place from others."""
_BEHIND: Final = 256
"""Changes that a watcher may be behind before its connection ends."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """People by the number of their account. `own` is the gateway's account: agents' servers run under it, so it never votes, but in
    development, where its owner may speak as anybody."""

    people: Mapping[int, Person]
    own: int
    is_development: bool = False

    def person(self, uid: int, speaks_as: str | None, groups: tuple[str, ...]) -> Person | Reason:
        """Return the person behind a connection."""
        if uid == self.own:
            if not self.is_development:
                return _OWN_ACCOUNT
            return Person(speaks_as or "developer", "local", groups, "peer", "socket")
        found = self.people.get(uid)
        if found is None:
            return Reason(
                "vote/account", f"The account {uid} is no approver here.", "Have it listed in approvals.peers."
            )
        return found if speaks_as is None else _NOT_AS


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of a peer. `speaks_as` and `groups` are for development."""

    do: Literal["list", "show", "vote", "endorsements", "revoke", "watch"]
    id: str = ""
    vote: Answer | None = None
    selection: Selection = Selection()
    speaks_as: str | None = None
    groups: tuple[str, ...] = ()


class DeskSocket:
    """A server for people with an account on this machine."""

    def __init__(self, path: Path, office: Office, accounts: Accounts, *, idle: float = _IDLE_SECONDS) -> None:
        self.path = path
        self._office = office
        self._accounts = accounts
        self._idle = idle
        self._connected = 0

    async def start(self, stack: AsyncExitStack) -> None:
        """Listen until the stack ends. Raises `ConfigurationError`."""
        if not hasattr(socket, "SO_PEERCRED"):
            raise ConfigurationError(
                "the socket of approvals cannot be used: this system does not name the account of a peer", "use Linux"
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._serve, self.path, limit=_LINE)
            # Whoever may reach the folder may speak; the account decides who is heard.
            self.path.chmod(0o666)
        except OSError as error:
            raise ConfigurationError(
                f"the socket {self.path} of approvals cannot be made: {error.strerror or error}",
                "set approvals.socket to a short path in a folder that the gateway may write",
            ) from error
        stack.callback(self._stop, server)

    def _stop(self, server: asyncio.Server) -> None:
        server.close()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connected += 1
        try:
            if self._connected > _PEERS:
                await _send(writer, _error(_BUSY))
                return
            uid = peer_uid(writer.get_extra_info("socket"))
            while line := await self._next_line(reader):
                if not await self._answer(line, uid, reader, writer):
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

    async def _answer(self, line: bytes, uid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request. Returns whether the peer may send another: a stranger may not."""
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.MsgspecError as error:
            await _send(writer, _error(Reason("vote/invalid", f"The request cannot be read: {error}.", "Correct it.")))
            return True
        person = self._accounts.person(uid, request.speaks_as, request.groups)
        if isinstance(person, Reason):
            await _send(writer, _error(person))
            return False
        if request.do == "watch":
            await self._watch(reader, writer)
            return False
        await _send(writer, await self._do(request, person))
        return True

    async def _do(self, request: Request, person: Person) -> dict[str, Any]:
        try:
            if request.do == "list":
                return {"ok": self._office.list()}
            if request.do == "endorsements":
                return {"ok": self._office.list_endorsements()}
            if request.do == "revoke":
                found = await self._office.revoke(request.selection, person)
            elif request.do == "show":
                found = await self._office.show(request.id, person)
            elif request.vote is None:
                found = Reason("vote/invalid", "The request has no vote.", "Add it.")
            else:
                found = await self._office.vote(request.id, person, request.vote)
        except GatewayError as error:
            found = Reason(error.code, f"{error.message[:1].upper()}{error.message[1:]}.", error.remedy)
        return _error(found) if isinstance(found, Reason) else {"ok": found}

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_BEHIND)

        def tell(summary: dict[str, Any]) -> None:
            if not news.full():
                news.put_nowait(summary if news.qsize() < _BEHIND - 1 else None)

        stop: Callable[[], None] = self._office.watch(tell)
        gone = asyncio.ensure_future(reader.read())
        try:
            for summary in self._office.list():
                await _send(writer, {"ok": summary})
            while (summary := await _next(news, gone)) is not None:
                await _send(writer, {"ok": summary})
        finally:
            stop()
            gone.cancel()


async def _next(news: asyncio.Queue[dict[str, Any] | None], gone: asyncio.Future[bytes]) -> dict[str, Any] | None:
    """Return the next change; `None` if the peer has gone, or is too far behind."""
    change = asyncio.ensure_future(news.get())
    await asyncio.wait({change, gone}, return_when=asyncio.FIRST_COMPLETED)
    if change.done():
        return change.result()
    change.cancel()
    return None


def peer_uid(connection: socket.socket) -> int:
    """Return the number of the account at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid


def own_uid() -> int:
    """Return the number of this process's account."""
    return os.getuid()


async def _send(writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(document) + b"\n")
    await writer.drain()


def _error(reason: Reason) -> dict[str, Any]:
    return {"error": {"code": reason.code, "message": reason.message, "remedy": reason.remedy}}


_OWN_ACCOUNT: Final = Reason(
    "vote/account",
    "The gateway's own account cannot approve: servers that it starts for agents run under it.",
    "Use another account of approvals.peers.",
)
_NOT_AS: Final = Reason("vote/account", "An account speaks for its own person only.", "Leave out --as.")
_BUSY: Final = Reason("vote/busy", "Too many connections to the desk are open.", "Close some.")
