"""Takes out of a text the words and letters that were put between the pieces of a credential. Pure.

    Vq7 please tR2 please xLm       only words with digits or odd capitals are kept: Vq7tR2xLm
    V then comes the q and then 7   only words of one letter are kept: Vq7
    Vxqx7xtxRx2x                    every second or third letter is kept: Vq7tR2

Only for known credentials: the result reads as anything, and is compared with digests. Work is in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.inspection.credentials.ruleset import compiled

LONGEST: Final = 16_384
"""Bytes of a text that are looked at."""
_STRIDES: Final = (2, 3)
_ALIGNED: Final = 6
"""A multiple of each stride."""
_LONG: Final = 14
"""Letters of a word that may have others between its own."""
_ODD_CAPITAL: Final = compiled(r"[a-z][A-Z]|[A-Z]{2}[a-z]", groups=False)
_LONG_WORD: Final = compiled(r"[A-Za-z0-9]{14}", groups=False)
_SHORT_WORDS: Final = compiled(r"(?:[^A-Za-z0-9]+[A-Za-z0-9]{1,3}){7}", groups=False)
"""Stand in a text that has a row."""
SPELLED: Final = (
    r"(?:[^A-Za-z0-9]+[A-Za-z0-9]{1,3}){7}|(?s:(?:\b[A-Za-z0-9]\b.*?){8})|[A-Za-z0-9]{20}"
    r"|(?s:(?:(?:[A-Za-z][0-9]|[0-9][A-Za-z])[A-Za-z0-9]*\b.*?){3})"
)
"""Matches in a text that may have fillers between the pieces of a credential: short words in a row, eight words of one
letter, a long word, or three words that mix letters with digits."""
_SPELLED: Final = re.compile(rb"[\1-\3]{8,}")
"""The lengths of words that spell something."""
_SPACED: Final = bytes(code if chr(code).isascii() and chr(code).isalnum() else ord(" ") for code in range(256))


def without_fillers(text: bytes) -> bytes:
    """Return the text without fillers, read in each of the ways above, one reading after the other."""
    if len(text) > LONGEST:
        return b""
    words = text.translate(_SPACED).split()
    if _ODD_CAPITAL.search(text) is None:
        found = [word for word in words if not word.isalpha()]
    else:
        found = [word for word in words if not word.isalpha() or _has_odd_capitals(word)]
    found += [word for word in words if len(word) == 1]
    rows = b"".join(map(_align, _rows(text, words)))
    found += [rows[start::stride] for stride in _STRIDES for start in range(stride)]
    return b"".join(found)


def _has_odd_capitals(word: bytes) -> bool:
    return not (word.islower() or word.isupper() or word.istitle())


def _rows(text: bytes, words: Sequence[bytes]) -> Iterator[bytes]:
    """Yield long words, and what short ones spell."""
    if _LONG_WORD.search(text) is not None:
        yield from [word for word in words if len(word) >= _LONG]
    if _SHORT_WORDS.search(text) is None:
        return
    lengths = bytes([min(_LONG, size) for size in map(len, words)])
    for match in _SPELLED.finditer(lengths):
        yield b"".join(words[slice(*match.span())])


def _align(letters: bytes) -> bytes:
    """Return letters filled up, so that the next row begins where every stride does."""
    return letters + b" " * (-len(letters) % _ALIGNED)
