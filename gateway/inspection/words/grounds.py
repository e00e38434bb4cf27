"""Grounding: whether a value of a call stands in the task's goal or contract, or in the operator's directory. Pure.

A goal grounds a value only as a whole word: `bob` does not stand in `bob@evil.example`, nor `example.com` in
`example.com.evil.example`. A name that mixes alphabets is grounded by a contract alone. The accounts of a goal are named
by a phrase, or by a password beside the name; other names may be those of recipients."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from gateway.inspection.credentials.named import LOCAL
from gateway.inspection.destinations.directory import EMPTY, Directory
from gateway.inspection.destinations.find import distinct, listed, texts
from gateway.inspection.destinations.normalise import Destination, DestinationKind, fold_text, normalise
from gateway.inspection.word_lists import word_list
from gateway.inspection.words.words import (
    ACCOUNTS,
    PHONES,
    amount,
    encoded,
    find_days,
    has_two_readings,
    is_given_day,
    mentions,
    moment,
    parts_of,
)
from gateway.model.target import Role
from gateway.model.wire import Json

# --- accounts of a goal ------------------------------------------------------------------------------

MAX_ACCOUNTS: Final = 32
"""Accounts of one goal. For any other a person is asked."""

_LOG_IN: Final = (
    r"(?:log+(?:ing|ged|in|gin)?[ -]?(?:in|on)?|sign(?:ing|ed)?[ -]?in|authenticat(?:e|ing|ed)|impersonat(?:e|ing))"
)
_NOUN: Final = r"(?:user ?names?|user ?ids?|user|log-?in(?: name)?|account(?: name)?|handle|e-?mail(?: address)?)"
_IS: Final = r" ?(?:is|as|:|=)? ?"
_LEAD: Final = r"(?:(?:the|an?|user|username|account) ){0,2}"
_NAME: Final = r"(?:[\"'\x60‘’“”]([^\"'\x60‘’“”]{1,64})[\"'\x60‘’“”]|([^\s\"'\x60‘’“”,;()<>]{1,128}))"
_PASSWORD: Final = rf"(?:passw(?:or)?d|passphrase|passcode|pass|pwd|pw|{LOCAL})\b"
_AND: Final = r"(?:and|with|und|mit|et|con|y|e|og|och|en) (?:(?:the|my|a) )?"
_BESIDE: Final = rf"(?: ?[,/;|] ?(?:{_AND})?| {_AND})"
"""Between the name and the password of one account."""
_PHRASES: Final = (
    rf"\b{_LOG_IN}(?: [^\s.,;:]{{1,32}}){{0,5}}? as {_LEAD}{_NAME}",
    rf"\bmy (?:own )?(?:{_NOUN}|id){_IS}{_NAME}",
    rf"\bmy [\w-]{{1,24}} {_NOUN} ?(?:is|as|:|=) ?{_NAME}",
    rf"\bmy (?:own )?(?:account|user|profile|login) (?:with|under|by) (?:the |its )?(?:{_NOUN}|id|name){_IS}{_NAME}",
    rf"\b(?:i am|i['’]m) {_NAME}",
    rf"{_NAME}{_BESIDE}{_PASSWORD}",
    rf"\b{_NOUN}{_IS}{_NAME}(?:{_BESIDE}| ){_PASSWORD}",
)
_SIGNS: Final = re.compile(rf"\blog|\bsign|authent|imperson|\bmy\b|\bi am\b|\bi['’]m\b|{_PASSWORD}", re.IGNORECASE)
_EXPRESSIONS: Final = tuple(re.compile(phrase, re.IGNORECASE) for phrase in _PHRASES)
_ENDS: Final = ".,:;!?"
_POSSESSIVE: Final = re.compile(r"['’]s?(?=\s|$)")


def accounts_of(goal: str) -> frozenset[str]:
    """Return the names of the accounts to log in as, in lower case."""
    text = " ".join(goal.split())
    if _SIGNS.search(text) is None:
        return frozenset()
    found: dict[str, None] = {}
    for expression in _EXPRESSIONS:
        for match in expression.finditer(text):
            quoted, bare = match.groups()
            if quoted is None and _POSSESSIVE.match(text, match.end(2)) is not None:
                continue
            if name := fold_text(quoted or bare.rstrip(_ENDS)):
                found[name] = None
            if len(found) == MAX_ACCOUNTS:
                return frozenset(found)
    return frozenset(found)


# --- grounds -----------------------------------------------------------------------------------------

MAX_GOAL: Final = 16_384
"""Characters of a goal that can ground something."""

_AMOUNT: Final = re.compile(r"(?<![\w./:+-])[+-]?[$€£¥₹]?\d(?:[\d.,']*\d)?(?![\w/:-]|\.\d)")
_JOINS: Final = frozenset(".-@/\\:%+~=")
"""Marks that make one word of what is on their two sides."""
_QUOTES: Final = {"'": "'", '"': '"', "`": "`", "‘": "’", "“": "”", "„": "“”", "‚": "‘’", "«": "»", "‹": "›", "»": "«"}
"""Opening mark → closing marks."""
NAME_NOBODY: Final = word_list("name_nobody")
"""Words that stand in any sentence, and name nobody."""
_NAMES: Final = 3
"""Letters of a word that names something."""
_RUN_ON: Final = re.compile(
    rf"(?<=[a-z0-9])\.(?=(?:{'|'.join(sorted(word.title() for word in NAME_NOBODY if len(word) > 2 and word != 'you'))})(?![\w./@:-]))"
)
"""The end of a sentence without a space after it: `see our-company.example.They know more`. None of these words is a
top-level domain; those of two letters may be, and `you` is."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """The grounds of a goal and a contract. `exact` and `caseless` are the goal's text with single spaces."""

    exact: str
    caseless: str
    mentioned: frozenset[bytes]
    amounts: frozenset[str]
    days: frozenset[str]
    contracted: frozenset[str]
    parts: frozenset[bytes]
    """Parts of the words of the goal and of the contract's destinations."""
    accounts: frozenset[str] = frozenset()
    """Names of the accounts that the goal gives to log in as, in lower case."""
    directory: Directory = field(default=EMPTY, repr=False)

    def grounds_value(self, value: Json, role: Role, limit: int) -> bool:
        """Return whether each value of an argument is given; `False` for more than `limit` values."""
        seen = 0
        for text in texts(value):
            for given in self._each(text, role):
                seen += 1
                if not given or seen > limit:
                    return False
        return True

    def _each(self, text: str, role: Role) -> Iterable[bool]:
        if role is Role.DESTINATION:
            return (self.grounds_destination(destination) for destination in listed(text))
        if role is Role.AMOUNT:
            number = amount(text)
            if number is not None:
                return (
                    number in self.amounts and (not has_two_readings(text) or stands(fold_text(text), self.caseless)),
                )
            day = moment(text)
            return (stands(fold_text(text), self.caseless) or (day is not None and is_given_day(day, self.days)),)
        if role is Role.RECORD:
            return (stands(fold_text(text), self.caseless),)
        return (stands(_normalise_spaces(text), self.exact),)

    def names(self, text: str) -> bool:
        """Return whether the goal names the text, in one or several meaningful words."""
        if not self.caseless:
            return False
        word = fold_text(text)
        return len(word) >= _NAMES and word not in NAME_NOBODY and stands(word, self.caseless)

    def names_record(self, text: str) -> bool:
        """Return whether the goal names a record: by a word as in `name`, or by a number of any length."""
        return self.names(text) or (text.isdigit() and stands(text, self.caseless))

    def grounds_destination(self, destination: Destination) -> bool:
        """Return whether the goal, the contract or the directory has a destination."""
        return self.knows(destination) or self.names_destination(destination)

    def names_destination(self, destination: Destination) -> bool:
        """Return whether the goal or the contract names a destination."""
        if destination.value in self.contracted:
            return True
        word = destination.word.lower()
        if destination.is_mixed or word in NAME_NOBODY:
            return False
        return (encoded(word) in self.mentioned and len(word) > 1) or stands(word, self.caseless)

    def knows(self, destination: Destination) -> bool:
        """Return whether the operator's directory has a destination."""
        return self.directory is not EMPTY and self.directory.knows(destination)

    def reach_parts(self, one: str, other: str) -> bool:
        """Return whether two values are the parts of one given name, in their order: `acme` and `site` of `acme/site`."""
        joined = f"{one}/{other}"
        whole = normalise(joined)
        if whole.kind is not DestinationKind.PATH or whole.value != joined or joined.count("/") != 1:
            return False
        return self.grounds_destination(whole) or self._links_to(fold_text(joined))

    def name_of(self, name: str, address: str) -> bool:
        """Return whether the operator's directory has an address as that of a person or thing with a name."""
        if self.directory is EMPTY:
            return False
        destination = normalise(address)
        return self.knows(destination) and self.directory.knows_name(name, destination)

    def _links_to(self, path: str) -> bool:
        """Return whether a link of the goal has a path as its beginning: `https://git.example/acme/site/pulls`."""
        at = self.caseless.find(f"/{path}")
        while at >= 0:
            host = _LINK_HOST.search(self.caseless, 0, at)
            if host is not None and _ends_segment(self.caseless, at + len(path) + 1):
                return True
            at = self.caseless.find(f"/{path}", at + 1)
        return False


_LINK_HOST: Final = re.compile(r"(?:^|[\s<(\"'])https?://[\w.:-]{1,253}\Z")


def _ends_segment(text: str, at: int) -> bool:
    """Return whether a segment of a path ends before a place: at the end of the text, of its word, or of a sentence."""
    rest = text[at : at + 2]
    if not rest or rest[0] in "/?#\"'>),;:!" or rest[0].isspace():
        return True
    return rest[0] == "." and (len(rest) == 1 or rest[1].isspace())


@lru_cache(maxsize=128)
def grounds(goal: str | None, contracted: tuple[str, ...] | None, directory: Directory = EMPTY) -> Grounds:
    """Return the grounds of a task: its goal, the destinations of its contract, and the operator's directory.

    Remembered, since each call of a task asks for the same.
    """
    text = _RUN_ON.sub(". ", (goal or "")[:MAX_GOAL])
    numbers = (amount(match) for match in _AMOUNT.findall(PHONES.sub(" ", ACCOUNTS.sub(" ", text))))
    return Grounds(
        exact=_normalise_spaces(text),
        caseless=fold_text(text),
        mentioned=frozenset(mentions(text)) if text else frozenset(),
        amounts=frozenset(number for number in numbers if number is not None),
        days=find_days(text),
        contracted=distinct(contracted or ()),
        parts=parts_of("\n".join((text, *(contracted or ())))),
        accounts=accounts_of(text),
        directory=directory,
    )


def _normalise_spaces(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def stands(word: str, text: str) -> bool:
    """Return whether `word` stands in `text` as a word of its own."""
    if not word:
        return True
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if _ends(text, at - 1, -1) and _ends(text, end, 1):
            return True
        at = text.find(word, at + 1)
    return False


def stands_quoted(word: str, text: str) -> bool:
    """Return whether `text` has exactly `word` between quotation marks."""
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        close = _QUOTES.get(text[at - 1 : at], "") if at else ""
        if end < len(text) and text[end] in close and _is_outside(text, at - 2) and _is_outside(text, end + 1):
            return not any(mark in close and _is_outside(word, place + 1) for place, mark in enumerate(word))
        at = text.find(word, at + 1)
    return False


def _is_outside(text: str, at: int) -> bool:
    """Return whether no word goes on at a place, so that a mark beside it is no apostrophe."""
    return not 0 <= at < len(text) or not text[at].isalnum()


def _ends(text: str, at: int, step: int) -> bool:
    """Return whether a word ends before the place `at`, in the direction of `step`."""
    if not 0 <= at < len(text):
        return True
    if text[at].isalnum() or text[at] == "_":
        return False
    beyond = at + step
    return text[at] not in _JOINS or not 0 <= beyond < len(text) or not text[beyond].isalnum()
