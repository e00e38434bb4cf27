"""Readings of a caller's earlier implicit tasks that still count in the present task. Pure: no I/O, no clock, no randomness.

A task ends, but the agent's context may still hold its readings: labels, words and credentials are carried on. Systems and
destinations are not. The states are read in place, so a late answer to a call of an earlier task counts at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.history.events import NO_DIGESTS
from gateway.history.state import MAX_TOLD_TO_TRUSTED, KnownCredential, higher
from gateway.model.target import Sensitivity, System

if TYPE_CHECKING:
    from gateway.history.jobs import UntrustedWords
    from gateway.history.state import TaskState

STRIDE: Final = 2**40
"""Results of each further task are numbered so much higher than those of the latest; more calls than a task can have."""


class Carried(Struct, frozen=True):
    """Fields as in `TaskState`. `tokens` and `results` number results among themselves; the present task writes these
    numbers as negative ones. `told_overflow`: more values were told to trusted systems than are kept apart. `unrecorded`
    has more values than are told apart if it has more than `MAX_UNRECORDED`. `words_overflow`: calls said more words that
    no reading had than are kept."""

    untrusted_systems: AbstractSet[str] = frozenset()
    confidentiality: Sensitivity = Sensitivity.PUBLIC
    confidential_systems: AbstractSet[System] = frozenset()
    trusted: AbstractSet[int] = NO_DIGESTS
    told_to_trusted: AbstractSet[int] = NO_DIGESTS
    told_overflow: bool = False
    records: Mapping[str, AbstractSet[int]] = msgspec.field(default_factory=dict[str, AbstractSet[int]])
    unrecorded: AbstractSet[int] = NO_DIGESTS
    sampled: bool = False
    unread_words: AbstractSet[int] = NO_DIGESTS
    words_overflow: bool = False
    tokens: Mapping[int, int] = msgspec.field(default_factory=dict[int, int])
    results: Mapping[int, str] = msgspec.field(default_factory=dict[int, str])
    sources: AbstractSet[str] = frozenset()
    partial_sources: AbstractSet[str] = frozenset()
    credentials: Mapping[str, KnownCredential] = msgspec.field(default_factory=dict[str, KnownCredential])
    shingles: Mapping[str, frozenset[int]] = msgspec.field(default_factory=dict[str, frozenset[int]])
    job_words: AbstractSet[int] = NO_DIGESTS
    """Words of the untrusted results of the whole job, for a call with values that may be unread."""
    are_job_words_whole: bool = True

    @property
    def untrusted(self) -> bool:
        """Return whether earlier tasks have read something untrusted."""
        return bool(self.untrusted_systems)


NOTHING: Final = Carried()


def carried(states: Sequence[TaskState]) -> Carried:
    """Return the readings of tasks, the latest first. One task, as is usual, costs no copy."""
    if not states:
        return NOTHING
    latest = _of_one(states[0])
    return latest if len(states) == 1 else _join([latest, *map(_of_one, states[1:])])


def _of_one(state: TaskState) -> Carried:
    return Carried(
        state.untrusted_systems,
        state.confidentiality,
        state.confidential_systems,
        state.trusted,
        state.told_to_trusted.keys(),
        len(state.told_to_trusted) > MAX_TOLD_TO_TRUSTED,
        state.records,
        state.unrecorded.keys(),
        state.sampled,
        state.unread_words.keys(),
        bool(state.words_overflowed_at),
        state.tokens,
        state.results,
        state.sources,
        state.partial_sources,
        state.credentials,
        state.shingles,
    )


def _join(found: list[Carried]) -> Carried:
    """Return copies; an earlier task outlives the next one only while a call of it is open."""
    tokens: dict[int, int] = {}
    results: dict[int, str] = {}
    credentials: dict[str, KnownCredential] = {}
    shingles: dict[str, frozenset[int]] = {}
    records: dict[str, AbstractSet[int]] = {}
    confidentiality = Sensitivity.PUBLIC
    for index, one in enumerate(found):
        tokens.update((token, number + index * STRIDE) for token, number in one.tokens.items())
        results.update((number + index * STRIDE, audience) for number, audience in one.results.items())
        credentials.update(one.credentials)
        shingles.update(one.shingles)
        for audience, values in one.records.items():
            records[audience] = values | records.get(audience, NO_DIGESTS)
        confidentiality = higher(confidentiality, one.confidentiality)
    return Carried(
        frozenset(item for one in found for item in one.untrusted_systems),
        confidentiality,
        frozenset(item for one in found for item in one.confidential_systems),
        frozenset(item for one in found for item in one.trusted),
        frozenset(item for one in found for item in one.told_to_trusted),
        any(one.told_overflow for one in found),
        records,
        frozenset(item for one in found for item in one.unrecorded),
        any(one.sampled for one in found),
        frozenset(item for one in found for item in one.unread_words),
        any(one.words_overflow for one in found),
        tokens,
        results,
        frozenset(item for one in found for item in one.sources),
        frozenset(item for one in found for item in one.partial_sources),
        credentials,
        shingles,
    )


def add_job_words(found: Carried, words: UntrustedWords | None) -> Carried:
    """Return readings with the words that the job has read."""
    if words is None:
        return found
    return msgspec.structs.replace(found, job_words=words.words, are_job_words_whole=words.are_whole)


def is_unread(state: TaskState, pieces: frozenset[int] | None, before: Carried = NOTHING) -> bool:
    """Return whether certainly no untrusted result has shown a value to the job, by the parts of it (`CallContent.pieces_of`)."""
    if (
        pieces is None
        or not before.are_job_words_whole
        or not pieces.isdisjoint(before.job_words)
        or state.sampled
        or before.sampled
        or state.partial_sources
        or before.partial_sources
    ):
        return False
    return pieces.isdisjoint(state.tokens) and pieces.isdisjoint(before.tokens)


def records_of(audience: str | None, state: TaskState, before: Carried) -> tuple[AbstractSet[int], ...]:
    """Return the values in records of one system, in this task and the tasks before."""
    found = (records.get(audience) for records in (state.records, before.records)) if audience is not None else ()
    return tuple(values for values in found if values is not None)
