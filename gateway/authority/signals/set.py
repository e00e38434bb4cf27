"""Security Event Tokens (RFC 8417) as the Shared Signals Framework 1.0 profiles them. Pure: the time is an argument.

The signature is verified before: this module checks the claims of a token that its transmitter signed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeGuard

from msgspec import Struct

if TYPE_CHECKING:
    from gateway.model.wire import Json, JsonObject

TYPE: Final = "secevent+jwt"
"""The `typ` of the header. A token of another kind must not be taken for an event, nor an event for a token."""
KEPT: Final = 7 * 86400.0
"""Seconds for which the receiver knows a `jti` again. An older event is refused, since it could be a replay."""
_LEEWAY: Final = 60.0
_LONGEST_ID: Final = 512

ErrorCode: TypeAlias = Literal[
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "authentication_failed",
    "access_denied",
]
"""The codes of RFC 8935 section 2.4."""


class SetFault(Struct, frozen=True):
    """The reason for a refused token, in the form of RFC 8935. `description` holds nothing of the token."""

    err: ErrorCode
    description: str


class SetRules(Struct, frozen=True):
    """The transmitter of a stream, and the accepted audiences."""

    issuer: str
    audiences: frozenset[str]


class SecurityEvent(Struct, frozen=True):
    """One event of a verified token. `issued` is in seconds since the epoch. `subject` is absent in some events about a stream."""

    jti: str
    issued: float
    type: str
    details: JsonObject
    subject: JsonObject | None = None
    occurred: float | None = None
    """The claim `toe`: the time of the event."""


def check_claims(claims: JsonObject, rules: SetRules, now: float) -> SecurityEvent | SetFault:
    """Return the event of a token, else the fault of its claims."""
    fault = _check_parties(claims, rules) or _check_foreign(claims)
    if fault is not None:
        return fault
    jti, issued = claims.get("jti"), _time(claims.get("iat"))
    if not _is_id(jti):
        return _invalid("jti is missing, or is no text of at most 512 characters")
    if issued is None:
        return _invalid("iat is missing, or is no time")
    if issued > now + _LEEWAY:
        return _invalid("iat is in the future; compare the clocks")
    if issued < now - KEPT + _LEEWAY:
        return _invalid("the event is older than a week, so a replay of it could not be noticed")
    return _read_event(claims, jti, issued)


def _check_parties(claims: JsonObject, rules: SetRules) -> SetFault | None:
    if claims.get("iss") != rules.issuer:
        return SetFault("invalid_issuer", "iss is not the transmitter of this stream")
    named = claims.get("aud")
    audiences = named if isinstance(named, list) else [named]
    if not any(isinstance(audience, str) and audience in rules.audiences for audience in audiences):
        return SetFault("invalid_audience", "aud does not name this receiver")
    return None


def _check_foreign(claims: JsonObject) -> SetFault | None:
    """Refuse claims of access tokens and ID tokens, which SSF 1.0 section 4.1 forbids."""
    for name in ("sub", "exp"):
        if name in claims:
            return _invalid(f"{name} must not be in an event")
    return None


def _read_event(claims: JsonObject, jti: str, issued: float) -> SecurityEvent | SetFault:
    events, subject = claims.get("events"), claims.get("sub_id")
    if not _is_object(events) or len(events) != 1:
        return _invalid("events does not hold exactly one event")
    ((name, details),) = events.items()
    if not _is_id(name) or not _is_object(details):
        return _invalid("the event has no type, or is no object")
    if subject is not None and not _is_object(subject):
        return _invalid("sub_id is no object")
    return SecurityEvent(jti, issued, name, details, subject, _time(claims.get("toe")))


def _invalid(description: str) -> SetFault:
    return SetFault("invalid_request", description)


def _is_id(value: Json) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable()


def _is_object(value: Json) -> TypeGuard[JsonObject]:
    return isinstance(value, dict)


def _time(value: Json) -> float | None:
    """Return a number as a time, `None` for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
