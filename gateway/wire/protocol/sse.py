"""Server-sent events, cut into whole events with every byte kept.

Source: HTML standard, section 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

NEW_EVENT: Final = b"\n\n"
"""Ends the line and the event that have begun, whatever they are."""

MAX_LINES: Final = 16_384
"""Lines of one event that are held back: each takes many times its size in memory."""

_BREAK: Final = re.compile(rb"\r\n|\n|\r")
_BLANK: Final = re.compile(rb"[\r\n]*")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One block of the stream, the blank line included. The `raw` of all events joined is the stream.

    `data` is `None` for a block without data (comments, `retry`), and for a piece of a too long event. `whole` is false
    for such a piece: the piece was not read, and can only be passed on, or the stream be ended. `last`: the block ends
    an event. `odd`: some reader finds other lines, or other data.
    """

    raw: bytes
    data: bytes | None = None
    id: bytes | None = None
    whole: bool = True
    last: bool = True
    odd: bool = False


class Splitter:
    """Bytes in, whole events out. `limit` bounds the held bytes. A longer event, or an event of more than `MAX_LINES`,
    comes out in pieces with `whole=False`, and reading begins again after this event. Blank lines without an event
    between come out together.
    """

    __slots__ = ("_after_cr", "_buffer", "_first", "_limit", "_line", "_lines", "_passing", "_position")

    def __init__(self, limit: int = 4 * 2**20) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._line = 0  # where the current line starts; -1 if that part has left the buffer
        self._position = 0  # where the search for its end goes on
        self._lines = 0  # of the event that has begun
        self._after_cr = False
        self._passing = False
        self._first = True

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes of the stream; returns the completed events."""
        if not chunk:
            return []
        buffer = self._buffer
        if self._after_cr and chunk.startswith(b"\n"):
            self._line = self._position = len(buffer) + 1
        buffer += chunk
        self._after_cr = buffer.endswith(b"\r")
        events: list[Event] = []
        start = 0
        while (found := _BREAK.search(buffer, self._position)) is not None:
            end = found.end()
            self._lines += 1
            if found.start() == self._line:
                if self._lines == 1 and (blank := _BLANK.match(buffer, end)) is not None:
                    end = blank.end()
                events.append(self._event(bytes(buffer[start:end])))
                start, self._lines = end, 0
            self._line = self._position = end
        self._keep(start)
        if self._passing or len(buffer) > self._limit or self._lines > MAX_LINES:
            events.append(self._piece())
        return events

    @property
    def passing(self) -> bool:
        """Return whether an event has begun in pieces and not yet ended."""
        return self._passing

    def rest(self) -> Event | None:
        """Return the held, unfinished event of the stream. Most clients ignore such an event."""
        raw = bytes(self._buffer)
        return self._read(raw) if raw else None

    def _keep(self, start: int) -> None:
        del self._buffer[:start]
        self._line -= start
        self._position = len(self._buffer)

    def _piece(self) -> Event:
        piece = Event(bytes(self._buffer), whole=False, last=False)
        self._line = 0 if self._line == len(self._buffer) else -1
        self._buffer.clear()
        self._position = 0
        self._passing = True
        self._first = False
        return piece

    def _event(self, raw: bytes) -> Event:
        if self._passing:
            self._passing = False
            return Event(raw, whole=False)
        return self._read(raw)

    def _read(self, raw: bytes) -> Event:
        block = raw.removeprefix(_BOM) if self._first else raw
        self._first = False
        return _parse(raw, block) if raw.strip(b"\r\n") else Event(raw)


def _parse(raw: bytes, block: bytes) -> Event:
    data: list[bytes] = []
    identifier: bytes | None = None
    odd = block != raw or breaks_more(raw) or (b"\r" in raw and _LONE.search(raw) is not None)
    for line in _BREAK.split(block):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"id" and b"\0" not in value:
            identifier = value
        elif like_data(name):
            odd = True
    return Event(raw, b"\n".join(data) if data else None, identifier, odd=odd or len(data) > 1)


def data_of(stream: bytes) -> list[bytes]:
    """Return the data of each event of a stream that has ended, an unfinished event included. Text without events has none."""
    splitter = Splitter(len(stream))
    events = splitter.feed(stream)
    if (rest := splitter.rest()) is not None:
        events.append(rest)
    return [event.data for event in events if event.data is not None]


@dataclass(frozen=True, slots=True)
class DataPlaces:
    """The places of an event's data: for each line, its start in the data and in the event."""

    steps: tuple[tuple[int, int], ...]

    def raw(self, place: int) -> int:
        """Return the place in the event for a place in the data."""
        data, raw = self.steps[bisect_right(self.steps, place, key=itemgetter(0)) - 1]
        return raw + place - data


def places(raw: bytes, data: bytes) -> DataPlaces:
    """Return the places of a whole event and of its data."""
    found, size = _places(raw, len(_BOM) if raw.startswith(_BOM) else 0)
    # Only at the beginning of the stream is a byte order mark none of the line.
    return DataPlaces(found if size == len(data) else _places(raw, 0)[0])


def _places(raw: bytes, start: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the starts of the data lines and their common length."""
    steps: list[tuple[int, int]] = []
    size = -1
    for match in _BREAK.finditer(raw, start):
        name, _, value = raw[start : match.start()].partition(b":")
        if name == b"data":
            held = value.removeprefix(b" ")
            steps.append((size + 1, match.start() - len(held)))
            size += len(held) + 1
        start = match.end()
    return tuple(steps), size


def encode(data: bytes, id: bytes | None = None) -> bytes:  # noqa: A002 - the field's own name
    """Return an event with `data`, a data line for each of its lines. An id with unusual characters is left out."""
    head = b"" if id is None or not _SAFE.fullmatch(id) else b"id: " + id + b"\n"
    return head + b"".join(b"data: " + line + b"\n" for line in _BREAK.split(data)) + b"\n"


# --- for readers that find more lines ---------------------------------------------------------------

_MORE_BREAKS: Final = {
    b"\x0b": b"\\u000b",
    b"\x0c": b"\\u000c",
    b"\x1c": b"\\u001c",
    b"\x1d": b"\\u001d",
    b"\x1e": b"\\u001e",
    b"\xc2\x85": b"\\u0085",
    b"\xe2\x80\xa8": b"\\u2028",
    b"\xe2\x80\xa9": b"\\u2029",
}
"""With what some readers of streams end a line (Python's `str.splitlines`), as JSON would escape it."""
_LAST_BYTES: Final = bytes(text[-1] for text in _MORE_BREAKS)
_BEGUN: Final = (b"\xe2\x80", b"\xe2", b"\xc2", b"\r")
_LONE: Final = re.compile(rb"\r(?!\n|\Z)")
"""With what some readers do not end a line (Go's `bufio.ScanLines`)."""
_KEPT: Final = frozenset({b"event", b"id", b"retry"})
_SAFE: Final = re.compile(rb"[\x21-\x7e]{1,1024}")


def breaks_more(raw: bytes) -> bool:
    """Return whether some reader finds more lines than the standard has."""
    # Nearly always told by this, in one pass: it takes a fifteenth of a search for each.
    if len(raw.translate(None, _LAST_BYTES)) == len(raw):
        return False
    return any(text in raw for text in _MORE_BREAKS)


def like_data(name: bytes) -> bool:
    """Return whether some reader takes a field of this other name for data."""
    return b"data" in name.lower()


def on_one_reading(data: bytes) -> bytes:
    """Return the same JSON in one line: of several lines, some readers of streams find the last, or each by itself."""
    return _without_line_ends(data.replace(b"\n", b" "))


def _without_line_ends(data: bytes) -> bytes:
    """Return the same JSON without any character taken by some reader for the end of a line."""
    if not breaks_more(data):
        return data
    for text, escape in _MORE_BREAKS.items():
        data = data.replace(text, escape)
    return data


class Unbroken:
    """Gives an event in pieces a single reading."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        """Take the next piece. Half of a character, or of a line's end, waits for its rest."""
        text, self._held = self._held + piece, b""
        begun = next((begun for begun in _BEGUN if text.endswith(begun)), b"")
        if not last:
            text, self._held = text.removesuffix(begun), begun
        return _without_line_ends(_LONE.sub(b"\n", text) if b"\r" in text else text)


def anew(raw: bytes, data: bytes | None) -> bytes:
    """Return a whole event with this data in one line, without comments and unknown fields. So every reader finds the
    same data."""
    parts = [line.partition(b":") for line in _BREAK.split(raw)]
    fields = {name: value.removeprefix(b" ") for name, _, value in parts if name in _KEPT}
    kept = [name + b": " + value + b"\n" for name, value in fields.items() if _SAFE.fullmatch(value)]
    if data is not None:
        kept.append(b"data: " + data + b"\n")
    return b"".join(kept or (b":\n",)) + b"\n"
