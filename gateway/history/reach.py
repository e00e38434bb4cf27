"""Numbers that a call raises: how far its task has reached with it. Pure: no I/O, no clock, no randomness.

A call raises a number if it reaches something that no call before it has reached for certain. A call under decision may
still be refused, so its reach is new to every other call. Each of several parallel calls to a new system has to pass the
limit. The number counts all of them, so together they never pass more than the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.history.events import unpack
from gateway.history.state import ENDLESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.history.carried import Carried
    from gateway.history.events import Reserved, Touch
    from gateway.history.state import TaskState
    from gateway.model.content import CallContent

WINDOW: Final = 60.0
"""Seconds over which `audiences_in_window` counts."""


class Reach(NamedTuple):
    """The systems, tenants and environments of some touches, in sets. `assumed` are those of `written` that only calls without a
    label for their effect may have changed."""

    audiences: frozenset[str]
    written: frozenset[str]
    tenants: frozenset[str]
    environments: frozenset[str]
    assumed: frozenset[str]


@lru_cache(maxsize=4096)
def reach_of(touched: tuple[Touch, ...]) -> Reach:
    """Return the systems that calls with these touches reached. Most calls touch the same as the calls before."""
    written = frozenset(system for touch in touched if touch.write for system in touch.reached)
    labelled = (system for touch in touched if touch.write and not touch.assumed for system in touch.reached)
    return Reach(
        frozenset(system for touch in touched for system in touch.reached),
        written,
        frozenset(touch.tenant for touch in touched if touch.tenant is not None),
        frozenset(touch.environment for touch in touched if touch.environment is not None),
        written.difference(labelled),
    )


def audiences_in_window(state: TaskState, now: float) -> frozenset[str]:
    """Return the systems with an open call, or with a call within the last minute."""
    return frozenset([*state.busy, *(name for name, at in state.last.items() if now - at <= WINDOW)])


def find_raised_numbers(
    state: TaskState, event: Reserved, content: CallContent, depth: int | None, carried: Carried
) -> dict[str, int]:
    """Return the numbers that a call is about to raise, by the name of their limit, and how far. `state` is that before
    the call. `depth` is the delegation depth plus aggregator hops."""
    found: dict[str, int] = {}
    # A call to systems that an earlier call has certainly reached raises none of their numbers.
    if state.touched.get(event.touch, 0) <= state.undecided.touched.get(event.touch, 0):
        found |= _systems(state, event)
    if event.destinations_overflow or event.destinations or event.inside:
        found |= _destinations(state, event)
    if event.unnamed:
        found["unnamed_systems"] = len(state.unnamed.keys() | set(event.unnamed))
    if event.source_results or event.has_partial_source:
        found |= _spread(state, event, carried)
    if depth or content.destinations:
        found |= _own_numbers(content, depth)
    return found


def certain_reach(state: TaskState) -> Reach:
    """Return the systems that decided calls have reached."""
    undecided = state.undecided.touched
    return reach_of(tuple(touch for touch, count in state.touched.items() if count > undecided.get(touch, 0)))


def _own_numbers(content: CallContent, depth: int | None) -> dict[str, int]:
    """Return the numbers of a call by itself: each call has its own, so it raises them."""
    found = {} if depth is None else {"depth": depth}
    if content.destinations:
        outside = frozenset(content.destinations) - content.inside
        found["call_destinations"] = len(outside)
        found["call_unnamed_destinations"] = len(outside - content.named)
        found["call_own_destinations"] = len(content.inside - content.named)
    return {name: number for name, number in found.items() if number}


def _systems(state: TaskState, event: Reserved) -> dict[str, int]:
    mine, every = reach_of((event.touch,)), reach_of(tuple(state.touched))
    certain = certain_reach(state)
    found: dict[str, int] = {}
    for name, index in _SETS:
        if not mine[index] <= certain[index]:
            found[name] = len(every[index] | mine[index])
    if "audiences" in found:
        found["audiences_in_window"] = len(audiences_in_window(state, event.at) | mine.audiences)
    return found


_SETS: Final = (("audiences", 0), ("write_audiences", 1), ("tenants", 2), ("environments", 3))
"""Name of the limit → its set in `Reach`."""


def _destinations(state: TaskState, event: Reserved) -> dict[str, int]:
    if event.destinations_overflow:
        return dict.fromkeys(("destinations", "unnamed_destinations", "own_destinations"), ENDLESS)
    found: dict[str, int] = {}
    outside, named = unpack(event.destinations or b""), frozenset(unpack(event.named))
    if _is_new(outside, state.destinations, state.undecided.destinations):
        found["destinations"] = len(state.destinations.keys() | set(outside))
    unnamed = [digest for digest in outside if digest not in named]
    if _is_new(unnamed, state.destinations, state.undecided.destinations):
        found["unnamed_destinations"] = len((state.destinations.keys() - state.named.keys()) | set(unnamed))
    inside = event.unnamed_inside
    if _is_new(inside, state.inside, state.undecided.inside):
        found["own_destinations"] = len(state.inside.keys() | set(inside))
    return found


def _spread(state: TaskState, event: Reserved, carried: Carried) -> dict[str, int]:
    """Raise the spread of each result with words that reach a new system."""
    audience, undecided = event.audience, state.undecided
    widths = [
        len(state.carried_to.get(number, {}).keys() | {audience})
        for number in event.source_results
        if state.carried_to.get(number, {}).get(audience, 0) <= undecided.carried_to.get((number, audience), 0)
    ]
    if event.has_partial_source and state.partial_carried_to.get(audience, 0) <= undecided.partial_carried_to.get(
        audience, 0
    ):
        reached = state.partial_carried_to.keys() | {audience}
        widths += [
            len(reached - {source}) for source in state.partial_sources | carried.partial_sources if source != audience
        ]
    return {"spread": max(widths)} if widths else {}


def _is_new(digests: Sequence[int], counts: Mapping[int, int], undecided: Mapping[int, int]) -> bool:
    """Return whether any of the digests belongs to no decided call."""
    return any(counts.get(digest, 0) <= undecided.get(digest, 0) for digest in digests)
