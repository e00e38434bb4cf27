"""The places of live values of the gateway in an answer, for `concealment`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters, digits
from typing import Final

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding, Hit
from gateway.inspection.credentials.fingerprint import encoded
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.known_spots import KnownSpots
from gateway.inspection.credentials.live_values import LiveValues, shown_parts

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
        spots = [(0, len(said), "")] if known is None else known(said)
        if not spots and self._values.find_whole(near, [said], shown_parts):
            spots = [(0, len(said), "")]
        for spot, last, _ in spots:
            first = max(read, _begin_of_token(said, spot))
            begin = at + len(encoded(said[read:first]))
            at = begin + len(encoded(said[first:last]))
            read = last
            yield Hit(DETECTOR, "seen", begin, at, said[first:last])


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
