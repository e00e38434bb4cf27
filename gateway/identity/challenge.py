"""Refusals of callers with their `WWW-Authenticate` values (RFC 6750, 9449), and protected resource metadata (RFC 9728). Pure.

An error description says nothing about the token except its expiry, and nothing about the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.config.identities import JwtIdentity
from gateway.identity.jose import ALGORITHMS
from gateway.model import reasons
from gateway.model.decision import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config import Configuration
    from gateway.identity.outcomes import CredentialFault
    from gateway.model.wire import Json, JsonObject

# --- challenges ------------------------------------------------------------------------------------------


WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
SIGN_IN: Final = "/oauth/sign-in"
"""The path of the gateway's endpoints before those of an issuer. With the address before it, the issuer for clients."""

DPOP_ALGORITHMS: Final = tuple(sorted(ALGORITHMS))


_ERRORS: Final[Mapping[str, str | None]] = {
    reasons.IDENTITY_MISSING.code: None,
    reasons.IDENTITY_PROOF.code: "invalid_dpop_proof",
    reasons.IDENTITY_REPLAY.code: "invalid_dpop_proof",
}
"""The OAuth error codes that are not `invalid_token`; `None` when no credentials came (RFC 6750 section 3.1)."""


@dataclass(frozen=True, slots=True)
class Protection:
    """The gateway's description in challenges. `upstreams` are the names with a resource of their own."""

    base_url: str
    upstreams: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()
    bound_only: bool = False
    """Whether every token must be bound to a key."""

    def upstream_resource(self, url: str) -> str | None:
        """Return the protected resource of the single upstream behind a URL; `None` for any other URL."""
        whole = f"{self.base_url}/mcp"
        path, prefix = urlsplit(url).path, f"{urlsplit(whole).path}/"
        name = path.removeprefix(prefix).removesuffix("/")
        return f"{whole}/{name}" if path != name and name in self.upstreams else None

    def metadata_url(self, url: str) -> str:
        """Return the URL of the resource's metadata (RFC 9728 section 3.1)."""
        parts = urlsplit(self.upstream_resource(url) or f"{self.base_url}/mcp")
        return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path}"


def refusal(fault: CredentialFault, protection: Protection, url: str, *, dpop: bool = False) -> Refusal:
    """Return a 401 for missing or invalid credentials. `dpop`: the caller used the DPoP scheme."""
    error = _ERRORS.get(fault.code, "invalid_token")
    if error == "invalid_dpop_proof" and not dpop:
        error = "invalid_token"
    parameters = _common(error, protection, url, protection.scopes)
    if fault.text is reasons.IDENTITY_EXPIRED:
        # Many clients show their user nothing else of a 401, and this alone says that logging in again helps.
        parameters["error_description"] = "The access token expired"
    algorithms = {"algs": " ".join(DPOP_ALGORITHMS)}
    if dpop or protection.bound_only:
        value = _challenge("DPoP", {**algorithms, **parameters})
    elif error is None or fault.text in {reasons.IDENTITY_UNBOUND, reasons.IDENTITY_PROOF}:
        value = f"{_challenge('Bearer', parameters)}, {_challenge('DPoP', algorithms)}"
    else:
        value = _challenge("Bearer", parameters)
    text = fault.text
    return Refusal(text.status, text.reason(problem=reasons.sentence(fault.detail)), text.rpc_code, challenge=value)


def insufficient_scope(missing: Iterable[str], protection: Protection, url: str, *, dpop: bool = False) -> Refusal:
    """Return a 403 with all missing scopes at once (MCP authorization, scope challenge handling)."""
    scopes = tuple(sorted(missing))
    value = _challenge("DPoP" if dpop else "Bearer", _common("insufficient_scope", protection, url, scopes))
    text = reasons.IDENTITY_SCOPE
    return Refusal(text.status, text.reason(scopes=" ".join(scopes)), text.rpc_code, challenge=value)


def demand_login(max_age: int, *, dpop: bool = False) -> str:
    """Return the challenge for a login of the last `max_age` seconds (RFC 9470 section 3)."""
    parameters = {
        "error": "insufficient_user_authentication",
        "error_description": "A more recent authentication is required",
        "max_age": str(max_age),
    }
    return _challenge("DPoP" if dpop else "Bearer", parameters)


_DESCRIPTIONS: Final = {
    "invalid_token": "The access token is not valid here",
    "invalid_dpop_proof": "The proof of possession is not valid",
    "insufficient_scope": "The access token lacks scopes",
}


def _common(error: str | None, protection: Protection, url: str, scopes: tuple[str, ...]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    if error is not None:
        parameters |= {"error": error, "error_description": _DESCRIPTIONS[error]}
    parameters["resource_metadata"] = protection.metadata_url(url)
    if scopes:
        parameters["scope"] = " ".join(scopes)
    return parameters


def _challenge(scheme: str, parameters: Mapping[str, str]) -> str:
    return f"{scheme} " + ", ".join(f'{name}="{value}"' for name, value in parameters.items())


# --- metadata --------------------------------------------------------------------------------------------


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
        "authorization_servers": [
            identity.issuer if identity.sign_in is None else f"{shared.base_url}{SIGN_IN}"
            for identity in _jwt(configuration)
        ],
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
