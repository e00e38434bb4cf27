"""Undoes encodings of mail and of binary data in text: quoted-printable, uuencode and base85. Pure.

Each decoder looks for a sign first, which ordinary text hardly ever has, and gives only what reads as text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gateway.credentials.ruleset import Re2Pattern, compiled

_EQUALS: Final = ord("=")
_QUOTED: Final = re.compile(rb"=(?:[0-9A-Fa-f]{2}|[ \t]*\r?\n)")
_QUOTED_MARKS: Final = r"(?:=[0-9A-Fa-f]{2}){2}|=[ \t]*\r?\n|=[2-7][0-9A-F][^&\s=]{1,40}=[2-7][0-9A-F]"
_QUOTED_SIGN: Final = compiled(_QUOTED_MARKS)
_READABLE: Final = re.compile(rb"[\t\n\r\x20-\x7e]{8,}")
_BREAKS: Final = re.compile(rb"[\r\n\0]+|\\[nr]")


def quoted_printable(text: bytes) -> Iterator[bytes]:
    """Yield the text without quoted-printable (RFC 2045 section 6.7), its soft line breaks included."""
    if _EQUALS in text and _QUOTED_SIGN.search(text) is not None:
        yield _QUOTED.sub(_unquote, text)


def _unquote(match: re.Match[bytes]) -> bytes:
    digits = match[0][1:].strip()
    return bytes.fromhex(digits.decode())


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


class _Base85(NamedTuple):
    """A way to write base85. Groups are of five digits that read as ASCII: `sign` and `place` find two with an odd mark,
    `groups` all in a row, `group` one. `row` is an expression for two with a rarer mark and two more."""

    sign: Re2Pattern
    row: str
    place: re.Pattern[bytes]
    groups: re.Pattern[bytes]
    group: re.Pattern[bytes]
    decode: Callable[[bytes], bytes]


def _base85(alphabet: bytes, decode: Callable[[bytes], bytes]) -> _Base85:
    """Decode base85: of four bytes of ASCII, the first of their five digits is one of 31. Two such groups with an
    odd mark are a sign."""
    first, every = (_class(digits) for digits in (alphabet[10:41], alphabet))
    odd_first, odd = (_class(bytes(set(digits) & set(_ODD))) for digits in (alphabet[10:41], alphabet))
    places = [(first, odd_first), *[(every, odd)] * 4] * 2
    row = [kind for kind, _ in places]
    # RE2 cannot look ahead: the mark is at one of ten places.
    marked = ["".join([*row[:at], mark, *row[at + 1 :]]) for at, (_, mark) in enumerate(places) if mark != "[]"]
    group = first + every + "{4}"
    rarer = [_class(bytes(set(digits) & set(_RARER))) for digits in (alphabet[10:41], alphabet)]
    marks = [rarer[0], *[rarer[1]] * 4] * 2
    rows = ["".join([*row[:at], mark, *row[at + 1 :]]) for at, mark in enumerate(marks) if mark != "[]"]
    place = f"(?={group * 2})(?={every}{{0,9}}?{odd})"
    return _Base85(
        compiled("|".join(marked)),
        f"(?:{'|'.join(rows)})(?:{group}){{2}}",
        re.compile(place.encode()),
        re.compile(f"(?:{group})+(?:{first}{every}{{1,3}})?".encode()),
        re.compile(group.encode()),
        decode,
    )


def _class(characters: bytes) -> str:
    return f"[{''.join(re.escape(chr(code)) for code in sorted(characters))}]"


_WAYS: Final = (_base85(_B85, base64.b85decode), _base85(_A85, base64.a85decode))
"""RFC 1924 and Ascii85."""


RARE_SIGNS: Final = "|".join([_QUOTED_MARKS, _UU_LINES, *(way.row for way in _WAYS)])
"""Matches in each of these encodings of sixteen bytes of text, and seldom elsewhere."""


def base85(text: bytes) -> Iterator[bytes]:
    """Yield what a text holds in base85, wherever the groups of five begin."""
    found = [
        readable
        for way in _WAYS
        if way.sign.search(text) is not None
        for groups in _groups(way, text)
        for readable in _READABLE.findall(_tolerant(way.decode, groups))
    ]
    if found:
        yield b"\n".join(found)


def _groups(way: _Base85, text: bytes) -> Iterator[bytes]:
    """Yield the groups in a row, once for each of the five ways in which they may begin."""
    ends = [0] * 5
    for match in way.place.finditer(text):
        start = match.start()
        read = ends[start % 5]
        if start < read or (row := way.groups.match(text, start)) is None:
            continue
        while start - 5 >= read and way.group.match(text, start - 5) is not None:
            start -= 5
        ends[start % 5] = row.end()
        yield text[start : row.end()]


def _tolerant(decode: Callable[[bytes], bytes], groups: bytes) -> bytes:
    """Return the decoded groups. Groups that do not decode are left out."""
    for size in (len(groups), len(groups) // 5 * 5):
        try:
            return decode(groups[:size])
        except ValueError:
            continue
    return b"".join(_one_by_one(decode, groups))


def _one_by_one(decode: Callable[[bytes], bytes], groups: bytes) -> Iterator[bytes]:
    for at in range(0, len(groups), 5):
        try:
            yield decode(groups[at : at + 5])
        except ValueError:
            yield b"\0"
