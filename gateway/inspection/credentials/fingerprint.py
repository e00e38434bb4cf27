"""Names for credentials: the same in one deployment, meaningless in another. Pure.

A fingerprint is HMAC-SHA-256 (FIPS 198-1) of the normalised value, so that a short secret cannot be found by trying
values. Shingles are keyed digests of all runs of eight letters and digits, so that a secret is known again when it is
cut in pieces, spaced, dashed or written in other case.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

LONGEST: Final = 2_048
"""Characters of a value that count. Of a longer one (a PEM block, a large JWT) the beginning is its name."""
GRAM: Final = 8
SAMPLE: Final = 64
"""Shingles kept of one value: the smallest, which nobody without the key can choose."""
_FEWEST: Final = 4
"""Shingles that must be there whatever the share: one word in common is chance."""

_BLOCK: Final = 16
_DIGITS: Final = 24
_NOT_ALNUM: Final = bytes(code for code in range(256) if not chr(code).isascii() or not chr(code).isalnum())
_QUOTES: Final = " \t\r\n\f\v\0\"'`“”‘’«»"


class Fingerprints:
    """Fingerprints and shingles under one key, the deployment's: at least 16 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the fingerprint key has less than 16 bytes")
        self._key = key
        # A block cipher on single blocks is a keyed permutation: a pseudo-random function of the eight bytes in each.
        # One call for a whole text costs a fraction of one digest a shingle.
        derived = hmac.digest(key, b"opagate/credential-shingles", "sha256")
        self._cipher = Cipher(algorithms.AES256(derived), modes.ECB())  # noqa: S305 - blocks are independent on purpose

    def __repr__(self) -> str:
        return "Fingerprints()"

    def of(self, value: str, host: str | None = None) -> str:
        """The fingerprint of a value: 24 hex digits. What is signed for one host is another credential at another, and
        no name of the value itself: nobody makes a token go to a host by writing it as a signature."""
        named = normalised(value)[:LONGEST] if host is None else f"{normalised(value)[:LONGEST]}\n{host}"
        data = named.encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, data, "sha256").hex()[:_DIGITS]

    def shingles(self, value: str) -> frozenset[int]:
        """What is kept of a value to know it again in pieces. Empty for one of less than eight letters and digits."""
        data = distinguishing(normalised(value)[:LONGEST]).encode("utf-8", "surrogatepass")
        return frozenset(nsmallest(SAMPLE, set(self.grams(data))))

    def grams(self, text: bytes) -> Sequence[int]:
        """The keyed shingles of a text, all of them in order."""
        counted = letters(text)
        count = len(counted) - GRAM + 1
        if count < 1:
            return ()
        blocks = bytearray(count * _BLOCK)
        for place in range(GRAM):
            blocks[place::_BLOCK] = counted[place : place + count]
        return memoryview(self._cipher.encryptor().update(blocks)).cast("Q")[::2].tolist()


def letters(text: bytes) -> bytes:
    """The letters and digits of a text, of which shingles are made."""
    return text.lower().translate(None, _NOT_ALNUM)


def covered(sample: frozenset[int], grams: Iterable[int]) -> bool:
    """Whether half of a value, and no mere word of it, is among the shingles of a text."""
    present = len(sample.intersection(grams))
    return 0 < max((len(sample) + 1) // 2, min(len(sample), _FEWEST)) <= present


def normalised(value: str) -> str:
    """A value without what writing it down adds: quotes, white space around it, compatibility forms (NFKC), and
    characters that do not show."""
    value = value.strip(_QUOTES)
    if value.isascii() and value.isprintable():
        return value
    return shown(value).strip(_QUOTES)


def shown(text: str) -> str:
    """NFKC, without format and control characters other than tab and line ends."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(char for char in plain if char in "\t\n\r" or unicodedata.category(char) not in _HIDDEN)


_HIDDEN: Final = frozenset({"Cf", "Cc"})


def distinguishing(value: str) -> str:
    """The part of a value that no other has: of a JWT its signature, whose head and claims are much like another's."""
    if value.startswith("eyJ") and value.count(".") == 2:
        signature = value.rpartition(".")[2]
        return signature if len(signature) >= 2 * GRAM else value
    return value
