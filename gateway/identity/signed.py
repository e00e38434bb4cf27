"""The common parts of all signed tokens: header, signature, times, audience, binding, principal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gateway.identity import claims as read
from gateway.identity import jose
from gateway.identity.outcomes import CredentialFault, Verified
from gateway.model import reasons

if TYPE_CHECKING:
    import structlog

    from gateway.identity.jose import Jws, VerificationKey
    from gateway.identity.keys import IssuerKeys

CACHED: Final = 60.0
"""Seconds that a verified credential is believed without verifying it again."""


def _log() -> structlog.typing.FilteringBoundLogger:
    """Return the log, in the configuration of the moment."""
    import structlog  # noqa: PLC0415 - it brings asyncio, and a command such as `opagate token` never logs

    return structlog.get_logger("gateway.identity")


@dataclass(frozen=True, slots=True)
class Demands:
    """The required form of one issuer's tokens. `types` are the accepted `typ` values; `None` allows its absence."""

    algorithms: frozenset[str]
    types: frozenset[str | None]
    audience: str
    rules: read.Rules
    required_scopes: tuple[str, ...] = ()
    require_bound: bool = False


@dataclass(slots=True)
class ClaimReport:
    """Reports, once per issuer and name, the claims without a place in this gateway. Names only."""

    issuer: str
    limit: int = 64
    _reported: set[str] = field(default_factory=set[str])

    def note(self, names: tuple[str, ...]) -> None:
        new = [name for name in names if name not in self._reported][: self.limit - len(self._reported)]
        if new:
            self._reported.update(new)
            _log().warning("identity.unaccounted-claims", issuer=self.issuer, names=new)


async def signature(jws: Jws, demands: Demands, keys: IssuerKeys) -> CredentialFault | None:
    """Check header and signature with the issuer's keys. Raises `IdentityUnavailable`."""
    fault = jose.check_header(jws, demands.algorithms, demands.types)
    if fault is not None:
        return fault
    return _verify(jws, await keys.find(jws.kid, jws.alg))


def verify_signed(
    jws: Jws, demands: Demands, *, now: float, generation: int | None, usable_until: float
) -> Verified | CredentialFault:
    """Return the content of a token with a verified signature. `usable_until`: the end of its keys' trusted age."""
    expires = read.expiry(jws.claims, demands.rules, now)
    if isinstance(expires, CredentialFault):
        return expires
    named = read.audiences(jws.claims)
    if isinstance(named, CredentialFault):
        return named
    confirmation = read.confirmation(jws.claims)
    if isinstance(confirmation, CredentialFault):
        return confirmation
    # Without the signature: whoever holds a token can write that of ECDSA in another way, and be counted anew.
    digest = hashlib.sha256(jws.signed).hexdigest()
    principal = read.principal(jws.claims, demands.rules, digest=digest)
    if isinstance(principal, CredentialFault):
        return principal
    return Verified(
        # Whoever is let in with a bound token has proved possession: `Identities` asks for it each time.
        principal=replace(principal, bound=confirmation is not None),
        until=min(expires, now + CACHED, usable_until),
        generation=generation,
        audience=demands.audience,
        named=named,
        confirmation=confirmation,
        required_scopes=demands.required_scopes,
        require_bound=demands.require_bound,
    )


def _verify(jws: Jws, keys: tuple[VerificationKey, ...]) -> CredentialFault | None:
    if not keys:
        return CredentialFault(
            reasons.IDENTITY_SIGNATURE, "the token is signed with a key that its issuer does not publish"
        )
    if not any(jose.signed_by(jws, key) for key in keys):
        return CredentialFault(reasons.IDENTITY_SIGNATURE, "the token's signature does not verify")
    return None
