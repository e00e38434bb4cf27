"""The values that the gateway issued or holds: leases, connections, standing headers, task tokens and tokens of callers. Pure.

Each answer and each argument of every caller is asked about all of them. A look at a text first compares runs of its letters
with the runs of all values, which settles nearly every text. Only near values are then searched for (`calls.inspect`).

The values are in this memory alone, are never shown or stored, and are forgotten some minutes after their end.
"""

from __future__ import annotations

import binascii
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from gateway.base.json.walk import leaves
from gateway.inspection.credentials.decoders import without_fillers
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import (
    LONGEST,
    encoded,
    find_distinguishing,
    is_key,
    letters,
    normalise_value,
    secret_lines,
)
from gateway.inspection.credentials.forms import ROUNDS, Budget, Signs, decode_once, signs_of
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.ordinary import is_ordinary
from gateway.model.shingles import is_exposed
from gateway.model.wire import Json

GRACE: Final = 60.0
"""Seconds after the end of a value in which a late answer may still show it."""
MAX_RUNS: Final = 2_000_000
"""Runs of all values: of 70,000 tokens, some 250 MB. Ended values leave first, then the oldest, and never a lasting value."""
SHORTEST: Final = 8
"""Characters below which a text stands in answers by chance."""

_PART: Final = 48 * 2**10
"""Characters that are searched together. Each takes at most four bytes, and a search 256 KiB."""
_OVERLAP: Final = 16 * 2**10
_RUN: Final = 8
"""Letters of a run: as many as bytes of a number."""
_WHOLE: Final = 96
"""Letters of a value whose runs are all kept, such as the signature of a token. Of a longer value every third is, so that
nineteen letters in a row tell it."""
_STEP: Final = 3
_HALF: Final = _RUN // 2
"""Letters from one run of a text to the next that is looked at. Backwards, it is every eighth."""
_BETWEEN: Final = tuple(start for start in range(_RUN) if start % _HALF)
_CLOSELY: Final = tuple(start for start in range(1, _RUN) if start != _HALF)
_CLOSELY_BACK: Final = tuple(range(2, _RUN, 2))
"""Further places of a text at which a close look compares a run: forwards each, backwards every second."""
_TINY: Final = _RUN + _HALF - 1
_SHORT: Final = 2 * _RUN - 1
"""Letters below which a value may stand between the runs that are looked at, forwards and backwards. While such a value lives,
more runs are looked at."""


class LiveValue:
    """A value, its holders with their systems, and the parts of it that were shown or sent."""

    __slots__ = ("_detector", "_shingles", "_text", "holders", "literal", "name", "runs", "sent", "shown")

    def __init__(self, text: str, detector: Detector) -> None:
        self.literal = text
        self._text = _telling_part(text)
        self._detector = detector
        self._shingles: frozenset[int] | None = None
        self.name = detector.fingerprints.of(self._text)
        self.runs: Sequence[int] = _runs_of(self._text)
        self.holders: dict[str, str] = {}
        self.shown: set[int] = set()
        self.sent: set[int] = set()

    def __repr__(self) -> str:
        return f"LiveValue({self.name})"

    @property
    def shingles(self) -> frozenset[int]:
        """Return what the search knows the value by. Most values are never near a text, and need none."""
        if self._shingles is None:
            self._shingles = self._detector.fingerprints.shingles(self._text, in_lines=is_key(self._text))
        return self._shingles

    def may_go_to(self, audience: str) -> bool:
        """Return whether the value belongs to a system."""
        return audience in self.holders.values()


class LiveValues:
    """The registry. An `audience` is the system that a value belongs to, `caller_tokens.OF_THE_GATEWAY` for none. `clock` gives
    seconds, and never goes back."""

    def __init__(self, detector: Detector, clock: Callable[[], float]) -> None:
        self._detector = detector
        self._clock = clock
        self._values: dict[str, LiveValue] = {}
        self._held: dict[str, list[str]] = {}
        self._by_run: dict[int, LiveValue | tuple[LiveValue, ...]] = {}
        self._exact: dict[bytes, LiveValue] = {}
        self._short = self._tiny = 0
        self.additions = 0
        """Values added so far. A text that was near no value stays so until the next."""
        self._ending: deque[tuple[float, str]] = deque()
        self._due: dict[str, float] = {}
        self._lasting: set[str] = set()

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"LiveValues({len(self)})"

    # --- the life of a value -------------------------------------------------------------------------

    def hold(self, holder: str, values: Iterable[str], audience: str, *, lasting: bool = False) -> None:
        """Add values of a holder, such as a lease. A value that is too short or too ordinary to be told apart is left out.

        A `lasting` holder keeps its values as long as the gateway runs.
        """
        self._due.pop(holder, None)
        if lasting:
            self._lasting.add(holder)
        for text in filter(is_telling, values):
            value = self._values.get(text)
            if value is None:
                value = self._add(text)
            value.holders[holder] = audience
            held = self._held.setdefault(holder, [])
            if text not in held:
                held.append(text)
        self._make_room()

    def replace(self, holder: str, value: str, audience: str) -> None:
        """Hold a value in the place of the holder's earlier values."""
        earlier = self._held.pop(holder, [])
        self.hold(holder, [value], audience)
        self._leave(holder, [text for text in earlier if text != value])

    def release(self, holder: str) -> None:
        """Forget the values of a holder after `GRACE`."""
        self.forget()
        if holder in self._held:
            self._due[holder] = due = self._clock() + GRACE
            self._ending.append((due, holder))

    def forget(self) -> None:
        """Forget the values whose time is over."""
        now = self._clock()
        while self._ending and self._ending[0][0] <= now:
            self._end_first()

    def _end_first(self) -> None:
        """Forget the holder with the earliest release, unless it holds values again."""
        due, holder = self._ending.popleft()
        if self._due.get(holder) == due:
            del self._due[holder]
            self._drop(holder)

    def _add(self, text: str) -> LiveValue:
        value = self._values[text] = LiveValue(text, self._detector)
        self.additions += 1
        fresh = dict.fromkeys(value.runs, value)
        if self._by_run.keys().isdisjoint(fresh):
            self._by_run.update(fresh)
        else:
            for run in fresh:
                self._by_run[run] = (*self._with(run), value)
        if not fresh:
            self._exact = {**self._exact, encoded(text): value}
        self._count(value, 1)
        return value

    def _make_room(self) -> None:
        while len(self._by_run) > MAX_RUNS:
            if self._ending:
                self._end_first()
                continue
            oldest = next((holder for holder in self._held if holder not in self._lasting), None)
            if oldest is None:
                break
            self._drop(oldest)

    def _drop(self, holder: str) -> None:
        self._leave(holder, self._held.pop(holder, []))

    def _leave(self, holder: str, texts: list[str]) -> None:
        """Take a holder from values, and forget those without another."""
        for text in texts:
            value = self._values[text]
            value.holders.pop(holder, None)
            if not value.holders:
                self._remove(text, value)

    def _remove(self, text: str, value: LiveValue) -> None:
        del self._values[text]
        self._exact = {written: other for written, other in self._exact.items() if other is not value}
        self._count(value, -1)
        for run in frozenset(value.runs):
            left = tuple(other for other in self._with(run) if other is not value)
            if left:
                self._by_run[run] = left
            else:
                del self._by_run[run]

    def _count(self, value: LiveValue, change: int) -> None:
        """Count the short values and the tiny values."""
        size = len(value.runs) + _RUN - 1 if value.runs else 0
        self._short += change * (0 < size < _SHORT)
        self._tiny += change * (0 < size < _TINY)

    def _with(self, run: int) -> tuple[LiveValue, ...]:
        """Return the values with a run. A single value is kept without a list, to save memory."""
        found = self._by_run.get(run, ())
        return (found,) if isinstance(found, LiveValue) else found

    def holds(self, text: str) -> bool:
        """Return whether a value is held."""
        return text in self._values

    # --- the look at a text --------------------------------------------------------------------------

    def find_near(self, text: bytes) -> tuple[LiveValue, ...]:
        """Return the values that a text without JSON's escapes may show, in any form; none for nearly every text."""
        return self.find_by_signs(text, signs_of(text)) if self._values else ()

    def find_by_signs(
        self, text: bytes, signs: Signs | None, *, beside: bytes = b"", closely: bool = False
    ) -> tuple[LiveValue, ...]:
        """Return the same for a text with these signs. `beside` is another reading of the text.

        A close look finds pieces of eight letters of a value whose runs are all kept, and of ten letters of any other. Only the
        text itself needs one: a piece is longer in other readings.
        """
        found = self._meet(text, closely=closely)
        if beside:
            found |= self._meet(beside)
        if signs is not None:
            for reading in _readings(text, signs, Budget(len(text)), ROUNDS):
                found |= self._meet(reading)
        return tuple(found)

    def _meet(self, text: bytes, *, closely: bool = False) -> set[LiveValue]:
        """Return the values with a run of letters that a text has, forwards or backwards."""
        row = letters(text)
        back = row[::-1]
        starts, starts_back = (0, _HALF), (0,)
        if closely:
            starts, starts_back = (*starts, *_CLOSELY), (*starts_back, *_CLOSELY_BACK)
        if self._short:
            starts_back = (*starts_back, _HALF)
        if self._tiny:
            starts, starts_back = (*starts, *_BETWEEN), (*starts_back, *_BETWEEN)
        known, found = self._by_run.keys(), set[LiveValue]()
        for letters_in_order, places in ((row, starts), (back, starts_back)):
            for start in places:
                # The whole runs from this place on. To list them first would cost half as much again.
                end = start + (len(row) - start & -_RUN)
                runs = memoryview(letters_in_order)[start:end].cast("Q")
                if not known.isdisjoint(runs):
                    found.update(value for run in known & runs for value in self._with(run))
        if self._exact:
            found.update(value for written, value in self._exact.items() if written in text)
        return found

    # --- the search for near values ------------------------------------------------------------------

    def index(self, near: Iterable[LiveValue]) -> CredentialIndex:
        """Return the index of some values."""
        return CredentialIndex({value.name: value.shingles for value in near})

    def find_whole(
        self, near: Sequence[LiveValue], values: list[Json], parts_of: Callable[[LiveValue], set[int]]
    ) -> tuple[LiveValue, ...]:
        """Return the near values with more than half of their letters in these texts and earlier texts.

        `parts_of` gives the parts of a value in earlier texts, and takes the parts in these.
        """
        index, found, incomplete = self.index(near), dict[str, set[int]](), False
        whole = set[str]()
        for part in _parts(values):
            seen = self._detector.inspect_leaves(leaves(part), {}, index, new=False)
            incomplete = incomplete or seen.incomplete
            whole.update(finding.fingerprint for finding in seen.findings)
            for piece in seen.pieces:
                found.setdefault(piece.fingerprint, set()).update(piece.grams)
        return tuple(
            value
            for value in near
            if incomplete or value.name in whole or _completes(value, found.get(value.name), parts_of(value))
        )


def shown_parts(value: LiveValue) -> set[int]:
    """Return the parts of a value that answers have shown."""
    return value.shown


def sent_parts(value: LiveValue) -> set[int]:
    """Return the parts of a value that messages of callers have carried."""
    return value.sent


def is_telling(text: str) -> bool:
    """Return whether a value can be told apart from other text."""
    return len(text) >= SHORTEST and len(set(text)) >= SHORTEST // 2 and not is_ordinary(text)


def _readings(text: bytes, signs: Signs, budget: Budget, rounds: int) -> Iterator[bytes]:
    """Yield the other readings of a text, for which it has signs, in so many rounds of encodings."""
    if signs.spelled:
        yield (spelled := without_fillers(text))
        if signs.split:
            yield from _decode_wide(spelled)
    if not signs.encoded or not rounds:
        return
    yield from _decode_wide(text)
    for _, decoded in decode_once(text, rare=signs.rare):
        if budget.take(len(decoded)):
            yield decoded
            if (inner := signs_of(decoded)) is not None:
                yield from _readings(decoded, inner, budget, rounds - 1)


def _decode_wide(text: bytes) -> Iterator[bytes]:
    """Yield base64 in a text decoded at each place where its groups may begin, without zeros: UTF-16 has many."""
    rows = [match[0].translate(_OF_URLS) for match in _IN_BASE64.finditer(text)]
    for start in range(_GROUP):
        decoded = [binascii.a2b_base64(row[start : len(row) - (len(row) - start) % _GROUP]) for row in rows]
        yield b" ".join(decoded).replace(b"\0", b"")


def _completes(value: LiveValue, piece: set[int] | None, parts: set[int]) -> bool:
    """Return whether a piece makes more than half of a value, together with earlier parts. Otherwise note the piece."""
    if piece is None:
        return False
    if is_exposed(value.shingles, parts | piece):
        return True
    parts |= piece
    return False


def _parts(values: list[Json]) -> Iterator[list[Json]]:
    """Yield values in parts that a search takes whole. Of large values, each part begins within the one before."""
    texts = [value if isinstance(value, str) else repr(value) for value in values]
    if sum(map(len, texts)) <= _PART:
        yield values
        return
    text = "\0".join(texts)
    for start in range(0, max(1, len(text) - _OVERLAP), _PART - _OVERLAP):
        yield [text[start : start + _PART]]


def _telling_part(text: str) -> str:
    """Return the part of a value that no other has: of a JWT its signature. The marks between letters tell nothing, where
    there are enough letters."""
    value = normalise_value(text)[:LONGEST]
    if is_key(value):
        return value
    told = find_distinguishing(value) if value.startswith("eyJ") else value
    alone = _MARKS.sub("", told)
    return alone if len(alone) >= _RUN else text


def _runs_of(told: str) -> list[int]:
    """Return the runs of the telling part of a value."""
    counted = letters(encoded(secret_lines(told) if is_key(told) else told))
    step = 1 if len(counted) <= _WHOLE else _STEP
    return [int.from_bytes(counted[at : at + _RUN], sys.byteorder) for at in range(0, len(counted) - _RUN + 1, step)]


_MARKS: Final = re.compile(r"[^A-Za-z0-9]+")
_IN_BASE64: Final = re.compile(rb"[0-9A-Za-z+/_-]{12,}")
_OF_URLS: Final = bytes.maketrans(b"-_", b"+/")
_GROUP: Final = 4
"""Characters of base64 for three bytes."""
