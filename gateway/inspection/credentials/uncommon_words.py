"""Tells words that everybody writes from words that may be a credential, or a piece of one. Pure.

For callers that were shown more credentials than are kept: any uncommon word may be one of these. No form is asked for,
so that a password without a form is uncommon too. Common are words of English and of interfaces, short words, dates,
times and short numbers.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.credentials.common_words import COMMON

_PARTS: Final = re.compile(r"[^\W_]+")
_LONGEST_WORD: Final = 7
"""Letters of a word that is common whatever it is."""
_LONGEST_NUMBER: Final = 5
"""Digits of a number that is common whatever it is."""
_LONGEST_MIXED: Final = 3
"""Letters and digits of a part such as `Q3`, `64k` or `v12`."""
_WORDS: Final = re.compile(r"(?:[A-Z]?[a-z]{2,}|[A-Z]{2,}|Ids?|[A-Z](?=[A-Z]|\Z))+")
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_PROTOCOL: Final = frozenset(
    b"""
    cancelled capabilities completions discover elicitation experimental extensions initialize initialized
    modelcontextprotocol sampling subscribe subscriptions traceparent tracestate unsubscribe
    """.split()
)
"""Words of the protocol, which each of its messages may have."""
_NAMES: Final = frozenset({"base64", "http2", "httpx2", "ipv4", "ipv6", "oauth2", "sha256", "utf8", "win32", "win64"})
"""Names with digits that interfaces have."""


def has_uncommon(text: str) -> bool:
    """Return whether a text has a word that may be a credential or a piece of one."""
    return any(map(_is_uncommon, set(_PARTS.findall(text))))


def _is_uncommon(part: str) -> bool:
    if part.isdigit():
        return len(part) > _LONGEST_NUMBER
    if not part.isascii():
        return len(part) > _LONGEST_WORD
    if not part.isalpha():
        return len(part) > _LONGEST_MIXED and part.lower() not in _NAMES
    if _WORDS.fullmatch(part) is None:
        return len(part) > _LONGEST_MIXED
    return any(map(_is_uncommon_word, _WORD.findall(part)))


def _is_uncommon_word(word: str) -> bool:
    return len(word.removesuffix("s")) > _LONGEST_WORD and word.lower().encode() not in COMMON | _PROTOCOL
