"""Credentials by their names, and the exceptions among values with such a name. Pure. Names come from configuration
files, HTTP headers, query strings and command lines. A name marks a value only if the value could be a credential.
Placeholders, references, words of a schema and counts are none."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from gateway.base.text_cache import SHORT
from gateway.inspection.credentials.finding import Hit
from gateway.inspection.credentials.ordinary import JOINING, is_ordinary
from gateway.inspection.word_lists import word_list

Strength: TypeAlias = Literal["password", "pass", "token", "key", "code", "pin"]
"""What a name promises. `password`: any text. `pass`: a name that means other things too, so the value mixes letters and
digits. `token`: a random value. `key`: a token that may be digits alone. `code`: short, of digits. `pin`: of digits alone."""

DETECTOR_OF: Final[dict[Strength, str]] = {
    "password": "named-password", "pass": "named-password", "token": "named-token", "key": "named-token", "code": "one-time-code",
    "pin": "one-time-code",
}  # fmt: skip
KEYS: Final = (
    "api|access|secret|private|signing|account|shared|encryption|master|auth|service|session|license|subscription|application|app"
    "|deploy|pre-?shared|unseal|recovery|storage"
)
"""Of an RE2 expression: what stands before `key` in the name of a credential."""
LOCAL: Final = (
    "passwort|kennwort|mot de passe|contrase(?:ñ|n)a|senha|wachtwoord|has(?:ł|l)o|heslo|l(?:ö|o)senord|adgangskode|salasana"
    "|parola|(?:Ş|ş|s)ifre|lozinka|пароль|密码|密碼|パスワード|비밀번호"
)
"""Of an RE2 expression: `password` in other languages."""
NAMES: Final = (
    r"passw(?:or)?d|passwd|passphrase|passcode|pwd|secret|token|apikey"
    rf"|(?:{KEYS})[ _-]?key"
    r"|authorization|credential|cookie|dsn|connection[_-]?string|database[_-]?url|jwt|bearer|otp|one[_-]?time[_-]?code"
    r"|verification[_-]?code|security[_-]?code|mfa[_-]?code|webhook[_-]?url|x-(?:[a-z]+-)?auth"
    rf"|{LOCAL}"
)
"""Of an RE2 expression: what a credential's name has in it."""
SHORT_NAMES: Final = r"pass|(?:\b|_)p(?:w|sk|in)"
"""Of an RE2 expression: how a credential's name may end."""

_PASSWORD: Final = re.compile(r"passw(?:or)?d|passphrase|pwd$|^pwd|passcode")
_CODE: Final = re.compile(
    r"(?:^|[a-z])otp(?:code)?$|^otp|onetimecode|verificationcode|securitycode|mfacode|onetimepassword"
)
_NAME: Final = re.compile(
    r"passw(?:or)?d|passphrase|passcode|pwd|secret|token|apikey|authorization|credential|cookie|dsn|connectionstring|databaseurl|jwt"
    rf"|(?:{KEYS})key|bearer|otp|onetimecode|verificationcode|securitycode|mfacode|webhookurl|^x(?:[a-z]{1, 12})?auth$"
)
_OPENS: Final = re.compile(
    r"(?:access|auth|api|refresh|bearer|personal|oauth|session|login|id)token$|(?:api|client)secret$|(?:api|access|secret)key$"
)
_LAST: Final = re.compile(r"(?:^|[^A-Za-z])(pass|pw|psk|pin|Pass|Pw|Psk|Pin|PASS|PW|PSK|PIN)$|[a-z](Pass|Pw|Psk|Pin)$")
"""A short word at the end of a name."""
_PASSES: Final = re.compile(
    r"(?:boarding|season|bus|ski|day|hall|first|second|last|render|one|single|multi|test|num|max|by)pass$"
)
"""Names that end in `pass` and mean a ticket, or a run over something."""
_CURSOR: Final = re.compile(
    r"page|cursor|continu|next|prev|sync|delta|skip|resume|scroll|progress|csrf|xsrf|batch|sentinel|changetoken|listtoken"
    r"|position|watermark|etag"
)
"""Tokens that mark a place in a list or in a stream, and those against forged forms, open nothing."""
_OTHERWISE: Final = re.compile(
    r"(?:type|count|counts|length|limit|budget|usage|size|policy|policies|hint|ttl|expiry|expires|expiresin|expiration|expiresat"
    r"|enabled|disabled|required|optional|format|prefix|suffix|hash|hashes|hashed|digest|sha|sha1|sha256|md5|salt|url|uri|endpoint|path|file|filename|dir"
    r"|name|names|id|ids|ref|reset|resetat|changed|changedat|updatedat|createdat|at|by|field|label|description"
    r"|title|message|placeholder|strength|version|arn|manager|store|provider|scope|scopes|status|state|age|maxage|index|created|updated|date|time|issuer"
    r"|validator|error|regex|pattern|rotation|lifetime|class|parser|policyname|jar|consent|banner|domain|samesite|max|min|set)$"
)
"""Ends of names that say that the value is about a credential, or where one is."""
_STILL: Final = re.compile(r"(?:databaseurl|webhookurl|secretid|authorizationid)$")
_COUNTED: Final = re.compile(
    r"(?:tokens|secrets|passwords|cookies|credentials|tokenize[rd]?|tokenization|tokenid|tokenids|secretary|secretariat)$"
    r"|^(?:max|min|num|total|input|output|prompt|completion|cached?|reasoning|used|remaining|bos|eos|pad|unk|sep|mask|cls|stop|special)tokens?"
    r"|^public|publishable|^anon(?:ymous)?key|(?:password|pwd)policy|existingsecret$"
)

_PLACEHOLDER: Final = re.compile(
    r"example|placeholder|your|changeme|change[-_ ]?(?:me|it|this)|replace|insert|dummy|redacted|hidden|omitted|masked|censored"
    r"|todo|fixme|fake|sample|foobar|lorem|not[-_ ]?(?:set|real|used)|unset|undefined|goes[-_ ]?here|my[-_]?(?:secret|token|key|password|api)"
    r"|x{4,}|\*{3,}|\.{3,}|…|0{8,}|1234567890|(?:a1b2c3)|abcdefgh|012345678|secret[-_]?(?:key|token|here|value)$",
    re.IGNORECASE,
)
_REFERENCE: Final = re.compile(
    r"process\.env|import\.meta|os\.(?:environ|getenv)|env[.:(\[]|ENV\[|getenv|secrets?\.|vars?\."
    r"|config\.|settings\.|self\.|this\.|data\.|local\.|module\.|params?\.|args?\.|options?\.|ctx\.|request\.|req\.|arn:aws|projects/[^/]+/secrets"
    r"|vault:|op://|file:|ref:|ssm:|sm://|cred://|secretsmanager|/(?:run|etc|var|dev|home|usr|opt|mnt|secrets|tmp|app)/|~/|\./|\.\./|[A-Za-z]:\\"
    r"|https?://|data:|urn:|[A-Za-z_][\w.]*\(|&[a-z_]|\*[a-z_]+$",
)
_TEMPLATE: Final = re.compile(r"[$%@#]?[{(<\[]|\$[A-Za-z_]|%[A-Za-z_]\w*%|@[A-Za-z.]+\(|!")
"""How a reference to another value begins, where templates, shells and workflows fill one in."""
_FILLED_IN: Final = (
    r"\$\{\{[^{}\r\n]{0,200}\}\}|[$#@]?\{\{[^{}\r\n]{0,200}\}\}|\{%[^{}\r\n]{0,200}%\}|[$#@]?\{[^{}\r\n]{0,200}\}|<%[^<>\r\n]{0,200}%>"
    r"|\[\[[^\[\]\r\n]{0,200}\]\]|(?:\$|@[A-Za-z.]{1,40})\([^()\r\n]{0,200}\)|<[A-Za-z][A-Za-z0-9 ._-]{0,60}>|%[A-Za-z_][A-Za-z0-9_]{0,60}%"
    r"|\$(?:env:)?(?:[A-Z_][A-Z0-9_]{0,60}|[a-z_][a-z0-9_]{0,60}|[a-z]{1,20}(?:[A-Z][a-z]{1,20}){1,6})(?![A-Za-z0-9])"
    r"|![A-Za-z:]{1,40}(?![^\s])"
)
_REFERENCES: Final = re.compile(_FILLED_IN)
_LEADING_REFERENCES: Final = re.compile(rf"(?:{_FILLED_IN})+".encode())
_GIVEN: Final = re.compile(r"['\"]([^'\"]*)['\"]|:?[-=+?]([^{}]*)\}")
"""A value inside a reference: a text in quotes, or the default of a shell's variable."""
_NO_SECRETS: Final = word_list("no_secrets")
_IDENTIFIER: Final = re.compile(r"[a-z]+(?:[A-Z][a-z]+)+|[A-Za-z]+(?:[._/-][A-Za-z]+)*")
_LOCAL: Final = re.compile(LOCAL, re.IGNORECASE)
_TIME: Final = re.compile(r"1[5-9]\d{8}(?:\d{3}){0,3}")
"""A time in seconds since 1970, or in thousandths and smaller parts of one."""
_MEASURE: Final = re.compile(r"\d{4}-\d\d-\d\d|v?\d+(?:\.\d+)+(?:[-+]|$)|\d+(?:[.,]\d+)?[a-zµ%]{1,3}$|\d+/\d+")
"""Dates, versions, numbers with a unit and shares, which stand under `pass` in reports of tests."""
_PARTED: Final = re.compile(r"[\s\"'`{}()<>\[\],;=]+")
_UNREADABLE: Final = dict.fromkeys(map(ord, "\ufffd%"), " ")
_SHORTEST_GENERATED: Final = 8
_SHORT_WORD: Final = 11
_DIGITS: Final = 10
_SHORTEST_NUMBER: Final = 6
_LONG_NUMBER: Final = 20
"""Digits of the shortest token without letters, under a name that says what it opens and under any other."""
_LONGEST: Final = 4_096
_HEAD: Final = 128
"""Characters whose kinds are counted: what a value is shows at its beginning."""


def strength(name: str) -> Strength | None:
    """Return what `name` says of its value; `None` if nothing."""
    return kept_strength(name) if len(name) <= SHORT else _strength(name)


def _strength(name: str) -> Strength | None:
    plain = "".join(char for char in name.lower() if char.isalnum())[-96:]
    if _NAME.search(plain) is None:
        return _short_name(name, plain)
    about = _OTHERWISE.search(plain) is not None and _STILL.search(plain) is None
    if about or _COUNTED.search(plain) is not None:
        return None
    if _CODE.search(plain) is not None:
        return "code"
    if _PASSWORD.search(plain) is not None:
        return "password"
    return None if _CURSOR.search(plain) is not None else _kind_of_token(plain)


kept_strength: Final = lru_cache(4_096)(_strength)
"""`strength` for a name of at most `text_cache.SHORT` characters. The arguments of a tool have the same names in each call."""


def _kind_of_token(plain: str) -> Strength:
    return "key" if _OPENS.search(plain) is not None else "token"


def _short_name(name: str, plain: str) -> Strength | None:
    """Return the strength of a name that only ends in a credential's word: `DB_PASS`, `wifiPsk`, `card_pin`."""
    last = _LAST.search(name)
    if last is None:
        return "password" if _LOCAL.fullmatch(name.strip()) is not None else None
    if (last[1] or last[2]).lower() == "pin":
        return "pin"
    return None if _PASSES.search(plain) is not None else "pass"


def hit_of(kind: Strength, start: int, end: int, value: str) -> Hit:
    """Return the hit of a value under a name of this strength."""
    return Hit(DETECTOR_OF[kind], "code" if kind in {"code", "pin"} else "named", start, end, value)


def is_plausible(value: str, kind: Strength, *, structured: bool = True) -> bool:
    """Return whether a value under such a name can be a credential. `structured`: it is delimited (JSON, an assignment),
    so that it is surely the whole value; prose asks for more."""
    if kind in {"code", "pin"}:
        return 4 <= len(value) <= 12 and _is_code(value, digits_alone=kind == "pin")
    if not 6 <= len(value) <= _LONGEST:
        return False
    if _holds_generated_beside_reference(value):
        return True
    return not is_placeholder(value) and _is_kind(value, kind, structured=structured)


def _is_kind(value: str, kind: Strength, *, structured: bool) -> bool:
    """Return whether a value that is no placeholder can be of a kind other than a code."""
    head = value[:_HEAD]
    mixed = _classes(head) > 1 and _digits(head) > 0
    if kind in {"token", "key"}:
        return _is_token(value, mixed=mixed, digits=_DIGITS if kind == "key" else _LONG_NUMBER)
    spaced = len(value.split()) > 1
    if kind == "pass":
        return mixed and not spaced and any(char.isalpha() for char in head) and _MEASURE.match(value) is None
    if not structured:
        return not spaced and (mixed or value.isdigit() or not is_ordinary(value))
    return not spaced or (mixed and len(value) <= 64 and value.count(" ") < 4) or _is_phrase(value)


def _is_code(value: str, *, digits_alone: bool) -> bool:
    if digits_alone:
        return value.isdigit()
    return value.replace("-", "").replace(" ", "").isalnum() and _digits(value) > 2


def _is_token(value: str, *, mixed: bool, digits: int) -> bool:
    """Return whether a value is random: of at least `digits` digits, or letters and digits without spaces."""
    if value.isdigit():
        return len(value) >= digits and (len(value) >= _LONG_NUMBER or _TIME.fullmatch(value) is None)
    return len(value) >= 8 and mixed and len(value.split()) == 1 and _IDENTIFIER.fullmatch(value) is None


def is_short_number(value: str) -> bool:
    """Return whether a text in quotes may be a token of few digits. A number without quotes is a count or a duration."""
    return (
        value.isascii() and value.isdigit() and _SHORTEST_NUMBER <= len(value) < _DIGITS and not is_placeholder(value)
    )


def _is_phrase(value: str) -> bool:
    """Return whether a value is four to eight words that make no sentence, as Diceware gives them."""
    words = value.split()
    if not 4 <= len(words) <= 8 or not all(word.isalpha() and 2 < len(word) < _SHORT_WORD for word in words):
        return False
    return JOINING.isdisjoint(value.lower().split()) and not is_ordinary(value)


def is_placeholder(value: str) -> bool:
    """Return whether a value stands for another: a reference, an instruction to the reader, or filling.

    A reference with a generated value beside it, or in it as a default, is none.
    """
    if _TEMPLATE.match(value) is not None:
        return not _holds_generated(_REFERENCES.sub(_write_defaults, value))
    if _REFERENCE.match(value) is not None or value.lower() in _NO_SECRETS:
        return True
    if "\ufffd" in value:
        # `%DB_PASSWORD%` is read as percent encoding, too.
        return not _holds_generated(value.translate(_UNREADABLE))
    if len(value) <= 128 and _PLACEHOLDER.search(value) is not None:
        return True
    return not _is_varied(value)


def after_references(text: bytes, at: int) -> int:
    """Return the place in a text after the references that stand at `at`; `at` if there are none."""
    match = _LEADING_REFERENCES.match(text, at)
    return at if match is None else match.end()


def is_generated(value: str) -> bool:
    """Return whether a value can be nothing but a generated credential: it mixes letters and digits as no name does."""
    return len(value) >= _SHORTEST_GENERATED and _digits(value) > 0 and not value.isdigit() and not is_ordinary(value)


def _holds_generated_beside_reference(value: str) -> bool:
    rest, count = _REFERENCES.subn(_write_defaults, value)
    return count > 0 and _holds_generated(rest)


def _write_defaults(reference: re.Match[str]) -> str:
    return " ".join([" ", *(quoted or default for quoted, default in _GIVEN.findall(reference[0])), " "])


def _holds_generated(text: str) -> bool:
    return any(
        is_generated(word) and _PLACEHOLDER.search(word) is None and _is_varied(word) for word in _PARTED.split(text)
    )


def _is_varied(value: str) -> bool:
    """Return whether a value has more than a few different characters: `aaaaaaaa` and `12121212` are filling."""
    return len(set(value[:_HEAD])) >= min(5, max(3, len(value) // 2))


def _digits(value: str) -> int:
    return sum(char.isdigit() for char in value)


def _classes(value: str) -> int:
    return (
        any(char.islower() for char in value)
        + any(char.isupper() for char in value)
        + any(char.isdigit() for char in value)
        + any(not char.isalnum() for char in value)
    )
