"""The code flow of OAuth 2.1 as its client: requests, and checks of answers. Pure.

PKCE with S256 (RFC 7636), `iss` in answers (RFC 9207), `resource` in requests (RFC 8707).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct

from gateway import reasons
from gateway.authority.brokers.token_checks import SKEW, is_token, latest_expiry, read_claims, read_scopes, read_seconds
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.authority.connections.browsers import PendingConsent
    from gateway.model.wire import JsonObject

_LONGEST_QUERY: Final = 8 * 1024
_PARAMETERS: Final = 32


class CallbackAnswer(Struct, frozen=True):
    """The answer of an authorization server through the browser. A code is a secret until it is used."""

    state: str
    issuer: str | None
    code: str | None
    error: str | None

    def __repr__(self) -> str:
        return "CallbackAnswer(…)"


class TokenGrant(Struct, frozen=True):
    """Tokens of an answer. `expires` is the end of the access token, `None` if nothing usable names it."""

    access_token: str
    refresh_token: str | None
    scopes: frozenset[str]
    expires: float | None
    claims: JsonObject | None = None
    id_token: str | None = None

    def __repr__(self) -> str:
        return "Grant(…)"


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def authorization_url(endpoint: str, fields: Sequence[tuple[str, str]]) -> str:
    """Return the address of a request to an authorization endpoint. A query of the endpoint stays (RFC 6749 section 3.1)."""
    joint = "&" if urlsplit(endpoint).query else "?"
    return f"{endpoint}{joint}{urlencode(fields)}"


def read_answer(query: str) -> CallbackAnswer | Reason:
    """Return the answer in a query. A parameter that is given twice is refused (RFC 6749 section 3.1)."""
    if len(query) > _LONGEST_QUERY:
        return _refuse_malformed("It is too long.")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_PARAMETERS, errors="strict")
    except ValueError:
        return _refuse_malformed("It cannot be read.")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        return _refuse_malformed("It names a parameter twice.")
    code, error = fields.get("code"), fields.get("error")
    if not fields.get("state") or (code is None) == (error is None):
        return _refuse_malformed("It has no state, or not exactly one of code and error.")
    return CallbackAnswer(fields["state"], fields.get("iss"), code, error)


def check_issuer(pending: PendingConsent, issuer: str | None) -> Reason | None:
    """Refuse an answer of another server than the browser was sent to. Also answers with an error are checked."""
    if issuer is None:
        return reasons.CONNECTION_ISSUER_ABSENT.reason() if pending.names_issuer else None
    return None if issuer == pending.issuer else reasons.CONNECTION_ISSUER.reason()


def read_grant(document: JsonObject, asked: Collection[str], now: float) -> TokenGrant | str:
    """Return the tokens of a token endpoint's answer, or why it is no usable one. Sentences repeat nothing of it.

    `asked` are the scopes of the request: an answer without `scope` grants exactly these (RFC 6749 section 5.1).
    """
    value, kind, scope = document.get("access_token"), document.get("token_type"), document.get("scope")
    refresh = document.get("refresh_token")
    if not is_token(value):
        return "holds no token"
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return "holds no bearer token"
    if refresh is not None and not is_token(refresh):
        return "holds a refresh token that cannot be read"
    if scope is not None and not isinstance(scope, str):
        return "has a scope that is no text"
    claims = read_claims(value)
    # Some servers write scopes with commas.
    granted = read_scopes(None if scope is None else scope.replace(",", " "), claims or {})
    if scope is None and not granted:
        granted = frozenset(asked)
    expires = latest_expiry((claims or {}).get("exp"), document.get("expires_in"), now)
    named = document.get("id_token")
    return TokenGrant(value, refresh, granted, expires, claims, named if isinstance(named, str) else None)


def proves_user(id_token: str | None, *, issuer: str, client_id: str, user: str, now: float) -> bool:
    """Return whether an ID token says that a user logged in at this client.

    It came from the token endpoint over TLS, so no signature is verified (OpenID Connect Core 1.0 section 3.1.3.7, item 6).
    """
    claims = read_claims(id_token or "") or {}
    audience, expiry = claims.get("aud"), read_seconds(claims.get("exp"))
    if (claims.get("iss"), claims.get("sub")) != (issuer, user) or expiry is None or expiry + SKEW < now:
        return False
    return audience == client_id or (isinstance(audience, list) and client_id in audience)


def _refuse_malformed(problem: str) -> Reason:
    return reasons.CONNECTION_ANSWER.reason(problem=problem)
