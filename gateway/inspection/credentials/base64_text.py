"""Expressions for base64 of readable text, in both alphabets of RFC 4648. Pure.

Four letters of base64 hold three bytes. The first letter has the upper six bits of a byte. The second has the upper four of
the next byte, the third the upper two of the last. The upper bits of a readable byte are few.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Final

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
