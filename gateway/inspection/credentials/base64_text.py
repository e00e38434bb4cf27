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


def groups(count: int) -> str:
    """Return an expression that matches base64 of three readable bytes each, across white space."""
    return rf"(?:{FIRST}\s*{SECOND}\s*{THIRD}\s*{FOURTH}\s*){{{count}}}"
