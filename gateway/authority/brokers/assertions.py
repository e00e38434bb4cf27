"""Checks of an ID-JAG, the assertion of an identity provider about a user (draft-ietf-oauth-identity-assertion-authz-grant). Pure.

No signature is verified here. The assertion came from the token endpoint over TLS, and the next server verifies it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.brokers.token_checks import SKEW, is_token, read_claims, read_header, read_scopes, read_seconds
from gateway.model import reasons

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

ID_JAG: Final = "urn:ietf:params:oauth:token-type:id-jag"
PROFILE: Final = "urn:ietf:params:oauth:grant-profile:id-jag"
_TYPE: Final = "oauth-id-jag+jwt"


class Expected(Struct, frozen=True):
    """The bounds of an assertion. `audience` is the server that takes it, `client_id` the gateway's client there."""

    issuer: str
    audience: str
    client_id: str
    user: str
    resource: str
    scopes: frozenset[str]


class Assertion(Struct, frozen=True):
    """An assertion that the gateway may present once. `scopes` are the granted scopes."""

    value: str
    id: str
    expires: float
    scopes: frozenset[str]

    def __repr__(self) -> str:
        return "Assertion(…)"


class AssertionFault(Struct, frozen=True):
    """The reason why an assertion is not presented. `problem` repeats nothing of it."""

    text: reasons.RefusalText
    problem: str


def read_assertion(expected: Expected, document: JsonObject, now: float) -> Assertion | AssertionFault:
    """Return the assertion in the answer of a token exchange, or the first fault in it."""
    value = document.get("access_token")
    header, claims = (read_header(value), read_claims(value)) if is_token(value) else (None, None)
    if not is_token(value) or header is None or claims is None:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_MALFORMED, "it is no signed JWT")
    scope = document.get("scope")
    granted = read_scopes(scope if isinstance(scope, str) else None, claims)
    # Without a word about scopes, it has all scopes of the request (RFC 8693 section 2.2.1).
    if scope is None and not claims.keys() & {"scope", "scp"}:
        granted = expected.scopes
    fault = (
        _check_type(document, header)
        or _check_parties(expected, claims)
        or _check_breadth(expected, claims, granted)
        or _check_use(claims, now)
    )
    return fault or Assertion(value, str(claims["jti"]), read_seconds(claims["exp"]) or now, granted)


def _check_type(document: JsonObject, header: JsonObject) -> AssertionFault | None:
    kind, written = document.get("token_type"), header.get("typ")
    if document.get("issued_token_type") != ID_JAG or not isinstance(kind, str) or kind.lower() != "n_a":
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_TYPE, "the answer does not call it an ID-JAG")
    # RFC 7515 section 4.1.9: the name of a media type, whose `application/` may be left out.
    if not isinstance(written, str) or written.lower().removeprefix("application/") != _TYPE:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_TYPE, f"its typ is not {_TYPE}")
    if header.get("alg") in {None, "none"}:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_TYPE, "it is not signed")
    return None


def _check_parties(expected: Expected, claims: JsonObject) -> AssertionFault | None:
    if claims.get("iss") != expected.issuer:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_ISSUER, "it names another issuer than the identity provider")
    if claims.get("aud") not in (expected.audience, [expected.audience]):
        return AssertionFault(
            reasons.CREDENTIAL_ASSERTION_AUDIENCE, "its audience is not the authorization server alone"
        )
    if claims.get("client_id") != expected.client_id:
        return AssertionFault(
            reasons.CREDENTIAL_ASSERTION_CLIENT, "its client_id is not the gateway's client at the authorization server"
        )
    if claims.get("sub") != expected.user:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_USER, "it is about another user")
    return None


def _check_breadth(expected: Expected, claims: JsonObject, granted: frozenset[str]) -> AssertionFault | None:
    if claims.get("resource", expected.resource) not in (expected.resource, [expected.resource]):
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_RESOURCE, "it is for another resource")
    if not granted <= expected.scopes:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_SCOPE, "it has scopes that were not asked for")
    if expected.scopes and not granted:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_SCOPE, "it has none of the scopes that were asked for")
    return None


def _check_use(claims: JsonObject, now: float) -> AssertionFault | None:
    identifier, expiry = claims.get("jti"), read_seconds(claims.get("exp"))
    if not isinstance(identifier, str) or not identifier:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_MALFORMED, "it has no jti")
    if expiry is None or expiry + SKEW < now:
        return AssertionFault(reasons.CREDENTIAL_ASSERTION_EXPIRED, "it names no expiry, or its time is over")
    return None
