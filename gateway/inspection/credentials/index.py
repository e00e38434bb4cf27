"""Known credentials as an index, for the search in many texts. Pure.

The filter finds the few known grams of a text. The six bytes of the known grams are marked in six tables. One pass over
each byte of all digests of a text tells the places where all six are marked. For a page of text that is a sixth of the work.

Pieces of a credential are runs of its letters that are too long for chance. In a long day, identifiers hold each six hex
digits of a password. Of a long value (a key, a signature) only a sample of the grams is known, so that its runs have gaps."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from gateway.inspection.credentials.finding import KnownShingles
from gateway.inspection.credentials.fingerprint import BLOCK, SAMPLE, grams_of_digests, is_half_covered
from gateway.model.shingles import GRAM, gram, grams_of, is_word_mark, mark_named, marks_of, place_of, word_mark

# --- the filter of grams -----------------------------------------------------------------------------

_WIDTH: Final = 8
_ORDER: Final = sys.byteorder
_PLACE: Final = 0xFFFF
_SIGNIFICANT: Final = range(2, _WIDTH)
"""The bytes of a gram, the least significant first. The two bytes before are its place."""
_MOST: Final = 160
"""The number of known grams above which most bytes are marked. Comparing whole grams costs less then."""


class GramFilter:
    """Marks of known grams. A removed gram stays marked, which costs only time."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables = [bytearray(256) for _ in _SIGNIFICANT]

    def add(self, gram: int) -> None:
        """Mark a gram."""
        for table, place in zip(self._tables, _SIGNIFICANT, strict=True):
            table[gram >> 8 * place & 0xFF] = 1

    def find(self, digests: bytearray, known: Collection[int]) -> set[int] | None:
        """Return the known grams among the digests of a text; `None` if comparing whole grams costs less. `known` are the marked grams."""
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


# --- pieces ------------------------------------------------------------------------------------------

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


# --- the index ---------------------------------------------------------------------------------------


class CredentialIndex:
    """Known credentials, for search in many texts. One thread may change the index during another's search: the search
    may or may not see the change."""

    __slots__ = ("_by_gram", "_filter", "_lines", "_samples", "_windows", "_words")

    def __init__(self, known: KnownShingles) -> None:
        self._samples: dict[str, tuple[int, ...]] = {}
        self._by_gram: dict[int, str | tuple[str, ...]] = {}
        self._lines: dict[str, tuple[int, ...]] = {}
        self._filter = GramFilter()
        self._windows: dict[int, str] = {}
        self._words: dict[int, str] = {}
        for name, shingles in known.items():
            self.add(name, shingles)

    def __bool__(self) -> bool:
        return bool(self._samples or self._words or self._windows)

    @property
    def has_marks(self) -> bool:
        """Return whether a credential is known by a mark."""
        return bool(self._windows or self._words)

    @property
    def has_words(self) -> bool:
        """Return whether a credential is known as a whole word alone."""
        return bool(self._words)

    @property
    def has_windows(self) -> bool:
        """Return whether a credential is known by the mark of a window."""
        return bool(self._windows)

    def add(self, name: str, shingles: Collection[int]) -> None:
        """Add a credential that was not known before. Without shingles it is known by its mark, or as a whole word."""
        sample = grams_of(shingles)
        if sample:
            self._samples[name] = sample
            if len(marks := marks_of(shingles)) > 1:
                # Each line of a key tells the key.
                self._lines[name] = marks
                self._windows.update(dict.fromkeys(marks, name))
            for digest in map(gram, sample):
                others = self._names(digest)
                self._filter.add(digest)
                self._by_gram[digest] = (*others, name) if others else name
            return
        mark = _own_mark(name)
        (self._words if is_word_mark(mark) else self._windows)[mark] = name

    def remove(self, name: str) -> None:
        """Remove a credential, if it is known."""
        sample = self._samples.pop(name, None)
        if sample is None:
            mark = _own_mark(name)
            (self._words if is_word_mark(mark) else self._windows).pop(mark, None)
            return
        for mark in self._lines.pop(name, ()):
            self._windows.pop(mark, None)
        for digest in map(gram, sample):
            left = tuple(other for other in self._names(digest) if other != name)
            if left:
                self._by_gram[digest] = left
            else:
                del self._by_gram[digest]

    def _names(self, digest: int) -> tuple[str, ...]:
        """Return the credentials with a gram. A single credential is kept without a list, to save memory."""
        found = self._by_gram.get(digest, ())
        return (found,) if isinstance(found, str) else found

    def find_grams(self, digests: bytearray) -> set[int]:
        """Return the grams of a text, given as digests, that occur in any known credential."""
        if not self._by_gram:
            return set()
        found = self._filter.find(digests, self._by_gram.keys())
        return self._by_gram.keys() & grams_of_digests(digests) if found is None else found

    def find_covered(self, grams: set[int]) -> set[str]:
        """Return the names of the credentials of which these grams cover half."""
        names = {name for digest in grams for name in self._names(digest)}
        return {name for name in names if is_half_covered(self._samples.get(name, ()), grams)}

    def find_sharing(self, grams: Iterable[int]) -> dict[str, tuple[int, ...]]:
        """Return the credentials that have any of these grams, each with all its shingles."""
        names = dict.fromkeys(name for digest in grams for name in self._names(digest))
        return {name: self._samples.get(name, ()) for name in names}

    def find_by_marks(self, marks: Iterable[int]) -> set[str]:
        """Return the names of the credentials that are known by any of these marks."""
        return {name for mark in marks if (name := self._windows.get(mark) or self._words.get(mark)) is not None}


def _own_mark(name: str) -> int:
    """Return the mark that the name of a credential without shingles says."""
    mark = mark_named(name)
    return word_mark(name) if mark is None else mark


NO_INDEX: Final = CredentialIndex({})
"""The index of a task that has seen no credential. Nothing is added to it."""


# --- the indexes of recent tasks ---------------------------------------------------------------------

MAX_CREDENTIALS: Final = 20_000
"""Credentials in all indexes that are kept, about 100 MB if all of them have shingles."""


class RecentIndexes:
    """Indexes of the credentials that tasks have seen, by task."""

    def __init__(self, most: int = MAX_CREDENTIALS) -> None:
        self._indexes: OrderedDict[str, tuple[CredentialIndex, frozenset[str]]] = OrderedDict()
        self._most = most
        self._size = 0

    def of(self, task: str, seen: Mapping[str, frozenset[int]]) -> CredentialIndex | None:
        """Return the index of the credentials that a task has seen; `None` for none."""
        if not seen:
            return None
        index, known = self._indexes.pop(task, (None, frozenset[str]()))
        index, names = index or CredentialIndex({}), frozenset(seen)
        for name in names - known:
            index.add(name, seen[name])
        for name in known - names:
            index.remove(name)
        self._indexes[task] = index, names
        self._size += len(names) - len(known)
        while self._size > self._most and len(self._indexes) > 1:
            _, (_, left) = self._indexes.popitem(last=False)
            self._size -= len(left)
        return index
