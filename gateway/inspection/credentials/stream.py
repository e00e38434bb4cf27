"""Finds, and on demand replaces, the credentials of a result while it streams: JSON text or server-sent events.

JSON's escapes are undone on the way, so that neither `\\u0041` nor a PEM block with `\\n` hides anything. A credential
that straddles chunks is found: what may still become one is held, at most `HOLD` bytes. Base64 is looked into where it
comes in runs. Pure.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding, Hit, Kind
from gateway.inspection.credentials.forms import unescaped
from gateway.inspection.credentials.ruleset import REACH, compiled

HOLD: Final = 4_096
"""Bytes that are held back at most. A longer credential is known by its beginning."""
MAX_FINDINGS: Final = 4_096
"""Different credentials of one result that are told apart."""

_PARTING: Final = (b'"', b" ", b"\n", b"'")
_PEM_START: Final = b"-----BEGIN"
_PEM_END: Final = b"-----END"
_ESCAPE: Final = 5
"""Bytes of the longest escape that is not whole."""
_LONG_RUN: Final = compiled(r"[A-Za-z0-9+/_-]{24}")
_RUN: Final = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_READABLE: Final = compiled(r"[\t\n\r\x20-\x7e]{8,}")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_ALPHABET: Final = (*string.ascii_uppercase, *string.ascii_lowercase, *string.digits, r"+\-", "/_")
"""The letters of six bits each, in both alphabets (RFC 4648 sections 4 and 5)."""


def _letters(accepted: Callable[[int], bool]) -> str:
    """The letters whose six bits may be so, as a class of an expression."""
    return f"[{''.join(letter for bits, letter in enumerate(_ALPHABET) if accepted(bits))}]"


def _readable_base64() -> str:
    """Matches in whatever decodes to eight readable bytes. Of four letters the first has the upper six bits of a byte,
    the second the upper four of the next one, the third the upper two of the last."""
    first = _letters(lambda bits: 8 <= bits < 32 or bits in {2, 3})
    second = _letters(lambda bits: bits & 15 in {0, 2, 3, 4, 5, 6, 7})
    third = _letters(lambda bits: bits & 3 < 2)
    four = f"{first}{second}{third}{_letters(lambda _: True)}"
    after_one, after_two = four[len(first) :], four[len(first) + len(second) :]
    return f"{four}{four}{first}{second}|{after_one}{four}{first}{second}{third}|{after_two}{four}{four}{first}"


_WRAPPED: Final = compiled(_readable_base64())
_CUT_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9A-Fa-f]{0,3})?)\Z")
_ESCAPES: Final = re.compile(rb"\\(?:u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_REST: Final = re.compile(rb"[A-Za-z0-9._~+/=%-]*")
_REST_OF_KEY: Final = re.compile(rb"(?:[A-Za-z0-9+/=\s]|\\(?:[nrt]|u[0-9A-Fa-f]{4}))*")


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of the stream that may go on. `hit` is set where it is a credential, found in `form`."""

    raw: bytes
    offset: int
    hit: Hit | None = None
    form: str = "raw"


class _Window:
    """What of the stream is looked at: some of what has gone on already, for context, and what is held."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._reach = REACH if detector.ruleset.own else HOLD
        self._context: bytes = b""
        self._held: bytes = b""
        self._offset = 0
        self._rest: re.Pattern[bytes] | None = None

    def feed(self, chunk: bytes, *, last: bool = False) -> list[_Piece]:
        """What may go on, in order."""
        raw = self._after_rest(self._held + chunk)
        if not raw:
            self._held: bytes = b""
            return []
        body = raw if last else raw[: _begun(raw)]
        before = plain(self._context)
        text = before + plain(body)
        found = self._hits(text, len(before))
        where = _Places(body, len(before))
        cut = len(body) if last else self._cut(body)
        spans: list[tuple[int, int, Hit, str]] = []
        for hit, form in found:
            start, end = where.raw(hit.start), where.raw(hit.end)
            if not last and hit.end == len(text) and start > len(body) - HOLD:
                cut = min(cut, start)
                break
            if start >= cut:
                break
            cut = max(cut, end)
            spans.append((start, end, hit, form))
            if hit.end == len(text) and not last:
                self._rest = _REST_OF_KEY if hit.kind == "private-key" else _REST
        pieces = self._pieces(raw, cut, spans)
        self._context = (self._context + raw[:cut])[-self._reach :] if cut else self._context
        self._held = raw[cut:]
        self._offset += cut
        return pieces

    def _after_rest(self, raw: bytes) -> bytes:
        """Without what goes on from a credential that was longer than the hold. It goes on for as long as nothing else
        has come, or no more than the beginning of an escape."""
        if self._rest is not None and (match := self._rest.match(raw)) is not None:
            self._offset += match.end()
            raw = raw[match.end() :]
            if raw and _CUT_ESCAPE.fullmatch(raw) is None:
                self._rest = None
        return raw

    def _cut(self, body: bytes) -> int:
        """Where what must be held begins: at a mark that parts words, before an open key block, at most `HOLD` back."""
        earliest = max(0, len(body) - HOLD)
        latest = len(body) if self._detector.ruleset.own else earliest
        cut = max(body.rfind(mark, earliest, latest) for mark in _PARTING) + 1
        key = body.rfind(_PEM_START, earliest)
        if key >= 0 and body.find(_PEM_END, key) < 0:
            cut = min(cut, key) if cut else key
        if cut <= earliest:
            # One word without an end. Base64 stays aligned to where it began, and no escape is cut.
            begin = max(body.rfind(mark, 0, earliest) for mark in _PARTING) + 1
            cut = begin + (earliest - begin) // 4 * 4
            escape = _CUT_ESCAPE.search(body[:cut])
            cut = cut if escape is None else escape.start(1)
        return cut

    def _hits(self, text: bytes, begin: int) -> list[tuple[Hit, str]]:
        """What is in `text` from `begin` on."""
        found = [(hit, "raw") for hit in self._detector.hits(text) if hit.start >= begin]
        if _WRAPPED.search(text, begin) is None or _LONG_RUN.search(text) is None:
            return found
        wrapped = [(hit, "base64") for hit in self._wrapped(text, begin)]
        return sorted([*found, *wrapped], key=lambda item: item[0].start) if wrapped else found

    def _wrapped(self, text: bytes, begin: int) -> Iterator[Hit]:
        """The runs of base64 that hold a credential. All are decoded at once, which settles nearly every text. A run
        that is cut is cut where four letters end."""
        runs = list(_RUN.finditer(text, begin))
        if not self._detector.hits(_readable([run[0] for run in runs])):
            return
        for run in runs:
            for hit in self._detector.hits(_readable([run[0]])):
                yield replace(hit, start=run.start(), end=run.end())

    def _pieces(self, raw: bytes, cut: int, spans: list[tuple[int, int, Hit, str]]) -> list[_Piece]:
        pieces: list[_Piece] = []
        position = 0
        for start, end, hit, form in spans:
            if start < position:
                pieces.append(_Piece(b"", self._offset + start, hit, form))
                continue
            if start > position:
                pieces.append(_Piece(raw[position:start], self._offset + position))
            pieces.append(_Piece(raw[start:end], self._offset + start, hit, form))
            position = end
        if position < cut:
            pieces.append(_Piece(raw[position:cut], self._offset + position))
        return pieces


class _Places:
    """From places in the text to places in the JSON that it was written in."""

    def __init__(self, body: bytes, before: int) -> None:
        self._before = before
        self._steps: list[tuple[int, int]] = []
        self._body = body
        self._known = b"\\" not in body

    def raw(self, place: int) -> int:
        place -= self._before
        if self._known and not self._steps:
            return place
        if not self._known:
            self._measure()
        last = (0, 0)
        for step in self._steps:
            if step[0] > place:
                break
            last = step
        return last[1] + place - last[0]

    def _measure(self) -> None:
        """After each escape: the place in the text, and that in the JSON."""
        self._known = True
        text = position = 0
        for match in _ESCAPES.finditer(self._body):
            text += match.start() - position + len(plain(match[0]))
            position = match.end()
            self._steps.append((text, position))


class Scanner:
    """Told of the bytes of one result as they pass; says which credentials are in it, each once."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._window = _Window(detector)
        self._told: set[str] = set()
        self.incomplete = False
        """There were more different credentials than are told apart."""

    def feed(self, chunk: bytes) -> tuple[Finding, ...]:
        """What has come to light with this chunk."""
        return self._findings(self._window.feed(chunk))

    def finish(self) -> tuple[Finding, ...]:
        """What the end has settled."""
        return self._findings(self._window.feed(b"", last=True))

    def _findings(self, pieces: list[_Piece]) -> tuple[Finding, ...]:
        return tuple(
            finding
            for piece in pieces
            if piece.hit is not None and (finding := self._finding(piece.hit, piece)) is not None
        )

    def _finding(self, hit: Hit, piece: _Piece) -> Finding | None:
        name = self._detector.fingerprints.of(hit.value)
        if name in self._told:
            return None
        if len(self._told) >= MAX_FINDINGS:
            self.incomplete = True
            return None
        self._told.add(name)
        return replace(self._detector.finding(hit), form=piece.form, offset=piece.offset)


class Concealer:
    """Replaces the credentials of one result by handles while it passes.

    `handle_for` is given each finding and its value, and answers with what stands in its place (`cred://…`). What is of
    a kind in `spare` stays: a link that is signed for its own host does no good as a handle.
    """

    def __init__(
        self,
        detector: Detector,
        handle_for: Callable[[Finding, str], str],
        *,
        spare: frozenset[Kind] = frozenset({"presigned"}),
    ) -> None:
        self._detector = detector
        self._window = _Window(detector)
        self._handle_for = handle_for
        self._spare = spare

    def feed(self, chunk: bytes) -> tuple[bytes, tuple[Finding, ...]]:
        """What may go on, with handles in the place of credentials; and the credentials that were in it."""
        return self._concealed(self._window.feed(chunk))

    def finish(self) -> tuple[bytes, tuple[Finding, ...]]:
        """The rest."""
        return self._concealed(self._window.feed(b"", last=True))

    def _concealed(self, pieces: list[_Piece]) -> tuple[bytes, tuple[Finding, ...]]:
        out: list[bytes] = []
        findings: list[Finding] = []
        for piece in pieces:
            if piece.hit is None:
                out.append(piece.raw)
                continue
            finding = replace(self._detector.finding(piece.hit), form=piece.form, offset=piece.offset)
            findings.append(finding)
            if piece.hit.kind in self._spare:
                out.append(piece.raw)
            elif piece.raw:
                out.append(json.dumps(self._handle_for(finding, piece.hit.value))[1:-1].encode())
        return b"".join(out), tuple(findings)


def _begun(raw: bytes) -> int:
    """Where an escape begins that the end of `raw` cuts off, or the length of `raw`."""
    at = raw.rfind(b"\\", max(0, len(raw) - _ESCAPE))
    if at < 0:
        return len(raw)
    earliest = max(0, len(raw) - HOLD)
    found = _CUT_ESCAPE.search(raw, earliest + len(raw[earliest : at + 1].rstrip(b"\\")))
    return len(raw) if found is None else found.start(1)


def plain(raw: bytes) -> bytes:
    """JSON text without its escapes. Those that are common are replaced in bulk, the others one by one."""
    if b"\\" not in raw:
        return raw
    # 0xFF is in no UTF-8; it keeps an escaped backslash from beginning another escape.
    text = raw.replace(b"\\\\", b"\xff").replace(b'\\"', b'"').replace(b"\\n", b"\n")
    if b"\\" in text:
        text = unescaped(text.replace(b"\\/", b"/"))
    return text.replace(b"\xff", b"\\")


def _readable(runs: list[bytes]) -> bytes:
    """What reads as text of these runs of base64, decoded in one go with zero bytes between them."""
    letters = [run.rstrip(b"=").translate(_STANDARD) for run in runs]
    data = base64.b64decode(b"AAAA".join([run + b"A" * (-len(run) % 4) for run in letters]))
    return b"\0".join(data[slice(*match.span())] for match in _READABLE.finditer(data))
