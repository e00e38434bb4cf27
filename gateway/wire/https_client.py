"""Requests of the gateway's own to other servers: issuers, key servers, channels. Each has one time limit, one bounded answer, verified
TLS, and no redirect to another host.

A server's failure is a value: it decides nothing, and its text reaches no message.
"""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from gateway.base.json import strict
from gateway.model.errors import ConfigurationError
from gateway.wire.oauth_flow import is_acceptable_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import httpx2

    from gateway.model.wire import JsonObject

MAX_ANSWER: Final = 64 * 1024
"""Bytes of one answer. A token has at most 16 KiB."""
_LONGEST_PAUSE: Final = 60.0
"""Seconds. A server that asks for a longer pause does not get it: a credential lives on meanwhile, and a person waits."""


class HttpsAnswer(Struct, frozen=True):
    """A server's answer of any status. `pause` is its `Retry-After` in seconds, at most a minute."""

    status: int
    body: bytes
    pause: float = 0.0

    def __repr__(self) -> str:
        return f"Answer({self.status})"

    @property
    def is_denial(self) -> bool:
        """Return whether the server read the request and did not carry it out. A proxy may give the statuses 408 and 5xx."""
        return 400 <= self.status < 500 and self.status != HTTPStatus.REQUEST_TIMEOUT


class NoAnswer(Struct, frozen=True):
    """A request without a usable answer. The server may have carried it out."""

    problem: str


class HttpsClient:
    """An HTTP client of one server. `socket` is the path of a Unix socket to use.

    A larger answer than `largest` is none; with 0 the status alone is read. GET follows `redirects` on the same host.
    `hides_path`: the path of an address may be a secret, so no problem names it.
    """

    def __init__(
        self,
        *,
        seconds: float,
        ca: Path | None = None,
        socket: str | None = None,
        largest: int = MAX_ANSWER,
        redirects: int = 0,
        hides_path: bool = False,
    ) -> None:
        """Raises `ConfigurationError` for unreadable authorities."""
        self._seconds = seconds
        self._largest = largest
        self._redirects = redirects
        self._hides_path = hides_path
        # It takes a tenth of a second, which no request should wait for.
        self._tls = tls_context(ca)
        self._socket = socket
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        within: float | None = None,
    ) -> HttpsAnswer | NoAnswer:
        """Send a request once, within the client's time or the given one.

        Waits for a task of its own, so that it may run in any scope of the caller.
        """
        seconds = self._seconds if within is None else within
        exchange = asyncio.ensure_future(self._exchange(method, url, dict(headers or {}), body))
        try:
            await asyncio.wait([exchange], timeout=seconds)
        finally:
            exchange.cancel()
        if exchange.done() and not exchange.cancelled():
            return exchange.result()
        return NoAnswer(f"{self._place(url)} did not answer within {seconds:g} s")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _exchange(self, method: str, url: str, headers: dict[str, str], body: bytes) -> HttpsAnswer | NoAnswer:
        import httpx2  # noqa: PLC0415 - it takes 2 MB, for gateways with such servers

        headers["accept-encoding"] = "identity"
        try:
            return await self._follow(method, url, headers, body)
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError) as error:
            problem = "its certificate is not trusted" if "CERTIFICATE_VERIFY" in str(error) else type(error).__name__
            return NoAnswer(f"{self._place(url)} cannot be reached: {problem}")

    async def _follow(self, method: str, url: str, headers: dict[str, str], body: bytes) -> HttpsAnswer | NoAnswer:
        origin = urlsplit(url)[:2]
        for _ in range(self._redirects + 1):
            found = await self._once(method, url, headers, body)
            if not isinstance(found, str):
                return found
            url = urljoin(url, found)
            if not is_acceptable_url(url) or urlsplit(url)[:2] != origin:
                return NoAnswer(f"{origin[0]}://{origin[1]} sends to another host, or is not https")
        return NoAnswer(f"{self._place(url)} redirects too often")

    async def _once(self, method: str, url: str, headers: dict[str, str], body: bytes) -> HttpsAnswer | NoAnswer | str:
        """Return the answer, or the target of a redirect to follow."""
        client = self._open()
        client.cookies.clear()
        async with client.stream(method, url, headers=headers, content=body) as response:
            if self._redirects and method == "GET" and response.has_redirect_location:
                return response.headers["location"]
            return await self._read(url, response)

    async def _read(self, url: str, response: httpx2.Response) -> HttpsAnswer | NoAnswer:
        pause = _pause(response.headers.get("retry-after", ""))
        if not self._largest:
            return HttpsAnswer(response.status_code, b"", pause)
        if response.headers.get("content-encoding", "identity") != "identity":
            return NoAnswer(f"{self._place(url)} sent a compressed answer, which was not asked for")
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > self._largest:
                return NoAnswer(f"{self._place(url)} sent more than {self._largest // 1024} KiB")
        return HttpsAnswer(response.status_code, bytes(data), pause)

    def _place(self, url: str) -> str:
        """Return a URL without its query, which may hold an identifier."""
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}{'' if self._hides_path else parts.path}"

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            import httpx2  # noqa: PLC0415 - as above

            self._client = httpx2.AsyncClient(
                # The environment is not consulted: a proxy named there would see each credential.
                trust_env=False,
                follow_redirects=False,
                # Each request has one limit for all of it.
                timeout=None,
                transport=httpx2.AsyncHTTPTransport(verify=self._tls, trust_env=False, uds=self._socket),
            )
        return self._client


def read_object(answer: HttpsAnswer) -> JsonObject | None:
    """Return the JSON object of an answer, `None` for any other text."""
    document = strict.read_part(answer.body)
    return None if isinstance(document, strict.UnreadableJson) else document


async def read_metadata(client: HttpsClient, issuer: str, urls: Sequence[str]) -> tuple[str, JsonObject] | NoAnswer:
    """Return the metadata of an issuer, and its URL, from the first of the URLs that answers. It names exactly this issuer."""
    problem = NoAnswer(f"{issuer} has no metadata")
    for url in urls:
        answer = await client.send("GET", url, headers={"accept": "application/json"})
        if isinstance(answer, NoAnswer):
            problem = answer
        elif answer.status != 200:
            problem = NoAnswer(f"{url} answered {answer.status}")
        elif (document := read_object(answer)) is None:
            return NoAnswer(f"{url} is not a JSON object")
        elif document.get("issuer") != issuer:
            return NoAnswer(f"{url} is the metadata of another issuer than {issuer}")
        else:
            return url, document
    return problem


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Return a context for verification of the other side. Raises `ConfigurationError`."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificate authorities {ca} cannot be used", "name a PEM file") from error


def _pause(text: str) -> float:
    """Return the seconds of a `Retry-After`. A date in it counts as the longest pause."""
    if not text:
        return 0.0
    digits = text.isascii() and text.isdecimal() and len(text) <= 6
    return min(float(text), _LONGEST_PAUSE) if digits else _LONGEST_PAUSE
