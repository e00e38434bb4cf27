"""POST of one small document over HTTPS, for channels. Redirects are not followed, and only the status of an answer
counts."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.approvals.channels.channel import UndeliveredError
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx2

_AGAIN: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses after which another attempt may help."""
_LONGEST_WAIT: Final = 300.0
"""Seconds of a `Retry-After` that count."""


class Poster:
    """A sender to one address. Path and query of the address may be a secret, so no message names either.

    Raises `ConfigurationError` for unreadable authorities.
    """

    def __init__(self, url: str, ca: Path | None) -> None:
        parts = urlsplit(url)
        self.place = f"{parts.scheme}://{parts.netloc}"
        self._url = url
        self._client: httpx2.AsyncClient | None = None
        # Both take a tenth of a second, which no call should wait for.
        self._tls = tls_context(ca)
        importlib.import_module("httpx2")

    async def post(self, body: bytes, headers: Mapping[str, str], within: float) -> None:
        """Send a document within so many seconds. Raises `UndeliveredError`."""
        import httpx2  # noqa: PLC0415 - it takes 2 MB, for gateways with such a channel

        try:
            async with asyncio.timeout(within):
                status, after = await self._send(body, headers, within)
        except TimeoutError:
            raise UndeliveredError(f"{self.place} did not answer within {within:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            problem = "its certificate is not trusted" if "CERTIFICATE_VERIFY" in str(error) else type(error).__name__
            raise UndeliveredError(f"{self.place} cannot be reached: {problem}") from None
        if not 200 <= status < 300:
            problem = f"{self.place} answered {status}" + (", and redirects are not followed" if status < 400 else "")
            raise UndeliveredError(problem, is_final=status not in _AGAIN, after=after)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _send(self, body: bytes, headers: Mapping[str, str], within: float) -> tuple[int, float]:
        if self._client is None:
            import httpx2  # noqa: PLC0415 - as above

            # The environment is not consulted: `config` alone reads it.
            self._client = httpx2.AsyncClient(follow_redirects=False, timeout=within, trust_env=False, verify=self._tls)
        sent = {"content-type": "application/json", "user-agent": "opagate", **headers}
        async with self._client.stream("POST", self._url, content=body, headers=sent) as response:
            return response.status_code, _seconds(response.headers.get("retry-after", ""))


def _seconds(text: str) -> float:
    """Return the seconds of a `Retry-After` (RFC 9110 section 10.2.3). A date counts as none."""
    return min(float(text), _LONGEST_WAIT) if text.isascii() and text.isdecimal() and len(text) < 10 else 0.0


def tls_context(ca: Path | None) -> ssl.SSLContext:
    """Return a context for verification of the other side. Raises `ConfigurationError`."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the authorities in {ca} cannot be read", "name a PEM file there") from error
