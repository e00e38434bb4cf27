"""Detection of credentials, with their places, in a streaming result: JSON text or server-sent events. It undoes JSON's
escapes on the way, so neither `\u0041` nor a PEM block with `\n` hides anything. To find a credential across chunks, it
holds at most `HOLD` bytes back, or an open key block. It decodes runs of base64. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from msgspec import Struct

from gateway.base.json.lex import BEGUN_ESCAPE, EscapedPlaces, begun_escape, unescape
from gateway.inspection.credentials.decoders import eight_bytes
from gateway.inspection.credentials.finding import Finding, Hit
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.forms import ROUNDS
from gateway.inspection.credentials.ruleset import REACH, Ruleset, compiled
from gateway.model.shingles import mark_of

HOLD: Final = 4_096
"""Bytes that are held back at most. A longer credential is known by its beginning."""
HOLD_OF_KEY: Final = 20 * 2**10
"""Bytes that are held back of a key block without its last line: a key of 16 KiB with its line ends."""
_STEP_OF_KEY: Final = 256
"""Bytes that come between two searches of an open key block. A server could send it byte by byte."""
MAX_FINDINGS: Final = 16_384
"""Different credentials of one result that are told apart."""
MAX_WHOLE: Final = 1_024
"""Of these, the first that are given with their shingles: as many as a task keeps. Of the others there is the mark."""

_SIGN_BEHIND: Final = 256
"""Bytes behind the beginning of a value in which its sign may come: `… as the password`, `… | chpasswd`. Values of several
words end there too."""
_PARTING: Final = (b'"', b" ", b"\n", b"'")
_PEM_START: Final = b"-----BEGIN"
_PEM_END: Final = b"-----END"
_BACKSLASH: Final = ord("\\")
"""As a number, see `forms`."""
_LONGEST_ESCAPE: Final = 6
"""Bytes of one letter as JSON may write it."""
_ESCAPED: Final = compiled(r"\\(?:u(?:\{0*|00)[2-7][0-9A-Fa-f]|x[2-7][0-9A-Fa-f]|[nrt])", groups=False)
"""Matches in a text that reads otherwise without its escapes. Other escapes hide no letter and no end of a line."""
_LONG_RUN: Final = compiled(r"[A-Za-z0-9+/_-]{24}")
_RUN: Final = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_READABLE: Final = compiled(r"[\t\n\r\x20-\x7e]{8,}")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_WRAPPED: Final = compiled(eight_bytes())
_REST: Final = re.compile(rb"[A-Za-z0-9._~+/=%-]*")
_REST_OF_KEY: Final = re.compile(rb"(?:[A-Za-z0-9+/=\s]|\\(?:[nrt]|u[0-9A-Fa-f]{4}))*")


class Detects(Protocol):
    """A detector of credentials in a text: a `Detector`, or a wrapper that knows more or ignores some."""

    @property
    def ruleset(self) -> Ruleset: ...
    @property
    def fingerprints(self) -> Fingerprints: ...
    def hits(self, text: bytes) -> list[Hit]: ...
    def finding(self, hit: Hit) -> Finding: ...


@dataclass(frozen=True, slots=True)
class _HitPlace:
    """The place of a hit in the held bytes, with its form. `cut`: the hit may go on beyond the held bytes."""

    start: int
    end: int
    hit: Hit
    form: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the stream that may go on. `places` are the places of credentials in this part."""

    raw: bytes
    offset: int
    places: tuple[_HitPlace, ...] = ()


class _Window:
    """The inspected part of the stream: some passed bytes for context, and the held bytes."""

    __slots__ = ("_context", "_detector", "_due", "_held", "_offset", "_reach", "_rest")

    def __init__(self, detector: Detects) -> None:
        self._detector = detector
        self._reach = REACH if detector.ruleset.own else HOLD
        self._context: bytes = b""
        self._held: bytes = b""
        self._offset = 0
        self._due = 0
        self._rest: re.Pattern[bytes] | None = None

    def feed(self, chunk: bytes, *, last: bool = False) -> list[_Piece]:
        """Return the parts that may go on, in order."""
        raw = self._after_rest(self._held + chunk)
        if not raw:
            self._held: bytes = b""
            return []
        hold = _hold_of(raw)
        if hold == HOLD_OF_KEY and len(raw) < self._due and not last:
            self._held = raw
            return []
        body = raw if last else raw[: begun_escape(raw, max(0, len(raw) - hold))]
        before = unescape(self._context)
        text = before + unescape(body)
        found = self._hits(text, len(before))
        where = EscapedPlaces(body, len(before))
        settled, cut = (len(body), len(body)) if last else self._cuts(body, hold)
        places: list[_HitPlace] = []
        for hit, form in found:
            start, end = where.raw(hit.start), where.raw(hit.end)
            goes_on = hit.end == len(text) and not last
            if goes_on and start > len(body) - hold and not any(place.cut for place in places):
                # It waits for the rest of it, and so does what overlaps it.
                cut = min([cut, start, *(place.start for place in places if place.end > start)])
                places = [place for place in places if place.end <= cut]
                break
            if start >= max(settled, cut):
                break
            cut = max(cut, end)
            places.append(_HitPlace(start, end, hit, form, goes_on))
            if goes_on:
                self._rest = _REST_OF_KEY if hit.kind == "private-key" else _REST
        pieces = self._pieces(raw, cut, places)
        self._context = (self._context + raw[:cut])[-self._reach :] if cut else self._context
        self._held = raw[cut:]
        self._due = len(self._held) + _STEP_OF_KEY
        self._offset += cut
        return pieces

    def _after_rest(self, raw: bytes) -> bytes:
        """Return the hits without the rest of a credential longer than the hold. It goes on for as long as nothing
        else has come, or no more than the beginning of an escape."""
        if self._rest is not None and (match := self._rest.match(raw)) is not None:
            self._offset += match.end()
            raw = raw[match.end() :]
            if raw and BEGUN_ESCAPE.fullmatch(raw) is None:
                self._rest = None
        return raw

    def _cuts(self, body: bytes, hold: int) -> tuple[int, int]:
        """Return the end of the part whose credentials are told, and the end of the part that may go on without any.

        The first is at the last mark between words, so that a task knows a credential at once. The second is before it, since
        the sign of a credential may come after its value.
        """
        earliest = max(0, len(body) - hold)
        if not self._detector.ruleset.own:
            cut = self._cut(body, earliest, earliest)
            return cut, cut
        behind = _SIGN_BEHIND * (_LONGEST_ESCAPE if _BACKSLASH in body else 1)
        return self._cut(body, earliest, len(body)), self._cut(body, earliest, max(earliest, len(body) - behind))

    def _cut(self, body: bytes, earliest: int, latest: int) -> int:
        """Return the start of the part to hold: at a mark between words, before an open key block, not before `earliest`."""
        cut = max(body.rfind(mark, earliest, latest) for mark in _PARTING) + 1
        key = body.rfind(_PEM_START, earliest)
        if key >= 0 and body.find(_PEM_END, key) < 0:
            cut = min(cut, key) if cut else key
        if cut <= earliest:
            # One word without an end. Base64 stays aligned to where it began, and no escape is cut.
            begin = max(body.rfind(mark, 0, earliest) for mark in _PARTING) + 1
            cut = begin + (earliest - begin) // 4 * 4
            escape = BEGUN_ESCAPE.search(body[:cut])
            cut = cut if escape is None else escape.start(1)
        return cut

    def _hits(self, text: bytes, begin: int) -> list[tuple[Hit, str]]:
        """Return the hits in `text` from `begin` on."""
        found = [(hit, "raw") for hit in self._detector.hits(text) if hit.start >= begin]
        if _BACKSLASH in text:
            found = sorted(_apart([*found, *_find_escaped(self._detector, text, begin)]), key=_start)
        if _WRAPPED.search(text, begin) is None or _LONG_RUN.search(text) is None:
            return found
        wrapped = [(hit, "base64") for hit in self._find_wrapped(text, begin)]
        return sorted([*found, *wrapped], key=_start) if wrapped else found

    def _find_wrapped(self, text: bytes, begin: int) -> Iterator[Hit]:
        """Yield the runs of base64 with a credential. All are decoded at once, which settles nearly every text. A cut
        run ends after a group of four letters."""
        runs = list(_RUN.finditer(text, begin))
        if not self._detector.hits(_readable([run[0] for run in runs])):
            return
        for run in runs:
            for hit in self._detector.hits(_readable([run[0]])):
                yield replace(hit, start=run.start(), end=run.end())

    def _pieces(self, raw: bytes, cut: int, places: list[_HitPlace]) -> list[_Piece]:
        """Return the passing bytes in parts with and without a credential. Overlapping places are one part."""
        pieces: list[_Piece] = []
        position = 0
        for start, end, together in _merge_places(places):
            if start > position:
                pieces.append(_Piece(raw[position:start], self._offset + position))
            pieces.append(_Piece(raw[start:end], self._offset + start, together))
            position = end
        if position < cut:
            pieces.append(_Piece(raw[position:cut], self._offset + position))
        return pieces


def _start(found: tuple[Hit, str]) -> int:
    return found[0].start


def _apart(found: list[tuple[Hit, str]]) -> Iterator[tuple[Hit, str]]:
    """Yield each hit once: what is found as it stands is found again without its escapes."""
    seen: set[tuple[int, int, str]] = set()
    for hit, form in found:
        place = (hit.start, hit.end, hit.value)
        if place not in seen:
            seen.add(place)
            yield hit, form


def _find_escaped(detector: Detects, text: bytes, begin: int) -> Iterator[tuple[Hit, str]]:
    """Yield the hits below further rounds of escapes, as in JSON within a string of JSON, with their places in the text."""
    above: list[EscapedPlaces] = []
    for _ in range(ROUNDS):
        if _ESCAPED.search(text) is None:
            return
        above.append(EscapedPlaces(text, 0))
        text = unescape(text)
        for hit in detector.hits(text):
            start, end = hit.start, hit.end
            for places in reversed(above):
                start, end = places.raw(start), places.raw(end)
            if start >= begin:
                yield replace(hit, start=start, end=end), "escape"


def _hold_of(raw: bytes) -> int:
    """Return the bytes that are held back at most: more where a key block is open."""
    key = raw.rfind(_PEM_START, max(0, len(raw) - HOLD_OF_KEY))
    return HOLD_OF_KEY if key >= 0 and raw.find(_PEM_END, key) < 0 else HOLD


def _merge_places(places: list[_HitPlace]) -> list[tuple[int, int, tuple[_HitPlace, ...]]]:
    merged: list[tuple[int, int, tuple[_HitPlace, ...]]] = []
    for place in places:
        if merged and place.start < merged[-1][1]:
            start, end, together = merged[-1]
            merged[-1] = (start, max(end, place.end), (*together, place))
        else:
            merged.append((place.start, place.end, (place,)))
    return merged


class Scanner(Struct):
    """A scanner of one result's passing bytes. It reports each credential once.

    `incomplete`: there were more different credentials than are told apart.
    """

    detector: Detects
    _window: _Window | None = None
    _told: dict[str, None] = {}
    incomplete: bool = False

    def feed(self, chunk: bytes) -> tuple[Finding, ...]:
        """Return the credentials found with this chunk."""
        self._window = self._window or _Window(self.detector)
        return self._findings(self._window.feed(chunk))

    def finish(self, chunk: bytes = b"") -> tuple[Finding, ...]:
        """Return the credentials found with this last chunk, and those settled by the end."""
        if self._window is None:
            # A whole result. Where nothing is found at first sight, the window would find nothing.
            text = unescape(chunk) if _BACKSLASH in chunk else chunk
            has_wrapped = _WRAPPED.search(text) is not None and _LONG_RUN.search(text) is not None
            has_escaped = _BACKSLASH in text and _ESCAPED.search(text) is not None
            if not has_wrapped and not has_escaped and not self.detector.hits(text):
                return ()
            self._window = _Window(self.detector)
        return self._findings(self._window.feed(chunk, last=True))

    def _findings(self, pieces: list[_Piece]) -> tuple[Finding, ...]:
        found = (self._finding(finding) for piece in pieces for finding in _findings(self.detector, piece))
        return tuple(finding for finding in found if finding is not None)

    def _finding(self, finding: Finding) -> Finding | None:
        if finding.fingerprint in self._told:
            return None
        if len(self._told) >= MAX_FINDINGS:
            self.incomplete = True
            return None
        self._told[finding.fingerprint] = None
        if len(self._told) > MAX_WHOLE:
            mark = mark_of(finding.shingles)
            return replace(finding, shingles=frozenset(() if mark is None else (mark,)))
        return finding


def _findings(detector: Detects, piece: _Piece) -> tuple[Finding, ...]:
    """Return the credentials of a part of the stream."""
    begin = piece.offset - min((place.start for place in piece.places), default=0)
    return tuple(
        replace(detector.finding(place.hit), form=place.form, offset=begin + place.start) for place in piece.places
    )


@dataclass(frozen=True, slots=True)
class Spot:
    """A part of a result with credentials. `start` is its first byte in the result. `whole` is false if the part was
    longer than the held bytes, so that `raw` is only its beginning."""

    start: int
    raw: bytes = field(repr=False)
    findings: tuple[Finding, ...]
    whole: bool = True

    @property
    def end(self) -> int:
        return self.start + len(self.raw)


def spots(detector: Detects, document: bytes) -> tuple[Spot, ...]:
    """Return the places of credentials in a whole document."""
    pieces = _Window(detector).feed(document, last=True)
    return tuple(_spot(detector, piece) for piece in pieces if piece.places)


def _spot(detector: Detects, piece: _Piece) -> Spot:
    whole = not any(place.cut for place in piece.places)
    return Spot(piece.offset, piece.raw, _findings(detector, piece), whole)


class Spotter:
    """A splitter of one passing result into unchanged parts and spots of credentials."""

    def __init__(self, detector: Detects) -> None:
        self._detector = detector
        self._window = _Window(detector)

    def feed(self, chunk: bytes) -> list[bytes | Spot]:
        """Return the parts that may go on."""
        return self._parts(self._window.feed(chunk))

    def finish(self) -> list[bytes | Spot]:
        """Return the rest."""
        return self._parts(self._window.feed(b"", last=True))

    def _parts(self, pieces: list[_Piece]) -> list[bytes | Spot]:
        return [_spot(self._detector, piece) if piece.places else piece.raw for piece in pieces]


def _readable(runs: list[bytes]) -> bytes:
    """Return the readable text of these runs of base64, decoded in one go with zero bytes between them."""
    letters = [run.rstrip(b"=").translate(_STANDARD) for run in runs]
    data = base64.b64decode(b"AAAA".join([run + b"A" * (-len(run) % 4) for run in letters]))
    return b"\0".join(data[slice(*match.span())] for match in _READABLE.finditer(data))
