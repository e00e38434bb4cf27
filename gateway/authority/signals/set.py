"""Security event tokens (RFC 8417) with the events of CAEP and RISC, read strictly. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeGuard

from msgspec import Struct

from gateway.model.call import SIGNAL_TYPES, SignalType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model.wire import Json, JsonObject


CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"
_MILLISECONDS: Final = 1e11
"""A later time in seconds is in the year 5138: such a number counts milliseconds."""
_LONGEST_LEVEL: Final = 64
_TYPES: Final[Mapping[str, SignalType]] = {name: name for name in SIGNAL_TYPES}
_LEVELS: Final[Mapping[SignalType, str]] = {
    "risk-level-change": "current_level",
    "assurance-level-change": "current_level",
    "device-compliance-change": "current_status",
    "credential-change": "change_type",
}
"""Type → the member with the new level."""


class CaepSignal(Struct, frozen=True):
    """A change of a user, a session or an agent. `at` is in seconds since the epoch, and never in the future.

    `is_benign`: the change takes an earlier fact back, such as a low risk or a device that complies again.
    """

    type: SignalType
    at: float
    level: str | None = None
    is_benign: bool = False


class StreamVerification(Struct, frozen=True):
    """The transmitter's proof of a working stream. `state` repeats the state of the gateway's question."""

    state: str | None = None


class StreamUpdate(Struct, frozen=True):
    """A new status of the stream: `enabled`, `paused` or `disabled`."""

    status: str


class OtherEvent(Struct, frozen=True):
    """An event that the gateway has no use for."""


Meaning: TypeAlias = CaepSignal | StreamVerification | StreamUpdate | OtherEvent


def read_meaning(event: SecurityEvent, now: float) -> Meaning:
    """Return the meaning of an event. An odd or missing detail never weakens a signal."""
    if event.type == f"{SSF}verification":
        return StreamVerification(_text(event.details.get("state"), 512))
    if event.type == f"{SSF}stream-updated":
        return StreamUpdate(_text(event.details.get("status"), _LONGEST_LEVEL) or "unknown")
    name = event.type.removeprefix(CAEP)
    found = _TYPES.get(name)
    if found is None or name == event.type:
        return OtherEvent()
    level = _level(found, event.details)
    return CaepSignal(found, _time_of(event, now), level, _is_benign(found, level, event.details))


def _level(kind: SignalType, details: JsonObject) -> str | None:
    name = _LEVELS.get(kind)
    found = None if name is None else _text(details.get(name), _LONGEST_LEVEL)
    return None if found is None else found.lower()


def _is_benign(kind: SignalType, level: str | None, details: JsonObject) -> bool:
    if kind == "risk-level-change":
        return level == "low"
    if kind == "device-compliance-change":
        return level == "compliant"
    return kind == "assurance-level-change" and details.get("change_direction") == "increase"


def _time_of(event: SecurityEvent, now: float) -> float:
    """Return the time of an event. A time in the future would refuse tokens that are issued afterwards."""
    told = event.details.get("event_timestamp")
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told < float("inf"):
        told = event.occurred if event.occurred is not None else event.issued
    seconds = told / 1000 if told >= _MILLISECONDS else float(told)
    return min(seconds, now)


def _text(value: Json, longest: int) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() else None


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
