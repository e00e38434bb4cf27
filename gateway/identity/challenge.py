"""Refusals of this phase, and their `WWW-Authenticate` values (RFC 6750, 9449 and 9728). Pure.

A table gives each reason code its HTTP status, its OAuth error, its words and its controls. The error description says
nothing about the token except its expiry, and nothing about the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.identity.jose import ALGORITHMS
from gateway.model.decision import Reason, Refusal
from gateway.protocol.error_codes import UNAUTHENTICATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.identity.outcomes import Code, CredentialFault

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"

DPOP_ALGORITHMS: Final = tuple(sorted(ALGORITHMS))


@dataclass(frozen=True, slots=True)
class _ChallengeKind:
    error: str | None
    """The OAuth error code; `None` when no credentials came (RFC 6750 section 3.1)."""
    remedy: str
    controls: tuple[str, ...] = ("ASI03", "MCP07")


_NEW_TOKEN: Final = "Get a new access token for this gateway and call again."  # noqa: S105 - a sentence

_KINDS: Final[Mapping[Code, _ChallengeKind]] = {
    "identity/missing": _ChallengeKind(None, "Send an access token in the Authorization header."),
    "identity/malformed": _ChallengeKind("invalid_token", "Send one Authorization header, with one signed JWT."),
    "identity/issuer": _ChallengeKind(
        "invalid_token", "Get a token from an authorization server of this gateway's metadata."
    ),
    "identity/signature": _ChallengeKind("invalid_token", _NEW_TOKEN),
    "identity/expired": _ChallengeKind("invalid_token", _NEW_TOKEN),
    "identity/audience": _ChallengeKind(
        "invalid_token", "Ask for the token with this gateway as its resource (RFC 8707)."
    ),
    "identity/claims": _ChallengeKind(
        "invalid_token", "Send an access token with iss, sub, aud, exp and iat (RFC 9068)."
    ),
    "identity/delegation": _ChallengeKind(
        "invalid_token", "Get a token by one token exchange from end to end (RFC 8693)."
    ),
    "identity/proof": _ChallengeKind("invalid_dpop_proof", "Prove possession of the key that the token is bound to."),
    "identity/replay": _ChallengeKind("invalid_dpop_proof", "Make a new proof for each request."),
    "identity/unbound": _ChallengeKind(
        "invalid_token", "Get a token that is bound to a DPoP key or a client certificate."
    ),
    "identity/certificate": _ChallengeKind(
        "invalid_token", "Present a valid X.509-SVID of the configured trust domain."
    ),
    "identity/revoked": _ChallengeKind("invalid_token", "Log in again, and call with a token of the new login."),
    "identity/scope": _ChallengeKind("insufficient_scope", "Get a token with all of the scopes that are named."),
}


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
    kind = _KINDS[fault.code]
    error = kind.error if dpop or kind.error != "invalid_dpop_proof" else "invalid_token"
    parameters = _common(error, protection, url, protection.scopes)
    if fault.code == "identity/expired":
        # Many clients show their user nothing else of a 401, and this alone says that logging in again helps.
        parameters["error_description"] = "The access token expired"
    algorithms = {"algs": " ".join(DPOP_ALGORITHMS)}
    if dpop or protection.bound_only:
        value = _challenge("DPoP", {**algorithms, **parameters})
    elif error is None or fault.code in {"identity/unbound", "identity/proof"}:
        value = f"{_challenge('Bearer', parameters)}, {_challenge('DPoP', algorithms)}"
    else:
        value = _challenge("Bearer", parameters)
    reason = Reason(fault.code, f"{fault.detail[0].upper()}{fault.detail[1:]}.", kind.remedy, kind.controls)
    return Refusal(status=401, reason=reason, rpc_code=UNAUTHENTICATED, challenge=value)


def insufficient_scope(missing: Iterable[str], protection: Protection, url: str, *, dpop: bool = False) -> Refusal:
    """Return a 403 with all missing scopes at once (MCP authorization, scope challenge handling)."""
    kind = _KINDS["identity/scope"]
    scopes = tuple(sorted(missing))
    value = _challenge("DPoP" if dpop else "Bearer", _common(kind.error, protection, url, scopes))
    message = f"The token lacks these scopes: {' '.join(scopes)}."
    reason = Reason("identity/scope", message, kind.remedy, kind.controls)
    return Refusal(status=403, reason=reason, rpc_code=UNAUTHENTICATED, challenge=value)


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
