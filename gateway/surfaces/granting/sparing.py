"""Lines of `gateway.yaml` to spare the questions about observed calls that no grant spares. Pure.

Limits come from the numbers that the calls reached. Directory entries come from reading calls alone: the receiver of a write may be
an attacker's. A person reads both before they are put into force.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from gateway.base.json.walk import find_value, split_pointer
from gateway.inspection.arguments import at
from gateway.inspection.destinations.find import listed, texts
from gateway.model.reasons.policy_codes import FAN_OUT_UNNAMED, UNGROUNDED

if TYPE_CHECKING:
    from gateway.model.decision import Reason
    from gateway.model.wire import JsonObject
    from gateway.surfaces.granting.observed import ObservedCall

_MOST_ENTRIES: Final = 20
"""Directory entries of a proposal. A day with more strange places is no pattern to allow."""


class Spared(NamedTuple):
    """The part of `gateway.yaml` that spares the question about a call: soft limits by name, and directory entries."""

    limits: Mapping[str, int]
    entries: tuple[str, ...]


class SparingSettings(NamedTuple):
    """The settings that spare the questions about all calls. `entries` maps a directory entry to its first call."""

    limits: Mapping[str, int]
    entries: Mapping[str, str]
    calls: int

    def lines(self) -> Iterator[str]:
        """Yield the settings as lines of YAML."""
        by_owner: dict[str, list[str]] = {}
        for name, number in sorted(self.limits.items()):
            owner, _, own_name = name.rpartition(".")
            by_owner.setdefault(owner or "task", []).append(f"{own_name}: {{soft: {number}}}")
        if by_owner:
            inner = ", ".join(f"{owner}: {{{', '.join(limits)}}}" for owner, limits in by_owner.items())
            yield f"limits: {{{inner}}}"
        if self.entries:
            yield f"directory: {{entries: {json.dumps(sorted(self.entries))}}}"


def find_spared(call: ObservedCall, document: JsonObject, reasons: Iterable[Reason]) -> Spared | None:
    """Return the settings that spare the question about a call; `None` if a reason of it has no such setting."""
    session = cast("Mapping[str, Any]", document["session"])
    limits: dict[str, int] = {}
    entries: list[str] = []
    for reason in reasons:
        if reason.limits:
            limits |= {name: _reached(name, number, document, reason) for name, number in reason.limits.items()}
        elif reason.code == FAN_OUT_UNNAMED:
            limits["unnamed_systems"] = len(session.get("unnamed_systems") or ())
        elif reason.code == UNGROUNDED and call.effect == "read" and (found := _unknown_places(call, session, reason)):
            entries += found
        else:
            return None
    return Spared(limits, tuple(entries))


def _reached(name: str, number: int, document: JsonObject, reason: Reason) -> int:
    """Return the number that a call reached. A question about a limit over tasks offers as many again as pass unasked."""
    if "." not in name or len(reason.facts) != 1:
        return number
    found = find_value(document, split_pointer(reason.facts[0]))
    return ceil(found) if isinstance(found, int | float) else number


def merge_spared(found: Iterable[tuple[str, Spared]]) -> SparingSettings:
    """Return the settings for all calls, by the ids of the calls: the highest limits, and each entry once."""
    limits: dict[str, int] = {}
    entries: dict[str, str] = {}
    calls = 0
    for call, spared in found:
        if len(entries.keys() | set(spared.entries)) > _MOST_ENTRIES:
            continue
        calls += 1
        limits |= {name: max(number, limits.get(name, 0)) for name, number in spared.limits.items()}
        entries |= {entry: entries.get(entry, call) for entry in spared.entries}
    return SparingSettings(limits, entries, calls)


def _unknown_places(call: ObservedCall, session: Mapping[str, Any], reason: Reason) -> list[str]:
    """Return the destinations in question; none if the journal lacks a value, or if a value is no destination alone."""
    found: list[str] = []
    known = cast("list[str]", session.get("known_destinations") or [])
    for fact in reason.facts:
        pointer = fact.removeprefix("/arguments")
        if pointer == fact:
            continue
        if call.values is None or call.roles.get(pointer) != "destination":
            return []
        places = [place.value for text in texts(at(call.values, pointer)) for place in listed(text)]
        found += [place for place in places if place not in known]
    return found
