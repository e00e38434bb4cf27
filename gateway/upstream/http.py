"""A streamable HTTP upstream: bytes out, bytes back, one pool of connections.

aiohttp, because on this path httpx costs some ten times as much a call (docs/design/0002). Nothing is retried: a
call that was sent may have been carried out.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final

import aiohttp

from gateway.config import HeaderCredential, Limits, Upstream
from gateway.errors import ConfigurationError, UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.model import UpstreamReply, UpstreamRequest

_IDLE_SECONDS: Final = 4.0
"""How long an unused connection is kept: common servers close theirs after 5 s, and a request that is sent into a
closing connection is lost."""


class HttpUpstream:
    """One configured upstream with a `url`."""

    def __init__(self, name: str, settings: Upstream, limits: Limits) -> None:
        self._name = name
        self._url = settings.url or ""
        self._first_byte = limits.first_byte.total_seconds()
        self._connect = limits.connect.total_seconds()
        self._credential = _credential(settings)
        self._tls = _tls(name, settings)
        self._client: aiohttp.ClientSession | None = None

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send one request. Raises `UpstreamUnreachable`, `UpstreamTimeout` or `UpstreamBroken`."""
        try:
            async with asyncio.timeout(self._first_byte):
                response = await self._session().request(
                    request.method,
                    self._url,
                    data=request.body,
                    headers=self._headers(request),
                    allow_redirects=False,
                )
        except aiohttp.ConnectionTimeoutError:
            raise UpstreamUnreachable(
                f"upstream {self._name} cannot be reached: no connection within {self._connect:g} s",
                "check that it runs, and its url",
            ) from None
        except (TimeoutError, aiohttp.ServerTimeoutError):
            raise UpstreamTimeout(
                f"upstream {self._name} did not begin to answer within {self._first_byte:g} s",
                "try again, or have the operator raise limits.first_byte",
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise UpstreamUnreachable(
                f"upstream {self._name} cannot be reached: {_problem(error)}", "check that it runs, and its url"
            ) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamBroken(
                f"upstream {self._name} broke off before it answered ({type(error).__name__})", "check the upstream"
            ) from None
        if 300 <= response.status < 400:
            response.close()
            raise UpstreamBroken(f"upstream {self._name} answered with a redirect", "configure the final url")
        headers = tuple((key.lower(), value) for key, value in response.raw_headers)
        return UpstreamReply(response.status, headers, _Chunks(self._name, response), _closer(response))

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, ssl=self._tls),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._client

    def _headers(self, request: UpstreamRequest) -> list[tuple[str, str]]:
        # The caller must not speak in the gateway's place, also not to a server that takes `_` for `-`.
        own = self._credential[0].lower() if self._credential is not None else None
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in request.headers
            if name.decode("latin-1").replace("_", "-") != own
        ]
        if request.session is not None:
            headers.append(("mcp-session-id", request.session))
        if self._credential is not None:
            headers.append(self._credential)
        return headers


class _Chunks:
    """The body as it arrives. A class, not a generator, so that a cancelled read can be taken up again."""

    def __init__(self, upstream: str, response: aiohttp.ClientResponse) -> None:
        self._upstream = upstream
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamBroken(
                f"upstream {self._upstream} broke off in the middle of its answer ({type(error).__name__})",
                "check the upstream; whether the call was carried out is not known",
            ) from None
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _closer(response: aiohttp.ClientResponse):  # noqa: ANN202 - the type is UpstreamReply.close
    async def close() -> None:
        if response.content.at_eof():
            response.release()
        else:
            response.close()

    return close


def _credential(settings: Upstream) -> tuple[str, str] | None:
    if isinstance(settings.credential, HeaderCredential):
        return settings.credential.name, settings.credential.value.get_secret_value()
    return None


def _tls(name: str, settings: Upstream) -> ssl.SSLContext | bool:
    if settings.ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(settings.ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"upstreams.{name}.ca: {settings.ca} cannot be used: {error}", "give a PEM file of certificate authorities"
        ) from error


def _problem(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    return error.os_error.strerror or type(error.os_error).__name__
