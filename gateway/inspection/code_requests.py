"""Tells whether a call has its system send a one-time code: the name of its tool or its result says so. Pure.

A result counts only if its tool changes something: strangers may write what a tool reads.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from gateway.base.json.lex import Unescaper
from gateway.base.json.strict import fold
from gateway.base.text_cache import SHORT
from gateway.model.target import Effect, Target

_LOOKED_AT: Final = 65_536
"""Characters of a result that are looked through."""
_REACH: Final = 160
"""Characters before a cut that may belong to a phrase behind it."""
_AROUND: Final = 24
"""Characters before and after a phrase in which a word may deny it."""
_KINDS: Final = "verification|security|login|auth|authentication|access|onetime|confirmation|sms|e?mail|text|phone|signin|mfa|2fa|twofactor|reset"
_TOOL: Final = re.compile(
    rf"(?:.*(?:request|send|resend|start|begin|initiate|trigger|issue)(?:a|new|another)?(?:{_KINDS})?"
    r"(?:code|otp|passcode|2fa|mfa|twofactor|verification|challenge|onetimepassword|magiclink|loginlink|signinlink|passwordreset)"
    r"(?:(?:by|to|via|for)?(?:e?mail|sms|phone|text|user|login))?)"
)
_CODE: Final = (
    r"(?:one[- _]?time[- _]?(?:pass)?(?:code|word|pin)"
    r"|(?:verification|security|confirmation|authentication|access|log-?in|sign-?in|magic|sms|e-?mail)[- _](?:code|pin|link)"
    r"|passcode|\botp|(?:\b|_)2fa|(?:\b|_)mfa|two[- _]factor(?: authentication)?"
    r"|\b(?:an?|the|your|this|another) (?:new )?(?:[0-9a-z]{1,5}[- ]digit )?code\b|(?<!zip )(?<!error )(?<!promo )(?<!postal )(?<!status )\bcode[_ ](?=sent|required))"
)
_SENT: Final = (
    r"(?:sent|e-?mailed|texted|mailed|delivered|requested|required|requires|needed|pending|on its way|\benter\b|awaiting"
    r"|check your (?:e-?mail|inbox|phone|messages))"
)
_SAYS: Final = re.compile(rf"{_CODE}[^.\n]{{0,48}}?{_SENT}|{_SENT}[^.\n]{{0,48}}?{_CODE}")
_DENIES: Final = re.compile(
    r"\b(?:no|not|never|invalid|incorrect|wrong|failed|without|cannot|unable)\b|n't|\" ?: ?(?:false|null|0)\b"
)


class CodeRequests:
    """A search of one result for a notice of a sent code. `by_name`: the tool's name announces the code."""

    __slots__ = ("_by_name", "_left", "_tail", "_text", "_told")

    def __init__(self, *, by_name: bool) -> None:
        self._by_name = by_name
        self._text = Unescaper()
        self._tail: str = ""
        self._left = _LOOKED_AT
        self._told = False

    def feed(self, chunk: bytes) -> bool:
        """Return true for the first chunk that announces a code."""
        return self._look(self._text.feed(chunk))

    def finish(self, chunk: bytes = b"") -> bool:
        """Return true if the last chunk is the first to announce a code."""
        return self._look(self._text.feed(chunk) + self._text.finish())

    def _look(self, text: str) -> bool:
        if self._told or self._left <= 0:
            return False
        seen = self._tail + text[: self._left].lower()
        self._left -= len(text)
        self._tail = seen[-_REACH:]
        self._told = self._by_name or _says(" ".join(seen.split()))
        return self._told


def may_request(target: Target) -> CodeRequests | None:
    """Return a search of the result of a call; `None` for a call that cannot request a code."""
    if target.type != "tool":
        return None
    name, labels = target.name, target.labels
    by_name = names_request(name) if len(name) <= SHORT else _has_code_request_name(name)
    changes = labels.effect is not Effect.READ and "effect" not in labels.assumed
    return CodeRequests(by_name=by_name) if by_name or changes else None


def _has_code_request_name(tool: str) -> bool:
    """Return whether a tool's name announces a code, as `send_code` does."""
    return _TOOL.fullmatch(fold(tool)) is not None


names_request: Final = lru_cache(1_024)(_has_code_request_name)
"""The same for a name of at most `SHORT` characters. A hit enters no function."""


def _says(text: str) -> bool:
    around = ((max(0, match.start() - _AROUND), match.end() + _AROUND) for match in _SAYS.finditer(text))
    return any(_DENIES.search(text, start, end) is None for start, end in around)
