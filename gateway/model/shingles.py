"""The form of shingles and marks, to recognize a credential. Pure.

A shingle is an integer of 64 bits. Its upper 48 bits are a keyed digest of a run of letters (the gram). Its lower 16
bits are the place of the run in the value. In a mark these bits say whether the digest is of a window of the value, or
of the whole value.

Of too many credentials only the marks are kept. Such a credential is named by its mark, in 16 hex digits. A fingerprint
has 24.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

GRAM: Final = 6
"""Letters and digits of a gram."""
IN_WINDOW: Final = 0xFFFF
IN_WORD: Final = 0xFFFE
_PLACE: Final = 0xFFFF
_GRAM: Final = ~_PLACE
_NAME_DIGITS: Final = 16


def gram(shingle: int) -> int:
    """Return the digest in a shingle."""
    return shingle & _GRAM


def place_of(shingle: int) -> int:
    """Return the place in a shingle."""
    return shingle & _PLACE


def is_mark(shingle: int) -> bool:
    """Return whether a shingle is a mark."""
    return shingle & _PLACE >= IN_WORD


def is_word_mark(mark: int) -> bool:
    """Return whether a mark belongs to a whole value."""
    return mark & _PLACE == IN_WORD


def word_mark(fingerprint: str) -> int:
    """Return the mark of the whole value with this fingerprint."""
    return int(fingerprint[:_NAME_DIGITS], 16) & _GRAM | IN_WORD


def grams_of(shingles: Collection[int]) -> tuple[int, ...]:
    """Return the shingles without the marks."""
    return tuple(shingle for shingle in shingles if not is_mark(shingle))


def mark_of(shingles: Collection[int]) -> int | None:
    """Return the mark among the shingles of a credential: the smallest of a key, whose lines have marks too."""
    return min(filter(is_mark, shingles), default=None)


def marks_of(shingles: Collection[int]) -> tuple[int, ...]:
    """Return all marks among the shingles of a credential."""
    return tuple(filter(is_mark, shingles))


def name_of(mark: int) -> str:
    """Return the name of a credential known by its mark alone."""
    return f"{mark:0{_NAME_DIGITS}x}"


def mark_named(name: str) -> int | None:
    """Return the mark in the name of a credential; `None` if the credential has a fingerprint."""
    return int(name, 16) if len(name) == _NAME_DIGITS else None


def is_exposed(shingles: Collection[int], grams: Iterable[int]) -> bool:
    """Return whether these grams hold more than half of the letters of a value. `shingles` belong to the value."""
    known = grams_of(shingles)
    found = frozenset(grams)
    have = _letters([shingle & _PLACE for shingle in known if gram(shingle) in found])
    return 2 * have > _letters([shingle & _PLACE for shingle in known])


def _letters(places: list[int]) -> int:
    """Return how many letters there are in the runs at these places."""
    count, end = 0, 0
    for place in sorted(places):
        count += place + GRAM - max(place, end)
        end = place + GRAM
    return count
