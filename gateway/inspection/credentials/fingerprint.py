"""Names for credentials: the same in one deployment, meaningless in another. Pure.

A fingerprint is HMAC-SHA-256 (FIPS 198-1) of the normalised value, so that a short secret cannot be found by trying
values. Shingles know a value again when it is cut in pieces, spaced, dashed or written in other case. The mark among
them knows it again as a whole, for credentials of which there are too many to keep all shingles.

`model.shingles` has their form. A shingle is of six letters and digits, a mark of twelve, or of all of a shorter value.
A private key is known by its secret lines: its first and last line and its public parts stand elsewhere too."""

from __future__ import annotations

import hmac
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from heapq import nsmallest
from itertools import compress
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.model.shingles import GRAM, IN_WINDOW, gram, word_mark

# --- the secret lines of a private key ---------------------------------------------------------------

_SECRET: Final = (
    ("MIGHAgEAMBMGByqGSM49", 48, 91),
    ("MIG2AgEAMBAGByqGSM49", 46, 111),
    ("MIHuAgEAMBAGByqGSM49", 46, 135),
    ("MHcCAQEEI", 9, 52),
    ("MIGkAgEBBDA", 10, 75),
    ("MIGkAgEBBDB", 10, 75),
    ("MIHcAgEBBEI", 10, 99),
    ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQ", 214, 258),
    ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS1zaGEyLW5pc3RwMjU2", 356, 399),
)
"""The beginnings of keys on curves, with the first and last letter of the secret number: P-256, P-384 and P-521 (RFC 5208, RFC
5915), Ed25519 and P-256 of OpenSSH (PROTOCOL.key). The public key stands beside it."""
_BORDER: Final = re.compile(r"-----[A-Z0-9 ]{1,64}-----")
_OPENSSH: Final = "b3BlbnNzaC1rZXktdjE"
_PUBLIC: Final = 4
"""The modulus is less than a quarter of an RSA key (RFC 8017 appendix A.1.2), and of OpenSSH in both of its first quarters."""


def is_key(value: str) -> bool:
    """Return whether a value has the first line of a private key (RFC 7468 section 10)."""
    return "PRIVATE KEY-----" in value


def secret_lines(key: str) -> str:
    """Return the part of a private key of which any line tells the key."""
    body = _BORDER.sub("", key).strip()
    letters = "".join(body.split())
    for beginning, first, last in _SECRET:
        if letters.startswith(beginning):
            return letters[first:last]
    quarters = 2 if letters.startswith(_OPENSSH) else 1
    return letters[quarters * len(letters) // _PUBLIC :]


# --- names and shingles ------------------------------------------------------------------------------

BLOCK: Final = 16
"""Bytes of the digest of one run of letters, of which the first eight are the gram and room for a place."""
LONGEST: Final = 16 * 2**10
"""Characters of a value that count. Of a longer one the beginning is its name."""
WINDOW: Final = 12
"""Letters and digits of which a mark is made. A shorter value is marked as a whole word."""
BLOCK_OF_LINE: Final = 24
"""Letters of a key that have a mark of their own. Each row of 47 letters holds such a block, wherever its lines begin."""
SAMPLE: Final = 64
"""Shingles kept of one value: the smallest, which nobody without the key can choose."""
_FEWEST: Final = 6
"""Shingles that must be there whatever the share: one word in common is chance."""
_SHORTEST: Final = 3
"""Runs of the shortest value that is known in pieces: in a shorter one they may be chance."""
_TELLING: Final = 5
"""Runs by which a value is known, at least."""
_LONG: Final = 128
"""Runs of a value in which words do not matter."""

_DIGITS: Final = 24
_NOT_ALNUM: Final = bytes(code for code in range(256) if not chr(code).isascii() or not chr(code).isalnum())
_QUOTES: Final = " \t\r\n\f\v\0\"'`“”‘’«»"
_WORD_LIKE: Final = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}|(?<![0-9])(?:19|20)[0-9]{2}(?![0-9])")
"""Runs of letters as words have them, and years."""


class Fingerprints:
    """Fingerprints, shingles and marks under one key, the deployment's: at least 16 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the fingerprint key has less than 16 bytes")
        self._key = key
        # A block cipher on single blocks is a keyed permutation: a pseudo-random function of the letters in each.
        # One call for a whole text costs a fraction of one digest a shingle.
        derived = hmac.digest(key, b"opagate/credential-shingles", "sha256")
        self._cipher = Cipher(algorithms.AES256(derived), modes.ECB())  # noqa: S305 - blocks are independent on purpose

    def __repr__(self) -> str:
        return "Fingerprints()"

    def of(self, value: str, host: str | None = None) -> str:
        """Return the fingerprint of a value: 24 hex digits.

        A signature for one host is another credential at another host. It does not name the value itself, so writing a
        token as a signature cannot move it to a host.
        """
        named = normalise_value(value)[:LONGEST] if host is None else f"{normalise_value(value)[:LONGEST]}\n{host}"
        return hmac.digest(self._key, encoded(named), "sha256").hex()[:_DIGITS]

    def mark(self, value: str) -> int:
        """Return the mark of a value: its smallest run of twelve letters, or the whole of a shorter value."""
        text = find_distinguishing(normalise_value(value)[:LONGEST])
        return self._mark(value, self.windows(encoded(text)), _Letters(text))

    def shingles(self, value: str, user: str = "", *, in_lines: bool = False) -> frozenset[int]:
        """Return what is kept of a value to know it again: its mark, and, from eight letters on, runs of letters. The name
        of its `user` is no piece of it. With `in_lines`, a private key is known by any of its secret lines."""
        named = normalise_value(value)[:LONGEST]
        text = secret_lines(named) if in_lines else find_distinguishing(named)
        grams, windows = self._grams_and_windows(letters(encoded(text)))
        if len(grams) < _SHORTEST:
            return frozenset({word_mark(self.of(value))})
        counted = _Letters(text)
        telling = counted.telling(GRAM)
        sample = {grams[place]: place for place in reversed(telling)}
        for theirs in self.grams(encoded(user)) if user else ():
            sample.pop(theirs, None)
        kept = [gram | place for gram, place in sample.items()]
        mark = self._mark(value, windows, counted, user)
        marks = self._marks_of_lines(windows) if in_lines and len(grams) > _LONG else ()
        return frozenset([*(nsmallest(SAMPLE, kept) if len(kept) > SAMPLE else kept), mark, *marks])

    def _marks_of_lines(self, windows: Sequence[int]) -> list[int]:
        """Return the smallest mark within each block of the secret part of a private key."""
        within = BLOCK_OF_LINE - WINDOW + 1
        return [min(windows[at : at + within]) for at in range(0, len(windows) - within + 1, BLOCK_OF_LINE)]

    def _mark(self, value: str, windows: Sequence[int], counted: _Letters, user: str = "") -> int:
        if not windows:
            return word_mark(self.of(value))
        found = [windows[place] for place in counted.telling(WINDOW)]
        if user:
            theirs = self.windows(encoded(user))
            found = [window for window in found if window not in theirs]
        return min(found, default=word_mark(self.of(value)))

    def _grams_and_windows(self, counted: bytes) -> tuple[list[int], list[int]]:
        """Return both, for less than the price of two."""
        blocks = _blocks(counted, GRAM)
        first = len(blocks)
        digested = self._digest_blocks(blocks + _blocks(counted, WINDOW))
        return _numbers(digested[:first], 0), _numbers(digested[first:], IN_WINDOW)

    def grams(self, text: bytes) -> Sequence[int]:
        """Return the digests of all runs of six letters and digits in a text, in order, without places."""
        return grams_of_digests(self.gram_digests(text))

    def gram_digests(self, text: bytes) -> bytearray:
        """Return the same digests as bytes, a block for each (`index.GramFilter`)."""
        return self._digest_blocks(_blocks(letters(text), GRAM))

    def windows(self, text: bytes) -> Sequence[int]:
        """Return all runs of twelve letters and digits in a text, in order, as marks."""
        return _numbers(self._digest_blocks(_blocks(letters(text), WINDOW)), IN_WINDOW)

    def _digest_blocks(self, blocks: bytearray) -> bytearray:
        return bytearray(self._cipher.encryptor().update(blocks)) if blocks else blocks


def _blocks(counted: bytes, size: int) -> bytearray:
    """Return a block of sixteen bytes for each run of so many letters."""
    count = max(0, len(counted) - size + 1)
    blocks = bytearray(count * BLOCK)
    for start in range(size if count else 0):
        blocks[start::BLOCK] = counted[start : start + count]
    return blocks


def _numbers(digested: bytearray, place: int) -> list[int]:
    """Return the first half of each block as a number, with this place in its low bits."""
    if not digested:
        return []
    count = len(digested) // BLOCK
    first = 0 if sys.byteorder == "little" else BLOCK // 2 - 2
    for offset, byte in enumerate(place.to_bytes(2, sys.byteorder)):
        digested[first + offset :: BLOCK] = bytes([byte]) * count
    return memoryview(digested).cast("Q")[::2].tolist()


def grams_of_digests(digests: bytearray) -> Sequence[int]:
    """Return digests as numbers, without places."""
    return _numbers(digests, 0)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def letters(text: bytes) -> bytes:
    """Return the letters and digits of a text, of which shingles are made."""
    return text.lower().translate(None, _NOT_ALNUM)


def is_half_covered(sample: Collection[int], grams: Iterable[int]) -> bool:
    """Return whether half of a value, and no mere word of it, is among the grams of a text. `sample` are shingles."""
    found = frozenset(grams)
    present = sum(gram(shingle) in found for shingle in sample)
    return 0 < max((len(sample) + 1) // 2, min(len(sample), _FEWEST)) <= present


class _Letters:
    """The letters and digits of a value: which of them stand outside of words, and where words end."""

    __slots__ = ("_ends", "_outside")

    def __init__(self, text: str) -> None:
        outside, ends = bytearray(b"\1" * len(text)), bytearray(len(text))
        for match in _WORD_LIKE.finditer(text):
            start, end = match.span()
            outside[start:end] = bytes(end - start)
            ends[end - 1] = 1
        counted = [char.isascii() and char.isalnum() for char in text]
        self._outside = bytes(compress(outside, counted))
        self._ends = bytes(compress(ends, counted))

    def telling(self, size: int) -> Sequence[int]:
        """Return the places of the runs by which a value is known, and not the words in it, since other text has its words
        too.

        Runs count that have most letters outside of words, if all of these letters are in such runs. Of a row of words,
        those count that reach from one word into the next. Of a long value, or one of few words, all runs count.
        """
        places = range(len(self._outside) - size + 1)
        if len(places) > _LONG or 3 * sum(self._outside) > 2 * len(self._outside):
            return places
        letters = [sum(self._outside[place : place + size]) for place in places]
        for most in range(size, 0, -1):
            found = [place for place in places if letters[place] >= most]
            if len(found) >= _TELLING and self._has_all_outside(found, size):
                return found
        across = [place for place in places if self._ends.find(1, place, place + size - 1) >= 0]
        return across if len(across) >= _TELLING else places

    def _has_all_outside(self, places: Sequence[int], size: int) -> bool:
        """Return whether nine of ten letters outside of words are in the runs at these places."""
        left = bytearray(self._outside)
        for place in places:
            left[place : place + size] = bytes(size)
        return 10 * sum(left) <= sum(self._outside)


def normalise_value(value: str) -> str:
    """Return a value without additions of its writing: quotes, white space around it, compatibility forms (NFKC), and
    invisible characters."""
    value = value.strip(_QUOTES)
    if value.isascii() and value.isprintable():
        return value
    return shown(value).strip(_QUOTES)


def shown(text: str) -> str:
    """Return the text in NFKC, without characters that do not show: format and control characters other than tab and
    line ends, variation selectors and fillers."""
    return _without(unicodedata.normalize("NFKC", text), _HIDDEN)


def bare(text: str) -> str:
    """Return the text in NFKD as `shown`, and without marks above, below and over its letters."""
    return _without(unicodedata.normalize("NFKD", text), _HIDDEN_OR_MARK)


def _without(text: str, categories: frozenset[str]) -> str:
    # A text has few different characters: to ask each of them once costs a tenth of asking at each place.
    hidden = [char for char in set(text) if _is_hidden(char, categories)]
    return text.translate(dict.fromkeys(map(ord, hidden))) if hidden else text


def _is_hidden(char: str, categories: frozenset[str]) -> bool:
    return ord(char) in _FILLERS or (char not in "\t\n\r" and unicodedata.category(char) in categories)


_HIDDEN: Final = frozenset({"Cf", "Cc"})
_HIDDEN_OR_MARK: Final = _HIDDEN | {"Mn", "Me"}
_FILLERS: Final = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)
"""Characters without a look that are no format characters: variation selectors, the joiner and fillers of Hangul, Khmer
and Braille."""


def find_distinguishing(value: str) -> str:
    """Return the part by which a value differs from others. Of a JWT that is the signature. Of an address, a connection
    string or a token with identifiers, those are the random parts."""
    if value.startswith("eyJ") and value.count(".") == 2:
        signature = value.rpartition(".")[2]
        return signature if len(signature) >= _SIGNATURE else value
    return "".join(part for part in _PART.findall(value) if _ODD.search(part) is not None) or value


_SIGNATURE: Final = 16
"""Characters of a signature, at least."""
_PART: Final = re.compile(r"[A-Za-z0-9]{12,}")
_ODD: Final = re.compile(r"[A-Za-z][0-9]|[0-9][A-Za-z]|[a-z][A-Z]")
"""Where letters and digits, or small and capital letters, meet in a random part."""
