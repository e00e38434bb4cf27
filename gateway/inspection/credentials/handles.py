"""Handles in the place of credentials: in the arguments of a call, and in an answer, rewritten while it passes. Pure.

A handle is replaced by the text that stood in a result, within its JSON string; all other bytes of the body stay the
same. Policy has seen the handle, so the value must not change the judged call. A value with more than a plain word is put
back only as the whole of an argument labelled `credential`.

In an answer, a whole message is split into its strings and numbers, so JSON stays JSON. A handle stands within the string
of its credential, or as a string in the place of a number. A larger message is rewritten in passing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

from gateway.base.json.edit import Edit, apply_edits, move_edits
from gateway.base.json.lex import ScalarSpan, Step, ends_in_string, read_string, scalars, unescape
from gateway.base.json.strict import RELATED_TASK
from gateway.inspection.credentials.finding import Finding, Hit, Kind
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.stream import Detects, Spot, Spotter, spots
from gateway.model.errors import UpstreamBroken
from gateway.model.target import Role
from gateway.model.wire import Headers
from gateway.wire.protocol import sse
from gateway.wire.protocol.headers import NAME, PARAM_PREFIX, decode, encode

_MARK: Final = re.compile(r"cred://(?=[A-Za-z0-9_-])", re.IGNORECASE)
_HANDLE: Final = re.compile(r"cred://[A-Za-z0-9_-]{11}/[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])")
_BEFORE: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]{0,31} )?")
SIGN: Final = b"://"
BACKSLASH: Final = ord("\\")
"""Each message with a handle has one of these."""
_WORD: Final = re.compile(r"[A-Za-z0-9_~+=-]+(?:\.[A-Za-z0-9_~+=-]+)*")


@dataclass(frozen=True, slots=True)
class Place:
    """A string with handles: its place in the body, its text, and the places of the handles in it."""

    scalar: ScalarSpan
    text: str
    handles: tuple[tuple[int, int], ...]

    def named(self) -> Iterator[str]:
        """Yield the handles."""
        return (self.text[start:end] for start, end in self.handles)

    def restored(self, values: Mapping[str, str]) -> str:
        """Return the text with their values in their place."""
        parts: list[str] = []
        position = 0
        for start, end in self.handles:
            parts += [self.text[position:start], values[self.text[start:end]]]
            position = end
        return "".join([*parts, self.text[position:]])


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A handle, or a text like a handle, in a place where no credential can be put back."""

    message: str


def places(body: bytes, decided: str | None) -> tuple[Place, ...] | Misplaced:
    """Return the handles of a call. `body` is its message, strictly read; `decided` the member of `params` that policy
    sees and in which handles are put back, if there is one.

    Every `cred://` that a word follows is a handle, in any spelling of JSON.
    """
    if BACKSLASH not in body:
        if SIGN not in body or b"cred://" not in body.lower():
            return ()
    elif b"cred://" not in body.lower() and b"cred://" not in unescape(body).lower():
        return ()
    found: list[Place] = []
    for scalar in scalars(body):
        text = "" if scalar.kind == "other" else read_string(body[scalar.start : scalar.end])
        marks = [match.start() for match in _MARK.finditer(text)]
        if not marks:
            continue
        if scalar.path[:2] != ("params", decided):
            return Misplaced("A handle stands outside of the arguments, where none is put back.")
        if scalar.kind == "name":
            return Misplaced("A handle stands in the name of an argument, where none is put back.")
        handles = [match.span() for mark in marks if (match := _HANDLE.match(text, mark)) is not None]
        if len(handles) != len(marks):
            return Misplaced("An argument holds something like a handle that is none.")
        found.append(Place(scalar, text, tuple(handles)))
    return tuple(found)


def fits(place: Place, value: str, span: tuple[int, int], role: Role | None, *, uri: bool) -> bool:
    """Return whether a value may replace the handle at `span` without changing the call that policy has judged."""
    start, end = span
    before = place.text[:start]
    alone = _BEFORE.fullmatch(before) is not None and end == len(place.text)
    if role is Role.CREDENTIAL and alone:
        return True
    if _WORD.fullmatch(value) is None:
        return False
    asks, _, since = before.rpartition("?")
    within = "//" not in since
    if uri:
        return bool(asks) and within
    return alone or (role is Role.CREDENTIAL and within)


def restored(body: bytes, found: tuple[Place, ...], values: Mapping[str, str]) -> bytes:
    """Return the body with the values in the place of their handles."""
    return apply_edits(
        body,
        [Edit(place.scalar.start, place.scalar.end, json.dumps(place.restored(values)).encode()) for place in found],
    )


def mirror_headers(headers: Headers, found: tuple[Place, ...], values: Mapping[str, str]) -> Headers:
    """Return the headers that repeat a string with a handle, with its new text."""
    said = {place.text: place.restored(values) for place in found}

    def now(name: bytes, value: bytes) -> bytes:
        if name != NAME and not name.startswith(PARAM_PREFIX):
            return value
        text = decode(value.decode("latin-1").strip(" \t"))
        return encode(said[text]) if text in said else value

    return tuple((name, now(name, value)) for name, value in headers)


# --- handles in an answer ----------------------------------------------------------------------------

Keep = Callable[[tuple[Finding, ...], "str | None"], "str | None"]
"""Given the credentials of a spot, and the text that stood there if all of it was seen: its handle, or `None` if there is
no room for another."""

SPARED: Final[frozenset[Kind]] = frozenset({"presigned"})
"""What stays: a link that is signed for its own host is no use as a handle."""

_PROTOCOL: Final[frozenset[tuple[Step, ...]]] = frozenset(
    {
        ("id",),
        ("result", "requestState"),
        ("result", "taskId"),
        ("result", "task", "taskId"),
        ("result", "_meta", RELATED_TASK, "taskId"),
        ("params", "progressToken"),
        ("params", "requestId"),
        ("params", "taskId"),
        ("params", "elicitationId"),
        ("params", "_meta", RELATED_TASK, "taskId"),
    }
)
"""What client and server tell calls, tasks and states apart by. It goes back as it came, whatever it looks like."""

_WRITTEN_OUT: Final = re.compile(r"\\([nr])")


class CredentialRewriter:
    """The rewriting of one answer. `none` recognises values that are no credentials. Raises `UpstreamBroken` for an
    answer beyond concealment."""

    def __init__(
        self, detector: Detects, keep: Keep, *, none: Callable[[Finding], bool] = lambda _finding: False
    ) -> None:
        self._detector = detector
        self._keep = keep
        self._none = none
        self._spotter: Spotter | None = None
        self._inside = False
        self._sign = b""
        self._fresh: list[Finding] = []
        self.count = 0
        """Handles put in the place of credentials so far."""

    def found(self) -> tuple[Finding, ...]:
        """Return the credentials that were concealed since the last question."""
        fresh, self._fresh = self._fresh, []
        return tuple(fresh)

    # --- a message that is there whole -------------------------------------------------------------

    def document(self, data: bytes) -> bytes:
        """Conceal a JSON document. What is none cannot be told from one in another encoding, and does not pass."""
        if not _is_json(data):
            raise UpstreamBroken("the answer was withheld: what it holds is to be concealed, and it is not JSON")
        return apply_edits(data, self._edits(data))

    def event(self, raw: bytes, data: bytes) -> bytes:
        """Return a server-sent event without its credentials. `raw` is the event, `data` its data."""
        edits = self._edits(data) if _is_json(data) else self._plain_edits(data)
        if not edits:
            return raw
        return apply_edits(raw, move_edits(edits, sse.places(raw, data).raw))

    def _edits(self, data: bytes) -> list[Edit]:
        found = spots(self._detector, data)
        return list(self._edit_structured(found, list(scalars(data)), data)) if found else []

    def _plain_edits(self, data: bytes) -> list[Edit]:
        handles = [(spot, self._handle(spot.findings, spot.raw)) for spot in spots(self._detector, data)]
        return [Edit(spot.start, spot.end, handle.encode()) for spot, handle in handles if handle is not None]

    def _edit_structured(self, found: Sequence[Spot], places: Sequence[ScalarSpan], data: bytes) -> Iterator[Edit]:
        """Yield the edits of found spots in places; both are in order."""
        done = first = 0
        message = b'"jsonrpc"' in data
        for spot in found:
            while first < len(places) and places[first].end <= spot.start:
                first += 1
            touched = list(takewhile(lambda place, end=spot.end: place.start < end, islice(places, first, None)))
            if message and len(touched) == 1 and touched[0].path in _PROTOCOL:
                continue
            for place in touched:
                start, end = _reach(spot, place, done, alone=len(touched) == 1)
                if start >= end:
                    continue
                done = end
                quoted = start == place.start
                raw = data[start:end]
                text = raw if place.kind == "other" else unescape(raw[1:-1] if quoted else raw)
                handle = self._handle(spot.findings, text)
                if handle is not None:
                    yield Edit(start, end, f'"{handle}"'.encode() if quoted else handle.encode())

    # --- one that is too large to be held ------------------------------------------------------------

    def part(self, chunk: bytes) -> bytes:
        """Conceal the credentials in the next part of a JSON document, or of an event with JSON."""
        self._spotter = self._spotter or Spotter(self._detector)
        return b"".join(map(self._pass_part, self._spotter.feed(chunk)))

    def end(self) -> bytes:
        """Return the rest of the parts of a message."""
        rest = [] if self._spotter is None else self._spotter.finish()
        passed = b"".join(map(self._pass_part, rest)) + self._sign
        self._spotter, self._inside, self._sign = None, False, b""
        return passed

    def text(self, chunk: bytes) -> bytes:
        """Conceal the next part of an answer without JSON."""
        self._spotter = self._spotter or Spotter(self._detector)
        return b"".join(map(self._show_part, self._spotter.feed(chunk)))

    def text_end(self) -> bytes:
        """Return the rest of the parts of a message."""
        return b"" if self._spotter is None else b"".join(map(self._show_part, self._spotter.finish()))

    def _pass_part(self, part: bytes | Spot) -> bytes:
        """Return a part for the client. A spot outside of a string becomes a string."""
        raw = part if isinstance(part, bytes) else part.raw
        before = self._inside
        self._inside = ends_in_string(raw, begins_in_string=before)
        sign, self._sign = self._sign, b""
        if isinstance(part, bytes):
            if not self._inside and raw.endswith(b"-"):
                # The sign of a number that may be a credential: a handle takes the place of both.
                self._sign, raw = b"-", raw[:-1]
            return sign + raw
        handle = self._handle(part.findings, unescape(raw) if part.whole else None)
        if handle is None:
            return sign + raw
        return (b"" if before else b'"') + handle.encode() + (b"" if self._inside else b'"')

    def _show_part(self, part: bytes | Spot) -> bytes:
        if isinstance(part, bytes):
            return part
        handle = self._handle(part.findings, part.raw if part.whole else None)
        return part.raw if handle is None else handle.encode()

    # --- handles -------------------------------------------------------------------------------------

    def _handle(self, findings: tuple[Finding, ...], held: bytes | None) -> str | None:
        """Return the handle for these findings, or `None` if they stay."""
        if all(finding.kind in SPARED or self._none(finding) for finding in findings):
            return None
        text = None if held is None else string(held)
        if text is not None and all(finding.kind == "private-key" for finding in findings):
            # A key block within a text within JSON: its line breaks are still written out.
            text = _WRITTEN_OUT.sub(lambda match: {"n": "\n", "r": "\r"}[match[1]], text)
        handle = self._keep(findings, text)
        if handle is None:
            raise UpstreamBroken(
                "the answer was withheld: what it holds is to be concealed, and there is no room for more handles",
                "go on in a new task, or ask for less at once",
            )
        self._fresh.extend(findings)
        self.count += 1
        return handle


class Recalling:
    """A detector of given texts, and of all credentials."""

    def __init__(self, detector: Detects, texts: tuple[str, ...]) -> None:
        self._detector = detector
        self._texts = [(text, text.encode("utf-8", "surrogatepass")) for text in texts if text]
        self.ruleset = detector.ruleset
        self.fingerprints = detector.fingerprints

    def hits(self, text: bytes) -> list[Hit]:
        found = self._detector.hits(text)
        for value, written in self._texts:
            start = text.find(written)
            while start >= 0:
                end = start + len(written)
                found.append(Hit("handle", "seen", start, end, value))
                start = text.find(written, end)
        return sorted(found, key=lambda hit: hit.start)

    def finding(self, hit: Hit) -> Finding:
        return self._detector.finding(hit)


def _reach(spot: Spot, place: ScalarSpan, done: int, *, alone: bool) -> tuple[int, int]:
    """Return the part of a scalar that a spot covers. This is the credential itself if it lies within this string. Else
    it is the whole scalar, or its rest after `done`. An end that is not after the beginning means no part."""
    if alone and place.kind != "other" and place.start < spot.start and spot.end < place.end:
        return max(spot.start, done), spot.end
    if place.start >= done:
        return place.start, place.end
    return max(spot.start, done), place.end - 1


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data.decode())
    except (ValueError, RecursionError):
        return False
    return True
