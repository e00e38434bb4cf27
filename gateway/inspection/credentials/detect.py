"""Finds credentials in text. Pure.

A value is one if a rule knows its form, if it stands under a credential's name, if it is a private key, a JWT, what
stands in an `Authorization` header or before the `@` of a URL, or a one-time code by the words around it. Entropy alone
never makes one. Public keys, certificates, digests, object ids, cursors, placeholders and the examples of documentation
are none.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from gateway.inspection.credentials.calls import BY_ROLE, Index, inspect
from gateway.inspection.credentials.finding import Finding, Hit, Inspection, Kind, Known, StandIn
from gateway.inspection.credentials.fingerprint import LONGEST, Fingerprints
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.named import NAMES, Strength, placeholder, plausible, strength
from gateway.inspection.credentials.ordinary import is_ordinary
from gateway.inspection.credentials.ruleset import REACH, Rule, Ruleset, compiled
from gateway.model.target import Role
from gateway.model.wire import JsonObject

_EXAMPLES: Final = re.compile(
    r"EXAMPLE|xxxx|XXXX|\*{4}|your[-_]|YOUR[-_]|placeholder|redacted|REDACTED|<|\$\{|0{12}|1234567890abc|abcdefghijkl"
)

BY_PLACE: Final = frozenset(
    {
        "private-key",
        "putty-private-key",
        "jwt",
        "bearer",
        "basic",
        "userinfo",
        "presigned-url",
        "one-time-code",
        "named-password",
        "named-token",
        BY_ROLE,
    }
)
"""The detectors that are no rule of a file."""


def detectors(rules: Ruleset) -> frozenset[str]:
    """What may be given as the detector of a credential that is found by form or place."""
    return BY_PLACE | {rule.id for rule in rules.rules}


class Detector:
    """Rules and fingerprints of one deployment. Has no state; safe to share."""

    def __init__(self, ruleset: Ruleset, fingerprints: Fingerprints) -> None:
        self.ruleset: Final = ruleset
        self.fingerprints: Final = fingerprints
        signs = [_NAMED_SIGN, *_SIGNS] if ruleset.signs is None else [ruleset.signs, _NAMED_SIGN, *_SIGNS]
        self._signs = compiled(_any_of(signs), groups=False)

    def hits(self, text: bytes) -> list[Hit]:
        """Every credential in a text (UTF-8), in order, none inside another; in the place of one that is base64 of
        another, both."""
        # One pass for all that is looked for settles nearly every text.
        sign = self._signs.search(text)
        if sign is None and not self.ruleset.always:
            return []
        first = len(text) if sign is None else sign.start()
        found = _by_context(text) if _CONTEXT.search(text, first) is not None else []
        for rule, at in self.ruleset.candidates(text, first):
            found.extend(_by_rule(rule, text, max(0, at - REACH) if rule.own else 0))
        found.extend(_by_name(text, first))
        kept = _apart(found, len(text)) if len(found) > 1 else found
        return [each for hit in kept for each in (hit, *_inside(hit))]

    def find(self, text: str) -> tuple[Finding, ...]:
        """The findings of a text as it stands."""
        return tuple(self.finding(hit) for hit in self.hits(text.encode("utf-8", "surrogatepass")))

    def inspect(
        self,
        arguments: JsonObject,
        roles: Mapping[str, Role],
        known: Known | Index | None = None,
        *,
        new: bool = True,
        handles: Mapping[str, StandIn] = MappingProxyType({}),
    ) -> Inspection:
        """The credentials in the arguments of a call: those that the task knows, in whatever form, and, unless `new` is
        false, those that it does not. `known` may be an `Index`, if it is used again. `handles` are the handles in the
        arguments, and what each stands for."""
        index = known if isinstance(known, Index) else Index(known or {})
        look = self.hits if new else None
        return inspect(arguments, roles, index, self.fingerprints, look=look, handles=handles)

    def finding(self, hit: Hit) -> Finding:
        return Finding(
            self.fingerprints.of(hit.value, hit.host),
            hit.detector,
            hit.kind,
            shingles=self.fingerprints.shingles(hit.value),
            host=hit.host,
            ordinary=_is_ordinary(hit),
        )


def _is_ordinary(hit: Hit) -> bool:
    """Whether other text may have the same value in it. What has a form of its own is in no other."""
    if hit.kind == "code":
        return len(hit.value) < _LONG_CODE
    return hit.kind in {"named", "userinfo", "header"} and is_ordinary(hit.value)


_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4}){2,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def _inside(hit: Hit) -> Iterator[Hit]:
    """What a value under a credential's name is in base64, as in secrets of Kubernetes: whoever reads it has that too."""
    if hit.kind != "named" or _BASE64.fullmatch(hit.value) is None:
        return
    value = base64.b64decode(hit.value).rstrip(b"\r\n")
    if value.isascii() and (text := value.decode("ascii")).isprintable() and plausible(text, "password"):
        yield replace(hit, value=text)


_LONG_CODE: Final = 6
_ORDER: Final[dict[Kind, int]] = {
    "private-key": 0, "format": 1, "jwt": 2, "presigned": 3, "userinfo": 4, "header": 5, "named": 6, "code": 7,
}  # fmt: skip


def _apart(found: list[Hit], size: int) -> list[Hit]:
    """Without those that overlap one that says more."""
    kept: list[Hit] = []
    taken = bytearray(size)
    for hit in sorted(found, key=lambda hit: (_ORDER[hit.kind], hit.start - hit.end, hit.start)):
        if taken.find(1, hit.start, hit.end) < 0:
            taken[hit.start : hit.end] = b"\1" * (hit.end - hit.start)
            kept.append(hit)
    return sorted(kept, key=lambda hit: hit.start)


def _by_rule(rule: Rule, text: bytes, position: int) -> Iterator[Hit]:
    for match in rule.regex.finditer(text, position):
        start, end = rule.secret(match)
        if start == end or not rule.accepts(text, match, (start, end)):
            continue
        value = string(text[start:end])
        if not (rule.own and _EXAMPLES.search(value)):
            yield Hit(rule.id, "format", start, end, value)


# --- by name ---------------------------------------------------------------------------------------


_QUOTES: Final = r"[\"'\x60\\]{0,6}"
_PAIR: Final = (
    rf"(?:\s{{0,4}}:\s{{0,4}}\{{)?,?\s{{0,24}}(?:{_QUOTES}[a-z]{{1,12}}{_QUOTES}\s{{0,4}}:\s{{0,4}}{_QUOTES}[a-z]{{1,16}}{_QUOTES},\s{{0,24}}){{0,2}}"
    rf"{_QUOTES}[a-z]{{0,10}}value{_QUOTES}\s{{0,4}}[:=]\s{{0,4}}"
)
"""Between the name and the value of `{"name": …, "value": …}`, `key="…" value="…"` and the like: variables of containers and
of pipelines, parameters and outputs of clouds."""
_NAMED_SIGN: Final = (
    rf"(?i)(?:{NAMES})[A-Za-z0-9_-]{{0,40}}[\"'\x60\\]{{0,6}}"
    rf"(?:{_PAIR}"
    r"|\*{0,2}\s{0,4}(?:=>|:=|=|:|>)\*{0,2}\s{0,4}\*{0,2}|\s{1,4}(?:(?:for|of)(?: \S{1,32}){1,4} )?(?:is|was)\s{0,2}:?\s{1,4})"
    rf"|--(?:[a-z0-9]{{1,20}}-){{0,3}}(?:{NAMES})[a-z0-9-]{{0,20}} "
)
_NAMED: Final = compiled(_NAMED_SIGN)
_VALUE: Final = re.compile(
    rb"\\{0,6}\"([^\"\\\r\n\x00]{4,2048})|\\{0,6}'([^'\\\r\n\x00]{4,2048})|`([^`\r\n\x00]{4,2048})`|([^\s\"'`,;&<>(){}\[\]|\\\x00]{4,2048})"
)
_NAME_PART: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_AROUND: Final = b" \t\r\n\f\v\"'`\\"
_BARE: Final = 4
"""The group of a value without quotes."""
_DIGIT: Final = re.compile(rb"[0-9]")
_NEAR: Final = 140
"""Bytes in which the first digit of a random value is."""
_NAME_LENGTH: Final = 96


def _by_name(text: bytes, position: int) -> Iterator[Hit]:
    while (head := _NAMED.search(text, position)) is not None:
        at, after = head.span()
        hit = _named(text, at, after)
        if hit is not None:
            yield hit
        # What was no value may itself begin with a name.
        position = after if hit is None else hit.end


def _named(text: bytes, at: int, after: int) -> Hit | None:
    """The value after a name that has a credential's word at `at`, and whose separator ends at `after`."""
    first = at
    while first > 0 and text[first - 1] in _NAME_PART and at - first < _NAME_LENGTH:
        first -= 1
    last = at
    while last < after and text[last] in _NAME_PART:
        last += 1
    kind = strength(text[first:last].decode())
    sign = text[last:after].strip(_AROUND).lower()
    if kind is None:
        return None
    if kind != "password" and _DIGIT.search(text, after, after + _NEAR) is None:
        return None
    match = _VALUE.match(text, after)
    if match is None:
        return None
    start, end = match.span(match.lastindex or 0)
    if sign == b">" and not text.startswith(b"<", end):
        return None
    value = string(text[start:end])
    if match.lastindex == _BARE:
        value = value.rstrip(".!?*")
        end = start + len(value.encode("utf-8", "surrogatepass"))
    pair = b"value" in sign
    structured = not pair and (match.lastindex != _BARE or not sign.rstrip(b":").endswith((b"is", b"was")))
    if _scheme(value) or not plausible(value, kind, structured=structured):
        return None
    return _by_kind(kind, start, end, value)


def _by_kind(kind: Strength, start: int, end: int, value: str) -> Hit:
    if kind == "code":
        return Hit("one-time-code", "code", start, end, value)
    return Hit(f"named-{kind}", "named", start, end, value)


def _scheme(value: str) -> bool:
    """Whether it is the word before a credential in a header: the credential comes after it."""
    return value.partition(" ")[0].lower() in {"bearer", "basic", "dpop", "token", "digest", "negotiate", "ssws"}


# --- by what is around it --------------------------------------------------------------------------


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
_BEARER: Final = compiled(r"(?i)\b(?:bearer|dpop)[\s:]{1,4}[\"']?([A-Za-z0-9._~+/-]{16,}={0,2})")
_BASIC: Final = compiled(r"(?i)\bbasic\s{1,4}([A-Za-z0-9+/_-]{8,}={0,2})")
_USERINFO: Final = compiled(
    r"(?i)\b[a-z][a-z0-9+.-]{1,20}://(?:[^\s/\"'<>@:\x00]*:([^\s/\"'<>@\x00]{3,})|([A-Za-z0-9_.~%-]{20,}))@[^\s/\"'<>?#\x00]"
)
_SIGNED: Final = compiled(
    r"(?i)https?://(?:[^\s/\"'<>@\x00]*@)?([A-Za-z0-9.-]+)[^\s\"'<>?\x00]*\?[^\s\"'<>\x00]*?"
    r"(?:x-amz-signature|x-goog-signature|x-oss-signature|q-signature|signature|sig)=([A-Za-z0-9%/+_~-]{20,}=*)"
)
_CODES_SIGN: Final = (
    r"(?i)\b(?:one[- ]time|verification|security|log[- ]?in|sign[- ]?in|authentication|confirmation|access|2fa|mfa|two[- ]factor"
    r"|otp|reset|passcode)\s*(?:pass)?(?:code|pin|password|otp|passcode)?(?:\s(?:is|for|to|your|you|log|sign|in|[a-z]{1,20}))*?"
    r"\s*(?:is|are|[:=-])\s*[\"'*]{0,3}([0-9]{4,8}|[0-9]{3}[ -][0-9]{3}|[A-Z]-[0-9]{6})(?:[^0-9A-Za-z]|$)"
    r"|(?:^|[^0-9A-Za-z.])([0-9]{4,8}|[0-9]{3}[ -][0-9]{3}|[A-Z]-[0-9]{6}) is your \S{0,24} ?\S{0,24} ?(?:code|pin|otp|passcode|password)\b"
)
_CODES: Final = compiled(_CODES_SIGN)
_CODE_WORD: Final = re.compile(rb"code|pin|otp|password|passcode", re.IGNORECASE)


def _private_keys(text: bytes) -> Iterator[Hit]:
    for expression, name in ((_PRIVATE_KEY, "private-key"), (_PUTTY, "putty-private-key")):
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
        user, colon, password = string(pair).partition(":")
        if colon and len(password) >= 4 and user.isprintable() and password.isprintable() and not placeholder(password):
            yield Hit("basic", "header", start, end, password)


def _userinfos(text: bytes) -> Iterator[Hit]:
    for match in _USERINFO.finditer(text):
        password = match.span(1) != (-1, -1)
        start, end = match.span(1 if password else 2)
        value = unquote(string(text[start:end]))
        if not placeholder(value) and (password or plausible(value, "token")):
            yield Hit("userinfo", "userinfo", start, end, value)


def _signed(text: bytes) -> Iterator[Hit]:
    for match in _SIGNED.finditer(text):
        start, end = match.span(2)
        value = string(text[start:end])
        if not placeholder(value):
            yield Hit("presigned-url", "presigned", start, end, value, string(text[slice(*match.span(1))]).lower())


def _codes(text: bytes) -> Iterator[Hit]:
    for match in _CODES.finditer(text):
        start, end = match.span(1) if match.span(1) != (-1, -1) else match.span(2)
        around = text[match.start() : match.end()]
        if _CODE_WORD.search(around) is not None:
            yield Hit("one-time-code", "code", start, end, string(text[start:end]))


def _by_context(text: bytes) -> list[Hit]:
    lowered = text.lower()
    return [hit for sign, look in _LOOKS if sign in lowered for hit in look(text)]


_LOOKS: Final[tuple[tuple[bytes, Callable[[bytes], Iterator[Hit]]], ...]] = (
    (b"private key", _private_keys),
    (b"private-lines", _private_keys),
    (b"eyj", _jwts),
    (b"bearer", _bearers),
    (b"dpop", _bearers),
    (b"basic", _basics),
    (b"://", _userinfos),
    (b"sig", _signed),
    (b"code", _codes),
    (b"otp", _codes),
    (b"passcode", _codes),
)

_SIGNS: Final = (
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY",
    r"Private-Lines: [0-9]",
    r"eyJ[A-Za-z0-9_-]{8}",
    r"(?i)(?:bearer|dpop)[\s:]{1,4}[\"']?[A-Za-z0-9._~+/-]{16}",
    r"(?i)basic\s{1,4}[A-Za-z0-9+/_-]{8}",
    r"://[^\s/\"'<>@\x00]{3,}@",
    r"(?i)(?:sig|signature)=[A-Za-z0-9%/+_~-]{20}",
    _CODES_SIGN,
)
"""What stands in whatever one of these looks finds, so that a text without it is not looked at by them."""


def _any_of(expressions: Iterable[str]) -> str:
    return "|".join(f"(?:{expression})" for expression in expressions)


_CONTEXT: Final = compiled(_any_of(_SIGNS), groups=False)
