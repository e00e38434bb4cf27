"""JSON text (RFC 8259) taken apart without building values: tokens, scalars, structure and escapes. Pure.

Places are in bytes. JSON has escapes in strings alone, so these functions read them everywhere.
"""

from __future__ import annotations

import codecs
import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Final, Literal

# --- tokens ----------------------------------------------------------------------------------------

TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
"""A token of JSON. Whatever is none is taken for some token all the same."""
OBJECT, QUOTE, COMMA, COLON = b'{",:'
OPENING: Final = frozenset(b"{[")
CLOSING: Final = frozenset(b"}]")

Step = str | int


@dataclass(frozen=True, slots=True)
class ScalarSpan:
    """A scalar, from `start` to `end`, quotes included. `path` has the names and numbers on the way to the scalar. For
    a name, these are the path of its object and the name itself."""

    start: int
    end: int
    kind: Literal["name", "string", "other"]
    path: tuple[Step, ...]


def scalars(document: bytes) -> Iterator[ScalarSpan]:
    """Yield all scalars of a document, in order. `document` is valid JSON in UTF-8; for anything else the result means
    nothing."""
    above: list[Step] = []
    naming = False
    for match in TOKEN.finditer(document):
        start, end = match.span()
        mark = document[start]
        if mark in OPENING:
            naming = mark == OBJECT
            above.append("" if naming else 0)
        elif mark in CLOSING:
            del above[-1:]
            naming = False
        elif mark == COMMA:
            naming = bool(above) and isinstance(above[-1], str)
            if above and isinstance(above[-1], int):
                above[-1] += 1
        elif mark == QUOTE and naming:
            above[-1] = read_string(document[start:end])
            naming = False
            yield ScalarSpan(start, end, "name", tuple(above))
        elif mark != COLON:
            yield ScalarSpan(start, end, "string" if mark == QUOTE else "other", tuple(above))


def read_string(token: bytes) -> str:
    """Return the text of a JSON string with its quotes."""
    if b"\\" not in token:
        return token[1:-1].decode()
    found: str = json.loads(token)
    return found


# --- structure -------------------------------------------------------------------------------------

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_STEP: Final = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}


def without_escaped_quotes(text: bytes) -> bytes:
    """Return a text in which each quote begins or ends a string."""
    # A run of backslashes pairs up from the left, as a reader would pair it; what is left escapes the next byte.
    return text.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in text else text


def ends_in_string(text: bytes, *, begins_in_string: bool) -> bool:
    """Return whether the end of a text stands within a string."""
    return begins_in_string ^ (without_escaped_quotes(text).count(b'"') % 2 == 1)


def outside_strings(text: bytes, *, begins_in_string: bool = False) -> tuple[bytes, bool]:
    """Return the bytes of a text that stand outside of strings, and whether its end stands within a string."""
    parts = without_escaped_quotes(text).split(b'"')
    return b"".join(parts[begins_in_string::2]), begins_in_string ^ (len(parts) % 2 == 0)


def brackets(structure: bytes) -> bytes:
    """Return the brackets of a text without strings."""
    return structure.translate(None, _NOT_BRACKETS)


def depths(marks: bytes) -> Iterator[int]:
    """Yield the depth after each bracket, beginning at zero."""
    return accumulate(map(_STEP.__getitem__, marks))


# --- escapes in bytes ------------------------------------------------------------------------------

_BACKSLASH: Final = ord("\\")
"""As a number: to look for `bytes` in bytes costs thirty times as much, since CPython first tries whether they are one."""
_LONGEST_BEGUN: Final = 5
"""Bytes of the longest escape that is not whole."""
_PAIR: Final = re.compile(rb"\\u[dD][89aAbB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}")
_ANY_ESCAPE: Final = re.compile(rb"\\(?:u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_SIMPLE: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f"}
_ESCAPES: Final = re.compile(
    rb"%b|\\(?:u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|.)" % _PAIR.pattern, re.DOTALL
)
"""A pair of surrogates is one character: its escapes are undone together."""
_UNCOMMON_ESCAPE: Final = re.compile(rb'\\(?:[^\\"bfnrt]|\Z)')
"""Matches in each text that has other escapes than the common ones, or ends within an escape. Python undoes the common
escapes as JSON does."""
BEGUN_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9A-Fa-f]{0,3})?)\Z")
"""An escape that is cut off by the end of a text: its group."""


def unescape(raw: bytes) -> bytes:
    """Return JSON text without its escapes. Common escapes are replaced in bulk, the others one by one."""
    if _BACKSLASH not in raw:
        return raw
    if _UNCOMMON_ESCAPE.search(raw) is None:
        return codecs.escape_decode(raw)[0]
    # 0xFF is in no UTF-8; it keeps an escaped backslash from beginning another escape.
    text = raw.replace(b"\\\\", b"\xff").replace(b'\\"', b'"').replace(b"\\n", b"\n")
    if _BACKSLASH in text:
        text = unescape_any(text.replace(b"\\/", b"/"))
    return text.replace(b"\xff", b"\\")


def unescape_any(text: bytes) -> bytes:
    """Return a text without JSON's escapes, and without `\\xHH` and `\\u{H…}` of other languages. Any other letter after a
    backslash stays itself. A lone surrogate becomes its three bytes."""
    return _ANY_ESCAPE.sub(_character, _PAIR.sub(_join_surrogates, text))


def _join_surrogates(match: re.Match[bytes]) -> bytes:
    high, low = int(match[0][2:6], 16), int(match[0][8:12], 16)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).encode()


def _character(match: re.Match[bytes]) -> bytes:
    braces, four, two, letter = match.groups()
    if letter is not None:
        return _SIMPLE.get(letter, letter)
    code = int(braces or four or two, 16)
    return chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else b""


def begun_escape(raw: bytes, earliest: int) -> int:
    """Return the start of an escape cut off by the end of `raw`, or the length of `raw`. Backslashes before `earliest` are
    not counted."""
    at = raw.rfind(b"\\", max(0, len(raw) - _LONGEST_BEGUN))
    if at < 0:
        return len(raw)
    found = BEGUN_ESCAPE.search(raw, earliest + len(raw[earliest : at + 1].rstrip(b"\\")))
    return len(raw) if found is None else found.start(1)


class EscapedPlaces:
    """Map from places in a text without escapes to places in the JSON of the text. Both places are after `before` bytes."""

    __slots__ = ("_before", "_body", "_is_measured", "_steps")

    def __init__(self, body: bytes, before: int) -> None:
        self._before = before
        self._steps: list[tuple[int, int]] = [(0, 0)]
        self._body = body
        self._is_measured = _BACKSLASH not in body

    def raw(self, place: int) -> int:
        """Return the place in the JSON."""
        place -= self._before
        if not self._is_measured:
            self._measure()
        text, position = self._steps[bisect_right(self._steps, place, key=itemgetter(0)) - 1]
        return position + place - text

    def _measure(self) -> None:
        """Note for the end of each escape the place in the text and the place in the JSON."""
        self._is_measured = True
        text = position = 0
        for match in _ESCAPES.finditer(self._body):
            text += match.start() - position + len(unescape(match[0]))
            position = match.end()
            self._steps.append((text, position))


# --- escapes in text -------------------------------------------------------------------------------

_RARE: Final = (("\\t", "\t"), ("\\r", "\r"), ("\\/", "/"), ("\\b", "\b"), ("\\f", "\f"))
_CODE: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HIGH: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_BEGUN: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST_HIGH: Final = 11
"""Characters of the longest part of a pair of surrogates that is not whole."""


class Unescaper:
    """Decoder of UTF-8 and JSON escapes, chunk by chunk, for readers of words. Only incomplete pieces are held.

    What is not UTF-8 and what is no character becomes U+FFFD. Quotes and line breaks of a text inside a text look like those
    of the document around it.
    """

    __slots__ = ("_decoder", "_held")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, chunk: bytes) -> str:
        """Return the text of the next bytes."""
        text = self._held + self._decoder.decode(chunk)
        at = _find_cut(text)
        self._held = text[at:]
        return unescape_text(text[:at])

    def finish(self) -> str:
        """Return the held bytes, as they stand."""
        rest, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return unescape_text(rest)


def decode_text(document: bytes) -> str:
    """Return the text of a whole document, as an `Unescaper` gives it."""
    text = document.decode("utf-8", "replace")
    if "\\" not in text:
        return text
    unescaper = Unescaper()
    return unescaper.feed(document) + unescaper.finish()


def _find_cut(text: str) -> int:
    """Return the start of an escape cut off by the end of `text`, or the length of `text`."""
    if "\\" not in text[-_LONGEST_HIGH:]:
        return len(text)
    for pattern in (_HIGH, _BEGUN):
        found = pattern.search(text, max(0, len(text) - _LONGEST_HIGH))
        if found is not None and _escapes(text, found.start()):
            return found.start()
    return len(text)


def _escapes(text: str, at: int) -> bool:
    """Return whether the backslash at `at` begins an escape: an even number of backslashes stands before it."""
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 0


def unescape_text(text: str) -> str:
    """Return a text with its JSON escapes decoded. A backslash outside a JSON escape stays unchanged."""
    if "\\" not in text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    if _UNCOMMON_ESCAPE.search(data) is None:
        return codecs.escape_decode(data)[0].decode("utf-8", "surrogatepass")
    text = text.replace("\\\\", "\0").replace("\\n", "\n").replace('\\"', '"')
    return (_unescape_rare(text) if "\\" in text else text).replace("\0", "\\")


def _unescape_rare(text: str) -> str:
    """Return a text without the escapes that are few in most texts."""
    for written, meant in _RARE:
        text = text.replace(written, meant)
    if "\\u" in text:
        text = _CODE.sub(lambda found: chr(int(found[1], 16) or 0xFFFD), text)
        if _SURROGATE.search(text) is not None:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
