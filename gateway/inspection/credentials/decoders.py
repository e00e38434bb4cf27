"""Undoes encodings of mail and of binary data in text: quoted-printable, uuencode and base85. Pure.

Each decoder looks for a sign first, which ordinary text hardly ever has, and gives only what reads as text.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.inspection.credentials.ruleset import Re2Pattern, compiled

_EQUALS: Final = ord("=")
_PADDED_BREAK: Final = re.compile(rb"=[ \t]+(?=\r?\n)")
_LITERAL: Final = re.compile(rb"=(?==|\r(?!\n))")
"""A mark that `binascii` reads together with what stands behind it."""
_QUOTED_MARKS: Final = r"(?:=[0-9A-Fa-f]{2}){2}|=[ \t]*\r?\n|=[2-7][0-9A-F][^&\s=]{1,40}=[2-7][0-9A-F]"
_QUOTED_SIGN: Final = compiled(_QUOTED_MARKS)
_READABLE: Final = re.compile(rb"[\t\n\r\x20-\x7e]{8,}")
_READS: Final = compiled(r"[\t\n\r\x20-\x7e]{8}", groups=False)
"""Says in a fifth of the time whether there is any such text."""
_BREAKS: Final = re.compile(rb"[\r\n\0]+|\\[nr]")


def quoted_printable(text: bytes) -> Iterator[bytes]:
    """Yield the text without quoted-printable (RFC 2045 section 6.7), its soft line breaks included."""
    if _EQUALS in text and _QUOTED_SIGN.search(text) is not None:
        yield binascii.a2b_qp(_LITERAL.sub(b"=3D", _PADDED_BREAK.sub(b"=", text)))


# --- uuencode ----------------------------------------------------------------------------------------


_UU_LINES: Final = r"(?:^|[\n\x00]|\\n)[(-M](?:[ -`]{4}){3,15}(?:$|[\r\n\x00]|\\[nr])"
_UU_SIGN: Final = compiled(_UU_LINES)
"""A line of eight bytes and more: the first character counts them."""
_UU_LINE: Final = re.compile(rb"[!-M](?:[ -`]{4}){1,15}")


def decode_uuencoded(text: bytes) -> Iterator[bytes]:
    """Yield the lines of a text that are uuencoded (POSIX.1-2024, uuencode), decoded."""
    if _UU_SIGN.search(text) is None:
        return
    lines = b"".join(decoded for line in _BREAKS.split(text) if (decoded := _uu_line(line)) is not None)
    yield from _READABLE.findall(lines)


def _uu_line(line: bytes) -> bytes | None:
    if _UU_LINE.fullmatch(line) is None or (len(line) - 1) // 4 != (line[0] - 32 + 2) // 3:
        return None
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        return None


# --- base85 ------------------------------------------------------------------------------------------


_B85: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_A85: Final = bytes(range(ord("!"), ord("u") + 1))
_ODD: Final = b"!#$%()*+;<>^`{|}~[]\\"
"""Marks that addresses, dates and prose hardly have; of base85 one digit of five is one."""
_RARER: Final = bytes(set(_ODD) - set(b"+"))
"""Marks that base64 has not either."""
_HAS_ODD: Final = re.compile(b"[%s]" % re.escape(_ODD))
_GROUP: Final = 5
"""Digits of four bytes."""
_LANE: Final = 5
"""Bytes of one number in a row of numbers that are added and multiplied as one. Five digits stay below 2**33."""
_PADDING: Final = 84
"""The highest digit, which stands for missing digits."""
_VALID: Final = 0xFF


class _Base85(NamedTuple):
    """A way to write base85. `sign` finds two groups of digits that read as ASCII, with an odd mark. `row` is an expression
    for two with a rarer mark and two more. `digits` has the digit of each byte, and `valid` tells digits from other bytes."""

    sign: Re2Pattern
    row: str
    digits: bytes
    valid: bytes


def _base85(alphabet: bytes) -> _Base85:
    """Return one way to write base85. Of four bytes of ASCII, the first of their five digits is one of 31."""
    every, first = _class(alphabet), _class(alphabet[10:41])
    group = first + every + "{4}"
    digits = bytes(max(alphabet.find(code), 0) if code in alphabet else _PADDING for code in range(256))
    valid = bytes(_VALID if code in alphabet else 0 for code in range(256))
    rows = _two_groups(alphabet, _RARER)
    return _Base85(compiled(_two_groups(alphabet, _ODD)), f"(?:{rows})(?:{group}){{2}}", digits, valid)


def _two_groups(alphabet: bytes, marks: bytes) -> str:
    """Return an expression for two groups with a mark. RE2 cannot look ahead: the mark is at one of ten places."""
    places = [alphabet[10:41], *[alphabet] * 4] * 2
    row = [_class(digits) for digits in places]
    marked = [bytes(set(digits) & set(marks)) for digits in places]
    return "|".join(["".join([*row[:at], _class(mark), *row[at + 1 :]]) for at, mark in enumerate(marked) if mark])


def _class(characters: bytes) -> str:
    return f"[{''.join(re.escape(chr(code)) for code in sorted(characters))}]"


_WAYS: Final = (_base85(_B85), _base85(_A85))
"""RFC 1924 and Ascii85."""


RARE_SIGNS: Final = "|".join([_QUOTED_MARKS, _UU_LINES, *(way.row for way in _WAYS)])
"""Matches in each of these encodings of sixteen bytes of text, and seldom elsewhere."""


def base85(text: bytes) -> Iterator[bytes]:
    """Yield what a text holds in base85, wherever the groups of five begin."""
    found = [
        readable
        for way in _WAYS
        if way.sign.search(text) is not None
        for start in range(_GROUP)
        for readable in _read_groups(way, text, start)
    ]
    if found:
        yield b"\n".join(found)


def _read_groups(way: _Base85, text: bytes, start: int) -> Iterator[bytes]:
    """Yield what reads as text in groups that begin at `start` or a multiple of five digits later, and has an odd mark."""
    decoded = _decode_groups(way, text[start:])
    if _READS.search(decoded) is None:
        return
    for match in _READABLE.finditer(decoded):
        first, last = match.start() // 4, (match.end() + 3) // 4
        if _HAS_ODD.search(text, start + first * _GROUP, start + last * _GROUP) is not None:
            yield match[0]


def _decode_groups(way: _Base85, text: bytes) -> bytes:
    """Return four bytes for each group of five, with zeros for bytes whose digits are not all there.

    All groups are one number, as a step of Python for each would take seconds for a long text.
    """
    padded = text + b"\n" * (-len(text) % _GROUP)
    digits, valid = padded.translate(way.digits), padded.translate(way.valid)
    count = len(padded) // _GROUP
    value, whole = 0, int.from_bytes(valid[::_GROUP], "big")
    for at in range(_GROUP):
        lanes = bytearray(count * _LANE)
        lanes[_LANE - 1 :: _LANE] = digits[at::_GROUP]
        value = value * 85 + int.from_bytes(lanes, "big")
    numbers = value.to_bytes(count * _LANE, "big")
    decoded = bytearray(count * 4)
    for at in range(4):
        # A byte is certain once the digit after its own is there.
        whole &= int.from_bytes(valid[at + 1 :: _GROUP], "big")
        byte = int.from_bytes(numbers[_LANE - 4 + at :: _LANE], "big") & whole
        decoded[at::4] = byte.to_bytes(count, "big")
    return bytes(decoded)
