"""The end of tokens that an authorization server issued: revocation (RFC 7009), and a proof by introspection (RFC 7662).

A 200 of the revocation endpoint proves nothing (RFC 7009 section 2.2). The proof is an introspection with the answer inactive. It
counts only for a token that introspection called active before.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from gateway.authority.brokers.token_checks import SKEW
from gateway.authority.model import Credential, Lease, NotEnded, Proof
from gateway.wire.https_client import NoAnswer, read_object
from gateway.wire.oauth_client import describe_error, has_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import JsonObject
    from gateway.wire.oauth_client import ClientProof, OAuthClient


Mode: TypeAlias = Literal["introspect", "blind", "none"]


class IssuedTokens:
    """Questions to one server about its tokens. `mode` is the setting `revoke` of a broker."""

    def __init__(self, client: OAuthClient, mode: Mode, clock: Callable[[], float]) -> None:
        self._client = client
        self._mode: Mode = mode
        self._clock = clock

    async def end(
        self,
        lease: Lease,
        credential: Credential | None,
        proof: ClientProof,
        introspector: ClientProof,
        *,
        mode: Mode | None = None,
    ) -> Proof | NotEnded:
        """End the token of a lease whose handle has `expires`, and `seen` if introspection called the token active.

        `mode` replaces that of the broker. Without a word of introspection it is asked before the revocation.
        """
        now, mode = self._clock(), mode or self._mode
        if "expires" not in lease.handle:
            return Proof("absent", now, "no token was asked for")
        over = float(lease.handle["expires"]) + SKEW
        if now >= over:
            return Proof("time", now, f"expired at {_moment(over - SKEW)}")
        if credential is None or mode == "none":
            return NotEnded(f"the token lives until {_moment(over - SKEW)}", after=over - now, waits=True)
        is_seen = mode == "introspect" and await self._is_seen(lease, credential.value, introspector)
        return await self._end_value(credential.value, over, proof, introspector, is_seen=is_seen)

    async def _is_seen(self, lease: Lease, value: str, introspector: ClientProof) -> bool:
        """Return whether introspection calls, or has called, the token active."""
        if self._mode == "introspect":
            return lease.handle.get("seen") == "active"
        seen = await self.introspect(value, introspector)
        return not isinstance(seen, NotEnded) and seen.get("active") is True

    async def _end_value(
        self, value: str, over: float, proof: ClientProof, introspector: ClientProof, *, is_seen: bool
    ) -> Proof | NotEnded:
        now = self._clock()
        problem = await self.revoke(value, proof)
        if isinstance(problem, NotEnded):
            return problem
        if problem is not None or not is_seen:
            # The server knows no revocation of this token, or its answer proves nothing.
            return NotEnded(
                f"no proof is to be had; the token lives until {_moment(over - SKEW)}", after=over - now, waits=True
            )
        seen = await self.introspect(value, introspector)
        if isinstance(seen, NotEnded):
            return seen
        if seen.get("active") is False:
            return Proof("introspection", self._clock(), "revoked; introspection says active: false")
        return NotEnded("the revocation was accepted, and introspection still calls the token active")

    async def revoke(self, value: str, proof: ClientProof, hint: str = "access_token") -> NotEnded | str | None:
        """Ask for the revocation. Return why it is to be asked again, or a text if the server cannot do it."""
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return NotEnded(endpoints.problem)
        if endpoints.revocation is None:
            return "the metadata has no revocation_endpoint"
        form = [("token", value), ("token_type_hint", hint)]
        answer = await self._client.post(endpoints.revocation, form, proof)
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        if answer.status == 200:
            return None
        if has_error(answer, "unsupported_token_type"):
            return "the server cannot revoke such a token"
        return NotEnded(f"{endpoints.revocation} answered {describe_error(answer)}", after=answer.pause)

    async def introspect(self, value: str, proof: ClientProof) -> JsonObject | NotEnded:
        """Return the introspection of a token, whose `active` is a truth value."""
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return NotEnded(endpoints.problem)
        if endpoints.introspection is None:
            return NotEnded("the metadata has no introspection_endpoint")
        form = [("token", value), ("token_type_hint", "access_token")]
        answer = await self._client.post(endpoints.introspection, form, proof)
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        document = read_object(answer) if answer.status == 200 else None
        if document is None or not isinstance(document.get("active"), bool):
            return NotEnded(f"{endpoints.introspection} answered {describe_error(answer)}", after=answer.pause)
        return document


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
