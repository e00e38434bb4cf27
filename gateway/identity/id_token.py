"""Claims of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7). Pure. The signature is verified before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.identity.claim_maps import ClaimMap, read_mail, read_name
from gateway.identity.claims import find_user
from gateway.identity.jose import number, texts
from gateway.identity.outcomes import CredentialFault

if TYPE_CHECKING:
    from gateway.model.wire import Json, JsonObject

LEEWAY: Final = 10.0
"""Seconds of tolerated clock difference."""
_GROUPS: Final = 256


class VerifiedLogin(Struct, frozen=True):
    """A verified login of a person. `logged_in` is the time of the person's own login at the provider."""

    subject: str
    issuer: str
    groups: tuple[str, ...]
    logged_in: float
    name: str | None = None
    mail: str | None = None


class LoginFault(Struct, frozen=True):
    """The reason against a login. `detail` is a fixed clause without received data."""

    detail: str


class ExpectedLogin(Struct, frozen=True):
    """The demands on an ID token. `max_age` is the longest time in seconds since the person's login."""

    issuer: str
    client_id: str
    nonce: str
    claims: ClaimMap
    max_age: float


def read_login(claims: JsonObject, expected: ExpectedLogin, now: float) -> VerifiedLogin | LoginFault:
    """Return the login of an ID token with a verified signature."""
    logged_in, subject = number(claims.get("auth_time")), find_user(claims, expected.claims)
    fault = _find_foreign(claims, expected) or _find_late(claims, now)
    if fault is None and (logged_in is None or logged_in > now + LEEWAY):
        fault = "the ID token does not tell when the person logged in (auth_time)"
    elif fault is None and logged_in is not None and now - logged_in > expected.max_age + LEEWAY:
        fault = "the person's login at the provider is too old"
    if fault is not None or logged_in is None:
        return LoginFault(fault or "")
    if isinstance(subject, CredentialFault):
        return LoginFault(subject.detail)
    used = expected.claims
    name, mail = read_name(claims, used.name), read_mail(claims, used.mail)
    return VerifiedLogin(subject, expected.issuer, _groups(claims.get(used.groups)), logged_in, name, mail)


def _find_foreign(claims: JsonObject, expected: ExpectedLogin) -> str | None:
    """Return the fault of a token by another issuer, or for another client or login."""
    if claims.get("iss") != expected.issuer:
        return "the ID token is of another issuer"
    if not _is_for_client(claims, expected.client_id):
        return "the ID token is for another client"
    return None if claims.get("nonce") == expected.nonce else "the ID token belongs to another login"


def _find_late(claims: JsonObject, now: float) -> str | None:
    expires, issued = number(claims.get("exp")), number(claims.get("iat"))
    if expires is None or issued is None:
        return "the ID token lacks its times"
    if now >= expires + LEEWAY:
        return "the ID token has expired"
    return "the ID token is from the future" if issued > now + LEEWAY else None


def _is_for_client(claims: JsonObject, client_id: str) -> bool:
    """Return whether the token is for this client. Of several audiences, `azp` names the client."""
    audiences = texts(claims.get("aud"))
    if audiences is None or client_id not in audiences:
        return False
    return claims.get("azp", client_id) == client_id and (len(audiences) == 1 or "azp" in claims)


def _groups(claimed: Json) -> tuple[str, ...]:
    return () if claimed is None else (texts(claimed) or ())[:_GROUPS]
