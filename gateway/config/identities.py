"""Settings of `identity`, with one model for each kind of caller identity."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from gateway.config.formats import Issuer, TrustDomain
from gateway.config.values import Duration, KeyLocation, Settings, Text


class JwtIdentity(Settings):
    """Bearer tokens of an OIDC provider, or of any issuer with a JWKS (RFC 9068, RFC 8725)."""

    kind: Literal["jwt"]
    issuer: Issuer = Field(description="The exact `iss` of accepted tokens.")
    audience: Text | None = Field(
        default=None, description="The `aud` that tokens must name; by default `<public_url>/mcp`."
    )
    jwks: KeyLocation | None = Field(
        default=None, description="`https://…`, or `file:PATH`; by default discovered from the issuer's metadata."
    )
    algorithms: tuple[str, ...] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA"), min_length=1, description="Accepted signature algorithms."
    )
    groups_claim: str = Field(default="groups", description="The claim that lists the user's groups.")
    required_scopes: tuple[str, ...] = Field(default=(), description="Scopes without which no request is served.")
    require_bound: bool = Field(default=False, description="Refuse tokens that are not sender-constrained.")
    leeway: Duration = Field(default=timedelta(seconds=10), description="Tolerated clock difference.")

    @field_validator("algorithms")
    @classmethod
    def _only_asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
        for name in value:
            if name not in known:
                raise ValueError(
                    f"{name!r} is not an accepted signature algorithm; use one of {', '.join(sorted(known))}"
                )
        return value


class SpiffeIdentity(Settings):
    """SPIFFE workload identities: JWT-SVIDs, and X.509-SVIDs over mutual TLS."""

    kind: Literal["spiffe"]
    trust_domain: TrustDomain = Field(description="Without `spiffe://`.")
    bundle: KeyLocation = Field(description="The SPIFFE bundle: `file:PATH` or `https://…`.")
    audience: Text | None = Field(default=None, description="By default `<public_url>/mcp`.")
    x509: bool = Field(default=False, description="Accept client certificates (needs `tls.client_ca`).")


class DevelopmentIdentity(Settings):
    """Tokens signed by this gateway's own development key (`opagate token`), for trying things out."""

    kind: Literal["development"]
    reach: Literal["loopback", "private"] = Field(
        default="loopback",
        alias="from",
        description="Where callers are: on this machine, or also at private addresses (RFC 1918, RFC 4193), as in containers."
        " Publish the port on loopback only: behind a forwarded port every caller has a private address.",
    )


class AnonymousIdentity(Settings):
    """Callers without credentials. Loopback only."""

    kind: Literal["anonymous"]
    id: str = Field(default="dev", min_length=1, description="The agent id that such callers get.")


Identity = Annotated[
    JwtIdentity | SpiffeIdentity | DevelopmentIdentity | AnonymousIdentity, Field(discriminator="kind")
]
