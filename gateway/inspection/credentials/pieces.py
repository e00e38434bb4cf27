"""Finds the pieces of a known credential in a text: runs of its letters that are too long to be there by chance. Pure.

Chance has to be ruled out run by run: in a long day, identifiers hold each six hex digits of a password. Of a long value
(a key, a signature) only a sample of the grams is known, so that its runs have gaps.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from gateway.inspection.credentials.fingerprint import SAMPLE
from gateway.model.shingles import GRAM, gram, place_of

_DIGITS: Final = re.compile(rb"[0-9]*")
_HEX: Final = re.compile(rb"[0-9a-f]*")
_LETTERS: Final = re.compile(rb"[a-z]*")
_FEWEST_DIGITS: Final = 10
_FEWEST_HEX: Final = 8
_FEWEST_LETTERS: Final = 8
"""Letters of a run that are no chance. Of a run that mixes letters and digits, those of one gram are none."""


def pieces_of(counted: bytes, grams: Sequence[int], shingles: Collection[int]) -> frozenset[int]:
    """Return the grams of a credential that are in a text. `counted` are the letters of the text (`fingerprint.letters`),
    `grams` its grams, `shingles` those of the credential, without its mark."""
    places = {gram(shingle): place_of(shingle) for shingle in shingles}
    hits = [(at, places[digest]) for at, digest in enumerate(grams) if digest in places]
    is_long = len(places) >= SAMPLE
    runs = _rows(hits) if is_long else _runs([at for at, _ in hits])
    return frozenset(
        grams[at] for run in runs if _is_telling(counted[run[0] : run[-1] + GRAM], is_long=is_long) for at in run
    )


def _runs(hits: Sequence[int]) -> Iterator[list[int]]:
    """Yield the hits in runs without a gap."""
    run: list[int] = []
    for at in hits:
        if run and at > run[-1] + 1:
            yield run
            run = []
        run.append(at)
    if run:
        yield run


def _rows(hits: Sequence[tuple[int, int]]) -> Iterable[list[int]]:
    """Return the hits of a sample in rows: as far from each other in the text as in the value."""
    rows: dict[int, list[int]] = {}
    for at, place in hits:
        rows.setdefault(at - place, []).append(at)
    return rows.values()


def _is_telling(run: bytes, *, is_long: bool) -> bool:
    """Return whether a run is too long for chance. Half of the grams of a long value are no chance if they mix letters."""
    if _DIGITS.fullmatch(run) is not None:
        return len(run) >= _FEWEST_DIGITS
    if _HEX.fullmatch(run) is not None:
        return len(run) >= _FEWEST_HEX
    return is_long or len(run) >= _FEWEST_LETTERS or _LETTERS.fullmatch(run) is None
