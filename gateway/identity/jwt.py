"""Access tokens of an OIDC provider, or of any issuer with a JWKS (RFC 9068, RFC 8725)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.identity import claims, signed
from gateway.identity.outcomes import NOT_MINE, CredentialFault
from gateway.model.caller import AuthMethod

if TYPE_CHECKING:
    from gateway.config.identities import JwtIdentity
    from gateway.identity.delegation import Trust
    from gateway.identity.keys import IssuerKeys
    from gateway.identity.outcomes import NotMine, PresentedCredentials, Verified

TYPES: Final = frozenset({"at+jwt", "jwt", None})
"""RFC 9068 asks for `at+jwt`; many issuers send `JWT`, and Kubernetes none. What else is told by claims."""


class JwtAuthenticator:
    """An authenticator of tokens with the `iss` of a configured issuer."""

    def __init__(self, identity: JwtIdentity, keys: IssuerKeys, trust: Trust, *, default_audience: str) -> None:
        self.issuer = identity.issuer
        self._keys = keys
        self._groups_claim = identity.groups_claim
        self._report = signed.ClaimReport(identity.issuer)
        self._demands = signed.Demands(
            algorithms=frozenset(identity.algorithms),
            types=TYPES,
            audience=identity.audience or default_audience,
            rules=claims.Rules(
                issuer=identity.issuer,
                method=AuthMethod.JWT,
                trust=trust,
                groups_claim=identity.groups_claim,
                leeway=identity.leeway.total_seconds(),
            ),
            required_scopes=identity.required_scopes,
            require_bound=identity.require_bound,
        )

    @property
    def generation(self) -> int | None:
        return self._keys.generation

    async def authenticate(self, presented: PresentedCredentials) -> Verified | NotMine | CredentialFault:
        jws = presented.jws
        if jws is None or jws.claims.get("iss") != self.issuer:
            return NOT_MINE
        fault = await signed.signature(jws, self._demands, self._keys)
        if fault is not None:
            return fault
        self._report.note(claims.find_unaccounted(jws.claims, self._groups_claim))
        return signed.verify_signed(
            jws,
            self._demands,
            now=presented.now,
            generation=self.generation,
            usable_until=self._keys.usable_until(),
        )
