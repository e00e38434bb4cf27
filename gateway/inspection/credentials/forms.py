"""Undoes encodings that hide a credential, up to two rounds of them. Pure; the work is bounded.

The encodings are percent, base64, base64url, hex, JSON and `\\x` escapes, compatibility forms and characters that do not
show. `decoders` has those of mail, and base85. Base64 and hex are decoded in every run of their letters, across white
space and separators, at every alignment. So letters before a run hide nothing. Only text is kept of the result."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from gateway.base.concurrency.worker_thread import AT_ONCE, give_way
from gateway.base.json.lex import unescape_any
from gateway.inspection.credentials.decoders import (
    RARE_SIGNS,
    SPELLED,
    base85,
    decode_uuencoded,
    groups,
    quoted_printable,
    readable_text,
)
from gateway.inspection.credentials.fingerprint import bare
from gateway.inspection.credentials.ruleset import compiled

ROUNDS: Final = 2
BUDGET: Final = 4 * 2**20
"""Bytes of decoded text that one inspection may look at, beside a few times the size of what it looks at."""
PER_BYTE: Final = 24
_TEXT: Final = r"[\t\n\r\x20-\x7e\x{a1}-\x{d7ff}\x{e000}-\x{10ffff}]{8,}"
_READABLE: Final = compiled(_TEXT)
_WIDE: Final = compiled(r"(?:[\t\n\r\x20-\x7e]\x00){6,}")
_READABLE_OR_WIDE: Final = compiled(rf"{_TEXT}|(?:\x00[\t\n\r\x20-\x7e]){{3}}\x00")
"""Text, or what tells that there is UTF-16. Neither can hide the other: zero is no text."""
_PERCENT: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
_NOT_BASE64: Final = bytes(code if re.match(rb"[A-Za-z0-9+/]", bytes([code])) else 32 for code in range(256))
_NOT_HEX: Final = bytes(code if re.match(rb"[A-Fa-f0-9]", bytes([code])) else 32 for code in range(256))
_SHORTEST_BASE64: Final = 10
"""Letters that decode to eight bytes, the least that is looked at."""
_SHORTEST_HEX: Final = 16
_BASE64_TEXT: Final = compiled(readable_text(), groups=False)
"""Matches in all base64 that reads as text, once the text around it is without white space."""
_FILL: Final = (b"", b"AAA", b"AA", b"A")
"""What makes a run of base64 whole, by the letters that it has beyond a multiple of four."""
_HEX_CHARACTERS: Final = (
    "[2-7]h", "0[9AaDd]", "[CcDd]h[89ABab]h", "[Ee]h[89ABab]h[89ABab]h", "[Ff]h[89ABab]h[89ABab]h[89ABab]h",
)  # fmt: skip
"""The digits of a character of text in UTF-8, by its length. `h` is any digit."""
_MARK: Final = r"(?:0?[xX]|[uU]\+|[^0-9A-Za-z])*"
"""Between digits: signs of hex, and whatever parts the letters of shingles. UUIDs, colours and addresses have such groups."""
_HEX_DIGIT: Final = re.compile(r"h|[0-9]|\[[^]]+\]")


def _hex_text(count: int, mark: str) -> str:
    """Return an expression for hex of so many characters of text, also in UTF-16, with marks between the digits."""
    ways = [mark.join(_HEX_DIGIT.findall(digits)) for digits in _HEX_CHARACTERS]
    character = f"(?:{'|'.join(ways)}){mark}".replace("h", "[0-9A-Fa-f]")
    return rf"(?:{character}){{{count}}}|(?:{character}0{mark}0{mark}){{{count - 3}}}{character}"


_HEX_MARKS: Final = re.compile(
    rb"0[xX](?=[0-9A-Fa-f]{2})|(?<![0-9A-Za-z])[xX](?=[0-9A-Fa-f]{2})|[uU]\+(?=[0-9A-Fa-f]{4})|[^0-9A-Za-z]"
)
HEX: Final = _hex_text(8, _MARK)
_HEX_SIGN: Final = compiled(HEX, groups=False)
"""Matches in whatever decodes to text: digests and numbers hardly ever do."""
LONG_HIDDEN: Final = compiled(
    rf"{groups(5)}|{_hex_text(12, _MARK)}"
    r"|[\x{e0020}-\x{e007e}]{8}|[\x{fe00}-\x{fe0f}\x{e0100}-\x{e01ef}]{8}",
    groups=False,
)
"""Matches in what decodes to some fifteen bytes of text: base64, hex, and rows of characters without a look. Ordinary text
hardly ever has it."""
_BACKSLASH: Final = ord("\\")
"""As a number: to look for `bytes` in bytes costs thirty times as much, since CPython first tries whether they are one."""
_PERCENT_SIGN: Final = ord("%")
_SPACE: Final = b" \t\r\n\f\v"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_LINES: Final = re.compile(rb"\\[nrt]")


class Form(NamedTuple):
    """A reading of a text, with its decodings from the outermost on."""

    text: bytes
    name: str


class Forms(NamedTuple):
    readings: tuple[Form, ...]
    incomplete: bool


class Budget:
    """The decodings left for an inspection, shared by all its texts."""

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


def forms(text: bytes, budget: Budget | None = None, *, rare: bool = True) -> Forms:
    """Return `text` itself and every other reading of it; without `rare`, those of common encodings. Never raises."""
    allowed = budget or Budget(len(text))
    found = [Form(text, "raw")]
    seen = {text}
    latest = found
    for _ in range(ROUNDS):
        more: list[Form] = []
        for form in latest:
            for name, decoded in decode_once(form.text, rare=rare):
                if decoded not in seen and not seen.add(decoded) and allowed.take(len(decoded)):
                    more.append(Form(decoded, name if form.name == "raw" else f"{form.name}+{name}"))
        latest = more
        if not latest:
            break
        found.extend(latest)
    return Forms(tuple(found), allowed.incomplete)


def is_plain(text: bytes) -> bool:
    """Return whether a text shows no sign of an encoding, but for rare ones. Such a text has no other reading."""
    if _PERCENT_SIGN in text or _BACKSLASH in text or not text.isascii():
        return False
    return _BASE64_TEXT.search(text.translate(_STANDARD, _SPACE)) is None and _HEX_SIGN.search(text) is None


def decode_once(text: bytes, *, rare: bool) -> list[tuple[str, bytes]]:
    """Return each decoding of a text by one round, with its name. Nearly every text shows none of the signs asked for here."""
    found: list[tuple[str, bytes]] = []
    if len(text) > AT_ONCE:
        give_way()
    if _PERCENT_SIGN in text and _PERCENT.search(text) is not None:
        found.append(("percent", unquote_to_bytes(text)))
    if _BACKSLASH in text:
        found.append(("escape", unescape_any(text)))
    if not text.isascii():
        found.extend([("compatible", decoded) for decoded in _compatible(text)])
    if decoded := _base64(text):
        found.append(("base64", decoded))
    found.extend([("hex", decoded) for decoded in decode_hex(text)])
    if rare:
        found.extend([(name, decoded) for name, decode in _RARE for decoded in decode(text)])
    return found


# --- one round -------------------------------------------------------------------------------------

_TAGS: Final = re.compile("[\U000e0020-\U000e007e]+")
"""The copies of ASCII that do not show, in which a text is hidden from people and not from models."""
_UNTAGGED: Final = {0xE0000 + code: code for code in range(0x20, 0x7F)}
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
"""Variation selectors, of which there are as many as bytes, so that a row of them behind a letter is a hidden text."""


def _compatible(text: bytes) -> Iterator[bytes]:
    written = string(text)
    yield bare(written).encode("utf-8", "surrogatepass")
    if rows := [_select_variation(row) for row in _SELECTORS.findall(written)]:
        yield b"\n".join(rows)
    if hidden := "".join(_TAGS.findall(written)):
        yield hidden.translate(_UNTAGGED).encode()


def _select_variation(row: str) -> bytes:
    return bytes(ord(char) - (0xFE00 if ord(char) < 0xFE10 else 0xE0100 - 16) for char in row)


def string(text: bytes) -> str:
    """Return UTF-8 as text, lone surrogates included, with other bytes replaced."""
    try:
        return text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace")


def _base64(text: bytes) -> bytes:
    """Return the decodings as written, and at every alignment without white space. Line breaks and preceding letters so
    hide nothing."""
    standard = text.translate(_STANDARD)
    packed = (_LINES.sub(b"", standard) if _BACKSLASH in standard else standard).translate(None, _SPACE)
    # The `n` of an escaped line end is a letter of base64 in the text as written alone.
    if _BASE64_TEXT.search(packed) is None and (_BACKSLASH not in text or _BASE64_TEXT.search(standard) is None):
        return b""
    # To decode each run costs less than to tell those apart that read as text, above all in an image. The empty run at the
    # end makes zero bytes follow the last one, and its last character of UTF-16 whole.
    if len(packed) > AT_ONCE:
        give_way()
    parts = _align_runs([*_runs(packed, _NOT_BASE64, _SHORTEST_BASE64), b""])
    if packed != standard and _BASE64_TEXT.search(standard) is not None:
        parts.append(_decoded64([*_runs(standard, _NOT_BASE64, _SHORTEST_BASE64), b""]))
    return b"\n".join(_readable(parts))


def _runs(text: bytes, others: bytes, shortest: int) -> list[bytes]:
    """Yield the runs of certain letters; `others` makes white space of all other letters."""
    return [run for run in text.translate(others).split() if len(run) >= shortest]


def _decoded64(runs: list[bytes]) -> bytes:
    """Return the decoded runs, joined by zero bytes."""
    return binascii.a2b_base64(b"AAAA".join([run + _FILL[len(run) & 3] for run in runs]))


def _align_runs(runs: list[bytes]) -> list[bytes]:
    """Return all runs without none, one, two and three of their first letters, decoded in one go with zero bytes
    between.

    Decoded once: what the others give are the same bits, moved by six a letter, less those of the letters left out.
    """
    whole = _decoded64(runs)
    size = len(whole)
    bits = int.from_bytes(whole, "big")
    inside = int.from_bytes(b"\0\0\0".join([b"\xff" * ((len(run) + 3) // 4 * 3) for run in runs]), "big")
    fill = -len(runs[-1]) % 4
    found = [whole]
    for start in range(1, 4):
        moved = (bits & inside >> 6 * start) << 6 * start
        found.append(moved.to_bytes(size, "big")[: size - 3 * (fill + start > 3)])
    return found


def decode_hex(text: bytes) -> Iterator[bytes]:
    """Yield the decoded hex of a text as written, and without all that parts its digits."""
    if _HEX_SIGN.search(text) is None:
        return
    yield from _join_parts(_hex_runs(text))
    yield from _join_parts(_hex_runs(_HEX_MARKS.sub(b"", text)))


def _hex_runs(text: bytes) -> Iterator[bytes]:
    # The empty run at the end makes the last character of UTF-16 whole.
    runs = [*(run.decode() for run in _runs(text, _NOT_HEX, _SHORTEST_HEX)), ""]
    return _readable(
        [bytes.fromhex("00".join([run[start : len(run) - (len(run) - start) % 2] for run in runs])) for start in (0, 1)]
    )


_RARE: Final[tuple[tuple[str, Callable[[bytes], Iterator[bytes]]], ...]] = (
    ("quoted-printable", quoted_printable),
    ("uuencode", decode_uuencoded),
    ("base85", base85),
)
"""Costly, and of use to hide a credential that somebody looks for."""


def _readable(parts: list[bytes]) -> Iterator[bytes]:
    """Yield the pieces of decoded bytes that read as text, also as UTF-16."""
    # 0xFF is in nothing that reads as text.
    together = b"\xff".join(parts)
    if len(together) > AT_ONCE:
        give_way()
    pieces = [together[slice(*match.span())] for match in _READABLE_OR_WIDE.finditer(together)]
    if not any(piece[0] == 0 for piece in pieces):
        yield from pieces
        return
    for part in parts:
        for match in _WIDE.finditer(part):
            yield part[slice(*match.span())].replace(b"\0", b"")
        for match in _READABLE.finditer(part):
            yield part[slice(*match.span())]


def _join_parts(parts: Iterator[bytes]) -> Iterator[bytes]:
    if joined := b"\n".join(parts):
        yield joined


def whole(word: bytes) -> Iterator[bytes]:
    """Yield the content of one word in base64 or hex, if it decodes to text as a whole: for values too short for a run."""
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


# --- encoded words -----------------------------------------------------------------------------------

SHORTEST_ENCODED: Final = 16
"""Letters of a run that may be base64 or hex: twelve characters, or eight."""
MAX_ENCODED: Final = 65_536
"""Characters of one call's arguments that are decoded."""

_WORD_SIGN: Final = re.compile(
    rf"%[0-9A-Fa-f]{{2}}|\\[xu][0-9A-Fa-f]{{2}}|(?<![A-Za-z0-9+/_-])(?=[a-z/_+-]*[A-Z0-9])[A-Za-z0-9+/_-]{{{SHORTEST_ENCODED}}}",
    re.ASCII,
)
"""Of sixteen letters of base64, all are small ones or marks in one text of 500,000; words and paths often are."""
_ENCODED_WORD: Final = compiled(rf"%[0-9A-Fa-f]{{2}}|\\[xu][0-9A-Fa-f]{{2}}|[A-Za-z0-9+/_-]{{{SHORTEST_ENCODED}}}")
"""What is in every text that has a sign: one look at all words in the time of a few."""


def decode_words(text: str) -> str:
    """Return the decoded words of a text, one line for each possible decoding; empty for most texts."""
    if _ENCODED_WORD.search(text.encode("utf-8", "surrogatepass")) is None:
        return ""
    found = [word for word in text.split() if len(word) >= SHORTEST_ENCODED and _WORD_SIGN.search(word) is not None]
    if not found:
        return ""
    data = "\n".join(found)[:MAX_ENCODED].encode("utf-8", "surrogatepass")
    return "\n".join([string(form.text) for form in forms(data, Budget(len(data))).readings[1:]])


# --- signs of a hidden value -------------------------------------------------------------------------

_ACROSS_SPACE: Final = r"]\s*"
"""Ends a class of letters in the place of `]`: base64 is read across white space."""
WIDE: Final = r"(?:[0-9A-Za-z+/_-]{1,4}A){6}"
"""Matches in base64 of UTF-16, where every second byte of English is zero."""
_HIDDEN_SIGNS: Final = (
    groups(4).replace("]", _ACROSS_SPACE)
    + rf"|{WIDE}|{HEX}|[\x{{e0020}}-\x{{e007e}}]{{8}}|[\x{{fe00}}-\x{{fe0f}}\x{{e0100}}-\x{{e01ef}}]{{8}}"
)
"""Matches in base64, hex and rows of characters without a look."""
_ANY_SIGN: Final = compiled(f"{RARE_SIGNS}|{SPELLED}|{_HIDDEN_SIGNS}", groups=False)
_RARE_SIGN: Final = compiled(RARE_SIGNS, groups=False)
_SPELLED_SIGN: Final = compiled(SPELLED, groups=False)
_SPLIT_SIGN: Final = compiled(r"(?:[^A-Za-z0-9]+[A-Za-z0-9]{1,3}){7}", groups=False)
_HIDDEN_SIGN: Final = compiled(_HIDDEN_SIGNS, groups=False)


class Signs(Struct, frozen=True):
    """The signs of a text: of encodings, rare encodings, fillers between letters, and a word that is split into short ones."""

    encoded: bool
    rare: bool
    spelled: bool
    split: bool


def signs_of(text: bytes) -> Signs | None:
    """Return the signs of a text, `None` for none, as is usual."""
    escaped = _PERCENT_SIGN in text or _BACKSLASH in text or not text.isascii()
    if _ANY_SIGN.search(text) is None:
        return Signs(encoded=True, rare=False, spelled=False, split=False) if escaped else None
    rare = _RARE_SIGN.search(text) is not None
    encoded = escaped or rare or _HIDDEN_SIGN.search(text) is not None
    spelled = _SPELLED_SIGN.search(text) is not None
    return Signs(encoded, rare, spelled, spelled and _SPLIT_SIGN.search(text) is not None)
