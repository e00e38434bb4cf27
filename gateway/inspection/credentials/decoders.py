"""Decoders of mail and of binary data in text, signs of base64 of readable text, and removal of fillers. Pure.

Each decoder looks for a sign first, which ordinary text hardly ever has, and gives only readable text.

Four letters of base64 hold three bytes. The first letter has the upper six bits of a byte. The second has the upper four of
the next byte, the third the upper two of the last. The upper bits of a readable byte are few."""

from __future__ import annotations

import binascii
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True)
class _Base85:
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


# --- base64 of readable text -------------------------------------------------------------------------

_ALPHABET: Final = (*string.ascii_uppercase, *string.ascii_lowercase, *string.digits, r"+\-", "/_")
"""The letters of six bits each."""


def _letters(accepted: Callable[[int], bool]) -> str:
    """Return a class of the letters whose six bits are accepted."""
    return f"[{''.join(letter for bits, letter in enumerate(_ALPHABET) if accepted(bits))}]"


FIRST: Final = _letters(lambda bits: 8 <= bits < 32 or bits in {2, 3})
SECOND: Final = _letters(lambda bits: bits & 15 in {0, 2, 3, 4, 5, 6, 7})
THIRD: Final = _letters(lambda bits: bits & 3 < 2)
FOURTH: Final = _letters(lambda _: True)


def eight_bytes() -> str:
    """Return an expression that matches in base64 of eight readable bytes."""
    after_one, after_two = f"{SECOND}{THIRD}{FOURTH}", f"{THIRD}{FOURTH}"
    four = f"{FIRST}{after_one}"
    return f"{four}{four}{FIRST}{SECOND}|{after_one}{four}{FIRST}{SECOND}{THIRD}|{after_two}{four}{four}{FIRST}"


_LEAST: Final = 8
"""Bytes of text that are looked for."""
_LEAD: Final = _letters(lambda bits: bits & 3 == 3)
_CONTINUATIONS: Final = {"text": 0, "two": 1, "more": 2}
"""Kinds of first bytes of a character, and the continuation bytes that must follow."""
_UPPER: Final[tuple[dict[str, str], ...]] = (
    {
        "text": FIRST,
        "two": _letters(lambda bits: 48 <= bits < 56),
        "more": _letters(lambda bits: 56 <= bits < 62),
        "next": _letters(lambda bits: 32 <= bits < 48),
    },
    {
        "text": SECOND,
        "two": _letters(lambda bits: bits & 15 in {12, 13}),
        "more": _letters(lambda bits: bits & 15 >= 14),
        "next": _letters(lambda bits: 8 <= bits & 15 < 12),
    },
    {
        "text": f"(?:{_letters(lambda bits: bits & 3 == 0)}{_letters(lambda bits: bits in {9, 10, 13} or bits >= 32)}"
        f"|{_letters(lambda bits: bits & 3 == 1)}{_letters(lambda bits: bits < 63)})",
        "two": _LEAD + _letters(lambda bits: 2 <= bits < 32),
        "more": _LEAD + _letters(lambda bits: 32 <= bits < 53),
        "next": _letters(lambda bits: bits & 3 == 2) + FOURTH,
    },
)
"""Letters that have the upper bits of the first, second and third byte of a group, by the kind of the byte."""
_LAST: Final = {"text": THIRD, "two": _LEAD, "more": _LEAD, "next": _letters(lambda bits: bits & 3 == 2)}
"""The same of a third byte whose lower bits may be cut off."""
_ZERO: Final = ("A", _letters(lambda bits: bits & 15 == 0), _letters(lambda bits: bits & 3 == 0) + "A")


def readable_text() -> str:
    """Return an expression that matches in base64 of eight characters that read as text, in UTF-8 or UTF-16.

    A letter shows the kind of its byte: ASCII, or the first or a further byte of a character. Text that is no base64
    seldom has eight such bytes in a row.
    """
    return "|".join([*(_bytes(place, _LEAST, 0) for place in range(3)), *(_wide(place) for place in range(3))])


def _bytes(place: int, left: int, due: int, *, may_go_on: bool = False) -> str:
    """Return an expression for `left` bytes from a place in a group. The first `due` bytes continue a character, and with
    `may_go_on` another byte can.
    """
    if not left:
        return ""
    letters, after = _LAST if place == 2 and left == 1 else _UPPER[place], (place + 1) % 3
    if due:
        return letters["next"] + _bytes(after, left - 1, due - 1, may_go_on=may_go_on)
    kinds = [
        letters[kind] + _bytes(after, left - 1, needed, may_go_on=kind == "more")
        for kind, needed in _CONTINUATIONS.items()
    ]
    if may_go_on:
        kinds.append(letters["next"] + _bytes(after, left - 1, 0))
    return f"(?:{'|'.join(kinds)})"


def _wide(place: int) -> str:
    """Return an expression for four characters of ASCII in UTF-16."""
    places = [(place + at) % 3 for at in range(_LEAST)]
    return "".join(_UPPER[each]["text"] if at % 2 == 0 else _ZERO[each] for at, each in enumerate(places))


def groups(count: int) -> str:
    """Return an expression that matches base64 of three readable bytes each, across white space."""
    return rf"(?:{FIRST}\s*{SECOND}\s*{THIRD}\s*{FOURTH}\s*){{{count}}}"


# --- fillers between the pieces of a credential ------------------------------------------------------

LONGEST: Final = 16_384
"""Bytes of a text that are looked at."""
_STRIDES: Final = (2, 3)
_ALIGNED: Final = 6
"""A multiple of each stride."""
_LONG: Final = 14
"""Letters of a word that may have others between its own."""
_ODD_CAPITAL: Final = compiled(r"[a-z][A-Z]|[A-Z]{2}[a-z]", groups=False)
_DIGIT: Final = compiled("[0-9]", groups=False)
_LONG_WORD: Final = compiled(rf"[A-Za-z0-9]{{{_LONG}}}", groups=False)
SPELLED: Final = (
    r"(?:[^A-Za-z0-9]+[A-Za-z0-9]{1,3}){7}|(?s:(?:\b[A-Za-z0-9]\b.*?){8})|[A-Za-z0-9]{20}"
    r"|(?s:(?:(?:[A-Za-z][0-9]|[0-9][A-Za-z])[A-Za-z0-9]*\b.*?){3})"
)
"""Matches in a text that may have fillers between the pieces of a credential: short words in a row, eight words of one
letter, a long word, or three words that mix letters with digits."""
_SPELLED: Final = compiled("(?:^| )(?:[^ ]{1,3} +){7,}[^ ]{1,3}(?: |$)", groups=False)
"""Eight short words or more that spell something, in a text whose other characters are spaces."""
_SPACED: Final = bytes(code if chr(code).isascii() and chr(code).isalnum() else ord(" ") for code in range(256))


def without_fillers(text: bytes) -> bytes:
    """Return the text without fillers, read in each of the ways above, one reading after the other."""
    if len(text) > LONGEST:
        return b""
    spaced = text.translate(_SPACED)
    words = spaced.split()
    found = list[bytes]()
    if _ODD_CAPITAL.search(text) is not None:
        found = [word for word in words if not word.isalpha() or _has_odd_capitals(word)]
    elif _DIGIT.search(spaced) is not None:
        found = [word for word in words if not word.isalpha()]
    found += [word for word in words if len(word) == 1]
    rows = b"".join(map(_align, _rows(spaced, words)))
    found += [rows[start::stride] for stride in _STRIDES for start in range(stride)]
    return b"".join(found)


def _has_odd_capitals(word: bytes) -> bool:
    return not (word.islower() or word.isupper() or word.istitle())


def _rows(spaced: bytes, words: Sequence[bytes]) -> Iterator[bytes]:
    """Yield long words, and what short ones spell."""
    if _LONG_WORD.search(spaced) is not None:
        yield from [word for word in words if len(word) >= _LONG]
    for match in _SPELLED.finditer(spaced):
        yield spaced[slice(*match.span())].replace(b" ", b"")


def _align(letters: bytes) -> bytes:
    """Return letters filled up, so that the next row begins where every stride does."""
    return letters + b" " * (-len(letters) % _ALIGNED)
