"""Addresses of requests. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

import idna

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


def of_url(url: str) -> Address:
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


def of_socket(path: str, authority: str) -> Address:
    """Return the address of a Unix socket."""
    return Address("", 0, tls=False, authority=authority.encode("ascii"), target=b"/", socket=path)


def _ascii(host: str) -> str:
    try:
        return host.encode("ascii").decode("ascii") if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("its host is no domain name") from None
