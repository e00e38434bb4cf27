"""Words that a task can still use, so that no others are searched for. Pure: no I/O, no clock, no randomness. History
drops words without room, and words that return to their own system are no spread. Most tasks read from one system after
another, so most words would be thrown away. The facts are the same either way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.history.carried import NOTHING
from gateway.history.state import MAX_RESULTS, MAX_TOKENS, MAX_TRUSTED
from gateway.model.content import Relevance

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from gateway.history.carried import Carried
    from gateway.history.state import TaskState
    from gateway.model.target import Target


def of_call(state: TaskState, target: Target, carried: Carried = NOTHING) -> Relevance:
    """Return the relevant words of arguments that have arrived: later readings cannot be in them."""
    if not state.sources <= {target.audience} or not carried.sources <= {target.audience}:
        words = "all"
    elif state.unkept or carried.unkept:
        words = "one"
    else:
        words = "none"
    trusted = state.trusted | carried.trusted if carried.trusted and words == "one" else state.trusted
    return Relevance(words, trusted, told=state.untrusted or carried.untrusted)


def is_unread(state: TaskState, pieces: frozenset[int] | None, carried: Carried = NOTHING) -> bool:
    """Return whether certainly no untrusted result has shown a value, by the parts of it (`CallContent.pieces_of`)."""
    if pieces is None or state.sampled or carried.sampled or state.unkept or carried.unkept:
        return False
    return pieces.isdisjoint(state.tokens) and pieces.isdisjoint(carried.tokens)


def records_of(audience: str | None, state: TaskState, carried: Carried) -> tuple[AbstractSet[int], ...]:
    """Return the values in records of one system, in this task and the tasks before."""
    found = (records.get(audience) for records in (state.records, carried.records)) if audience is not None else ()
    return tuple(values for values in found if values is not None)


def of_result(state: TaskState, target: Target) -> bool:
    """Return whether the words of a coming result can be kept, or losing them is news. Full stays full."""
    if target.trust == "trusted":
        return len(state.trusted) < MAX_TRUSTED
    full = len(state.tokens) >= MAX_TOKENS or len(state.results) >= MAX_RESULTS
    return not full or target.audience not in state.unkept
