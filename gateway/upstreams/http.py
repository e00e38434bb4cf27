"""A streamable HTTP upstream: bytes out, bytes back, one pool of connections.

The client is our own (docs/design/0002). A call is never sent twice: a sent call may have been carried out.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import cache
from typing import Final

from gateway.config import HeaderCredential, Limits, Upstream
from gateway.model.errors import ConfigurationError, UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import UpstreamReply, UpstreamRequest
from gateway.wire.http import dial
from gateway.wire.http.client import Client
from gateway.wire.http.dial import AnswerTimeout, ExchangeError, Stalled, Unconnected
from gateway.wire.http.tls_files import trust_authorities
from gateway.wire.protocol.methods import names_where

_OF_NEWS: Final = names_where(lambda row: row.waits_for_news)
_METHODS: Final = {"POST": b"POST", "GET": b"GET", "DELETE": b"DELETE"}


class HttpUpstream:
    """A configured upstream with a `url`."""

    def __init__(self, name: str, settings: Upstream, limits: Limits) -> None:
        self._name = name
        self._address = _address(name, settings)
        self.adopt_limits(limits)
        self._credential = _credential(settings)
        self.authorities = None if settings.ca is None else trust_authorities(f"upstreams.{name}.ca", settings.ca)
        """The configured certificate authorities; without any, those of the machine."""
        self._client: Client | None = None

    def adopt_limits(self, limits: Limits) -> None:
        """Take these limits for requests to come. A connection is waited for as long as the first client did."""
        self._first_byte = limits.first_byte.total_seconds()
        self._connect = limits.connect.total_seconds()
        self._idle = limits.idle_answer.total_seconds()

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send a request. Raises `UpstreamUnreachable`, `UpstreamTimeout` or `UpstreamBroken`."""
        if self._client is None:
            self._client = Client(self._address, connect=self._connect, tls=self._choose_context)
        message, credential = request.message, request.credential
        headers: Sequence[tuple[bytes, bytes]] = request.sent_headers
        if request.session is not None:
            headers = (*headers, (b"mcp-session-id", request.session.encode("latin-1")))
        if credential is not None:
            headers = _replace_credential(headers, (credential.name, credential.value))
        elif self._credential is not None:
            headers = _replace_credential(headers, self._credential)
        try:
            response = await self._client.request(
                _METHODS[request.method],
                headers,
                None if message is None else message.body,
                within=self._first_byte,
                # Opening a stream and ending a session can be done again (RFC 9110 section 9.2.2); a call cannot.
                again=request.method != "POST",
            )
        except ExchangeError as error:
            raise self._failure(error) from None
        if 300 <= response.status < 400:
            response.close()
            raise UpstreamBroken(f"upstream {self._name} answered with a redirect", "configure the final url")
        response.translate = self._make_error
        response.idle = None if is_for_news(request) else self._idle
        return UpstreamReply(response.status, response.headers, response, response.aclose, response.be_patient)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _choose_context(self) -> ssl.SSLContext:
        return _public_authorities() if self.authorities is None else self.authorities.context

    def _failure(self, error: ExchangeError) -> UpstreamError:
        if isinstance(error, Unconnected):
            return UpstreamUnreachable(
                f"upstream {self._name} cannot be reached: {error}", "check that it runs, and its url"
            )
        if isinstance(error, AnswerTimeout):
            return UpstreamTimeout(
                f"upstream {self._name} did not begin to answer within {self._first_byte:g} s",
                "try again, or have the operator raise limits.first_byte",
            )
        return UpstreamBroken(f"upstream {self._name} broke off before it answered: {error}", "check the upstream")

    def _make_error(self, error: ExchangeError) -> UpstreamError:
        if isinstance(error, Stalled):
            return make_stalled(self._name, self._idle)
        return UpstreamBroken(
            f"upstream {self._name} broke off in the middle of its answer: {error}",
            "check the upstream; whether the call was carried out is not known",
        )


def is_for_news(request: UpstreamRequest) -> bool:
    """Return whether an answer waits for news, and may be silent for hours."""
    return request.method == "GET" or (request.message is not None and request.message.method in _OF_NEWS)


def make_stalled(upstream: str, seconds: float) -> UpstreamTimeout:
    """Return the failure of an answer that began and then stalled."""
    return UpstreamTimeout(
        f"upstream {upstream} sent nothing for {seconds:g} s in the middle of its answer",
        "try again, or have the operator raise limits.idle_answer; whether the call was carried out is not known",
    )


def _replace_credential(
    headers: Sequence[tuple[bytes, bytes]], credential: tuple[bytes, bytes]
) -> list[tuple[bytes, bytes]]:
    """Replace every header of the credential's name. A caller must not speak in the gateway's place, also not to a
    server that takes `_` for `-`."""
    own = _read_as(credential[0])
    return [*(field for field in headers if _read_as(field[0]) != own), credential]


def _read_as(name: bytes) -> bytes:
    """Return a header's name in the reading of the most tolerant server."""
    return name.lower().replace(b"_", b"-")


def _address(name: str, settings: Upstream) -> dial.Address:
    try:
        return dial.address_of_url(settings.url or "")
    except ValueError as error:
        raise ConfigurationError(
            f"upstreams.{name}.url cannot be used: {error}",
            "write https://host/path; a user or password goes into upstreams.*.credential",
        ) from None


def _credential(settings: Upstream) -> tuple[bytes, bytes] | None:
    if not isinstance(settings.credential, HeaderCredential):
        return None
    return settings.credential.name.encode(), settings.credential.value.get_secret_value().encode()


@cache
def _public_authorities() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
