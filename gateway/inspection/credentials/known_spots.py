"""Finds where known credentials stand in a text that is about to be recorded or repeated. Pure.

A credential without a format is told by its fingerprint alone, in whatever form it is written. The spot is the word that
holds it, or the part of the word between separators. Where several words hold it together, the spot is the whole text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_letters, digits
from types import MappingProxyType
from typing import Final, TypeAlias

from gateway.base.json.walk import Leaves, leaves
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding, Hit
from gateway.inspection.credentials.fingerprint import encoded
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.live_values import LiveValue, LiveValues, shown_parts
from gateway.model.wire import Json

Spot: TypeAlias = tuple[int, int, str]
"""Begin, end and `rule:fingerprint`."""

LONGEST: Final = 16 * 2**10
"""Characters of a text that are searched for words. A longer text with a known credential is one spot."""
UNSEARCHED: Final = "unsearched"
"""Stands for the rule and fingerprint where a text was too much to be searched."""

_WORD: Final = re.compile(r"[^\s\"'`]+")
# The padding of base64 belongs to its part.
_PART: Final = re.compile(r"[^=:,;&?/<>(){}\[\]|@#%!.\\~]+(?:={1,2}(?=[,;&<>(){}\[\]|]|\Z))?")
_SEPARATOR: Final = re.compile(r"[=:,;&?/<>(){}\[\]|@#%!.\\~]")
_MOST_CUTS: Final = 16
"""Separators on either side of a part at which its whole credential may begin and end."""


class KnownSpots:
    """Search for the credentials of some indexes, and for the `live` values of the gateway. `rules` maps a fingerprint to the
    rule that found the credential."""

    __slots__ = ("_detector", "_indexes", "_live", "_rules")

    def __init__(
        self,
        detector: Detector,
        indexes: Sequence[CredentialIndex],
        rules: Mapping[str, str] = MappingProxyType({}),
        live: LiveValues | None = None,
    ) -> None:
        self._detector = detector
        self._indexes = [index for index in indexes if index]
        self._rules = rules
        self._live = live

    def _indexes_near(self, text: bytes) -> list[CredentialIndex]:
        """Return the indexes, with one of the live values that a text may hold."""
        near = self._live.find_near(text) if self._live is not None else ()
        return [*self._indexes, self._live.index(near)] if near and self._live is not None else self._indexes

    def holds_any(self, value: Json) -> bool:
        """Return whether a value may hold a known credential: in a text or a name in it, or in several together."""
        return bool(self._indexes or self._live) and self.holds_leaves(leaves(value))

    def holds_leaves(self, walked: Leaves) -> bool:
        """Return the same for the leaves of a value."""
        for index in self._indexes_near(walked.data):
            found = self._detector.inspect_leaves(walked, {}, index, new=False)
            if found.findings or found.incomplete:
                return True
        return False

    def __call__(self, text: str) -> list[Spot]:
        """Return the spots of a text, in order and apart."""
        name = self._name(text)
        if name is None:
            return []
        whole = [(0, len(text), name)]
        if len(text) > LONGEST:
            return whole
        spots = [
            spot for begin, end, held in self._among(text, _WORD, 0) for spot in self._narrow(text, begin, end, held)
        ]
        return spots if spots and self._name(_without(text, spots)) is None else whole

    def _narrow(self, text: str, begin: int, end: int, name: str) -> list[Spot]:
        """Return the parts of a word that hold credentials, or the word where only all of it does."""
        word = text[begin:end]
        parts = [self._widen(word, spot) for spot in self._among(word, _PART, 0)]
        if parts and self._name(_without(word, _join_spots(parts))) is None:
            return [(at + begin, to + begin, held) for at, to, held in _join_spots(parts)]
        return [(begin, end, name)]

    def _widen(self, word: str, spot: Spot) -> Spot:
        """Return the place of a whole credential with separators in it, of which the spot is the telling part."""
        at, to, held = spot
        fingerprint, of = held.rpartition(":")[2], self._detector.fingerprints.of
        cuts = sorted({0, len(word), *(place for match in _SEPARATOR.finditer(word) for place in match.span())})
        starts = [cut for cut in cuts if cut <= at][-_MOST_CUTS:]
        ends = [cut for cut in cuts if cut >= to][:_MOST_CUTS]
        whole = ((start, end, held) for start in starts for end in ends if of(word[start:end]) == fingerprint)
        return next(whole, spot)

    def _among(self, text: str, pieces: re.Pattern[str], offset: int) -> list[Spot]:
        """Return the pieces of a text that hold a credential each."""
        matches = list(pieces.finditer(text))
        words: list[Json] = [match[0] for match in matches]
        held: dict[int, str] = {}
        for finding in self._findings(words):
            number = finding.pointer.rpartition("/")[2]
            if number.isdigit():
                held.setdefault(int(number), self._mark_of(finding))
        return [
            (matches[number].start() + offset, matches[number].end() + offset, held[number]) for number in sorted(held)
        ]

    def _name(self, text: str) -> str | None:
        """Return the mark of a credential that a text holds, in whatever form; `None` for none."""
        walked = leaves([text])
        for index in self._indexes_near(walked.data):
            found = self._detector.inspect_leaves(walked, {}, index, new=False)
            if found.findings:
                return self._mark_of(found.findings[0])
            if found.incomplete:
                return UNSEARCHED
        return None

    def _findings(self, words: list[Json]) -> list[Finding]:
        walked = leaves(words)
        return [
            finding
            for index in self._indexes_near(walked.data)
            for finding in self._detector.inspect_leaves(walked, {}, index, new=False).findings
        ]

    def _mark_of(self, finding: Finding) -> str:
        return f"{self._rules.get(finding.fingerprint, finding.detector)}:{finding.fingerprint}"


def _join_spots(spots: Sequence[Spot]) -> list[Spot]:
    """Return the spots in order, with one in the place of all that overlap."""
    joined: list[Spot] = []
    for at, to, held in sorted(spots):
        if joined and at < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(to, joined[-1][1]), joined[-1][2])
        else:
            joined.append((at, to, held))
    return joined


def _without(text: str, spots: Sequence[Spot]) -> str:
    """Return a text with a mark that is no credential in the place of each spot."""
    parts: list[str] = []
    at = 0
    for begin, end, _ in spots:
        parts += [text[at:begin], "\0"]
        at = end
    return "".join([*parts, text[at:]])


# --- live values in an answer ------------------------------------------------------------------------

DETECTOR: Final = "live"
_OF_TOKENS: Final = f"{ascii_letters}{digits}_-."
_LONGEST_JWT: Final = 8_192
"""Characters of a token before its signature."""
MAX_SPOTS: Final = 64
"""Values in one text whose places are narrowed down. From there on a string with a value is concealed whole, at less cost."""
_STEP: Final = 2_048
_STRING: Final = re.compile(rb'[^"]{6,}')
"""Text between quotes, which are where strings of JSON begin and end."""


class LiveSpots:
    """A detector of live values alone."""

    def __init__(self, values: LiveValues, detector: Detector) -> None:
        self._values = values
        self._detector = detector
        self.ruleset = detector.ruleset
        self.fingerprints = detector.fingerprints

    def hits(self, text: bytes) -> list[Hit]:
        """Return the parts of a text with a live value, or with a piece that completes half of one after earlier answers."""
        near = self._values.find_near(text)
        if not near:
            return []
        known = KnownSpots(self._detector, [self._values.index(near)])
        found: dict[tuple[int, int], Hit] = {}
        for start, end in _cut(text):
            spots = self._find(text, start, end, known if len(found) < MAX_SPOTS else None)
            found.update({(hit.start, hit.end): hit for hit in spots})
        return [found[place] for place in sorted(found)]

    def finding(self, hit: Hit) -> Finding:
        return Finding(self.fingerprints.of(hit.value), hit.detector, hit.kind)

    def _find(self, text: bytes, start: int, end: int, known: KnownSpots | None) -> Iterator[Hit]:
        """Yield the hits in a part of a text; without `known`, all of a part that may have one."""
        near = self._values.find_near(text[start:end])
        if not near:
            return
        said, at, read = string(text[start:end]), start, 0
        spots = [(0, len(said), "")] if known is None else _find_live(said, near, known)
        if not spots and self._values.find_whole(near, [said], shown_parts):
            spots = [(0, len(said), "")]
        for spot, last, _ in spots:
            first = max(read, _begin_of_token(said, spot))
            begin = at + len(encoded(said[read:first]))
            at = begin + len(encoded(said[first:last]))
            read = last
            yield Hit(DETECTOR, "seen", begin, at, said[first:last])


def _find_live(said: str, near: Sequence[LiveValue], known: KnownSpots) -> list[Spot]:
    """Return the spots of live values: where a value stands as it is, all of it, and then its other forms."""
    literal: list[Spot] = []
    rest = said
    for value in sorted(near, key=lambda each: -len(each.literal)):
        literal += [(match.start(), match.end(), "") for match in re.finditer(re.escape(value.literal), rest)]
        rest = rest.replace(value.literal, "\0" * len(value.literal))
    return _join_spots([*literal, *known(rest)])


def _begin_of_token(said: str, at: int) -> int:
    """Return the begin of a JWT whose signature begins at a place, or else the place."""
    before = said[max(0, at - _LONGEST_JWT) : at]
    word = before[len(before.rstrip(_OF_TOKENS)) :]
    head = word.rfind("eyJ", 0, word.find(".") + 1)
    return at if head < 0 or not word.endswith(".") or word.count(".", head) != 2 else at - len(word) + head


def _cut(text: bytes) -> Iterator[tuple[int, int]]:
    """Yield the places of the strings of a text. A long string is cut into parts, each of which begins within the one before."""
    for match in _STRING.finditer(text):
        start, end = match.span()
        while end - start > 2 * _STEP:
            yield start, start + 2 * _STEP
            start += _STEP
        yield start, end
