"""What of a call is recorded. Pure: no I/O, no clock, no randomness.

`digest` records a keyed digest, the size and the names of the arguments; `full` the arguments, with everything that is a
credential by name or by form replaced by a keyed fingerprint (`fp:…`); `none` nothing. A value is a credential if it stands under
a credential-named key, or if it is, or holds, raw or once decoded, a PEM block, a JWT, an authorization header or a token
with a known prefix. More is concealed than has to be: what is missing from a record can be asked for, what was written
into it cannot be taken back.

Digests and fingerprints are HMAC-SHA256 (FIPS 198-1), so that a short secret cannot be found by trying values.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

import msgspec

from gateway.text_cache import short_text_cache

if TYPE_CHECKING:
    from gateway.model.wire import Json, JsonObject

FULL_LIMIT: Final = 64 * 2**10
"""Bytes of arguments that are recorded in full; more is recorded as a digest."""
_DEPTH: Final = 64
_NAMES: Final = 64
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
_CONCEALED: Final = "[concealed]"
_MARK: Final = re.compile(r"fp:[a-z0-9-]{1,64}:[0-9a-f]{24}")
_SCHEME: Final = re.compile(r"(?i:bearer|basic|token|dpop)[ ]+|")
_ASSIGNED: Final = re.compile(
    r"(?i:token|secret|passw(?:or)?d|pwd|passphrase|(?:api|access|account)[_-]?key|authorization)"
    r"\\{0,3}[\"']?\s{0,4}[=:]\s{0,4}\\{0,3}[\"']?"
)

Spots: TypeAlias = Callable[[str], Sequence[tuple[int, int, str]]]
"""Finds credentials in a text: begin, end and `rule:fingerprint` of each, in order, none inside another. With the
fingerprint that history has of it (24 hex digits), the same credential is the same mark in arguments and in results."""


def _no_spots(_text: str) -> Sequence[tuple[int, int, str]]:
    return ()


def fingerprint(key: bytes, value: str) -> str:
    """A name for a value, the same in one deployment and meaningless in another."""
    return f"fp:{hmac.digest(key, value.encode('utf-8', 'surrogatepass'), 'sha256').hex()[:24]}"


def recorded(
    arguments: JsonObject,
    mode: Literal["digest", "full", "none"],
    *,
    key: bytes,
    spots: Spots = _no_spots,
    held: Mapping[str, Sequence[str]] | None = MappingProxyType({}),
) -> JsonObject:
    """The record of a call's arguments. `key` is the fingerprint key (`Journal.fingerprint_key`).

    `held` has the credentials that the task knows and that no form tells: `rule:fingerprint` by the pointer of the text
    that holds them. Where several texts hold one together (the pointer is empty), or when nobody knows (`None`), only a
    digest is recorded.

    `{"mode", "digest", "bytes", "names"}`, and for `full` also `"value"`. The digest is over the arguments as compact
    JSON with sorted names. Arguments beyond `FULL_LIMIT` are recorded as a digest in any case.
    """
    if mode == "none":
        return {"mode": "none"}
    canonical = _canonical(arguments)
    record: dict[str, Json] = {
        "mode": "digest",
        "digest": _digest(key, canonical),
        "bytes": len(canonical),
        "names": [_safe_name(name, key) for name in sorted(arguments)[:_NAMES]],
    }
    if mode == "full" and len(canonical) <= FULL_LIMIT and held is not None and "" not in held:
        record["mode"] = "full"
        record["value"] = _redacted(arguments, _Ink(key, spots, held), "", 0)
    return record


def redacted(value: Json, *, key: bytes, spots: Spots = _no_spots) -> Json:
    """A value without anything that is a credential by name or by form, or that `spots` finds."""
    return _redacted(value, _Ink(key, spots, {}), "", 0)


# Names of tools and clients come again and again, and each look at one costs several microseconds.
@short_text_cache(4_096)
def concealed(text: str, limit: int = 256) -> str:
    """A caller's words, safe to record: nothing with the form of a credential, no lone surrogate, not too long."""
    shown = text[: limit * 4]
    if _hides_credential(shown):
        return _CONCEALED
    return _encodable(_SHAPES.sub(_CONCEALED, shown))[:limit]


class _Ink(NamedTuple):
    """What is written over credentials."""

    key: bytes
    spots: Spots
    held: Mapping[str, Sequence[str]]


def _redacted(value: Json, ink: _Ink, pointer: str, depth: int) -> Json:
    if isinstance(value, str):
        shown = _redacted_text(value, ink)
        unmarked = [held for held in ink.held.get(pointer, ()) if held.rpartition(":")[2] not in shown]
        return f"fp:{unmarked[0]}" if unmarked else shown
    if depth >= _DEPTH and isinstance(value, Mapping | Sequence):
        return fingerprint(ink.key, _canonical(value).decode())
    if isinstance(value, Mapping):
        return {
            _safe_key(name, ink.key): _whole(name, item, ink)
            if _names_credential(name)
            else _redacted(item, ink, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_redacted(item, ink, f"{pointer}/{number}", depth + 1) for number, item in enumerate(value)]
    return value


def _whole(name: str, value: Json, ink: _Ink) -> Json:
    """Nothing of a value under a credential's name is shown, whatever its type; only that there is none, how it is
    presented, and which it is."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        begin = len(name) + 4
        for start, _, found in ink.spots(f'"{name}":"{value}"'):
            scheme = value[: max(0, start - begin)]
            return f"{scheme if _SCHEME.fullmatch(scheme) else ''}fp:{found}"
    return fingerprint(ink.key, value if isinstance(value, str) else _canonical(value).decode())


def _redacted_text(text: str, ink: _Ink) -> str:
    marked = _marked(text, ink.spots)
    if _hides_credential(marked):
        return fingerprint(ink.key, text)
    return _encodable(_SHAPES.sub(lambda match: _over(match[0], ink.key), marked))


def _marked(text: str, spots: Spots) -> str:
    parts: list[str] = []
    at = 0
    for start, end, found in spots(text):
        parts.extend((text[at:start], f"fp:{found}"))
        at = end
    return "".join((*parts, text[at:])) if parts else text


def _over(text: str, key: bytes) -> str:
    """What stands in the place of a text with a credential's form: the mark in it, if it has one, with the name before
    it; nothing else of it."""
    mark = _MARK.search(text)
    if mark is None:
        return fingerprint(key, text)
    name = text[: mark.start()]
    return f"{name if _ASSIGNED.fullmatch(name) else ''}{mark[0]}"


def _safe_key(name: str, key: bytes) -> str:
    return fingerprint(key, name) if _SHAPES.search(name) or _hides_credential(name) else _encodable(name)


# The arguments of a tool have the same names in each call.
@short_text_cache(4_096)
def _safe_name(name: str, key: bytes) -> str:
    """Argument names are the caller's too: what does not look like a name is not recorded as one."""
    return _safe_key(name, key) if _NAME.fullmatch(name) else fingerprint(key, name)


@lru_cache(maxsize=8)
def _begun(key: bytes) -> hmac.HMAC:
    """An HMAC with the key taken in, to be copied: that costs less than beginning anew."""
    return hmac.new(key, digestmod="sha256")


def _digest(key: bytes, data: bytes) -> str:
    digest = _begun(key).copy()
    digest.update(data)
    return digest.hexdigest()


def _names_credential(name: str) -> bool:
    return _CREDENTIAL_NAME.search("".join(char for char in name.lower() if char.isalnum())) is not None


def _hides_credential(text: str) -> bool:
    """Whether a credential appears once one encoding is undone: percent, base64, base64url or hex."""
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
    """JSON escapes can make lone surrogates, which have no UTF-8 form."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _canonical(value: Json) -> bytes:
    try:
        return msgspec.json.encode(value, order="sorted")
    except (UnicodeEncodeError, TypeError):
        # What msgspec has no form for (lone surrogates, other mappings and sequences), the standard library has.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=plain).encode()


def plain(value: object) -> object:
    """What the encoders have no form for: mappings and sequences other than the built-in ones. Raises `TypeError`."""
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any mapping
    if isinstance(value, Sequence):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any sequence
    raise TypeError(f"{type(value).__name__} is no JSON value")
