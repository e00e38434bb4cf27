"""Tokens of a server's answer, and the proof of a user's login there. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.authority.brokers.token_checks import SKEW, is_token, latest_expiry, read_claims, read_scopes, read_seconds

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.model.wire import JsonObject


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
