"""Events as a test states them: with systems as a `Touch`, and digests as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.history.events import Exposed, Observed, Reading, Reserved, ShownCredential, Touch, pack, shown_fields
from gateway.model.target import Sensitivity

_DIGESTS = (
    "destinations",
    "links",
    "told_to_trusted",
    "unread_words",
    "exposed",
    "named",
    "inside",
    "unrecorded",
    "tokens",
    "records",
)


def make_reserved(
    call: str, number: int, at: float, touch: Touch, sensitivity: Sensitivity = Sensitivity.INTERNAL, **fields: Any
) -> Reserved:
    return Reserved(
        call=call, number=number, at=at, sensitivity=sensitivity, **touch._asdict(), **_packed_fields(fields)
    )


def make_exposed(touch: Touch, grams: Iterable[int]) -> Exposed:
    return Exposed(**touch._asdict(), exposed=pack(grams))


def make_observed(
    call: str,
    credentials: tuple[ShownCredential, ...] = (),
    sensitivity: Sensitivity = Sensitivity.PUBLIC,
    **fields: Any,
) -> Observed:
    shows = shown_fields(credentials)._asdict()
    return Observed(call=call, sensitivity=sensitivity, **shows, **_packed_fields(fields))


def make_read(
    number: int,
    at: float,
    touch: Touch,
    credentials: tuple[ShownCredential, ...] = (),
    sensitivity: Sensitivity = Sensitivity.PUBLIC,
    **fields: Any,
) -> Reading:
    shows = shown_fields(credentials)._asdict()
    return Reading(number=number, at=at, sensitivity=sensitivity, **touch._asdict(), **shows, **_packed_fields(fields))


def _packed_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: pack(value) if name in _DIGESTS and value is not None else value for name, value in fields.items()}
