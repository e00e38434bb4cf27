"""From an address to a connection: names resolved, several addresses tried in parallel, TLS begun."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlsplit

import idna

# --- addresses -------------------------------------------------------------------------------------------


_PORTS: Final = {"http": 80, "https": 443}
_KEPT: Final = "!#$%&'()*+,/:;=?@[]~"
"""What `quote` leaves as it is: the reserved characters of RFC 3986, and the escapes that are there already."""


@dataclass(frozen=True, slots=True)
class Address:
    """`host` and `port` of a server, or the `socket` path of one on this machine. `authority` is for the Host header."""

    host: str
    port: int
    tls: bool
    authority: bytes
    target: bytes
    """Path and query, as they stand in a request line."""
    socket: str | None = None


def address_of_url(url: str) -> Address:
    """Return the address of an http or https URL. Raises `ValueError` for anything else, and for one with a user in
    it: a password does not belong into a URL."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("it is not an http or https URL")
    if "@" in parts.netloc:
        raise ValueError("it names a user or a password")
    host = _ascii(parts.hostname)
    port = parts.port if parts.port is not None else _PORTS[parts.scheme]
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    target = parts.path or "/"
    if parts.query:
        target = f"{target}?{parts.query}"
    return Address(host, port, parts.scheme == "https", authority.encode("ascii"), quote(target, _KEPT).encode("ascii"))


def address_of_socket(path: str, authority: str) -> Address:
    """Return the address of a Unix socket."""
    return Address("", 0, tls=False, authority=authority.encode("ascii"), target=b"/", socket=path)


def _ascii(host: str) -> str:
    try:
        return host.encode("ascii").decode("ascii") if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("its host is no domain name") from None


# --- connections -----------------------------------------------------------------------------------------


class ExchangeError(Exception):
    """The exchange failed. The message is a clause for people, and holds nothing of what was sent or received."""


class Unconnected(ExchangeError):
    """No connection was made, so nothing was sent."""


class ConnectTimeout(Unconnected):
    """No connection was made in time."""


class Untrusted(Unconnected):
    """The peer's certificate does not verify."""


class AnswerTimeout(ExchangeError):
    """No answer began in time, or none that was wanted whole ended in time."""


class Stalled(ExchangeError):
    """The answer began, and its next byte did not come in time."""


class Unsendable(ExchangeError):
    """The request has a header that cannot be written down without meaning something else."""


class Lost(ExchangeError):
    """The connection ended before the answer did. `begun`: something of an answer had arrived."""

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


class Malformed(ExchangeError):
    """The answer is not HTTP/1, or can be read in more than one way."""


STAGGER: Final = 0.25
"""Seconds that an address is tried alone before the next one is tried beside it (RFC 8305 section 5)."""

GOODBYE: Final = 1.0
"""Seconds that a peer is given to end TLS in good order."""

Place: TypeAlias = tuple[int, Any]
"""An address family, and an address in the form that sockets take."""


async def connect(address: Address, connection: asyncio.Protocol, *, tls: ssl.SSLContext | None, within: float) -> None:
    """Connect. `within` is in seconds and covers everything. Raises `Unconnected`."""
    try:
        async with asyncio.timeout(within):
            await _connect(address, connection, tls)
    except TimeoutError:
        raise ConnectTimeout(f"no connection within {within:g} s") from None
    except ssl.SSLCertVerificationError:
        raise Untrusted("its certificate is not trusted") from None
    except ssl.SSLError as error:
        raise Unconnected(f"TLS failed ({error.reason or type(error).__name__})") from None
    except OSError as error:
        raise Unconnected(error.strerror or type(error).__name__) from None


async def _connect(address: Address, connection: asyncio.Protocol, tls: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    if address.socket is not None:
        await loop.create_unix_connection(lambda: connection, address.socket)
        return
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    opened = await race(interleave([(family, place) for family, *_, place in found]))
    try:
        if tls is None:
            await loop.create_connection(lambda: connection, sock=opened)
        else:
            await loop.create_connection(
                lambda: connection,
                sock=opened,
                ssl=tls,
                server_hostname=address.host,
                ssl_shutdown_timeout=GOODBYE,
            )
    except BaseException:
        opened.close()
        raise


def interleave(places: Iterable[Place]) -> list[Place]:
    """Return the same addresses, with the families taking turns, the first one's first (RFC 8305 section 4)."""
    families: dict[int, list[Place]] = {}
    for place in places:
        families.setdefault(place[0], []).append(place)
    turns = chain.from_iterable(zip_longest(*families.values()))
    return [place for place in turns if place is not None]


async def race(places: Sequence[Place]) -> socket.socket:
    """Return the first socket that connects. After a failure or `STAGGER`, the next address is tried beside the pending
    ones. Raises the last failure."""
    tried: list[asyncio.Task[socket.socket]] = []
    won: asyncio.Task[socket.socket] | None = None
    error: OSError = OSError(0, "its name has no address")
    left = list(places)
    try:
        while left or any(not task.done() for task in tried):
            if left:
                tried.append(asyncio.ensure_future(_open(left.pop(0))))
            trying = [task for task in tried if not task.done()]
            done, _ = await asyncio.wait(trying, timeout=STAGGER if left else None, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    found = task.result()
                except OSError as failure:
                    error = failure
                else:
                    won = task
                    return found
        raise error
    finally:
        await _give_up([task for task in tried if task is not won])


async def _open(place: Place) -> socket.socket:
    family, where = place
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.settimeout(0)
        await asyncio.get_running_loop().sock_connect(found, where)
    except BaseException:
        found.close()
        raise
    return found


async def _give_up(tasks: Sequence[asyncio.Task[socket.socket]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, OSError):
            (await task).close()
