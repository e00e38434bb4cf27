"""The accounts in a goal for its agent's logins: named by a phrase, or by a password beside the name. Pure.

Other names in a goal may be the names of recipients, and are no accounts.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.credentials.named import LOCAL
from gateway.inspection.destinations.normalise import fold_text

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
