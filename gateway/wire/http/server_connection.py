"""The server's side of an HTTP/1.1 connection: one exchange at a time, with bounds on all that a stranger can hold open."""

from __future__ import annotations

import _ssl
import array
import asyncio
import ctypes
import fcntl
import socket
import ssl
import struct
import sys
import termios
from collections.abc import Callable, Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, cast

from gateway.wire.http.delivery import JOINED_BYTES, Channel
from gateway.wire.http.limits import ConnectionPlaces
from gateway.wire.http.parsers import INVALID, ParseFault, RequestParser

# --- system calls of a graceful stop ---------------------------------------------------------------------


QUIET: Final = 0.5
"""Seconds after an answer, or after the start of a connection, in which the gateway expects a request on it."""
BACKLOG: Final = 2048
"""Connections that the system keeps for the gateway to accept."""
_ATTACH_FILTER: Final = 26
"""SO_ATTACH_FILTER of Linux (asm-generic/socket.h), which the module `socket` does not name."""
_DROP_NEW: Final = b"".join(
    struct.pack("HBBI", *step)
    for step in (
        (0x30, 0, 0, 13),  # load the flags of the TCP header
        (0x54, 0, 0, 0x12),  # keep SYN and ACK
        (0x15, 0, 1, 0x02),  # SYN without ACK asks for a connection
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFFFFFF),
    )
)
"""A socket filter that drops the first packet of a new connection, and takes all others (Linux, networking/filter.rst)."""


def accept_waiting(listener: socket.socket) -> list[tuple[socket.socket, tuple[str, int]]]:
    """Accept each waiting connection of a listening socket. Closing the socket would reset the waiting connections.

    Linux drops new connections from now on, since the close would reset these too. Their clients ask again after a second.
    """
    _drop_new(listener)
    listener.settimeout(0)
    accepted: list[tuple[socket.socket, tuple[str, int]]] = []
    while len(accepted) < BACKLOG:
        try:
            accepted.append(listener.accept())
        except BlockingIOError:
            break
        except OSError:  # the client left while it waited, or no more files may be open
            break
    return accepted


def _drop_new(listener: socket.socket) -> None:
    if sys.platform != "linux":
        return
    steps = ctypes.create_string_buffer(_DROP_NEW, len(_DROP_NEW))
    # A system without socket filters keeps the short time between the last look and the close.
    with suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", len(_DROP_NEW) // 8, ctypes.addressof(steps))
        )


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """Return whether the system has bytes for a connection that the event loop has not read yet."""
    found = transport.get_extra_info("socket")
    count = array.array("i", [0])
    try:
        fcntl.ioctl(found.fileno(), termios.FIONREAD, count)
    except OSError:
        return False
    return count[0] > 0


# --- connections -----------------------------------------------------------------------------------------


KEEP_ALIVE_SECONDS: Final = 75.0
"""How long a connection is kept without a request."""

BODY_BYTES: Final = 64 * 2**10
"""Bytes of requests' bodies that wait for their readers before the client is made to wait."""

_HELD_BYTES: Final = 64 * 2**10
"""Bytes that are held back at most, so that flow control has its say in the middle of a turn too."""

_LATE: Final = ParseFault(408, "The request's head did not arrive in time.")


class Serving:
    """The state that all connections of a server share."""

    __slots__ = ("connections", "handler", "head_seconds", "is_stopping", "places", "tasks", "tls")

    def __init__(
        self,
        handler: Callable[[Channel], Coroutine[Any, Any, None]],
        places: ConnectionPlaces,
        head: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.places = places
        self.head_seconds = head
        self.tls = tls
        """For connections to come; another context leaves the connections before it alone."""
        self.is_stopping = False
        """After the order to stop, each answer closes its connection."""
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[Any]] = set()


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection of a client, from its acceptance on. A client in its TLS handshake has one too.

    A whole head has to come within `head_seconds` while no request is being answered (RFC 9112 section 9.5 leaves the time to
    the server). The time begins with the connection, or with the first byte after an answer. This byte may be the rest of a body,
    or an empty line: neither is a reason to wait longer.

    The connection combines all writes of one turn of the event loop: a write can be a system call, and a record of TLS.
    """

    __slots__ = (
        "_address",
        "_arrival",
        "_awaits_head",
        "_channel",
        "_due",
        "_held",
        "_held_size",
        "_loop",
        "_parser",
        "_quiet_since",
        "_socket",
        "_timer",
        "_transport",
        "_writable",
        "certificates",
        "client_ip",
        "is_full",
        "is_read_paused",
        "is_stranger",
        "serving",
    )

    def __init__(self, serving: Serving) -> None:
        self.client_ip: str | None = None
        self.certificates: tuple[bytes, ...] = ()
        self.is_full = False
        """The client has not read enough of what was sent to it."""
        self.is_read_paused = False
        """The client has to wait until the bodies of its requests are read."""
        self.is_stranger = True
        """No request has come from a known caller."""
        self.serving = serving
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._arrival: asyncio.Task[Any] | None = None
        """The work until the connection is made."""
        self._socket: socket.socket | None = None
        self._parser = RequestParser()
        self._channel: Channel | None = None
        self._address: str | None = None
        """The client, as it is counted among the connections."""
        self._due: float | None = None
        self._awaits_head = False
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_since = 0.0
        self._held: list[bytes] = []
        self._held_size = 0
        self._writable: asyncio.Event | None = None

    # --- for the event loop ------------------------------------------------------------------------

    def arrive(self, accepted: socket.socket, client: str) -> None:
        """Take an accepted socket of a client at this address, and begin TLS if the gateway has a certificate."""
        serving = self.serving
        if not serving.places.admit(client, self):
            accepted.close()
            return
        self.client_ip, self._address, self._socket = client or None, client, accepted
        self._quiet_since = self._loop.time()
        serving.connections.add(self)
        # A TLS handshake has as long as a head, and the head after it has its own time.
        within = None if serving.tls is None else serving.head_seconds
        opening = self._loop.connect_accepted_socket(
            lambda: self, accepted, ssl=serving.tls, ssl_handshake_timeout=within
        )
        self._arrival = work = self._loop.create_task(opening)
        serving.tasks.add(work)
        work.add_done_callback(self._end_arrival)

    def _end_arrival(self, work: asyncio.Task[Any]) -> None:
        self._arrival = None
        self.serving.tasks.discard(work)
        if work.cancelled() or work.exception() is not None:
            # The event loop tells nobody of a connection that ends before it is made.
            if self._socket is not None:
                self._socket.close()
            self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._arrival = None
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.certificates = _verified_chain(tls)
        self._quiet_since = self._loop.time()
        self._expect(self.serving.head_seconds, awaits_head=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = None
        self._held.clear()
        self._parser.close()
        self._parser.requests.clear()
        self.serving.connections.discard(self)
        if self._address is not None:
            self.serving.places.leave(self._address, self)
            self._address = None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.leave()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if self._transport.is_closing():
            return
        parser.feed(data)
        if parser.fault is not None:
            self._refuse(parser.fault)
            return
        channel = self._channel
        if channel is not None:
            channel.tell_news()
        elif parser.requests:
            self._begin()
        else:
            # The time runs on if it has begun.
            if not (self._awaits_head and self._due is not None):
                self._expect(self.serving.head_seconds, awaits_head=True)
            return
        # Reading goes on while requests wait for their turn: a client that leaves is noticed by it.
        unread = 0
        for request in parser.requests:
            unread += len(request.body)
        if unread > BODY_BYTES:
            self._pause_reading()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    # --- for the channel ---------------------------------------------------------------------------

    @property
    def is_encrypted(self) -> bool:
        """The connection has TLS."""
        return self._transport.get_extra_info("ssl_object") is not None

    def address_of(self, end: str) -> tuple[str, int] | None:
        """Return the address and port of an end of the connection, `peername` or `sockname`."""
        found: tuple[str, int] | None = self._transport.get_extra_info(end)
        return found[:2] if found else None

    def write(self, data: bytes) -> None:
        """Write at the end of the turn, or as soon as many bytes are held."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > _HELD_BYTES:
            self.flush()

    def write_whole(self, head: bytes, body: bytes) -> None:
        """Write an answer whose end is known."""
        if self._held:
            self.flush()
        if self._transport.is_closing():
            # uvloop raises for a closed handle, and tells of its end in a later turn.
            return
        if len(body) < JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def flush(self) -> None:
        """Write the held bytes now."""
        if not self._held:
            return
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough."""
        while self.is_full:
            self._writable = self._writable or asyncio.Event()
            await self._writable.wait()

    def resume_reading(self) -> None:
        """Let the client send on."""
        if self.is_read_paused and not self._transport.is_closing():
            self.is_read_paused = False
            self._transport.resume_reading()

    def is_last(self, channel: Channel) -> bool:
        """Return whether no other request waits."""
        return self._parser.requests[-1] is channel.request

    def finish(self, channel: Channel) -> None:
        """Go on after an answer: close, begin the next request, or wait for one."""
        if channel is not self._channel:
            return
        parser, request = self._parser, channel.request
        self._channel = None
        request.is_discarded = True
        request.body = b""
        parser.requests.pop(0)
        self.serving.places.rest(self)
        self._quiet_since = self._loop.time()
        if not channel.keep_alive:
            self.close()
            return
        if self._held:
            self.flush()
        if self._transport.is_closing():
            return
        if self.is_read_paused:
            self.resume_reading()
        if parser.requests:
            self._begin()
        elif parser.in_head or not request.is_complete:
            self._expect(self.serving.head_seconds, awaits_head=True)
        else:
            self._expect(KEEP_ALIVE_SECONDS, awaits_head=False)

    def close(self) -> None:
        """Close the connection after all that was written."""
        self.flush()
        self._transport.close()

    # --- for the server ----------------------------------------------------------------------------

    def close_if_quiet(self) -> None:
        """Close the connection unless a request is being read or answered, or may be on its way.

        A connection that is closed already may wait for its client: to read, or to end TLS in good order.
        """
        if self._channel is not None or self._parser.in_head or self._loop.time() - self._quiet_since < QUIET:
            return
        if self._arrival is not None:
            self._arrival.cancel()
        elif self._transport.is_closing():
            if not self._transport.get_write_buffer_size():
                self._cut_off()
        elif not has_unread(self._transport):
            self._close_for_good()

    def give_way(self) -> None:
        """End the connection at once: another client gets its place."""
        if self._arrival is not None:
            self._arrival.cancel()
        else:
            self._cut_off()

    # --- inside ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin to answer the oldest request."""
        self._due = None
        self.serving.places.begin(self)
        channel = self._channel = Channel(self._parser.requests[0], self)
        try:
            work = self.serving.handler(channel)
        except Exception:  # noqa: BLE001 - the client gets an answer, whatever the defect
            channel.fail()
            return
        task = self._loop.create_task(work)
        self.serving.tasks.add(task)
        task.add_done_callback(channel.end_work)

    def _pause_reading(self) -> None:
        if not self.is_read_paused and not self._transport.is_closing():
            self.is_read_paused = True
            self._transport.pause_reading()

    def _refuse(self, fault: ParseFault) -> None:
        """Refuse the bytes of a client, and close. A fault in a body makes the refusal the answer to its request. Any other
        answer that is due or has begun is cut off instead: the client would read the refusal as a part of it."""
        self._due = None
        requests, channel = self._parser.requests, self._channel
        is_answer = len(requests) == 1 and not requests[0].is_complete and fault is INVALID
        if requests and not (is_answer and not (channel is not None and channel.has_started)):
            self._transport.abort()
            return
        if channel is not None:
            self._channel = None
            channel.leave()
        if not self._transport.is_closing():
            self._transport.write(_refusal(fault))
        self._close_for_good()

    def _cut_off(self) -> None:
        """End the connection at once, also below a TLS transport that waits for the goodbye of its client."""
        self._transport.abort()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _close_for_good(self) -> None:
        """Close, and drop unread output: a closed connection stays until the client has read everything, and this client
        has had its time."""
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._transport.abort()

    # --- time --------------------------------------------------------------------------------------

    def _expect(self, seconds: float, *, awaits_head: bool) -> None:
        """Bound the time until the next head is there, or until the next byte. A timer that runs out too early begins
        anew, so most requests leave it alone."""
        self._awaits_head = awaits_head
        self._due = due = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._look_at_time)
        elif self._awaits_head:
            self._refuse(_LATE)
        else:
            self._close_for_good()


def _refusal(fault: ParseFault) -> bytes:
    sentence = fault.sentence.encode()
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
    ) % (fault.status, HTTPStatus(fault.status).phrase.encode(), len(sentence), sentence)


def _verified_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the client's certificate and its issuers up to the authority, as verified by the handshake."""
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return ()
    handshake = cast("Any", tls)._sslobj  # noqa: SLF001 - `SSLObject.get_verified_chain` is there from Python 3.13 on
    chain = cast("list[_ssl.Certificate] | None", handshake.get_verified_chain())
    return (own,) if chain is None else tuple(link.public_bytes(_ssl.ENCODING_DER) for link in chain)
