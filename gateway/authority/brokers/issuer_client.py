"""Requests to the issuers of credentials. Each has one time limit, one bounded answer, verified TLS and no redirect.

An issuer's failure is a value: it decides nothing, and its text reaches no message.
"""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.errors import ConfigurationError
from gateway.json import strict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx2

    from gateway.model.wire import JsonObject

MAX_ANSWER: Final = 64 * 1024
"""Bytes of one answer. A token has at most 16 KiB."""
_LONGEST_PAUSE: Final = 60.0
"""Seconds. An issuer that asks for a longer pause does not get it: its credential lives on meanwhile."""


class IssuerAnswer(Struct, frozen=True):
    """An issuer's answer of any status. `pause` is its `Retry-After` in seconds, at most a minute."""

    status: int
    body: bytes
    pause: float = 0.0

    def __repr__(self) -> str:
        return f"Answer({self.status})"

    @property
    def is_denial(self) -> bool:
        """Return whether the issuer read the request and did not carry it out. A proxy may give the statuses 408 and 5xx."""
        return 400 <= self.status < 500 and self.status != HTTPStatus.REQUEST_TIMEOUT


class NoAnswer(Struct, frozen=True):
    """A request without a usable answer. The issuer may have carried it out."""

    problem: str


class IssuerClient:
    """An HTTP client for an issuer. `socket` is the path of a Unix socket to use. A larger answer than `largest` is none."""

    def __init__(
        self, *, seconds: float, ca: Path | None = None, socket: str | None = None, largest: int = MAX_ANSWER
    ) -> None:
        self._seconds = seconds
        self._largest = largest
        self._tls = _tls(ca)
        self._socket = socket
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> IssuerAnswer | NoAnswer:
        """Send a request once. Waits for a task of its own, so that it may run in any scope of the caller."""
        exchange = asyncio.ensure_future(self._exchange(method, url, dict(headers or {}), body))
        try:
            await asyncio.wait([exchange], timeout=self._seconds)
        finally:
            exchange.cancel()
        if exchange.done() and not exchange.cancelled():
            return exchange.result()
        return NoAnswer(f"{_place(url)} did not answer within {self._seconds:g} s")

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _exchange(self, method: str, url: str, headers: dict[str, str], body: bytes) -> IssuerAnswer | NoAnswer:
        import httpx2  # noqa: PLC0415 - it takes 2 MB, for gateways with such brokers

        headers["accept-encoding"] = "identity"
        try:
            client = self._open()
            client.cookies.clear()
            async with client.stream(method, url, headers=headers, content=body) as response:
                return await _read(url, response, self._largest)
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            return NoAnswer(f"{_place(url)} cannot be reached: {type(error).__name__}")

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2  # noqa: PLC0415 - as above

            self._client = httpx2.AsyncClient(
                # The environment is not consulted: a proxy named there would see each credential.
                trust_env=False,
                follow_redirects=False,
                timeout=self._seconds,
                transport=httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False, uds=self._socket),
            )
        return self._client


def read_object(answer: IssuerAnswer) -> JsonObject | None:
    """Return the JSON object of an answer, `None` for any other text."""
    document = strict.read_part(answer.body)
    return None if isinstance(document, strict.UnreadableJson) else document


async def _read(url: str, response: httpx2.Response, largest: int) -> IssuerAnswer | NoAnswer:
    if response.headers.get("content-encoding", "identity") != "identity":
        return NoAnswer(f"{_place(url)} sent a compressed answer, which was not asked for")
    data = bytearray()
    async for chunk in response.aiter_raw():
        data += chunk
        if len(data) > largest:
            return NoAnswer(f"{_place(url)} sent more than {largest // 1024} KiB")
    return IssuerAnswer(response.status_code, bytes(data), _pause(response.headers.get("retry-after", "")))


def _pause(text: str) -> float:
    """Return the seconds of a `Retry-After`. A date in it counts as the longest pause."""
    if not text:
        return 0.0
    digits = text.isascii() and text.isdecimal() and len(text) <= 6
    return min(float(text), _LONGEST_PAUSE) if digits else _LONGEST_PAUSE


def _tls(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificate authorities {ca} cannot be used", "name a PEM file") from error


def _place(url: str) -> str:
    """Return a URL without its query, which may hold an identifier."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
