"""JWT-SVIDs: workload identities as tokens (SPIFFE JWT-SVID standard)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.identity import claims, signed, spiffeid
from gateway.identity.jose import text
from gateway.identity.outcomes import NOT_MINE, CredentialFault
from gateway.model import reasons
from gateway.model.caller import AuthMethod

if TYPE_CHECKING:
    from gateway.config.identities import SpiffeIdentity
    from gateway.identity.delegation import Trust
    from gateway.identity.keys import IssuerKeys
    from gateway.identity.outcomes import NotMine, PresentedCredentials, Verified

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"},
)
"""Section 2.1: no others."""
TYPES: Final = frozenset({"jwt", "jose", None})
"""Section 2.3."""


class SpiffeAuthenticator:
    """The JWT-SVIDs of one trust domain. `iss` and `iat` are optional (section 3)."""

    def __init__(self, identity: SpiffeIdentity, keys: IssuerKeys, trust: Trust, *, default_audience: str) -> None:
        self.issuer = f"{spiffeid.SCHEME}{identity.trust_domain}"
        self._foreign = trust.issuers
        self._keys = keys
        self._report = signed.ClaimReport(self.issuer)
        self._demands = signed.Demands(
            algorithms=ALGORITHMS,
            types=TYPES,
            audience=identity.audience or default_audience,
            rules=claims.Rules(issuer=self.issuer, method=AuthMethod.SPIFFE_JWT, trust=trust, issued_at=False),
        )

    @property
    def generation(self) -> int | None:
        return self._keys.generation

    async def authenticate(self, presented: PresentedCredentials) -> Verified | NotMine | CredentialFault:
        jws = presented.jws
        if jws is None or not self._is_mine(text(jws.claims.get("sub")), text(jws.claims.get("iss"))):
            return NOT_MINE
        fault = await signed.signature(jws, self._demands, self._keys)
        if fault is not None:
            return fault
        if not jws.claims.keys().isdisjoint({"act", "may_act", "client_id", "azp"}):
            return CredentialFault(
                reasons.IDENTITY_DELEGATION, "a JWT-SVID speaks for its workload only; it cannot delegate"
            )
        self._report.note(claims.find_unaccounted(jws.claims, "groups"))
        return signed.verify_signed(
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
