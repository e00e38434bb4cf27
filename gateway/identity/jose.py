"""Signed tokens in compact form (RFC 7515, RFC 7519, RFC 8725): strict reading, then verification. Pure.

joserfc does the cryptography. The reading is done here, because a second reader must not see another token:
duplicate JSON keys, non-canonical base64url, NaN and infinities are refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard, cast

from joserfc import jwa
from joserfc.errors import JoseError

from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons

if TYPE_CHECKING:
    from collections.abc import Collection

    from joserfc.jwa import JWSAlgModel
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    from gateway.model.wire import Json, JsonObject

VerificationKey: TypeAlias = "RSAKey | ECKey | OKPKey"

MAX_TOKEN: Final = 16 * 1024
"""Bytes. A longer token is refused unread."""

_ACCEPTED: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
_MODELS: Final = cast("list[JWSAlgModel]", jwa.JWS_ALGORITHMS)
ALGORITHMS: Final = {model.name: model for model in _MODELS if model.name in _ACCEPTED}
"""What can be verified at all. `none` and the HMACs are not in it, so no configuration can let them in."""

_FORBIDDEN: Final = ("crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc")
"""Header parameters that bring their own key, or that change what is signed (RFC 8725 sections 3.10 and 3.11)."""


@dataclass(frozen=True, slots=True)
class Jws:
    """A token as read, not yet verified. `signed` is the part under the signature."""

    header: JsonObject
    claims: JsonObject
    signed: bytes
    signature: bytes

    @property
    def alg(self) -> str:
        return text(self.header.get("alg")) or ""

    @property
    def kid(self) -> str | None:
        return text(self.header.get("kid"))

    @property
    def typ(self) -> str | None:
        """In lower case and without `application/` (RFC 7515 section 4.1.9); `None` when absent."""
        value = text(self.header.get("typ"))
        return value.lower().removeprefix("application/") if value is not None else None


def read_jws(token: str) -> Jws | CredentialFault:
    """Read a compact JWS with a JSON object as its payload."""
    if len(token) > MAX_TOKEN:
        return CredentialFault(reasons.IDENTITY_MALFORMED, "the token is longer than 16 KiB")
    parts = token.split(".")
    if len(parts) != 3:
        return CredentialFault(reasons.IDENTITY_MALFORMED, "the token is not a signed JWT in compact form")
    try:
        header, claims = (_object(_decode(part)) for part in parts[:2])
        signature = _decode(parts[2])
    except (ValueError, RecursionError):
        return CredentialFault(reasons.IDENTITY_MALFORMED, "the token is not strict base64url and JSON")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    return Jws(header, claims, signed, signature)


def check_header(jws: Jws, algorithms: Collection[str], types: Collection[str | None]) -> CredentialFault | None:
    """Check the header of a token under a configured key."""
    if any(name in jws.header for name in _FORBIDDEN):
        return CredentialFault(reasons.IDENTITY_SIGNATURE, "the token's header brings a key or an extension of its own")
    if "kid" in jws.header and not jws.kid:
        return CredentialFault(reasons.IDENTITY_MALFORMED, "the token's kid is not a text")
    if "typ" in jws.header and jws.typ is None:
        return CredentialFault(reasons.IDENTITY_MALFORMED, "the token's typ is not a text")
    if jws.alg not in algorithms or jws.alg not in ALGORITHMS:
        return CredentialFault(reasons.IDENTITY_SIGNATURE, "the token's signature algorithm is not accepted here")
    if jws.typ not in types:
        return CredentialFault(reasons.IDENTITY_CLAIMS, "the token's typ is not that of an access token")
    return None


def signed_by(jws: Jws, key: VerificationKey) -> bool:
    """Return whether the signature is of this key, by the header's algorithm."""
    algorithm = ALGORITHMS[jws.alg]
    try:
        algorithm.check_key(key)
        return algorithm.verify(jws.signed, jws.signature, key)
    except (JoseError, ValueError):
        return False


def suits(key: VerificationKey, alg: str) -> bool:
    """Return whether a key has the type, the curve and the declared use for an algorithm."""
    try:
        ALGORITHMS[alg].check_key(key)
    except (JoseError, KeyError):
        return False
    return alg != "EdDSA" or key.get("crv") == "Ed25519"


def load_object(data: bytes) -> JsonObject:
    """Strict JSON: an object, UTF-8, no key twice, no NaN, no infinity. Raises `ValueError`."""
    return _object(data)


def text(value: Json) -> str | None:
    """Return a printable and hashable text: no control characters, no lone surrogates, at most 2048 characters."""
    if isinstance(value, str) and 0 < len(value) <= 2048 and value.isprintable():
        return value
    return None


def texts(value: Json) -> tuple[str, ...] | None:
    """Return a text, or a list of texts, as a tuple; `None` for anything else."""
    items: tuple[Json, ...] = tuple(value) if isinstance(value, list) else (value,)
    found = tuple(item for item in map(text, items) if item is not None)
    return found if len(found) == len(items) else None


def is_object(value: Json) -> TypeGuard[JsonObject]:
    return isinstance(value, dict)


def number(value: Json) -> float | None:
    """Return a finite number; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) else None


def encode(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(part: str) -> bytes:
    raw = part.encode("ascii")
    try:
        data = base64.b64decode(raw + b"=" * (-len(raw) % 4), b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if encode(data) != part:
        raise ValueError("not canonical base64url")
    return data


def _object(data: bytes) -> JsonObject:
    value: object = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - callers handle one kind of error
    return cast("JsonObject", value)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")
