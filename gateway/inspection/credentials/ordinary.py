"""Tells ordinary words from generated secrets, and common words from words that may be a credential. Pure.

A short password such as `postgres` also stands in headers and in other tasks. There it proves nothing, so it is not
looked for. A generated value has no such excuse: it is known again everywhere. The answer needs no dictionary: words of
most languages in Latin letters follow each other's letters in the same few ways."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final

from gateway.base.text_cache import short_text_cache
from gateway.inspection.word_lists import word_list

COMMON: Final = frozenset(word.encode() for word in word_list("common"))
"""Common words of eight letters and more, in lower case. They reveal no origin of a text."""
JOINING: Final = word_list("joining")
"""Words that join others to a sentence, in lower case."""


_LONGEST_VALUE: Final = 64
_LONGEST_WORD: Final = 18
"""Letters. Longer runs are words run together, or generated."""
_LONGEST_IN_ADDRESS: Final = 32
_LONGEST_NUMBER: Final = 12
"""Digits of a number that is no date, count or time in seconds."""
_PLACED: Final = frozenset("./:@")
"""Marks of file names, hosts, paths and addresses, which join any number of words."""
_MARKS: Final = frozenset(" -_./:@")
_RARE_MARKS: Final = frozenset(",;=+()'")
_ODD: Final = 2
"""Odd features of a value that is none of ordinary text. One is left to abbreviations, names and typing errors."""
_NAME_WITH_NUMBER: Final = 3
"""Characters of a part such as `v2` or `eu1`."""
_SHORT_PART: Final = 5
"""Characters of a part such as `k8s` or `i18n`."""
_FEW_WORDS: Final = 3
_SHORT: Final = 3
"""Letters of a word that may be any abbreviation."""

_PART: Final = re.compile(r"[^\W_]+")
_RUN: Final = re.compile(r"\d+|[^\W\d_]+")
_HUMP: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ADDRESS: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PHONE: Final = re.compile(r"\+\d[\d ()./-]{6,20}")
_ACCOUNT: Final = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_ACCESS_KEY: Final = re.compile(r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}")
"""The name of a key of AWS. Its letters read as a word by chance."""
_KNOWN: Final = JOINING | word_list("naming") | word_list("common")

_FOLLOWING: Final = (
    "67885677867989564989775466",
    "74038004741612700742601040",
    "80517018816512802536600044",
    "82158135832444800653633044",
    "76776675757979663998565666",
    "60006502710502600623500020",
    "73128045721525700644713040",
    "81038101722544700525613040",
    "86878674467879864898564456",
    "70227000502113600043600000",
    "82317004725533710556633040",
    "94469453954854831266752062",
    "96328213822353760353712042",
    "94789584855437832478643065",
    "56675565656879662987776245",
    "70207205602602750745520030",
    "30001000200200100000600000",
    "95579464945666842677753064",
    "83738437837655763479644044",
    "92319337923444830867733064",
    "65667464645778451877533335",
    "80108000701303600330400030",
    "70206002510103500221300040",
    "40204000400100220004200000",
    "62345232413545540455421032",
    "73236023613334510133522033",
)
"""Row: a letter. Column: the next letter. Digit: how many times more often than by chance the two follow each other in
words and names of 70 languages, as a power of two, plus 6."""
_BY_CHANCE: Final = 6
_SPREAD: Final = 4
"""Pairs of letters for each power of two by which a word may fall behind chance."""


def is_ordinary(value: str) -> bool:
    """Return whether ordinary text may hold `value` too: a word or two, a name, a date, a short number, an identifier."""
    if len(value) > _LONGEST_VALUE or _ACCESS_KEY.fullmatch(value) is not None:
        return False
    plain = "".join(char for char in value if char.isalnum())
    if _PHONE.fullmatch(value) is not None or _is_bank_account(plain):
        return True
    if plain.isdigit():
        return len(plain) < _LONGEST_NUMBER
    marks = {char for char in value if not char.isalnum()} - _MARKS
    if not marks <= _RARE_MARKS:
        return False
    odd, words = len(marks), list[str]()
    for part in _PART.findall(value):
        odd += _odd_part(part, words)
        if odd >= _ODD:
            return False
    longest = _LONGEST_IN_ADDRESS if _ADDRESS.fullmatch(value) is not None else _LONGEST_WORD
    unknown = [word for word in words if word.lower() not in _KNOWN]
    return odd < _ODD and max(map(len, unknown), default=0) <= longest and not _is_passphrase(words, value)


def _is_bank_account(plain: str) -> bool:
    """Return whether a value is an IBAN (ISO 13616), whose two check digits no generated value has by chance."""
    if _ACCOUNT.fullmatch(plain) is None:
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def _odd_part(part: str, words: list[str]) -> int:
    """Return the odd features of a run of letters and digits, and add its words to `words`."""
    runs = _RUN.findall(part)
    letters = [_plain_letters(run) for run in runs if not run.isdigit()]
    odd = sum(len(run) >= _LONGEST_NUMBER for run in runs if run.isdigit()) * _ODD
    for run in letters:
        found = _humps(run)
        words += found
        odd += _odd_case(run, found) + sum(map(_odd_word, found))
    return odd + (_odd_mix(part, len(runs) - 1, letters) if letters else 0)


def _plain_letters(run: str) -> str:
    """Return letters without accents."""
    if run.isascii():
        return run
    return "".join(char for char in unicodedata.normalize("NFKD", run) if not unicodedata.combining(char))


def _humps(run: str) -> list[str]:
    """Return the words of `camelCase`, or the one word of a run in uniform case."""
    if run.lower() in _KNOWN or run[1:].islower() or run.isupper() or not run.isascii():
        return [run]
    return _HUMP.findall(run)


def _odd_case(run: str, humps: list[str]) -> int:
    """Return the odd features of capitals inside a run: generated letters change case after one or two."""
    if len(humps) < 2:
        return 0
    first, *others = (hump for hump in humps)
    stray = sum(len(hump) < _SHORT and hump.lower() not in _KNOWN for hump in others)
    brief = sum(len(hump) == _SHORT and hump.lower() not in _KNOWN for hump in humps)
    choppy = len(run) + 2 < _SHORT * len(humps)
    return _ODD * (stray + choppy) + brief + (len(first) < _SHORT and first.isupper())


@short_text_cache(4_096)
def _odd_word(word: str) -> int:
    lowered = word.lower()
    if lowered in _KNOWN or len(word) <= _SHORT:
        return 0
    if not lowered.isascii() or _reads_as_word(lowered):
        return 0
    return 1 if len(word) == _SHORT + 1 else _ODD


def _reads_as_word(word: str) -> bool:
    """Return whether the letters of `word`, all of ASCII, follow each other as in words."""
    places = [ord(char) - ord("a") for char in word]
    total = sum(int(_FOLLOWING[one][other]) - _BY_CHANCE for one, other in pairwise(places))
    return _SPREAD * total >= -(len(word) - 1)


def _odd_mix(part: str, changes: int, letters: list[str]) -> int:
    """Return the odd features of `changes` between letters and digits in a part."""
    if not changes or len(part) <= _NAME_WITH_NUMBER:
        return 0
    unknown = [run for run in letters if run.lower() not in _KNOWN]
    if not unknown:
        return 0
    if changes == 1:
        return int(len(unknown[0]) <= _SHORT)
    if changes == 2 and (len(part) <= _SHORT_PART or len(unknown) < len(letters)):
        return 1
    return _ODD


def _is_passphrase(words: list[str], value: str) -> bool:
    """Return whether a value is three words or more, half of them unusual. Names of tools, files and services are made of known words."""
    if not _PLACED.isdisjoint(value):
        return False
    long = [word for word in words if len(word) >= _SHORT]
    known = sum(word.lower() in _KNOWN for word in words)
    return len(long) >= _FEW_WORDS and known <= (len(long) - 2) // 2


# --- common words ------------------------------------------------------------------------------------

_COMMON_PART: Final = re.compile(r"[^\W_]+")
_LONGEST_COMMON_WORD: Final = 7
"""Letters of a word that is common whatever it is."""
_LONGEST_COMMON_NUMBER: Final = 5
"""Digits of a number that is common whatever it is."""
_LONGEST_MIXED: Final = 3
"""Letters and digits of a part such as `Q3`, `64k` or `v12`."""
_HUMPED: Final = re.compile(r"(?:[A-Z]?[a-z]{2,}|[A-Z]{2,}|Ids?|[A-Z](?=[A-Z]|\Z))+")
_COMMON_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_PROTOCOL: Final = frozenset(word.encode() for word in word_list("protocol"))
"""Words of the protocol, which each of its messages may have."""
_NAMES_WITH_DIGITS: Final = word_list("names_with_digits")
"""Names with digits that interfaces have."""


def has_uncommon(text: str) -> bool:
    """Return whether a text has a word that may be a credential or a piece of one."""
    return any(map(_is_uncommon, set(_COMMON_PART.findall(text))))


def _is_uncommon(part: str) -> bool:
    if part.isdigit():
        return len(part) > _LONGEST_COMMON_NUMBER
    if not part.isascii():
        return len(part) > _LONGEST_COMMON_WORD
    if not part.isalpha():
        return len(part) > _LONGEST_MIXED and part.lower() not in _NAMES_WITH_DIGITS
    if _HUMPED.fullmatch(part) is None:
        return len(part) > _LONGEST_MIXED
    return any(map(_is_uncommon_word, _COMMON_WORD.findall(part)))


def _is_uncommon_word(word: str) -> bool:
    return len(word.removesuffix("s")) > _LONGEST_COMMON_WORD and word.lower().encode() not in COMMON | _PROTOCOL
