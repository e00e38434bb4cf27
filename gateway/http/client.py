"""Requests to one address, over kept connections. The client sends a request once. It sends again only with the
caller's permission, after a kept connection proved closed before any part of an answer."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from typing import Final

from gateway.http.address import Address
from gateway.http.client_connection import AnyResponse, OutboundConnection
from gateway.http.dial import connect
from gateway.http.failures import Lost, Unsendable

IDLE_SECONDS: Final = 4.0
"""How long an unused connection is kept: common servers close theirs after 5 s, and a request that is sent into a
closing connection is lost."""

_LINE: Final = b"%b: %b\r\n"
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [^\r\n\0]*+\r\n)*+")
"""Lines of which none can be read as anything but one header field (RFC 9110 section 5)."""


class Client:
    """A client for one event loop. `connect`: seconds until a connection. `tls` serves addresses with TLS; by default,
    the machine's authorities are trusted. The sender bounds the requests at once, so connections have no limit here."""

    def __init__(self, address: Address, *, connect: float, tls: ssl.SSLContext | None = None) -> None:
        self._address = address
        self._connect = connect
        self._tls = (tls or ssl.create_default_context()) if address.tls else None
        self._kept: dict[OutboundConnection, None] = {}
        """Connections that carry nothing, the one that was used last at the end."""
        self._open: set[OutboundConnection] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._host = b" HTTP/1.1\r\nhost: " + address.authority + b"\r\n"

    async def request(
        self,
        method: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | None = None,
        *,
        within: float,
        target: bytes | None = None,
        again: bool = False,
    ) -> AnyResponse:
        """Send a request; the answer, when its head is there. `within`: seconds until then, connecting included.

        `target` is the address's own, if not given. `headers` are without Host and Content-Length, which are written
        here. `again`: the request may be sent a second time. Raises an `ExchangeError`.
        """
        loop = asyncio.get_running_loop()
        head = self._head(method, target or self._address.target, headers, body)
        now = loop.time()
        deadline = now + within
        connection = self._unused(now)
        may_repeat = again and connection is not None
        while True:
            if connection is None:
                connection = await self._fresh(min(self._connect, deadline - loop.time()))
            waiter = connection.send(head, body or b"", deadline)
            try:
                return await waiter
            except Lost as lost:
                if lost.begun or not may_repeat:
                    raise
            except asyncio.CancelledError:
                _abandon(connection, waiter)
                raise
            connection, may_repeat = None, False

    async def aclose(self) -> None:
        """Abort every connection with its exchange. The client takes no request after it."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self._emptied = asyncio.get_running_loop().create_future()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await self._emptied

    def _head(self, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes | None) -> bytes:
        fields = b"".join(map(_LINE.__mod__, headers))
        # One line for each field: a line that a value smuggled in would be one too many.
        if _FIELDS.fullmatch(fields) is None or fields.count(b"\n") != len(headers):
            raise Unsendable("a header of the request cannot be sent")
        length = b"" if body is None else b"content-length: %d\r\n" % len(body)
        return b"%b %b%b%b%b\r\n" % (method, target, self._host, length, fields)

    def _unused(self, now: float) -> OutboundConnection | None:
        """Return the last used connection that is still usable."""
        while self._kept:
            connection, _ = self._kept.popitem()
            if now - connection.free_since < IDLE_SECONDS and connection.is_usable():
                return connection
            connection.close()
        return None

    async def _fresh(self, within: float) -> OutboundConnection:
        connection = OutboundConnection(self)
        try:
            # In a task of its own, for a time limit holds for the task in which it began, and who asks may go on in
            # another (`shielding`).
            connecting = connect(self._address, connection, tls=self._tls, within=within)
            await asyncio.get_running_loop().create_task(connecting)
        except BaseException:
            # uvloop closes a connection that nobody waits for any more, and does not tell it if it was just made.
            self.lost(connection)
            raise
        return connection

    # --- for the connections -----------------------------------------------------------------------

    def opened(self, connection: OutboundConnection) -> None:
        self._open.add(connection)
        if self._emptied is not None:
            connection.abort()

    def freed(self, connection: OutboundConnection) -> None:
        self._kept[connection] = None
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    def lost(self, connection: OutboundConnection) -> None:
        self._kept.pop(connection, None)
        self._open.discard(connection)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)

    def _sweep(self) -> None:
        """Close what nobody has used for too long."""
        self._sweeping = None
        loop = asyncio.get_running_loop()
        for connection in tuple(self._kept):
            left = connection.free_since + IDLE_SECONDS - loop.time()
            if left > 0:
                self._sweeping = loop.call_later(left, self._sweep)
                return
            del self._kept[connection]
            connection.close()


def _abandon(connection: OutboundConnection, waiter: asyncio.Future[AnyResponse]) -> None:
    """End an exchange whose caller has gone, and close its answer."""
    if waiter.cancelled():
        connection.give_up(waiter)
    elif waiter.exception() is None:
        # The answer has come, and nobody is there to close it.
        waiter.result().close()
