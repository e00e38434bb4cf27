"""Words of arguments and results as keyed digests, so that history can compare words without keeping their text. Pure.

Spread uses distinctive words of an untrusted result in later arguments. Grounding uses values of authority-bearing
arguments that a trusted result or the goal has, in any spelling. Days are written as in ISO 8601, and without a year as
`--01-11`; ambiguous forms (`01/02/2025`) are no days. Own words are those of the user, the caller's identity and the
operator: nothing foreign is carried by them."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from struct import pack, unpack
from typing import Final, NamedTuple, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from gateway.inspection.credentials.ordinary import COMMON
from gateway.inspection.credentials.ruleset import compiled
from gateway.inspection.destinations.find import listed, texts
from gateway.inspection.destinations.normalise import fold_text, normalise
from gateway.model.caller import Principal
from gateway.model.target import Role
from gateway.model.wire import Json

# --- days --------------------------------------------------------------------------------------------

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_RANGE: Final = rf"(?P<day>{_DAY})(?:\s*(?:to|until|till|through|and|or|-|–)\s*(?:the\s+)?(?P<last>{_DAY}))?"
_YEAR: Final = r"(?:,?\s*(?P<year>\d{4}))?(?![\w:])"
_FORMS: Final = (
    re.compile(r"(?<![\w.-])(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?![\d-])"),
    re.compile(r"(?<![\w.-])(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})(?![\w-])"),
    re.compile(rf"(?<!\w){_MONTH}\s*(?:the\s+)?{_RANGE}{_YEAR}", re.IGNORECASE),
    re.compile(rf"(?<![\w.,:-]){_RANGE}\s*(?:of\s+)?{_MONTH}{_YEAR}", re.IGNORECASE),
)
_DATE_AND_TIME: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?", re.IGNORECASE
)


def find_days(text: str) -> frozenset[str]:
    """Return the days in a text, both ends of a range in one month included."""
    return frozenset(day for form in _FORMS for found in form.finditer(text) for day in _of(found))


def moment(text: str) -> str | None:
    """Return the day of a value that is a date or a date and time (ISO 8601, RFC 3339)."""
    found = _DATE_AND_TIME.fullmatch(text.strip())
    return _write_day(int(found[2]), int(found[3]), int(found[1])) if found is not None else None


def is_given_day(day: str, known: frozenset[str]) -> bool:
    """Return whether a day is among the known days. A known day without a year stands for that day in each year."""
    return day in known or f"-{day[4:]}" in known


def _of(found: re.Match[str]) -> Iterator[str]:
    parts = found.groupdict()
    month = parts["month"][:3].lower()
    number = int(month) if month.isdigit() else _MONTHS.index(month) + 1
    year = int(parts["year"]) if parts["year"] else None
    for part in (parts["day"], parts.get("last")):
        if part and (written := _write_day(number, int(re.sub(r"\D", "", part)), year)) is not None:
            yield written


def _write_day(month: int, day: int, year: int | None) -> str | None:
    """Return a day of the calendar in ISO 8601. Without a year, 2024 stands in, since it has every day."""
    try:
        date = dt.date(year if year is not None else 2024, month, day)
    except ValueError:
        return None
    return date.isoformat() if year is not None else f"-{date.isoformat()[4:]}"


MAX_WORD: Final = 256
"""Bytes of a word. Of a longer one the beginning counts."""
MAX_VALUE: Final = 64
"""Characters of a value in a result: a name, an address, an amount. What is longer is prose."""

# --- digests ---------------------------------------------------------------------------------------

_BLOCK: Final = 16


class _Keyed(NamedTuple):
    """Keyed functions: for words of more than a block, and for words of at most a block.

    `idle` has AES contexts. Making a context costs as much as forty words. A context in use belongs to one thread alone.
    """

    long: hashlib.blake2b
    cipher: Cipher[modes.ECB]
    idle: list[CipherContext]


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> _Keyed:
    if not key:
        raise ValueError("digests of words need a key")
    long = hashlib.blake2b(digest_size=8, key=key[:64], person=b"opagate/words")
    derived = hashlib.blake2b(digest_size=32, key=key[:64], person=b"opagate/words/16").digest()
    cipher = Cipher(algorithms.AES256(derived), modes.ECB())  # noqa: S305 - blocks are independent on purpose
    return _Keyed(long, cipher, [])


def digests(words: Iterable[bytes], key: bytes) -> frozenset[int]:
    """Return the keyed 64-bit digest of each word.

    A word of up to 16 bytes, filled with zeros, becomes half of its block under AES-256 (FIPS 197). Longer words use
    BLAKE2b (RFC 7693 section 2.9). Both are pseudo-random functions: without the key, no one can make a digest or
    recover a word. With 64 bits, a task of a million words meets a chance collision once in 30,000,000 tasks. Measured
    per word: 0.05 µs for all blocks at once, 0.37 µs for a copied BLAKE2b state, 1.3 µs for HMAC-SHA-256. `key` is the
    deployment's, of 1 to 64 bytes.
    """
    keyed, cipher, idle = _keyed(key)
    if not (words := list(words)):
        return frozenset()
    short = words if max(map(len, words)) <= _BLOCK else [word for word in words if len(word) <= _BLOCK]
    if 0 in b"".join(short):
        # Filled up, it would be the word without its last zeros.
        short = [word for word in short if 0 not in word]
    try:
        context = idle.pop()
    except IndexError:
        context = cipher.encryptor()
    encrypted = context.update(pack(f"{_BLOCK}s" * len(short), *short))
    idle.append(context)
    found = frozenset(unpack("<" + "Q8x" * len(short), encrypted))
    if len(short) == len(words):
        return found
    return found.union([_of_long(word, keyed) for word in words if len(word) > _BLOCK or 0 in word])


def _of_long(word: bytes, keyed: hashlib.blake2b) -> int:
    state = keyed.copy()
    state.update(word)
    return int.from_bytes(state.digest(), "big")


def digest(word: str, key: bytes) -> int:
    """Return the keyed digest of one word."""
    return next(iter(digests((encoded(word),), key)))


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
_AFTER_DIGITS: Final = b":"
"""Comes after each word that begins with a digit, and before each word that begins with a letter."""
_TIME: Final = re.compile(
    rb"\d{4}-?[01]\d-?[0-3]\d(?:t[\d:.]+(?:z|[+-]\d\d:?\d\d)?)?|\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?z?"
)
ACCOUNTS: Final = re.compile(r"\b[A-Za-z]{2}\d{2}(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,4})?\b")


_PIECE: Final = re.compile(r"[^\s,;<>()\"']+")
IsForeign: TypeAlias = Callable[[frozenset[int], frozenset[int]], bool]
"""Whether a piece of a text is foreign, by the digests of its distinctive words and of its values (`mentions`)."""


def distinctive(text: str) -> set[bytes]:
    """Return the words of a text that rarely come by chance, in lower case. These are addresses, URLs and hosts, paths
    and their parts, identifiers and account numbers. Numbers of five digits and more and uncommon words of eight
    letters and more count too. Dates and times are left out, since every log is full of them."""
    # `core/src/words.rs` has this function and `digests` too: change both, and the version of the interface.
    lowered = text.lower()
    if not lowered.isascii():
        lowered = _without(lowered, _TYPOGRAPHY, " ")
    words = set(lowered.encode("utf-8", "surrogatepass").translate(_WORDS).split())
    # Most words are short and have no four digits in a row. Up to seven bytes these would have the fourth byte among them.
    kept = [word for word in words if len(word) > 7 or (len(word) > 3 and 47 < word[3] < 58)]
    if not kept:
        return set()
    long = [word.strip(_EDGES) for word in kept]
    joined = b" ".join(long)
    parted = joined.translate(_PARTS)
    if parted != joined:
        long.extend([part.strip(_EDGES) for part in set(parted.split()) if len(part) > 4])
    found = {word[:MAX_WORD] for word in long if len(word) > 7 or (len(word) > 4 and word[-4:].isdigit())}
    found -= COMMON
    if found and min(found) < _AFTER_DIGITS:
        found = {word for word in found if word[0] > 57 or not _TIME.fullmatch(word)}
    if min(map(len, kept)) == 4 and [
        word for word in kept if len(word) == 4 and word[:2].isalpha() and word[2:].isdigit()
    ]:
        found.update(accounts(text))
    return found


def accounts(text: str) -> list[bytes]:
    """Return the account numbers of a text that are written in groups, as words."""
    return [encoded(match.replace(" ", "").lower()) for match in ACCOUNTS.findall(text)]


def cut_words(text: str, key: bytes, is_foreign: IsForeign) -> str:
    """Return a text with blanks in the place of its foreign pieces and account numbers."""
    for match in (*ACCOUNTS.finditer(text), *_PIECE.finditer(text)):
        words = digests([*accounts(match[0]), *distinctive(match[0])], key)
        if words and is_foreign(words, digests(mentions(match[0]), key)):
            begin, end = match.span()
            text = text[:begin] + " " * (end - begin) + text[end:]
    return text


def _without(text: str, marks: str, instead: str) -> str:
    """Replace each of `marks` in a text. Plain replacements are several times faster than an expression or a table."""
    for mark in marks:
        if mark in text:
            text = text.replace(mark, instead)
    return text


# --- values that give authority ------------------------------------------------------------------------

_CURRENCY: Final = r"(?!(?i:mio|mil|mln|mrd|mld|bio|bil|bln|tri|trn|tsd|thd|tys|lac|crs))[A-Za-z]{3}"
"""Three letters that do not multiply, as those of a million do."""
_MONEY: Final = re.compile(
    rf"(?:{_CURRENCY}|[$€£¥₹])?\s?([+-]?)\s?(?:[$€£¥₹]\s?)?(\d[\d., '_\u00a0\u2009\u202f\u2019]{{0,60}})\s?(?:{_CURRENCY}|[$€£¥₹%])?"
)
_TWO_READINGS: Final = re.compile(r"\D*[1-9]\d{0,2}\.\d{3}\D*")
_NUMBER: Final = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,7}))?[.,']{0,9}")
"""Digits, as nearly all amounts are written, and the marks of the sentence around them."""
_GROUPS: Final = re.compile(r"[ '_\u00a0\u2009\u202f\u2019]")
_MISGROUPED: Final = re.compile(r"[.,]\d{0,2}[.,]|[.,]\d{4,}[.,]")
"""Groups are of three digits: `1.2.3` is no amount."""


def amount(text: str) -> str | None:
    """Return a number without currency, grouping and trailing zeros: `$1,000.50`, `1.000,50 EUR` and `1000.5` are one.

    A single comma before exactly three digits groups; a single point is decimal.
    """
    plain = _NUMBER.fullmatch(text)
    if plain is not None:
        whole, fraction = plain[1].lstrip("0") or "0", (plain[2] or "").rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole
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


def has_two_readings(text: str) -> bool:
    """Return whether readers that group by points read another number: `2.000`."""
    return _TWO_READINGS.fullmatch(text) is not None


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
    """Yield the values of an argument in the spelling in which results and goals are searched, at most `limit`."""
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
        yield (None if has_two_readings(text) else amount(text) or moment(text)) or fold_text(text)
    else:
        yield fold_text(text)


_PARTED: Final = '\r\t"[]{}|;<>`\u201c\u201d'
_LINES: Final = bytes(10 if chr(code) in _PARTED else code for code in range(256))
_BULLET: Final = " -*•·>.,!?()'#@"
_PLAIN_BULLET: Final = _BULLET.replace("•", "").replace("·", "")
"""Those of ASCII, which are several times faster to look for."""
_UNEVEN: Final = b"\v\f\x1c\x1d\x1e\x1f"
"""White space that is neither a space nor the end of a line, in ASCII."""
_DIGITS: Final = re.compile(r"\d[\d.,']*")
_NOT_DIGITS: Final = bytes(code if chr(code) in "0123456789.,'" else 32 for code in range(256))
_PHONE: Final = re.compile(r"[+(\d][\d ()./-]{6,}")
PHONES: Final = re.compile(r"(?<!\w)[+(]\d[\d ()./-]{5,22}\d(?!\w)")
_PHONES: Final = compiled(r"\B[+(]\d[\d ()./-]{5,22}\d\b")
"""`PHONES` for ASCII, in a tenth of its time."""
_ACCOUNT: Final = compiled(r"\b[A-Za-z]{2}\d{2}(?: [A-Za-z0-9]{4}){2}")
_ITSELF: Final = re.compile(r"(?!00)[0-9]+(?:\.[0-9]+)?")
"""Digits that are their own normal form."""


def mentions(text: str) -> set[bytes]:
    """Return the values of a text: each short field, line, list item and quoted text, each address and each amount, in
    the spelling of `value_words`. For trusted results and goals. Plain words of prose are left out, and so are parts of
    an address."""
    short = _fields(text)
    found = _all_folded(short)
    phones = [
        part
        for part in short
        if len(part) > 6 and part[-1].isdigit() and _PHONE.fullmatch(part) and not _ITSELF.fullmatch(part)
    ]
    found.update([encoded(normalise(part).word.lower()) for part in phones])
    found.update(map(encoded, _single(text)))
    found.update([encoded(normalise(match).word) for match in _phones(text)])
    if _has_account(text):
        found.update(accounts(text))
    found.update([number.encode() for match in _numbers(text) if (number := amount(match)) is not None])
    found.discard(b"")
    return found


def _fields(text: str) -> set[str]:
    """Short fields, lines, list items and quoted texts; those of ASCII in lower case."""
    plain = text.isascii()
    parted = text.lower().encode().translate(_LINES).decode() if plain else _without(text, _PARTED, "\n")
    bullets = _PLAIN_BULLET if plain else _BULLET
    lines = parted.replace(", ", "\n").replace(": ", "\n").replace(" - ", "\n").split("\n")
    return {segment for line in set(lines) if line and len(segment := line.strip(bullets)) <= MAX_VALUE}


def _all_folded(texts: set[str]) -> set[bytes]:
    """Fold each text: together, where case is all that folding can change."""
    plain = [text for text in texts if text.isascii()]
    together = "\n".join(plain).lower().encode()
    if b"  " in together or len(together.translate(None, _UNEVEN)) < len(together):
        return {encoded(fold_text(text)) for text in texts}
    found = set(together.split(b"\n"))
    if len(plain) < len(texts):
        found.update([encoded(fold_text(text)) for text in texts if not text.isascii()])
    return found


def _phones(text: str) -> list[str]:
    if text.isascii():
        return [text[slice(*match.span())] for match in _PHONES.finditer(text.encode())]
    return PHONES.findall(text)


def _has_account(text: str) -> bool:
    if text.isascii() and _ACCOUNT.search(text.encode()) is None:
        return False
    return any(len(word) == 4 and word[:2].isalpha() and word[2:].isdigit() for word in text.split())


def _numbers(text: str) -> set[str]:
    if not text.isascii():
        return set(_DIGITS.findall(text))
    return {number.lstrip(".,'") for number in set(text.encode().translate(_NOT_DIGITS).decode().split())}


def _single(text: str) -> Iterator[str]:
    """Addresses, paths, hosts and identifiers among the words of a text. What is plainly in normal form is not parsed."""
    for word in {word.strip("\"'<>()[]{},;.:!?`*") for word in set(text.split()) if not word.isalpha()}:
        if word.isalpha() or not 1 < len(word) <= MAX_WORD:
            continue
        if not ("@" in word or "/" in word or "." in word or ":" in word) and word.isascii():
            if word[-4:].isdigit() and _NAME.fullmatch(word):
                yield word.lower()
            continue
        plain = _PLAIN.fullmatch(word)
        if plain is None:
            if _MOMENT.fullmatch(word):
                yield word.lower()
            elif "@" in word or "/" in word or "." in word or ":" in word:
                yield from (destination.word.lower() for destination in listed(word))
        elif plain[1] is not None:
            yield plain[1].lower().removesuffix(".")
        elif not word.isascii() or "." in word or "/" in word or "@" in word or word[-4:].isdigit():
            yield word.lower()


_NAME: Final = re.compile(r"[A-Za-z0-9+_-]+")
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?", re.IGNORECASE | re.ASCII
)
"""Dates with times are names as they stand, although they look like a host and its port."""
_PLAIN: Final = re.compile(
    r"https?://([a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\.?)(?:[/?#][^\\,;]*)?"
    r"|(?:[a-z0-9+_-]+\.)*[a-z0-9+_-]+(?:@(?:[a-z0-9-]+\.)+[a-z]{2,})?|(?:/[a-z0-9_-][a-z0-9._-]*)+",
    re.IGNORECASE | re.ASCII,
)
"""URLs whose host is plain, names with dots, mail addresses and paths: in lower case they are their own normal form."""


# --- own words ---------------------------------------------------------------------------------------

OwnParts: TypeAlias = tuple[frozenset[bytes], ...]
"""Parts of own words, by who gave them."""
_OWN_PART: Final = re.compile(rb"[0-9a-z\x80-\xff]+")


def parts_of(text: str) -> frozenset[bytes]:
    """Return the parts of all words of a text, in lower case."""
    return frozenset(_OWN_PART.findall(text.lower().encode("utf-8", "surrogatepass")))


@lru_cache(maxsize=1024)
def parts_of_texts(texts: tuple[str, ...]) -> frozenset[bytes]:
    """Return the parts of all words of some texts. Each call of a caller asks for those of its identity."""
    return parts_of("\n".join(texts))


def identity_of(caller: Principal) -> tuple[str, ...]:
    """Return the texts that name a caller: the agent, its delegates, its user and the user's groups."""
    user = () if caller.user is None else (caller.user.id, *caller.user.groups)
    return (caller.id, *(actor.id for actor in caller.delegation), *user)


def foreign(words: Iterable[bytes], own: OwnParts) -> set[bytes]:
    """Return the words with a part that is in none of the sets."""
    found = set(words)
    strange = set(_OWN_PART.findall(b" ".join(found)))
    count = len(strange)
    for parts in own:
        # Not in place: that would walk through a whole directory.
        strange = strange - parts
    if len(strange) == count:
        # None of the parts is own, as is usual for the text of a stranger.
        return {word for word in found if _OWN_PART.search(word) is not None}
    return {word for word in found if not strange.isdisjoint(_OWN_PART.findall(word))}
