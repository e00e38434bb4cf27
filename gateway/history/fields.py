"""Events as fields of journal entries, and back. Pure: no I/O, no clock, no randomness.

What is the default is left out. Digests are unsigned 64-bit integers, little-endian, in one base64 text (RFC 4648
section 4): as JSON numbers they would take more than twice the room.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar, cast

from gateway.history.events import (
    Ended,
    Endorsed,
    Event,
    Exposed,
    Observed,
    Opened,
    Passed,
    Read,
    Released,
    Reserved,
    Settled,
    Shown,
    Touch,
)
from gateway.model.content import ONE_TIME, OneTime
from gateway.model.target import Sensitivity
from gateway.model.wire import Json, JsonObject

_Event = TypeVar("_Event")


def to_fields(event: Event) -> JsonObject:
    """Return the event as a JSON object with its kind in `event`."""
    name, written = _WRITERS[type(event)]
    return {"event": name, **written(event)}


def from_fields(fields: JsonObject) -> Event:
    """The event that was written so. Raises `ValueError` for anything else; unknown fields are ignored."""
    name = fields.get("event")
    reader = _READERS.get(name) if isinstance(name, str) else None
    if reader is None:
        raise ValueError(f"there is no event {name!r} of a task")
    try:
        return reader(fields)
    except (KeyError, TypeError, struct.error) as error:
        raise ValueError(f"the fields of an event {name!r} are damaged: {error}") from error


def verdict_of(entry: JsonObject, call: str) -> Passed | Released:
    """Return the event by which the decision in a `call` entry let its call pass, or ended it at once."""
    effect = entry["effect"]
    if effect == "allow":
        return Passed(call)
    return Released(call, denied=effect == "deny" and not entry.get("undecided", False))


def pack(digests: Iterable[int]) -> str:
    """Digests in ascending order."""
    ordered = sorted(digests)
    if not ordered:
        return ""
    return base64.b64encode(struct.pack(f"<{len(ordered)}Q", *ordered)).decode("ascii")


def unpack(text: Json) -> tuple[int, ...]:
    """Raises `ValueError` for what is no packed text."""
    if not isinstance(text, str):
        raise ValueError("digests are written as base64")  # noqa: TRY004 - damaged input, as all others here
    data = base64.b64decode(text, validate=True)
    if len(data) % 8:
        raise ValueError("digests have eight bytes each")
    return struct.unpack(f"<{len(data) // 8}Q", data)


# --- writing -----------------------------------------------------------------------------------------


def _opened(event: Opened) -> JsonObject:
    return _some(known=event.known and pack(event.known), **_shown(event.credentials))


def _reserved(event: Reserved) -> JsonObject:
    fields: dict[str, Json] = {
        "call": event.call,
        "number": event.number,
        "at": event.at,
        "sensitivity": event.sensitivity,
    }
    _write_touch(fields, event.touch)
    if event.destinations is not None:
        fields["destinations"] = pack(event.destinations) if event.destinations else ""
    if not event.untrusted:
        fields["trusted"] = True
    if event.credentials:
        fields["credentials"] = list(event.credentials)
    if event.fed:
        fields["fed"] = list(event.fed)
    if event.raises:
        fields["raises"] = dict(event.raises)
    for name in _DIGESTS:
        if digests := getattr(event, name):
            fields[name] = pack(digests)
    for name in _FLAGS:
        if getattr(event, name):
            fields[name] = True
    return fields


def _write_touch(fields: dict[str, Json], touch: Touch) -> None:
    fields["audience"] = touch.audience
    if touch.write:
        fields["write"] = True
    if touch.tenant is not None:
        fields["tenant"] = touch.tenant
    if touch.environment is not None:
        fields["environment"] = touch.environment
    if touch.behind:
        fields["behind"] = list(touch.behind)


_DIGESTS: Final = ("links", "said", "uttered", "exposed", "named", "inside", "told")
_FLAGS: Final = ("mint", "crowded", "flooded", "own", "directed", "wordy", "pointed")


def _exposed(event: Exposed) -> JsonObject:
    fields: dict[str, Json] = {"exposed": pack(event.exposed)}
    _write_touch(fields, event.touch)
    return fields


def _passed(event: Passed) -> JsonObject:
    return {"call": event.call}


def _released(event: Released) -> JsonObject:
    return {"call": event.call, "denied": event.denied}


def _settled(event: Settled) -> JsonObject:
    return {"call": event.call}


def _observed(event: Observed) -> JsonObject:
    return {
        "call": event.call,
        "sensitivity": event.sensitivity,
        **_some(
            **_shown(event.credentials),
            tokens=event.tokens and pack(event.tokens),
            incomplete=not event.complete,
            lost=event.lost,
            sampled=event.sampled,
            links=event.links and pack(event.links),
            records=event.records and pack(event.records),
            confirmed=list(event.confirmed),
            requested=event.requested,
        ),
    }


def _read(event: Read) -> JsonObject:
    fields: dict[str, Json] = {
        "number": event.number,
        "at": event.at,
        "sensitivity": event.sensitivity,
    }
    _write_touch(fields, event.touch)
    if event.call is not None:
        fields["call"] = event.call
    if not event.untrusted:
        fields["trusted"] = True
    fields.update((name, True) for name in _READ_FLAGS if getattr(event, name))
    return {
        **fields,
        **_some(
            **_shown(event.credentials),
            used=list(event.used),
            tokens=event.tokens and pack(event.tokens),
            incomplete=not event.complete,
            confirmed=list(event.confirmed),
        ),
    }


_READ_FLAGS: Final = ("late", "mint", "unknown", "lost", "sampled")


def _endorsed(event: Endorsed) -> JsonObject:
    return _some(values=event.values and pack(event.values), limits=dict(event.limits))


def _ended(event: Ended) -> JsonObject:
    return {"how": event.how}


def _shown(credentials: tuple[Shown, ...]) -> dict[str, Json]:
    return {
        "credentials": {item.fingerprint: pack(item.shingles) for item in credentials},
        "ordinary": [item.fingerprint for item in credentials if item.ordinary],
        "one_time": {item.fingerprint: item.one_time for item in credentials if item.one_time is not None},
    }


def _some(**fields: Json | frozenset[int]) -> JsonObject:
    """The fields that say something. An empty text does: no destinations are not unknown destinations."""
    kept = {name: value for name, value in fields.items() if isinstance(value, str) or value}
    return cast("JsonObject", kept)


# --- reading -----------------------------------------------------------------------------------------


def _read_opened(fields: JsonObject) -> Opened:
    return Opened(frozenset(unpack(fields.get("known", ""))), _read_shown(fields))


def _read_reserved(fields: JsonObject) -> Reserved:
    fed = fields.get("fed", ())
    destinations = fields.get("destinations")
    return Reserved(
        call=_text(fields, "call"),
        number=_whole(fields["number"]),
        at=_number(fields["at"]),
        touch=_read_touch(fields),
        mint=bool(fields.get("mint", False)),
        untrusted=not fields.get("trusted", False),
        sensitivity=Sensitivity(_text(fields, "sensitivity")),
        destinations=None if destinations is None else unpack(destinations),
        crowded=bool(fields.get("crowded", False)),
        credentials=_texts(fields, "credentials"),
        fed=tuple(_whole(number) for number in cast("Sequence[Json]", fed)),
        flooded=bool(fields.get("flooded", False)),
        links=unpack(fields.get("links", "")),
        own=bool(fields.get("own", False)),
        directed=bool(fields.get("directed", False)),
        said=unpack(fields.get("said", "")),
        uttered=unpack(fields.get("uttered", "")),
        wordy=bool(fields.get("wordy", False)),
        exposed=unpack(fields.get("exposed", "")),
        named=unpack(fields.get("named", "")),
        inside=unpack(fields.get("inside", "")),
        raises=_numbers(fields, "raises"),
        pointed=bool(fields.get("pointed", False)),
        told=unpack(fields.get("told", "")),
    )


def _read_exposed(fields: JsonObject) -> Exposed:
    return Exposed(_read_touch(fields), unpack(fields["exposed"]))


def _read_touch(fields: JsonObject) -> Touch:
    return Touch(
        _text(fields, "audience"),
        bool(fields.get("write", False)),
        _optional(fields, "tenant"),
        _optional(fields, "environment"),
        _texts(fields, "behind"),
    )


def _read_passed(fields: JsonObject) -> Passed:
    return Passed(_text(fields, "call"))


def _read_released(fields: JsonObject) -> Released:
    return Released(_text(fields, "call"), denied=bool(fields["denied"]))


def _read_settled(fields: JsonObject) -> Settled:
    return Settled(_text(fields, "call"))


def _read_observed(fields: JsonObject) -> Observed:
    return Observed(
        _text(fields, "call"),
        _read_shown(fields),
        frozenset(unpack(fields.get("tokens", ""))),
        not fields.get("incomplete", False),
        Sensitivity(_text(fields, "sensitivity")),
        bool(fields.get("lost", False)),
        frozenset(unpack(fields.get("links", ""))),
        _texts(fields, "confirmed"),
        _whole(fields.get("requested", 0)),
        frozenset(unpack(fields.get("records", ""))),
        bool(fields.get("sampled", False)),
    )


def _read_read(fields: JsonObject) -> Read:
    return Read(
        number=_whole(fields["number"]),
        at=_number(fields["at"]),
        touch=_read_touch(fields),
        untrusted=not fields.get("trusted", False),
        sensitivity=Sensitivity(_text(fields, "sensitivity")),
        call=_optional(fields, "call"),
        late=bool(fields.get("late", False)),
        mint=bool(fields.get("mint", False)),
        unknown=bool(fields.get("unknown", False)),
        used=_texts(fields, "used"),
        credentials=_read_shown(fields),
        tokens=frozenset(unpack(fields.get("tokens", ""))),
        complete=not fields.get("incomplete", False),
        lost=bool(fields.get("lost", False)),
        confirmed=_texts(fields, "confirmed"),
        sampled=bool(fields.get("sampled", False)),
    )


def _read_endorsed(fields: JsonObject) -> Endorsed:
    return Endorsed(frozenset(unpack(fields.get("values", ""))), _numbers(fields, "limits"))


def _read_ended(fields: JsonObject) -> Ended:
    how = _text(fields, "how")
    if how == "completed" or how == "cancelled":  # noqa: PLR1714 - the type checker narrows this form only
        return Ended(how)
    raise ValueError(f"a task does not end {how!r}")


def _read_shown(fields: JsonObject) -> tuple[Shown, ...]:
    written = fields.get("credentials", {})
    if not isinstance(written, Mapping):
        raise TypeError("credentials that were shown are no object")
    ordinary = frozenset(_texts(fields, "ordinary"))
    one_time = _read_one_time(fields)
    return tuple(
        Shown(fingerprint, frozenset(unpack(shingles)), fingerprint in ordinary, one_time.get(fingerprint))
        for fingerprint, shingles in written.items()
    )


def _read_one_time(fields: JsonObject) -> Mapping[str, OneTime]:
    written = fields.get("one_time", {})
    if not isinstance(written, Mapping) or not all(kind in ONE_TIME.values() for kind in written.values()):
        raise TypeError("one-time codes that were shown are no object of kinds")
    return cast("Mapping[str, OneTime]", written)


def _text(fields: JsonObject, name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _optional(fields: JsonObject, name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)


def _texts(fields: JsonObject, name: str) -> tuple[str, ...]:
    values = fields.get(name, ())
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name} is no list")
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} is no list of texts")
    return tuple(cast("Sequence[str]", values))


def _numbers(fields: JsonObject, name: str) -> tuple[tuple[str, int], ...]:
    values = fields.get(name, {})
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} is no object")
    return tuple((limit, _whole(value)) for limit, value in values.items())


def _whole(value: Json) -> int:
    if type(value) is not int:
        raise TypeError("a number is no integer")
    return value


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a time is no number")
    return float(value)


_READERS: Final[Mapping[str, Callable[[JsonObject], Event]]] = {
    "opened": _read_opened,
    "reserved": _read_reserved,
    "exposed": _read_exposed,
    "passed": _read_passed,
    "released": _read_released,
    "settled": _read_settled,
    "observed": _read_observed,
    "read": _read_read,
    "endorsed": _read_endorsed,
    "ended": _read_ended,
}


def _writer(
    kind: type[_Event], name: str, write: Callable[[_Event], JsonObject]
) -> tuple[type, tuple[str, Callable[[Event], JsonObject]]]:
    return kind, (name, cast("Callable[[Event], JsonObject]", write))


_WRITERS: Final = dict(
    (
        _writer(Opened, "opened", _opened),
        _writer(Reserved, "reserved", _reserved),
        _writer(Exposed, "exposed", _exposed),
        _writer(Passed, "passed", _passed),
        _writer(Released, "released", _released),
        _writer(Settled, "settled", _settled),
        _writer(Observed, "observed", _observed),
        _writer(Read, "read", _read),
        _writer(Endorsed, "endorsed", _endorsed),
        _writer(Ended, "ended", _ended),
    )
)
