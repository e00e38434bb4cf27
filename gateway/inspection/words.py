"""Words of arguments and results as keyed digests, so that history can compare them without keeping them. Pure.

Two uses. Spread: distinctive words of an untrusted result that turn up in later arguments. Grounding: values of
authority-bearing arguments that a trusted result, or the goal, has in whatever spelling.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from gateway.inspection.common_words import COMMON
from gateway.inspection.dates import moment
from gateway.inspection.destinations import listed, texts
from gateway.inspection.normal import folded, normalise
from gateway.model import Json, Role

MAX_WORD: Final = 256
"""Bytes of a word. Of a longer one the beginning counts."""
MAX_VALUE: Final = 64
"""Characters of a value in a result: a name, an address, an amount. What is longer is prose."""

# --- digests ---------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hashlib.blake2b:
    if not key:
        raise ValueError("digests of words need a key")
    return hashlib.blake2b(digest_size=8, key=key[:64], person=b"opagate/words")


def digests(words: Iterable[bytes], key: bytes) -> frozenset[int]:
    """The keyed 64-bit digest of each word (BLAKE2b, RFC 7693 section 2.9).

    Of 64 bits, a task of a million words meets a chance collision once in 30,000,000 tasks. Copying the keyed state
    measured 0.37 µs a word, HMAC-SHA-256 1.3 µs. `key` is up to 64 bytes; it is the deployment's and never empty.
    """
    keyed = _keyed(key)
    found: list[int] = []
    for word in words:
        state = keyed.copy()
        state.update(word)
        found.append(int.from_bytes(state.digest(), "big"))
    return frozenset(found)


def digest(word: str, key: bytes) -> int:
    """The keyed digest of one word."""
    state = _keyed(key).copy()
    state.update(encoded(word))
    return int.from_bytes(state.digest(), "big")


def encoded(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")[:MAX_WORD]


# --- words that tell where data came from ------------------------------------------------------------


_KEPT: Final = b"_-.@+%:/$"
"""Marks inside of addresses, paths, identifiers and amounts. All other marks part words."""
_EDGES: Final = b"_-.@+%:/"
_JOINTS: Final = b"@:/"
_LETTERS: Final = bytes(range(ord("0"), ord("9") + 1)) + bytes(range(ord("a"), ord("z") + 1)) + bytes(range(128, 256))
_WORDS: Final = bytes(code if code in _LETTERS + _KEPT else 32 for code in range(256))
_PARTS: Final = bytes(32 if code in _JOINTS else code for code in range(256))
_TYPOGRAPHY: Final = (
    "\u00a0\u00ab\u00bb\u2009\u200b\u2013\u2014\u2018\u2019\u201c\u201d\u2022\u2026\u202f\u3001\u3002\uff0c"
)
_TIME: Final = re.compile(
    rb"\d{4}-?[01]\d-?[0-3]\d(?:t[\d:.]+(?:z|[+-]\d\d:?\d\d)?)?|\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?z?"
)
ACCOUNTS: Final = re.compile(r"\b[A-Za-z]{2}\d{2}(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,4})?\b")


def distinctive(text: str) -> set[bytes]:
    """The words of a text that hardly come by chance, in lower case: addresses, URLs and their hosts, paths and their
    parts, identifiers, numbers of five digits and more, account numbers, and uncommon words of eight letters and more.
    Dates and times are left out: every log is full of them."""
    lowered = text.lower()
    if not lowered.isascii():
        lowered = _without(lowered, _TYPOGRAPHY, " ")
    words = set(lowered.encode("utf-8", "surrogatepass").translate(_WORDS).split())
    # Most words are short and end in a letter (a byte above `:`): they are left out before anything else is done.
    long = [word.strip(_EDGES) for word in words if len(word) > 7 or (len(word) > 4 and word[-1] < 59)]
    joined = b" ".join(long)
    if b"/" in joined or b"@" in joined or b":" in joined:
        long.extend([part.strip(_EDGES) for part in set(joined.translate(_PARTS).split()) if len(part) > 4])
    found = {word[:MAX_WORD] for word in long if len(word) > 7 or (len(word) > 4 and word[-4:].isdigit())}
    found = {word for word in found - COMMON if word[0] > 57 or not _TIME.fullmatch(word)}
    if [word for word in words if len(word) == 4 and word[3] < 58 and word[:2].isalpha() and word[2:].isdigit()]:
        found.update([encoded(match.replace(" ", "").lower()) for match in ACCOUNTS.findall(text)])
    return found


def _without(text: str, marks: str, instead: str) -> str:
    """A few plain replacements are several times faster than one expression or one table."""
    for mark in marks:
        if mark in text:
            text = text.replace(mark, instead)
    return text


# --- values that give authority ------------------------------------------------------------------------


_MONEY: Final = re.compile(
    r"(?:[A-Za-z]{3}|[$€£¥₹])?\s?([+-]?)\s?(?:[$€£¥₹]\s?)?(\d[\d., '_\u00a0\u2009\u202f\u2019]{0,60})\s?(?:[A-Za-z]{3}|[$€£¥₹%])?"
)
_GROUPS: Final = re.compile(r"[ '_\u00a0\u2009\u202f\u2019]")
_MISGROUPED: Final = re.compile(r"[.,]\d{0,2}[.,]|[.,]\d{4,}[.,]")
"""Groups are of three digits: `1.2.3` is no amount."""


def amount(text: str) -> str | None:
    """A number without currency, grouping and trailing zeros: `$1,000.50`, `1.000,50 EUR` and `1000.5` are one.

    A single comma before exactly three digits groups; a single point is decimal.
    """
    found = _MONEY.fullmatch(text.strip())
    if found is None:
        return _decimal(text.strip()) if "e" in text.lower() else None
    digits = _GROUPS.sub("", found[2]).rstrip(".,")
    if _MISGROUPED.search(digits):
        return None
    point, comma = digits.rfind("."), digits.rfind(",")
    if point >= 0 and comma >= 0:
        digits = digits.replace(",", "") if point > comma else digits.replace(".", "").replace(",", ".")
    elif comma >= 0:
        grouped = digits.count(",") > 1 or len(digits) - comma == 4
        digits = digits.replace(",", "" if grouped else ".")
    elif digits.count(".") > 1:
        digits = digits.replace(".", "")
    return _decimal(found[1] + digits)


def _decimal(text: str) -> str | None:
    if len(text) > MAX_VALUE:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    if not value.is_finite() or value.adjusted() > MAX_VALUE or value.adjusted() < -MAX_VALUE:
        return None
    return format(value.normalize(), "f") if value else "0"


def value_words(value: Json, role: Role, limit: int) -> Iterator[str]:
    """The values of an argument in the spelling in which results and goals are searched, at most `limit`."""
    seen = 0
    for text in texts(value):
        for word in _words_of(text, role):
            if word:
                yield word
                seen += 1
            if seen >= limit:
                return


def _words_of(text: str, role: Role) -> Iterator[str]:
    if role is Role.DESTINATION:
        yield from (destination.word.lower() for destination in listed(text))
    elif role is Role.AMOUNT:
        yield amount(text) or moment(text) or folded(text)
    else:
        yield folded(text)


def value_digests(value: Json, role: Role, key: bytes, *, limit: int = 1_000) -> frozenset[int]:
    """What `authority` holds for an argument: equal to a digest of `mentions` where a text has the same value."""
    return digests((encoded(word) for word in value_words(value, role, limit)), key)


_PARTED: Final = '\r\t"[]{}|;<>`\u201c\u201d'
_BULLET: Final = " -*•·>.,!?()'#@"
_DIGITS: Final = re.compile(r"\d[\d.,']*")
_PHONE: Final = re.compile(r"[+(\d][\d ()./-]{6,}")
PHONES: Final = re.compile(r"(?<!\w)[+(]\d[\d ()./-]{5,22}\d(?!\w)")


def mentions(text: str) -> set[bytes]:
    """The values that a text gives: each short field, line, list item and quoted text of it, each address and each
    amount, in the spelling of `value_words`. For trusted results and goals; plain words of running prose are not among
    them, and neither are the parts of an address."""
    lines = _without(text, _PARTED, "\n").replace(", ", "\n").replace(": ", "\n").replace(" - ", "\n").split("\n")
    short = {segment for line in lines if line and len(segment := line.strip(_BULLET)) <= MAX_VALUE}
    found = {folded(segment) for segment in short}
    found.update(normalise(part).word.lower() for part in short if part[-1:].isdigit() and _PHONE.fullmatch(part))
    found.update(_single(text))
    found.update([normalise(match).word for match in PHONES.findall(text)])
    if [word for word in text.split() if len(word) == 4 and word[:2].isalpha() and word[2:].isdigit()]:
        found.update([match.replace(" ", "").lower() for match in ACCOUNTS.findall(text)])
    found.update(number for match in set(_DIGITS.findall(text)) if (number := amount(match)) is not None)
    found.discard("")
    return {encoded(value) for value in found}


def _single(text: str) -> Iterator[str]:
    """Addresses, paths, hosts and identifiers among the words of a text. What is plainly in normal form is not parsed."""
    for word in {word.strip("\"'<>()[]{},;.:!?`*") for word in text.split() if not word.isalpha()}:
        if word.isalpha() or not 1 < len(word) <= MAX_WORD:
            continue
        plain = _PLAIN.fullmatch(word)
        if plain is None:
            if "@" in word or "/" in word or "." in word or ":" in word:
                yield from (destination.word.lower() for destination in listed(word))
        elif plain[1] is not None:
            yield plain[1].lower().removesuffix(".")
        elif not word.isascii() or "." in word or "/" in word or "@" in word or word[-4:].isdigit():
            yield word.lower()


_PLAIN: Final = re.compile(
    r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\.?)(?:[/?#][^\\,;]*)?"
    r"|(?:[a-z0-9+_-]+\.)*[a-z0-9+_-]+(?:@(?:[a-z0-9-]+\.)+[a-z]{2,})?|(?:/[a-z0-9_-][a-z0-9._-]*)+",
    re.IGNORECASE | re.ASCII,
)
"""URLs whose host is plain, names with dots, mail addresses and paths: in lower case they are their own normal form."""
