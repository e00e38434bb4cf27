"""Redaction of recorded texts. Pure: no I/O, no clock, no randomness. A keyed fingerprint (`fp:…`) takes the place of each
credential. A value under a credential's name counts as a credential. So does a value with a PEM block, a
JWT, an authorization header or a token with a known prefix, raw or once decoded. Redaction rather conceals too much: a
missing value can be requested, but a written one cannot be taken back. Digests and fingerprints are HMAC-SHA256 (FIPS
198-1), so that trying values cannot find a short secret."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import unquote

import msgspec

from gateway.base.json.walk import child
from gateway.base.text_cache import short_text_cache

if TYPE_CHECKING:
    from gateway.base.json.walk import Leaves
    from gateway.model.wire import Json, JsonObject

FULL_LIMIT: Final = 64 * 2**10
"""Bytes of arguments that are recorded in full; more is recorded as a digest."""
_DEPTH: Final = 64
_NAME: Final = re.compile(r"[A-Za-z_$@][A-Za-z0-9_.$@:-]{0,63}")

_CREDENTIAL_NAME: Final = re.compile(
    r"token|secret|passw|pwd|passphrase|passcode|onetime|otp|dsn|auth|apikey|accesskey|privatekey|signingkey|accountkey"
    r"|sharedkey|encryptionkey|sshkey|credential|cookie|session|bearer|signature|jwt|connectionstring|connectionuri"
    r"|databaseurl|webhook|^key$|^pin$|^pat$|^sig$|^mfa$|^code$|^cvv|^cvc"
)
_SHAPES: Final = re.compile(
    r"""
      -----BEGIN[ ][A-Z0-9 ]{0,40}-----.*?(?:-----END[ ][A-Z0-9 ]{0,40}-----|\Z)
    | (?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*){0,3}
    | (?i:bearer|basic|dpop|digest|negotiate)[ ]+[A-Za-z0-9._~+/=-]{6,}
    | (?:A3T[A-Z0-9]|AKIA|ASIA|AGPA|AIDA|AROA|ABIA|ACCA)[A-Z0-9]{12,}
    | (?:gh[opusr]_|github_pat_|gl(?:pat|dt|rt|ptt|cbt|ft|soat|agent)-)[A-Za-z0-9_.-]{10,}
    | xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{8,} | xapp-[A-Za-z0-9-]{8,}
    | (?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,} | whsec_[A-Za-z0-9+/=_-]{16,}
    | (?<![A-Za-z0-9])(?:sk|pk|rk)-(?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{12,}
    | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_.-]{10,} | GOCSPX-[A-Za-z0-9_-]{10,}
    | (?<![A-Za-z0-9])(?:npm_|pypi-|hf_|dop_v1_|doo_v1_|dor_v1_|shp(?:at|ca|pa|ss)_|sntrys_|sntryu_|glsa_|lin_api_|figd_
       |ntn_|rubygems_|dckr_pat_|hvs\.|hvb\.|SG\.|tfp_|nvapi-|AGE-SECRET-KEY-|cred://)[A-Za-z0-9_./=-]{12,}
    | (?<![A-Za-z0-9])(?:s\.[A-Za-z0-9]{24} | key-[0-9a-f]{32} | pul-[0-9a-f]{40} | secret_[A-Za-z0-9]{32,}
       | pat-[a-z]{2}[0-9]-[A-Za-z0-9-]{16,})
    | [a-z][a-z0-9+.-]{1,20}://[^\s/@:]{0,256}:[^\s/@]{1,256}@
    | (?i:https?)://hooks\.[^\s"']{4,}
    | (?i:token|secret|passw(?:or)?d|pwd|passphrase|api[_-]?key|access[_-]?key|account[_-]?key|sig|signature|code|authorization|cookie)
      \\{0,3}["']?\s{0,4}[=:]\s{0,4}\\{0,3}["']?[^\s"'\\&;,]{1,4096}
    """,
    re.VERBOSE | re.DOTALL,
)
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}){12,}")
CONCEALED: Final = "[concealed]"
SEARCHED: Final = 16 * 2**10
"""Characters of one text that are searched for known credentials. A longer text is not recorded where there are some."""
_MARK: Final = re.compile(r"fp:[a-z0-9-]{1,64}:(?:[0-9a-f]{24}|[0-9a-f]{16})(?![0-9a-f])")
_MARKS_AND_SHAPES: Final = re.compile(rf"(?P<mark>{_MARK.pattern})|{_SHAPES.pattern}", re.VERBOSE | re.DOTALL)
"""Takes a mark whole: that of a rule such as `named-password` has the form of an assignment."""
_SCHEME: Final = re.compile(r"(?i:bearer|basic|token|dpop)[ ]+|")
_ASSIGNED: Final = re.compile(
    r"(?i:token|secret|passw(?:or)?d|pwd|passphrase|(?:api|access|account)[_-]?key|authorization)"
    r"\\{0,3}[\"']?\s{0,4}[=:]\s{0,4}\\{0,3}[\"']?"
)

Spots: TypeAlias = Callable[[str], Sequence[tuple[int, int, str]]]
"""Finds credentials in a text: begin, end and `rule:fingerprint` of each, in order, none inside another. With the
fingerprint that history has of it (24 hex digits), the same credential is the same mark in arguments and in results."""


class Conceal(Protocol):
    """Function that conceals the credentials in a text, and cuts the text after `limit` characters."""

    def __call__(self, text: str, limit: int = 256, /) -> str: ...


class Build(Protocol):
    """Function that makes an entry. Texts from outside go through `conceal`."""

    def __call__(self, *, conceal: Conceal) -> JsonObject: ...


class KnownCredentials(Protocol):
    """The known credentials of a task and its caller, as `Spots`: they are found in a text in any form."""

    def __call__(self, text: str, /) -> Sequence[tuple[int, int, str]]: ...
    def holds_any(self, value: Json, /) -> bool:
        """Return whether a value may hold one, in a text or a name in it, or in several together."""
        ...

    def holds_leaves(self, walked: Leaves, /) -> bool:
        """Return the same for the leaves of a value."""
        ...


def no_spots(_text: str) -> Sequence[tuple[int, int, str]]:
    return ()


def fingerprint(key: bytes, value: str) -> str:
    """Return a name for a value, the same in one deployment and meaningless in another."""
    return f"fp:{hmac.digest(key, value.encode('utf-8', 'surrogatepass'), 'sha256').hex()[:24]}"


def redact_arguments(
    arguments: JsonObject,
    *,
    key: bytes,
    spots: Spots,
    held: Mapping[str, Sequence[str]],
    known: KnownCredentials | None,
    walked: Leaves | None = None,
) -> tuple[Json, bool]:
    """Return arguments without credentials, and whether none is left. `held` and `walked` are as for
    `records.record_arguments`."""
    ink = _Ink(key, spots, held)
    if known is not None and (known.holds_any(arguments) if walked is None else known.holds_leaves(walked)):
        return _without_known(arguments, ink, known)
    return _redact(arguments, ink, "", 0), True


def redact_names(names: Sequence[str], key: bytes, known: KnownCredentials | None) -> list[Json]:
    """Return the names of arguments without credentials."""
    if known is None or not known.holds_any(list(names)):
        return [_safe_name(name, key) for name in names]
    ink = _Ink(key, known, {})
    shown: list[Json] = [
        _safe_name(name, key) if name == _mark_spots(name, known) else _safe_key(name, ink) for name in names
    ]
    return [fingerprint(key, name) for name in names] if known.holds_any(shown) else shown


def _without(value: Json, ink: _Ink, known: KnownCredentials | None) -> tuple[Json, bool]:
    """Return a value without credentials, and whether that is so: several texts may hold a known one together."""
    if known is None or not known.holds_any(value):
        return _redact(value, ink, "", 0), True
    return _without_known(value, ink, known)


def _without_known(value: Json, ink: _Ink, known: KnownCredentials) -> tuple[Json, bool]:
    """Return a value with marks in the place of known credentials, and whether none is left."""
    shown = _redact(value, ink._replace(spots=together(ink.spots, known)), "", 0)
    return shown, not known.holds_any(shown)


def together(first: Spots, second: Spots) -> Spots:
    """Combine two searches for spots. Of two overlapping spots, the longer stays."""

    def spots(text: str) -> Sequence[tuple[int, int, str]]:
        kept: list[tuple[int, int, str]] = []
        for spot in sorted((*first(text), *second(text)), key=lambda spot: (spot[0] - spot[1], spot[0])):
            if all(spot[1] <= other[0] or other[1] <= spot[0] for other in kept):
                kept.append(spot)
        return sorted(kept)

    return spots


def redact_value(value: Json, *, key: bytes, spots: Spots = no_spots, known: KnownCredentials | None = None) -> Json:
    """Return a value without credentials: by their name or form, by `spots`, and by `known`.

    Returns `None` if several texts hold a known credential together.
    """
    shown, whole = _without(value, _Ink(key, spots, {}), known)
    return shown if whole else None


# Names of tools and clients come again and again, and each look at one costs several microseconds.
@short_text_cache(4_096)
def conceal_text(text: str, limit: int = 256) -> str:
    """Return a caller's words, safe to record: no form of a credential, no lone surrogate, not too long."""
    shown = text[: limit * 4]
    if _hides_credential(shown):
        return CONCEALED
    return _encodable(_SHAPES.sub(CONCEALED, shown))[:limit]


def conceal_known(build: Build, known: KnownCredentials | None) -> JsonObject:
    """Return the entry that `build` makes, with a mark in the place of each known credential.

    `build` first runs with the concealment of forms alone, and nearly always only then. Credentials in several texts together
    take all of these texts with them.
    """
    if known is None:
        return build(conceal=conceal_text)
    texts: list[Json] = []
    shown: list[Json] = []

    def note(text: str, limit: int = 256, /) -> str:
        if len(text) > SEARCHED:
            return CONCEALED
        texts.append(text)
        return conceal_text(text, limit)

    def mark(text: str, limit: int = 256, /) -> str:
        marked = concealed_with(known, text, limit) if len(text) <= SEARCHED else CONCEALED
        shown.append(marked)
        return marked

    fields = build(conceal=note)
    if not known.holds_any(texts):
        return fields
    fields = build(conceal=mark)
    return build(conceal=_withhold) if known.holds_any(shown) else fields


def concealed_with(spots: Spots, text: str, limit: int = 256) -> str:
    """Return a text as `concealed` does, with a mark in the place of each credential that `spots` finds."""
    marked = _mark_spots(text, spots)
    if _hides_credential(marked):
        return CONCEALED
    return _encodable(_MARKS_AND_SHAPES.sub(lambda match: _over(match) or CONCEALED, marked))[:limit]


def _withhold(_text: str, _limit: int = 256, /) -> str:
    return CONCEALED


class _Ink(NamedTuple):
    """The replacements for credentials."""

    key: bytes
    spots: Spots
    held: Mapping[str, Sequence[str]]


def _redact(value: Json, ink: _Ink, pointer: str, depth: int) -> Json:
    if isinstance(value, str):
        shown = _redacted_text(value, ink)
        unmarked = [held for held in ink.held.get(pointer, ()) if held.rpartition(":")[2] not in shown]
        return f"fp:{unmarked[0]}" if unmarked else shown
    if depth >= _DEPTH and isinstance(value, Mapping | Sequence):
        return fingerprint(ink.key, canonical(value).decode())
    if isinstance(value, Mapping):
        return {
            _safe_key(name, ink): _whole(name, item, ink)
            if _names_credential(name)
            else _redact(item, ink, child(pointer, name), depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_redact(item, ink, f"{pointer}/{number}", depth + 1) for number, item in enumerate(value)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = ink.spots(repr(value))
        return f"fp:{found[0][2]}" if found else value
    return value


def _whole(name: str, value: Json, ink: _Ink) -> Json:
    """Return the record of a value under a credential's name: its absence, its presentation and its fingerprint,
    whatever its type."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        begin = len(name) + 4
        for start, _, found in ink.spots(f'"{name}":"{value}"'):
            scheme = value[: max(0, start - begin)]
            return f"{scheme if _SCHEME.fullmatch(scheme) else ''}fp:{found}"
    return fingerprint(ink.key, value if isinstance(value, str) else canonical(value).decode())


def _redacted_text(text: str, ink: _Ink) -> str:
    marked = _mark_spots(text, ink.spots)
    if _hides_credential(marked):
        return fingerprint(ink.key, text)
    return _encodable(_MARKS_AND_SHAPES.sub(lambda match: _over(match) or fingerprint(ink.key, match[0]), marked))


def _mark_spots(text: str, spots: Spots) -> str:
    parts: list[str] = []
    at = 0
    for start, end, found in spots(text):
        parts.extend((text[at:start], f"fp:{found}"))
        at = end
    return "".join((*parts, text[at:])) if parts else text


def _over(shape: re.Match[str]) -> str | None:
    """Return the mark in a text with a credential's form, with the name before it; `None` for a text without a mark."""
    if shape["mark"] is not None:
        return shape[0]
    mark = _MARK.search(shape[0])
    if mark is None:
        return None
    name = shape[0][: mark.start()]
    return f"{name if _ASSIGNED.fullmatch(name) else ''}{mark[0]}"


def _safe_key(name: str, ink: _Ink) -> str:
    return _without_form(_mark_spots(name, ink.spots), ink.key)


def _without_form(name: str, key: bytes) -> str:
    hides = _SHAPES.search(_MARK.sub("", name)) or _hides_credential(name)
    return fingerprint(key, name) if hides else _encodable(name)


# Names come again and again, and each look at one costs several microseconds.
@short_text_cache(4_096)
def _safe_name(name: str, key: bytes) -> str:
    """Argument names are the caller's too: what does not look like a name is not recorded as one."""
    return _without_form(name, key) if _NAME.fullmatch(name) else fingerprint(key, name)


def _names_credential(name: str) -> bool:
    return _CREDENTIAL_NAME.search("".join(char for char in name.lower() if char.isalnum())) is not None


def _hides_credential(text: str) -> bool:
    """Return whether a credential appears after one decoding: percent, base64, base64url or hex."""
    if "%" in text and _SHAPES.search(unquote(text)) and not _SHAPES.search(text):
        return True
    return any(_SHAPES.search(decoded) for decoded in _decodings(text))


def _decodings(text: str) -> list[str]:
    found: list[str] = [bytes.fromhex(match[0]).decode("latin-1") for match in _HEX.finditer(text)]
    for match in _ENCODED.finditer(text):
        standard = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        whole = standard[:-1] if len(standard) % 4 == 1 else standard
        found.append(base64.b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1"))
    return found


def _encodable(text: str) -> str:
    """Return a text with a UTF-8 form: JSON escapes can make lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def canonical(value: Json) -> bytes:
    """Return a value as compact JSON with sorted names."""
    try:
        return msgspec.json.encode(value, order="sorted")
    except (UnicodeEncodeError, TypeError):
        # What msgspec has no form for (lone surrogates, other mappings and sequences), the standard library has.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=plain).encode()


def plain(value: object) -> object:
    """Return an encodable form of mappings and sequences other than the built-in ones. Raises `TypeError`."""
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any mapping
    if isinstance(value, Sequence):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any sequence
    raise TypeError(f"{type(value).__name__} is no JSON value")
