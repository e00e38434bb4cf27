"""A task's state as bytes, and back: what a snapshot holds. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from gateway.history.events import NO_DIGESTS, Reserved, Touch, from_fields, to_fields
from gateway.history.reach import Undecided
from gateway.history.state import KnownCredential, TaskState
from gateway.model.target import Sensitivity, System

VERSION: Final = 12
"""Of the form. A snapshot of another version is not read."""

_PLAIN: Final = {
    "carried_to": "fed", "spread_histogram": "widths", "destinations_overflowed": "crowded", "uninspected_calls": "blind",
    "off_goal_calls": "spoken",
} | {name: name for name in (
    "number", "settled", "denials", "approvals", "approved", "ended", "busy", "last", "wordy", "credentials", "presented",
    "code_requests", "given_codes", "results", "kept", "flood", "sampled", "untrusted", "confidentiality",
)}  # fmt: skip
"""Field of the state → its name in a snapshot, for the fields that MessagePack can carry as they are."""


def dump(state: TaskState) -> bytes:
    """The state, whole. Digests are packed: sixteen bytes for each word of an untrusted result."""
    written: dict[str, Any] = {name: getattr(state, field) for field, name in _PLAIN.items()}
    written["version"] = VERSION
    written["open"] = [to_fields(event) for event in state.open.values()]
    written["undecided"] = list(state.undecided.calls)
    written["touched"] = [
        (count, touch.audience, touch.write, touch.tenant, touch.environment, *touch.behind)
        for touch, count in state.touched.items()
    ]
    written["shingles"] = {fingerprint: _pack(digests) for fingerprint, digests in state.shingles.items()}
    written["unkept"] = list(state.unkept)
    written["confidential_systems"] = [*map(tuple, state.confidential_systems)]
    written["lost"] = list(state.lost)
    written["made"] = list(state.made)
    written["trusted"] = _pack(state.trusted)
    written["endorsed"] = _pack(state.endorsed)
    written["links"] = _pack(state.links)
    written["records"] = [(audience, _pack(values)) for audience, values in state.records.items()]
    written["told"] = (_pack(state.told), list(state.told.values()))
    written["followed"] = (_pack(state.followed), list(state.followed.values()))
    written["said"] = (_pack(state.said), list(state.said.values()))
    written["uttered"] = (_pack(state.uttered), list(state.uttered.values()))
    written["exposed"] = [
        (audience, _pack(counts), list(counts.values())) for audience, counts in state.exposed.items()
    ]
    for name in ("destinations", "named", "inside"):
        counts = getattr(state, name)
        written[name] = (_pack(counts), list(counts.values()))
    written["tokens"] = (_pack(state.tokens), list(state.tokens.values()))
    return msgspec.msgpack.encode(written)


def load(data: bytes) -> TaskState:
    """The state that was dumped. Raises `ValueError` for anything else."""
    try:
        read = msgspec.msgpack.decode(data, type=dict[str, Any])
        if read["version"] != VERSION:
            raise ValueError(f"a snapshot of version {read['version']}")
        return _state(read)
    except (msgspec.MsgspecError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"no snapshot of a task: {error}") from error


def _state(read: Mapping[str, Any]) -> TaskState:
    plain = {field: read[name] for field, name in _PLAIN.items()}
    plain["credentials"] = {name: KnownCredential(*values) for name, values in read["credentials"].items()}
    plain["confidentiality"] = Sensitivity(read["confidentiality"])
    calls = {event.call: event for event in map(from_fields, read["open"]) if isinstance(event, Reserved)}
    undecided = Undecided()
    for call in read["undecided"]:
        undecided.begin(calls[call], calls[call].touch)
    return TaskState(
        **plain,
        open=calls,
        undecided=undecided,
        touched={
            Touch(*values[1:5], behind=tuple(values[5:])): values[0]
            for values in cast("Sequence[Sequence[Any]]", read["touched"])
        },
        shingles={fingerprint: frozenset(_unpack(data)) for fingerprint, data in read["shingles"].items()},
        unkept=set(read["unkept"]),
        confidential_systems={System(*values) for values in read["confidential_systems"]},
        lost=set(read["lost"]),
        made=set(read["made"]) or NO_DIGESTS,
        sources=set(plain["results"].values()),
        trusted=set(_unpack(read["trusted"])) or NO_DIGESTS,
        endorsed=set(_unpack(read["endorsed"])) or NO_DIGESTS,
        links=set(_unpack(read["links"])) or NO_DIGESTS,
        followed=_counts(read["followed"]),
        records={audience: set(_unpack(values)) for audience, values in read["records"]},
        told=_counts(read["told"]),
        said=_counts(read["said"]),
        uttered=_counts(read["uttered"]),
        exposed={audience: _counts(pair) for audience, *pair in read["exposed"]},
        destinations=_counts(read["destinations"]),
        named=_counts(read["named"]),
        inside=_counts(read["inside"]),
        tokens=_counts(read["tokens"]),
    )


def _counts(pair: Any) -> dict[int, int]:
    digests, counts = pair
    return dict(zip(_unpack(digests), counts, strict=True))


def _pack(digests: Collection[int]) -> bytes:
    return struct.pack(f"<{len(digests)}Q", *digests)


def _unpack(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 8}Q", data)
