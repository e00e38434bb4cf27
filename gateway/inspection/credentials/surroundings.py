"""Finds credentials by their surroundings: private keys, JWTs, headers, user information, signed links, one-time codes.

Pure. One pass over a text looks for all signs (`detect`). An expression searches only a text with its sign.

A number beside `code` is a one-time code by the word before it, or by the words around it. Between the words and the code
there may be line ends, marks of emphasis, and tags. Codes of places, orders and errors are none."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from gateway.inspection.credentials.finding import Hit, SignedSearch
from gateway.inspection.credentials.fingerprint import LONGEST
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.named import is_placeholder, is_plausible
from gateway.inspection.credentials.ruleset import Re2Match, Re2Pattern, compiled
from gateway.inspection.word_lists import word_list

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
_CODE_MENTION: Final = compiled(r"(?i)code|otp|one[- ]time", groups=False)
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
        if is_plausible(value, "token"):
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
        if (
            colon
            and len(password) >= 4
            and user.isprintable()
            and password.isprintable()
            and not is_placeholder(password)
        ):
            yield Hit("basic", "header", start, end, password, user=user)


def _userinfos(text: bytes) -> Iterator[Hit]:
    for match in _USERINFO.finditer(text):
        password = match.span(2) != (-1, -1)
        start, end = match.span(2 if password else 3)
        written = string(text[start:end])
        value = unquote(written)
        if not is_placeholder(value) and not is_placeholder(written) and (password or is_plausible(value, "token")):
            user = unquote(string(match[1] or b"")) if password else ""
            yield Hit("userinfo", "userinfo", start, end, value, user=user)


def _find_signed(text: bytes) -> Iterator[Hit]:
    for match in _SIGNED.finditer(text):
        start, end = match.span(2)
        value = string(text[start:end])
        if not is_placeholder(value):
            yield Hit("presigned-url", "presigned", start, end, value, string(text[slice(*match.span(1))]).lower())


def _codes(text: bytes) -> Iterator[Hit]:
    if _CODE_MENTION.search(text) is None:
        return
    for match in _CODES.finditer(text):
        start, end = match.span(1) if match.span(1) != (-1, -1) else match.span(2)
        around = text[match.start() : match.end()]
        if _CODE_WORD.search(around) is not None and not _is_date(text, match.start(), start, end):
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


# --- one-time codes ----------------------------------------------------------------------------------

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
_SAYS: Final = word_list("code_purposes")
"""Words before `code` that say what the code is for."""
_OTHER: Final = word_list("other_codes")
"""Words before `code` of codes that open nothing."""
_ABOUT: Final = re.compile(
    r"sign(?:ing)?[ -]?in|log(?:ging)?[ -]?in|verif|authenticat|confirm|one[- ]time|expires? in|valid for|(?:not|never) share|two[- ]factor|2fa|mfa"
    r"|otp|passcode|best(?:ä|ae)tigung|anmeld|connexion|iniciar",
    re.IGNORECASE,
)
"""Words around a number that make it a code for a login."""
_OPENING: Final = re.compile(_OPENS, re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]{4,8}|[0-9]{3}[ -][0-9]{3}")
_ONE_TIME: Final = re.compile(
    rb"\bone[- _]?time[ _-]?(?:pass(?:word|code|phrase)?|pin)\b[^\n0-9]{0,60}$", re.IGNORECASE
)
_YEAR: Final = re.compile(rb"(?:19|20)[0-9]{2}")
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}[-/.][01]?[0-9][-/.][0-3]?[0-9]")
_REST_OF_DATE: Final = re.compile(rb"[-/.][01]?[0-9][-/.][0-3]?[0-9](?![0-9])")
_EQUALS: Final = re.compile(rb"[:=]|\b(?:is|was|are|lautet|ist|est|es)\b|\xc3\xa8", re.IGNORECASE)
"""Marks and words by which a text says that a number is the code."""
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


def _entered(text: bytes) -> Iterator[Hit]:
    return _with_digits(text, _ENTERED, _SHORTEST)


def _with_digits(text: bytes, expression: Re2Pattern, least: int) -> Iterator[Hit]:
    for match in expression.finditer(text):
        if _digits(_value(match)) >= _FEW and len(_value(match)) >= least:
            yield _hit(match)


def _in_links(text: bytes) -> Iterator[Hit]:
    return (_hit(match) for match in _LINK.finditer(text) if _is_login_code(text, match))


CODE_SEARCHES: Final = (
    SignedSearch(rf"(?i){_WORD}s?{_FOR}{_BETWEEN}{_IS}(?:[a-z]-?)?[0-9]", _beside),
    SignedSearch(r"(?i)[0-9][0-9a-z]*\s+(?:is|as)\s+(?:your|the|my|an?)\s", _before),
    SignedSearch(r"(?i)(?:use|enter|type|submit|provide)\s+(?:[a-z]-?)?[0-9]", _entered),
    SignedSearch(rf"(?i){_PARAMETER}[a-z0-9]{{4}}", _in_links),
)


def _value(match: Re2Match) -> bytes:
    return match[1] or b""


def _is_login_code(text: bytes, match: Re2Match) -> bool:
    """Return whether the parameter of a link is a code for a login."""
    value = _value(match)
    if not _is_code(value) or len(value) < _SHORTEST or (value.isdigit() and len(value) > _LONGEST):
        return False
    return _OPENING.search(string(match[0] or b"")) is not None or _has_login_words(text, match.start(), match.start())


def _hit(match: Re2Match) -> Hit:
    return Hit("one-time-code", "code", *match.span(1), string(_value(match)))


def is_dated(hit: Hit) -> bool:
    """Return whether the value of a one-time code is a date: `OTP: 2026-12-01` in a listing."""
    return hit.kind == "code" and _DATE.fullmatch(hit.value) is not None


def tell_code(hit: Hit, text: bytes) -> Hit:
    """Return a password as a one-time code, if the words before a number say so: `your one-time password is 482913`."""
    is_short = hit.detector == "named-password" and _NUMBER.fullmatch(hit.value) is not None
    if is_short and _ONE_TIME.search(text, max(0, hit.start - _NEAR), hit.start) is not None:
        return replace(hit, detector="one-time-code", kind="code")
    return hit


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
    if not _is_code(value) or _is_date(text, start, *match.span(1)):
        return False
    head = text[start : start + len("passcode")].lower()
    if head.startswith((b"otp", b"passcode")) or head[0] >= _BEYOND_ASCII:
        return True
    words = [word.lower() for word in _LETTERS.findall(string(text[max(0, start - _NEAR // 2) : start]))[-4:]]
    if words and words[-1] in _OTHER:
        return False
    if words and words[-1] in _SAYS:
        return True
    return ("your" in words and len(value) >= _SHORTEST) or (
        len(value) >= _SHORTEST and _has_login_words(text, start, end)
    )


def _is_date(text: bytes, begin: int, start: int, end: int) -> bool:
    """Return whether a number is the year of a date, or a year that nothing says to be the code: a listing has both.

    The words about the number begin at `begin`, and the number stands from `start` to `end`.
    """
    if _YEAR.fullmatch(text[start:end]) is None:
        return False
    return _REST_OF_DATE.match(text, end) is not None or _EQUALS.search(text, begin, start) is None


def _has_login_words(text: bytes, start: int, end: int) -> bool:
    return _ABOUT.search(string(text[max(0, start - _NEAR) : end + _NEAR])) is not None


def _is_code(value: bytes) -> bool:
    """Return whether a value is of digits, or has a few digits among capitals or lower-case letters."""
    letters = value.replace(b" ", b"").replace(b"-", b"")
    return letters.isdigit() or (_digits(value) >= _FEW and (letters == letters.upper() or letters == letters.lower()))


def _digits(value: bytes) -> int:
    return sum(48 <= byte < 58 for byte in value)
