"""The Authorization header: exactly one header, a known scheme, a token (RFC 6750, 7235, 9449). Pure.

Tokens are taken from the Authorization header only, never from a query or a body (OAuth 2.1 section 5.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.identity.jose import MAX_TOKEN
from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons

if TYPE_CHECKING:
    from gateway.model.caller import Credentials

_SCHEMES: Final = {"bearer": False, "dpop": True}


class AccessToken(Struct, frozen=True):
    """A token as sent; `dpop`: under the DPoP scheme, not Bearer."""

    token: str
    dpop: bool


def access_token(credentials: Credentials) -> AccessToken | CredentialFault | None:
    """Return the token of a request; `None` when there is no Authorization header."""
    match credentials.authorization:
        case ():
            return None
        case (value,):
            return _read(value)
        case _:
            return CredentialFault(reasons.IDENTITY_MALFORMED, "there is more than one Authorization header")


def _read(value: str) -> AccessToken | CredentialFault:
    """Read the header. `jose.read_jws` reads the token itself strictly later: a cached token need not be read again."""
    scheme, _, token = value.partition(" ")
    dpop = _SCHEMES.get(scheme.lower())
    token = token.lstrip(" ")
    if dpop is None or not token or not token.isascii():
        return CredentialFault(
            reasons.IDENTITY_MALFORMED, "the Authorization header is not `Bearer` or `DPoP` with a token"
        )
    if len(token) > MAX_TOKEN:
        return CredentialFault(reasons.IDENTITY_MALFORMED, "the token is longer than 16 KiB")
    return AccessToken(token, dpop)
