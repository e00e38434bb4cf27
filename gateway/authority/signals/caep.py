"""Events of CAEP 1.0 and of the stream itself, read to their meaning for the gateway. Pure: the time is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from gateway.model.call import SIGNAL_TYPES, SignalType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.authority.signals.set import SecurityEvent
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
