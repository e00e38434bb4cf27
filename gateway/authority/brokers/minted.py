"""The broker of the kind `gateway`. The gateway signs these credentials, and ends them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.model import reasons

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.introspection import ActiveTokens
    from gateway.authority.minting import Mint


class MintedBroker:
    """Tokens that are bound to a task. Tokens of one call have no lease: their journal entry is that of the call.

    The `jti` of a token is the id of its lease. `clock` returns seconds since the epoch.
    """

    kind: Literal["gateway"] = "gateway"
    revocable: Literal["at_once"] = "at_once"
    min_ttl = 1.0

    def __init__(
        self,
        mint: Mint,
        register: ActiveTokens,
        *,
        clock: Callable[[], float],
        name: str = "gateway",
    ) -> None:
        self.name = name
        self._mint = mint
        self._register = register
        self._clock = clock

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:  # noqa: ARG002 - the interface of brokers
        """Return nothing: the id of the lease names the token."""
        return {}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:  # noqa: ARG002 - the interface of brokers
        """Sign a token, and make it active."""
        now = self._clock()
        token = self._mint.mint_task(request, jti=request.id, now=now, may_call=request.permits_calls)
        if isinstance(token, BrokerRefusal):
            return token
        if not self._register.add(token, now):
            return _NO_ROOM
        return Issued(token.credential, token.expires, request.scope.names, {"jti": request.id})

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:  # noqa: ARG002 - the interface of brokers
        """Make the token inactive, and prove it by the question that an upstream asks. After a restart no token is active."""
        self._register.end(lease.id)
        now = self._clock()
        if self._register.find(lease.id, now) is not None:
            return NotEnded("the register still has the token")
        return Proof("own", now, "introspection answers: inactive")

    async def aclose(self) -> None:
        """Close nothing: the broker has no connection."""


_NO_ROOM = BrokerRefusal(reasons.CREDENTIAL_ROOM.reason(), may_retry=True)
