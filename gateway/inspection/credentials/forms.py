"""Undoes what hides a credential: up to two rounds of percent, base64, base64url, hex, JSON and `\\x` escapes, and
compatibility forms with characters that do not show. Pure; the work is bounded, and says so when it stopped short.

Base64 and hex are looked for in every run of their letters, also across white space and separators, and at every
alignment, so that letters put before them hide nothing. Of what a run gives only what reads as text is kept.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.inspection.credentials.fingerprint import shown
from gateway.inspection.credentials.ruleset import compiled

ROUNDS: Final = 2
BUDGET: Final = 4 * 2**20
"""Bytes of decoded text that one inspection may look at, beside a few times the size of what it looks at."""
PER_BYTE: Final = 24
_READABLE: Final = compiled(r"[\t\n\r\x20-\x7e\x{a1}-\x{d7ff}\x{e000}-\x{10ffff}]{8,}")
_WIDE: Final = compiled(r"(?:[\t\n\r\x20-\x7e]\x00){6,}")
_PERCENT: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{8,}")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{16,}")
_HEX_RUN: Final = compiled(r"[0-9A-Fa-f]{16}")
_HEX_MARKS: Final = re.compile(rb"0[xX](?=[0-9A-Fa-f]{2})|\\x(?=[0-9A-Fa-f]{2})|[\s:,;-]")
_HEX_MARKED: Final = compiled(r"(?i)[0-9a-f]{2}(?:(?:0x|\\x|[\s:,;-])+[0-9a-f]{2}){5}")
_SPACE: Final = b" \t\r\n\f\v"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_ESCAPE: Final = re.compile(rb"\\(?:u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_PAIR: Final = re.compile(rb"\\u[dD][89aAbB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}")
_SIMPLE: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f"}
_LINES: Final = re.compile(rb"\\[nrt]")


@dataclass(frozen=True, slots=True)
class Form:
    """One reading of a text, and the decodings that it took, outermost first."""

    text: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Forms:
    readings: tuple[Form, ...]
    incomplete: bool


class Budget:
    """What may still be decoded, shared by all texts of one inspection."""

    __slots__ = ("incomplete", "left")

    def __init__(self, size: int) -> None:
        self.left = min(max(64 * 2**10, size * PER_BYTE), BUDGET + size)
        self.incomplete = False

    def take(self, size: int) -> bool:
        if size > self.left:
            self.incomplete = True
            return False
        self.left -= size
        return True


def forms(text: bytes, budget: Budget | None = None) -> Forms:
    """`text` itself and every other reading of it. Never raises."""
    allowed = budget or Budget(len(text))
    found = [Form(text, "raw")]
    seen = {text}
    latest = found
    for _ in range(ROUNDS):
        latest = [
            Form(decoded, name if form.name == "raw" else f"{form.name}+{name}")
            for form in latest
            for name, decode in _DECODINGS
            for decoded in decode(form.text)
            if decoded not in seen and not seen.add(decoded) and allowed.take(len(decoded))
        ]
        found.extend(latest)
    return Forms(tuple(found), allowed.incomplete)


# --- one round -------------------------------------------------------------------------------------


def _percent(text: bytes) -> Iterator[bytes]:
    if b"%" in text and _PERCENT.search(text) is not None:
        yield unquote_to_bytes(text)


def _escapes(text: bytes) -> Iterator[bytes]:
    if b"\\" in text:
        yield unescaped(text)


def _compatible(text: bytes) -> Iterator[bytes]:
    if not text.isascii():
        yield shown(string(text)).encode("utf-8", "surrogatepass")


def string(text: bytes) -> str:
    """UTF-8 as text, lone surrogates included; what is not UTF-8 is replaced."""
    try:
        return text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace")


def _base64(text: bytes) -> Iterator[bytes]:
    """As it stands, and at every alignment with white space taken out, so that neither line breaks nor letters before
    it hide anything."""
    standard = text.translate(_STANDARD)
    packed = _LINES.sub(b"", standard).translate(None, _SPACE)
    runs = _BASE64.findall(packed)
    parts = [_decoded64([run[start:] for run in runs]) for start in range(4)]
    if packed != standard:
        parts.append(_decoded64(_BASE64.findall(standard)))
    yield from _joined(text for part in parts for text in _readable(part))


def _decoded64(runs: list[bytes]) -> bytes:
    """All runs decoded in one go, with zero bytes between them."""
    return base64.b64decode(b"AAAA".join([run + b"A" * (-len(run) % 4) for run in runs]))


def _hex(text: bytes) -> Iterator[bytes]:
    if _HEX_RUN.search(text) is not None:
        yield from _joined(_hex_runs(text))
    if _HEX_MARKED.search(text) is not None:
        yield from _joined(_hex_runs(_HEX_MARKS.sub(b"", text)))


def _hex_runs(text: bytes) -> Iterator[bytes]:
    runs = [run.decode() for run in _HEX.findall(text)]
    for start in (0, 1):
        parts = [run[start : len(run) - (len(run) - start) % 2] for run in runs]
        yield from _readable(bytes.fromhex("00".join(parts)))


_DECODINGS: Final[tuple[tuple[str, Callable[[bytes], Iterator[bytes]]], ...]] = (
    ("percent", _percent),
    ("escape", _escapes),
    ("compatible", _compatible),
    ("base64", _base64),
    ("hex", _hex),
)


def _readable(data: bytes) -> Iterator[bytes]:
    """The parts of decoded bytes that read as text, also as UTF-16."""
    for match in _WIDE.finditer(data):
        yield data[slice(*match.span())].replace(b"\0", b"")
    for match in _READABLE.finditer(data):
        yield data[slice(*match.span())]


def _joined(parts: Iterator[bytes]) -> Iterator[bytes]:
    if joined := b"\n".join(parts):
        yield joined


# --- escapes ---------------------------------------------------------------------------------------


def unescaped(text: bytes) -> bytes:
    """JSON's escapes undone (RFC 8259 section 7), also `\\xHH` and `\\u{H…}`. A letter after a backslash stays itself."""
    return _ESCAPE.sub(_character, _PAIR.sub(_surrogates, text))


def _surrogates(match: re.Match[bytes]) -> bytes:
    high, low = int(match[0][2:6], 16), int(match[0][8:12], 16)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)).encode()


def _character(match: re.Match[bytes]) -> bytes:
    braces, four, two, letter = match.groups()
    if letter is not None:
        return _SIMPLE.get(letter, letter)
    code = int(braces or four or two, 16)
    return chr(code).encode("utf-8", "surrogatepass") if code < 0x110000 else b""


def whole(word: bytes) -> Iterator[bytes]:
    """What a single word is in base64 or hex, if all of it decodes to text: for values too short for a run."""
    letters = word.translate(_STANDARD).rstrip(b"=")
    if len(letters) % 4 != 1 and _BASE64_WORD.fullmatch(letters) is not None:
        decoded = base64.b64decode(letters + b"=" * (-len(letters) % 4))
        if decoded.isascii() and decoded.decode().isprintable():
            yield decoded
    digits = _HEX_MARKS.sub(b"", word)
    if len(digits) % 2 == 0 and _HEX_WORD.fullmatch(digits) is not None:
        yield bytes.fromhex(digits.decode())


_BASE64_WORD: Final = re.compile(rb"[A-Za-z0-9+/]+")
_HEX_WORD: Final = re.compile(rb"[0-9A-Fa-f]{8,}")
