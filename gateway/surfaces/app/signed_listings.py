"""The listings of commands: with a token signed by this command, for upstreams with a demand for the gateway's token.

A command has no leases and no journal. Its token permits no call, and is good for half a minute. For introspection the
token is inactive.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.authority.minting import Mint
from gateway.config import keys
from gateway.config.authority import GatewayCredential
from gateway.model.target import Effect
from gateway.model.wire import UpstreamCredential, UpstreamReply, UpstreamRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config import Configuration
    from gateway.model.wire import UpstreamTransport

_SECONDS: Final = 30.0


def sign_listings(
    configuration: Configuration, transports: Mapping[str, UpstreamTransport], clock: Callable[[], float]
) -> dict[str, UpstreamTransport]:
    """Return the transports of listings, with tokens where the gateway signs these itself. Raises `ConfigurationError`."""
    credentials = {
        name: (upstream.audience, upstream.credential.scopes.get(Effect.READ, ()))
        for name, upstream in configuration.upstreams.items()
        if isinstance(upstream.credential, GatewayCredential)
    }
    if not credentials:
        return dict(transports)
    issuer = configuration.authority.issuer or configuration.base_url
    mint = Mint(keys.load_access(configuration), issuer)
    return {
        name: _SignedListing(transport, mint, *credentials[name], clock) if name in credentials else transport
        for name, transport in transports.items()
    }


class _SignedListing:
    """The way of listings to one upstream."""

    def __init__(
        self,
        transport: UpstreamTransport,
        mint: Mint,
        audience: str,
        scopes: tuple[str, ...],
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._mint = mint
        self._audience = audience
        self._scopes = scopes
        self._clock = clock

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send one request with a token of its own."""
        now = self._clock()
        token = self._mint.mint_catalogue(
            self._audience, self._scopes, jti=secrets.token_hex(12), now=now, expires=now + _SECONDS
        )
        carried = UpstreamCredential(b"authorization", f"Bearer {token.value}".encode("ascii"))
        return await self._transport.send(structs.replace(request, credential=carried))
