"""Finds the few grams of a text that a set of known grams has, without a number for each gram of the text. Pure.

The six bytes of the known grams are marked in six tables. One pass over each byte of all digests of a text tells the places
where all six are marked. Only the digests at these places become numbers. For a page of text that is a sixth of the work.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final

BLOCK: Final = 16
"""Bytes of the digest of one run of letters, of which the first eight are the gram and room for a place."""
_WIDTH: Final = 8
_ORDER: Final = sys.byteorder
_PLACE: Final = 0xFFFF
_SIGNIFICANT: Final = range(2, _WIDTH)
"""The bytes of a gram, the least significant first. The two bytes before are its place."""
_MOST: Final = 160
"""Known grams from which on most bytes are marked, so that numbers cost less."""


class GramFilter:
    """Marks of known grams. A removed gram stays marked, which costs only time."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables = [bytearray(256) for _ in _SIGNIFICANT]

    def add(self, gram: int) -> None:
        """Mark a gram."""
        for table, place in zip(self._tables, _SIGNIFICANT, strict=True):
            table[gram >> 8 * place & 0xFF] = 1

    def among(self, digests: bytearray, known: Collection[int]) -> set[int] | None:
        """Return the known grams among the digests of a text; `None` if numbers cost less. `known` are the marked grams."""
        if len(known) > _MOST:
            return None
        count = len(digests) // BLOCK
        marks = (1 << 8 * count) - 1
        for table, place in zip(self._tables, _SIGNIFICANT, strict=True):
            at = place if _ORDER == "little" else _WIDTH - 1 - place
            marks &= int.from_bytes(digests[at::BLOCK].translate(table), "little")
        if not marks:
            return set()
        return {gram for gram in _grams_at(marks.to_bytes(count, "little"), digests) if gram in known}


def _grams_at(marks: bytes, digests: bytearray) -> list[int]:
    found: list[int] = []
    at = marks.find(1)
    while at >= 0:
        begin = at * BLOCK
        found.append(int.from_bytes(digests[begin : begin + _WIDTH], _ORDER) & ~_PLACE)
        at = marks.find(1, at + 1)
    return found
