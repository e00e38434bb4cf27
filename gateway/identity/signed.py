"""Authenticators of signed tokens: access tokens of an issuer, and JWT-SVIDs. All share the checks of header, signature, times, audience, binding and principal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gateway.identity import claims, jose
from gateway.identity.claim_maps import GENERIC, map_of
from gateway.identity.jose import text
from gateway.identity.outcomes import NOT_MINE, CredentialFault, VerifiedCaller
from gateway.model import reasons
from gateway.model.caller import AuthMethod

if TYPE_CHECKING:
    import structlog

    from gateway.config.identities import JwtIdentity, SpiffeIdentity
    from gateway.identity.claims import Trust
    from gateway.identity.jose import Jws, VerificationKey
    from gateway.identity.keys import IssuerKeys
    from gateway.identity.outcomes import NotMine, PresentedCredentials

# --- all signed tokens -----------------------------------------------------------------------------------


CACHED: Final = 60.0
"""Seconds that a verified credential is believed without verifying it again."""


def _log() -> structlog.typing.FilteringBoundLogger:
    """Return the log, in the configuration of the moment."""
    import structlog  # noqa: PLC0415 - it brings asyncio, and a command such as `opagate credentials token` never logs

    return structlog.get_logger("gateway.identity")


@dataclass(frozen=True, slots=True)
class Demands:
    """The required form of one issuer's tokens. `types` are the accepted `typ` values; `None` allows its absence."""

    algorithms: frozenset[str]
    types: frozenset[str | None]
    audience: str
    rules: claims.Rules
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
) -> VerifiedCaller | CredentialFault:
    """Return the content of a token with a verified signature. `usable_until`: the end of its keys' trusted age."""
    expires = claims.expiry(jws.claims, demands.rules, now)
    if isinstance(expires, CredentialFault):
        return expires
    named = claims.audiences(jws.claims)
    if isinstance(named, CredentialFault):
        return named
    confirmation = claims.confirmation(jws.claims)
    if isinstance(confirmation, CredentialFault):
        return confirmation
    # Without the signature: whoever holds a token can write that of ECDSA in another way, and be counted anew.
    digest = hashlib.sha256(jws.signed).hexdigest()
    principal = claims.principal(jws.claims, demands.rules, digest=digest)
    if isinstance(principal, CredentialFault):
        return principal
    return VerifiedCaller(
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


# --- access tokens ---------------------------------------------------------------------------------------


ACCESS_TOKEN_TYPES: Final = frozenset({"at+jwt", "jwt", None})
"""RFC 9068 asks for `at+jwt`; many issuers send `JWT`, and Kubernetes none. What else is told by claims."""


class JwtAuthenticator:
    """An authenticator of tokens with the `iss` of a configured issuer."""

    def __init__(self, identity: JwtIdentity, keys: IssuerKeys, trust: Trust, *, default_audience: str) -> None:
        self.issuer = identity.issuer
        self._keys = keys
        self._report = ClaimReport(identity.issuer)
        self._demands = Demands(
            algorithms=frozenset(identity.algorithms),
            types=ACCESS_TOKEN_TYPES,
            audience=identity.audience or default_audience,
            rules=claims.Rules(
                issuer=identity.issuer,
                method=AuthMethod.JWT,
                trust=trust,
                map=map_of(identity.claims),
                leeway=identity.leeway.total_seconds(),
            ),
            required_scopes=identity.required_scopes,
            require_bound=identity.require_bound,
        )

    @property
    def generation(self) -> int | None:
        return self._keys.generation

    async def authenticate(self, presented: PresentedCredentials) -> VerifiedCaller | NotMine | CredentialFault:
        jws = presented.jws
        if jws is None or jws.claims.get("iss") != self.issuer:
            return NOT_MINE
        fault = await signature(jws, self._demands, self._keys)
        if fault is not None:
            return fault
        self._report.note(claims.find_unaccounted(jws.claims, self._demands.rules.map))
        return verify_signed(
            jws,
            self._demands,
            now=presented.now,
            generation=self.generation,
            usable_until=self._keys.usable_until(),
        )


# --- JWT-SVIDs -------------------------------------------------------------------------------------------


SVID_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"},
)
"""Section 2.1: no others."""
SVID_TYPES: Final = frozenset({"jwt", "jose", None})
"""Section 2.3."""


class SpiffeAuthenticator:
    """The JWT-SVIDs of one trust domain. `iss` and `iat` are optional (section 3)."""

    def __init__(self, identity: SpiffeIdentity, keys: IssuerKeys, trust: Trust, *, default_audience: str) -> None:
        self.issuer = f"{claims.SCHEME}{identity.trust_domain}"
        self._foreign = trust.issuers
        self._keys = keys
        self._report = ClaimReport(self.issuer)
        self._demands = Demands(
            algorithms=SVID_ALGORITHMS,
            types=SVID_TYPES,
            audience=identity.audience or default_audience,
            rules=claims.Rules(issuer=self.issuer, method=AuthMethod.SPIFFE_JWT, trust=trust, issued_at=False),
        )

    @property
    def generation(self) -> int | None:
        return self._keys.generation

    async def authenticate(self, presented: PresentedCredentials) -> VerifiedCaller | NotMine | CredentialFault:
        jws = presented.jws
        if jws is None or not self._is_mine(text(jws.claims.get("sub")), text(jws.claims.get("iss"))):
            return NOT_MINE
        fault = await signature(jws, self._demands, self._keys)
        if fault is not None:
            return fault
        if not jws.claims.keys().isdisjoint({"act", "may_act", *GENERIC.agent}):
            return CredentialFault(
                reasons.IDENTITY_DELEGATION, "a JWT-SVID speaks for its workload only; it cannot delegate"
            )
        self._report.note(claims.find_unaccounted(jws.claims, GENERIC))
        return verify_signed(
            jws,
            self._demands,
            now=presented.now,
            generation=self.generation,
            usable_until=self._keys.usable_until(),
        )

    def _is_mine(self, subject: str | None, issuer: str | None) -> bool:
        """Return whether the token is for this issuer. A token of another configured issuer is not, with any
        subject."""
        if subject is None or (issuer != self.issuer and issuer in self._foreign):
            return False
        return subject == self.issuer or subject.startswith(f"{self.issuer}/")
