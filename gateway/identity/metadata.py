"""Protected resource metadata (RFC 9728): a document by which clients find the issuer of tokens. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.identities import JwtIdentity
from gateway.identity.challenge import DPOP_ALGORITHMS, Protection

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.model.wire import Json, JsonObject


def protection(configuration: Configuration) -> Protection:
    """Return the common part of challenges and metadata."""
    tokens = _jwt(configuration)
    return Protection(
        base_url=configuration.base_url,
        upstreams=frozenset(configuration.upstreams),
        scopes=tuple(sorted({scope for identity in tokens for scope in identity.required_scopes})),
        bound_only=bool(configuration.identity)
        and all(getattr(i, "require_bound", False) for i in configuration.identity),
    )


def document(configuration: Configuration, upstream: str | None = None) -> JsonObject | None:
    """Return the metadata of `/mcp/<upstream>`, or of `/mcp`; `None` when there is no such upstream.

    Members without a value are left out (section 2).
    """
    if upstream is not None and upstream not in configuration.upstreams:
        return None
    shared = protection(configuration)
    certificates = configuration.tls is not None and configuration.tls.client_ca is not None
    members: dict[str, Json] = {
        "resource": f"{shared.base_url}/mcp/{upstream}" if upstream else f"{shared.base_url}/mcp",
        "authorization_servers": [identity.issuer for identity in _jwt(configuration)],
        "bearer_methods_supported": ["header"],
        "scopes_supported": list(shared.scopes),
        "resource_name": f"opagate: {upstream}" if upstream else "opagate",
        "dpop_signing_alg_values_supported": list(DPOP_ALGORITHMS),
        "dpop_bound_access_tokens_required": shared.bound_only and not certificates,
        "tls_client_certificate_bound_access_tokens": certificates,
    }
    return {name: value for name, value in members.items() if value not in ([], False)}


def _jwt(configuration: Configuration) -> tuple[JwtIdentity, ...]:
    return tuple(identity for identity in configuration.identity if isinstance(identity, JwtIdentity))
