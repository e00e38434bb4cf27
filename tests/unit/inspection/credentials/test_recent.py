"""The indexes of the tasks that called last."""

from __future__ import annotations

from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.index import RecentIndexes

KEYED = Fingerprints(b"k" * 32)


def seen(*values: str) -> dict[str, frozenset[int]]:
    return {KEYED.of(value): KEYED.shingles(value) for value in values}


def test_a_task_that_has_seen_nothing_has_no_index():
    assert RecentIndexes().of("t", {}) is None


def test_an_index_grows_with_what_its_task_has_seen():
    recent, known = RecentIndexes(), seen("k7Qz93mW2tRx8bLn")
    index = recent.of("t", known)
    known |= seen("aB3dE5gH7jK9mN2p", "482109")

    assert recent.of("t", known) is index
    assert index is not None
    assert index.find_covered(set(KEYED.grams(b"aB3dE5gH7jK9mN2p"))) == set(seen("aB3dE5gH7jK9mN2p"))
    assert index.has_words


def test_an_index_has_what_is_seen_whatever_came_or_went_in_between():
    recent = RecentIndexes()
    first = recent.of("t", seen("k7Qz93mW2tRx8bLn", "aB3dE5gH7jK9mN2p"))
    second = recent.of("t", seen("Zz9Yy8Xx7Ww6Vv5U"))

    assert first is second
    assert second is not None
    assert second.find_covered(set(KEYED.grams(b"k7Qz93mW2tRx8bLn"))) == set()
    assert second.find_covered(set(KEYED.grams(b"Zz9Yy8Xx7Ww6Vv5U"))) == set(seen("Zz9Yy8Xx7Ww6Vv5U"))


def test_no_more_are_kept_than_there_is_room_for():
    recent = RecentIndexes(2)
    first = recent.of("t", seen("k7Qz93mW2tRx8bLn"))
    recent.of("u", seen("aB3dE5gH7jK9mN2p"))
    assert recent.of("t", seen("k7Qz93mW2tRx8bLn")) is first
    recent.of("v", seen("Zz9Yy8Xx7Ww6Vv5U", "482109", "482110"))
    assert recent.of("t", seen("k7Qz93mW2tRx8bLn")) is not first
