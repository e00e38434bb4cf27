"""Finds one-time codes in messages: beside the word `code`, in an order to enter them, and in links. Pure.

Between the words and the code there may be line ends, marks of quoted lines and of emphasis, and tags. A number beside `code`
is a one-time code by the word before it, or by the words around it. Codes of places, orders and errors are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.inspection.credentials.finding import Hit, SignedSearch
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.ruleset import Re2Match, Re2Pattern, compiled

_NEAR: Final = 160
"""Bytes before and after a code in which words say what it is."""
_BETWEEN: Final = r"(?:[^0-9A-Za-z<]|<[^<>]*>|&nbsp;)*"
_WORD: Final = r"(?:code|passcode|otp|kod|koodi|c(?:o|ó)digo|codice|コード|验证码|驗證碼|인증번호|코드)"
_FOR: Final = r"(?:\s+(?:for|to|de|von|für|pour|para|di)(?:\s+[^\s0-9]+)*?\s+(?:is|es|est|ist|è|lautet))?"
"""For what a code is: `your code for the Acme portal is`."""
_IS: Final = rf"(?:(?:is|was|are|lautet|ist|est|es|è|below){_BETWEEN})?"
_CODE: Final = (
    r"([a-z]-[0-9]{6}|[0-9]{3}[ -][0-9]{3}|[0-9]{2}[ -][0-9]{2}[ -][0-9]{2}|[0-9]{4,8}|[a-z]?[0-9][a-z0-9]{4,7})"
)
_END: Final = r"(?:[^0-9A-Za-z_]|$)"
_OPENS: Final = r"(?:magic|log-?in|sign-?in|auth|verif|confirm|activat|invit|reset|recover|unlock|session|sso|otp|2fa|mfa|one-?time)"
_PARAMETER: Final = r"[?&#](?:code|otp|pin|token|t|c|k|key|ticket|verification_code|confirmation_code)="

_BESIDE: Final = compiled(rf"(?i){_WORD}s?{_FOR}{_BETWEEN}{_IS}{_CODE}{_END}")
_BEFORE: Final = compiled(
    rf"(?i)(?:^|[^0-9A-Za-z_.]){_CODE}\s{{1,8}}(?:is|as)\s{{1,8}}(?:your|the|my|an?)\s(?:\S{{1,24}}\s{{1,8}}){{0,4}}?(?:code|pin|otp|passcode|password)\b"
)
_ENTERED: Final = compiled(
    rf"(?i)\b(?:use|enter|type|submit|provide)\s{{1,8}}{_CODE}\s{{1,8}}(?:to|for)\s{{1,8}}(?:finish |complete )?(?:sign|log|verif|confirm|authenticat|reset|unlock|your (?:log|sign))"
)
_LINK: Final = compiled(rf"(?i)https?://[^\s\"'<>\x00]*{_PARAMETER}([a-z0-9]{{4,15}})(?:[&#\s\"'<>).,;]|$)")

_MARKED: Final = re.compile(r"[A-Za-z]-\d{4,8}|\d{2,4}(?:[ -]\d{2,4}){1,2}", re.ASCII)
_MARKS: Final = re.compile(r"^[A-Za-z]-|[ -]")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_SAYS: Final = frozenset(
    {
        "verification", "security", "login", "signin", "log", "sign", "in", "authentication", "confirmation", "access",
        "auth", "one", "time", "otp", "sms", "mfa", "fa", "factor", "digit", "passcode", "reset", "recovery",
        "activation", "temporary", "your", "this", "following",
    }
)  # fmt: skip
"""Words before `code` that say what the code is for."""
_OTHER: Final = frozenset(
    {
        "zip", "postal", "post", "area", "country", "dialing", "dial", "promo", "promotional", "promotion", "discount",
        "coupon", "voucher", "gift", "referral", "invitation", "error", "exit", "status", "response", "return", "http",
        "reason", "result", "product", "item", "article", "order", "booking", "reservation", "tracking", "source",
        "bar", "qr", "dress", "color", "colour", "hex", "branch", "sort", "swift", "iban", "currency", "airport",
        "station", "language", "locale", "build", "commit", "course", "cost", "tax", "fault", "diagnostic", "reference",
        "class", "model", "serial", "region", "invoice", "shipping", "customs", "hs",
    }
)  # fmt: skip
"""Words before `code` of codes that open nothing."""
_ABOUT: Final = re.compile(
    r"sign(?:ing)?[ -]?in|log(?:ging)?[ -]?in|verif|authenticat|confirm|one[- ]time|expires? in|valid for|(?:not|never) share|two[- ]factor|2fa|mfa"
    r"|otp|passcode|best(?:ä|ae)tigung|anmeld|connexion|iniciar",
    re.IGNORECASE,
)
"""Words around a number that make it a code for a login."""
_OPENING: Final = re.compile(_OPENS, re.IGNORECASE)
_BEYOND_ASCII: Final = 0x80
_FEW: Final = 3
_LONGEST: Final = 8
"""Digits of a code. A longer number in a link is a time or an identifier."""
_SHORTEST: Final = 5
"""Characters of a code that only the words around it tell."""


def _beside(text: bytes) -> Iterator[Hit]:
    for match in _BESIDE.finditer(text):
        if _is_of_login(text, match) and not _is_within_digest(text, match):
            yield _hit(match)


def _before(text: bytes) -> Iterator[Hit]:
    return _with_digits(text, _BEFORE, 1)


def _is_entered(text: bytes) -> Iterator[Hit]:
    return _with_digits(text, _ENTERED, _SHORTEST)


def _with_digits(text: bytes, expression: Re2Pattern, least: int) -> Iterator[Hit]:
    for match in expression.finditer(text):
        if _digits(_value(match)) >= _FEW and len(_value(match)) >= least:
            yield _hit(match)


def _in_links(text: bytes) -> Iterator[Hit]:
    return (_hit(match) for match in _LINK.finditer(text) if _opens(text, match))


SEARCHES: Final = (
    SignedSearch(rf"(?i){_WORD}s?{_FOR}{_BETWEEN}{_IS}(?:[a-z]-?)?[0-9]", _beside),
    SignedSearch(r"(?i)[0-9][0-9a-z]*\s+(?:is|as)\s+(?:your|the|my|an?)\s", _before),
    SignedSearch(r"(?i)(?:use|enter|type|submit|provide)\s+(?:[a-z]-?)?[0-9]", _is_entered),
    SignedSearch(rf"(?i){_PARAMETER}[a-z0-9]{{4}}", _in_links),
)


def _value(match: Re2Match) -> bytes:
    return match[1] or b""


def _opens(text: bytes, match: Re2Match) -> bool:
    """Return whether the parameter of a link is a code for a login."""
    value = _value(match)
    if not _is_code(value) or len(value) < _SHORTEST or (value.isdigit() and len(value) > _LONGEST):
        return False
    return _OPENING.search(string(match[0] or b"")) is not None or _around(text, match.start(), match.start())


def _hit(match: Re2Match) -> Hit:
    return Hit("one-time-code", "code", *match.span(1), string(_value(match)))


def bare(value: str) -> str:
    """Return a one-time code without the marks between its letters and digits: `G-482 913`. Return other values as they are."""
    return _MARKS.sub("", value) if _MARKED.fullmatch(value) is not None else value


def _is_within_digest(text: bytes, match: Re2Match) -> bool:
    """Return whether the word and the letters of a code are parts of one longer word: `...Vbiotp373mu+...`."""
    glued = text[match.start() - 1 : match.start()].isalnum() and text[match.start(1) - 1 : match.start(1)].isalpha()
    return glued and _LETTERS.search(string(_value(match))) is not None


def _is_of_login(text: bytes, match: Re2Match) -> bool:
    """Return whether the words near a number make it a code for a login."""
    start, end, value = match.start(), match.end(), _value(match)
    if not _is_code(value):
        return False
    head = text[start : start + len("passcode")].lower()
    if head.startswith((b"otp", b"passcode")) or head[0] >= _BEYOND_ASCII:
        return True
    words = [word.lower() for word in _LETTERS.findall(string(text[max(0, start - _NEAR // 2) : start]))[-4:]]
    if words and words[-1] in _OTHER:
        return False
    if words and words[-1] in _SAYS:
        return True
    return ("your" in words and len(value) >= _SHORTEST) or (len(value) >= _SHORTEST and _around(text, start, end))


def _around(text: bytes, start: int, end: int) -> bool:
    return _ABOUT.search(string(text[max(0, start - _NEAR) : end + _NEAR])) is not None


def _is_code(value: bytes) -> bool:
    """Return whether a value is of digits, or has a few digits among capitals or lower-case letters."""
    letters = value.replace(b" ", b"").replace(b"-", b"")
    return letters.isdigit() or (_digits(value) >= _FEW and (letters == letters.upper() or letters == letters.lower()))


def _digits(value: bytes) -> int:
    return sum(48 <= byte < 58 for byte in value)
