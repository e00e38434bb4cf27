"""Finds credentials by their surroundings: private keys, JWTs, headers, user information, signed links, one-time codes.

Pure. One pass over a text looks for all signs (`detect`). An expression searches only a text with its sign.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from gateway.inspection.credentials.finding import Hit, SignedSearch
from gateway.inspection.credentials.fingerprint import LONGEST
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.named import placeholder, plausible
from gateway.inspection.credentials.ruleset import Re2Pattern, compiled

_PRIVATE_KEY: Final = compiled(
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\n|\\r)*"
    r"((?:[A-Za-z][A-Za-z-]{2,20}: [^\n]{0,200}\n\s*)*[A-Za-z0-9+/=\s\\]{48,})(?:-----END [A-Z0-9 ]{1,48}-----)?"
)
_PUTTY: Final = compiled(r"Private-Lines: [0-9]{1,3}\s+([A-Za-z0-9+/=\s]{48,})")
_ARMOUR: Final = re.compile(r"(?:^|\n)[A-Za-z-]+: [^\n]*|\\[nr]|[\s\\]|=+$|=.{4}$")
_KEY_LINE: Final = re.compile(r"[A-Za-z0-9+/]{32}")
# The last form is of one so long that its signature may be out of sight.
_JWT: Final = compiled(
    r"(?:^|[^A-Za-z0-9_.-])(eyJ[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}"
    r"|[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{1000,}))"
)
_JWT_EXAMPLE: Final = "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9l"
_BRACED: Final = r"\$?\{\{?[^{}\n]*\}\}?"
"""A reference that stands before the rest of a token."""
_BEARER: Final = compiled(rf"(?i)\b(?:bearer|dpop)[\s:]{{1,4}}[\"']?(?:{_BRACED})?([A-Za-z0-9._~+/-]{{16,}}={{0,2}})")
_BASIC: Final = compiled(r"(?i)\b(?:basic|auth plain)\s{1,4}([A-Za-z0-9+/_-]{8,}={0,2})")
_USERINFO: Final = compiled(
    r"(?i)\b[a-z][a-z0-9+.-]{1,20}://(?:([^\s/\"'<>@:\x00]*):([^\s/\"'<>@\x00]{3,})|([A-Za-z0-9_.~%-]{20,}))@[^\s/\"'<>?#\x00]"
)
_SIGNED: Final = compiled(
    r"(?i)https?://(?:[^\s/\"'<>@\x00]*@)?([A-Za-z0-9.-]+)[^\s\"'<>?\x00]*\?[^\s\"'<>\x00]*?"
    r"(?:x-amz-signature|x-goog-signature|x-oss-signature|q-signature|signature|sig)=([A-Za-z0-9%/+_~-]{20,}=*)"
)
_CODE_FOR: Final = (
    r"\b(?:one[- ]time|verification|security|log[- ]?in|sign[- ]?in|authentication|confirmation|access|2fa|mfa|two[- ]factor"
    r"|otp|reset|passcode)\s*(?:pass)?(?:code|pin|password|otp|passcode)?"
)
_CODE_IS: Final = r"\s*(?:is|are|[:=-])\s*"
_CODES: Final = compiled(
    rf"(?i){_CODE_FOR}(?:\s(?:is|for|to|your|you|log|sign|in|[a-z]{{1,20}}))*?{_CODE_IS}[\"'*]{{0,3}}"
    r"([0-9]{4,8}|[0-9]{3}[ -][0-9]{3}|[A-Z]-[0-9]{6})(?:[^0-9A-Za-z]|$)"
    r"|(?:^|[^0-9A-Za-z.])([0-9]{4,8}|[0-9]{3}[ -][0-9]{3}|[A-Z]-[0-9]{6}) is your \S{0,24} ?\S{0,24} ?(?:code|pin|otp|passcode|password)\b"
)
_CODES_SIGN: Final = rf"(?i){_CODE_FOR}(?:\s[a-z]+)*{_CODE_IS}[\"'*]*(?:[a-z]-)?[0-9]|[0-9] is your \S*"
_CODE_WORD: Final = re.compile(rb"code|pin|otp|password|passcode", re.IGNORECASE)
_CODE_MENTION: Final = compiled(r"(?i)code|otp", groups=False)
"""Stands somewhere in a text whose numbers may be codes."""


def _private_keys(text: bytes) -> Iterator[Hit]:
    return _keys(text, _PRIVATE_KEY, "private-key")


def _putty_keys(text: bytes) -> Iterator[Hit]:
    return _keys(text, _PUTTY, "putty-private-key")


def _keys(text: bytes, expression: Re2Pattern, name: str) -> Iterator[Hit]:
    for match in expression.finditer(text):
        body = string(text[slice(*match.span(1))])
        value = _ARMOUR.sub("", body)[:LONGEST]
        # Lines of base64 are long words, prose after a mention of a key is not.
        if len(value) >= 40 and len(set(value)) > 15 and _KEY_LINE.search(body) is not None:
            yield Hit(name, "private-key", match.start(), match.end(), value)


def _jwts(text: bytes) -> Iterator[Hit]:
    for match in _JWT.finditer(text):
        start, end = match.span(1)
        value = string(text[start:end])
        if _JWT_EXAMPLE not in value:
            yield Hit("jwt", "jwt", start, end, value)


def _bearers(text: bytes) -> Iterator[Hit]:
    for match in _BEARER.finditer(text):
        start, end = match.span(1)
        value = string(text[start:end])
        if plausible(value, "token"):
            yield Hit("bearer", "header", start, end, value)


def _basics(text: bytes) -> Iterator[Hit]:
    for match in _BASIC.finditer(text):
        start, end = match.span(1)
        value = string(text[start:end])
        letters = value.rstrip("=").replace("-", "+").replace("_", "/")
        if len(letters) % 4 == 1:
            continue
        pair = base64.b64decode(letters + "=" * (-len(letters) % 4))
        # SASL's PLAIN (RFC 4616) has zero bytes before and after the user.
        user, colon, password = string(pair.lstrip(b"\0").replace(b"\0", b":")).partition(":")
        if colon and len(password) >= 4 and user.isprintable() and password.isprintable() and not placeholder(password):
            yield Hit("basic", "header", start, end, password, user=user)


def _userinfos(text: bytes) -> Iterator[Hit]:
    for match in _USERINFO.finditer(text):
        password = match.span(2) != (-1, -1)
        start, end = match.span(2 if password else 3)
        written = string(text[start:end])
        value = unquote(written)
        if not placeholder(value) and not placeholder(written) and (password or plausible(value, "token")):
            user = unquote(string(match[1] or b"")) if password else ""
            yield Hit("userinfo", "userinfo", start, end, value, user=user)


def _find_signed(text: bytes) -> Iterator[Hit]:
    for match in _SIGNED.finditer(text):
        start, end = match.span(2)
        value = string(text[start:end])
        if not placeholder(value):
            yield Hit("presigned-url", "presigned", start, end, value, string(text[slice(*match.span(1))]).lower())


def _codes(text: bytes) -> Iterator[Hit]:
    if _CODE_MENTION.search(text) is None:
        return
    for match in _CODES.finditer(text):
        start, end = match.span(1) if match.span(1) != (-1, -1) else match.span(2)
        around = text[match.start() : match.end()]
        if _CODE_WORD.search(around) is not None:
            yield Hit("one-time-code", "code", start, end, string(text[start:end]))


SEARCHES: Final = (
    SignedSearch(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY", _private_keys),
    SignedSearch(r"Private-Lines: [0-9]", _putty_keys),
    SignedSearch(r"eyJ[A-Za-z0-9_-]{8}", _jwts),
    SignedSearch(rf"(?i)(?:bearer|dpop)[\s:]{{1,4}}[\"']?(?:{_BRACED})?[A-Za-z0-9._~+/-]{{16}}", _bearers),
    SignedSearch(r"(?i)(?:basic|auth plain)\s{1,4}[A-Za-z0-9+/_-]{8}", _basics),
    SignedSearch(r"://[^\s/\"'<>@\x00]{3,}@", _userinfos),
    SignedSearch(r"(?i)(?:sig|signature)=[A-Za-z0-9%/+_~-]{20}", _find_signed),
    SignedSearch(_CODES_SIGN, _codes),
)
