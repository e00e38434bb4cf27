"""Key sets: JWKS documents (RFC 7517) and SPIFFE bundles (SPIFFE Trust Domain and Bundle, section 4). Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography import x509
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.identity.jose import is_object, load_object, number, suits, text

if TYPE_CHECKING:
    from gateway.identity.jose import VerificationKey
    from gateway.model.wire import Json, JsonObject

MAX_KEYS: Final = 256
_RSA_BITS: Final = range(2048, 8193)
"""Shorter is weak (RFC 7518 section 3.3); longer only costs time."""
_TYPES: Final = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y", "kid", "alg")
"""The members that are read. `use` and `key_ops` are judged here; private members are never imported."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one issuer. `refresh_hint` in seconds, from a SPIFFE bundle."""

    keys: tuple[VerificationKey, ...]
    digest: str
    """Of the whole document: another digest is another generation."""
    authorities: tuple[x509.Certificate, ...] = ()
    """The certificate authorities of a SPIFFE trust domain."""
    refresh_hint: float | None = None
    sequence: float | None = None
    """Of a SPIFFE bundle: a lower number is an older bundle."""
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def candidates(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        """Return the keys for verification. Without a `kid`, only a sole suitable key will do: no trying around."""
        found = tuple(key for key in self.keys if (kid is None or key.kid == kid) and suits(key, alg))
        return found if kid is not None or len(found) == 1 else ()

    def is_older_than(self, other: KeySet) -> bool:
        """Return whether a newer bundle has replaced this bundle (SPIFFE Trust Domain and Bundle, section 4.1.1)."""
        return self.sequence is not None and other.sequence is not None and self.sequence < other.sequence

    def knows(self, kid: str | None) -> bool:
        return kid is None or any(key.kid == kid for key in self.keys)


def parse(data: bytes, *, use: str = "sig") -> KeySet:
    """Read a JWKS, or a SPIFFE bundle with `use="jwt-svid"`. Raises `ValueError` without a usable key. An unusable key
    is left out and named in `warnings`: a single odd key must not lock everybody out.
    """
    document = load_object(data)
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("it is not a key set")
    keys: list[VerificationKey] = []
    authorities: list[x509.Certificate] = []
    warnings: list[str] = []
    for index, entry in enumerate(entries):
        try:
            if is_object(entry) and entry.get("use") == "x509-svid" and use == "jwt-svid":
                authorities.append(_authority(entry))
            elif is_object(entry) and _is_wanted(entry, use):
                keys.append(import_public(entry))
        except ValueError as error:
            warnings.append(f"key {index} is left out: {error}")
    if not keys and not authorities:
        raise ValueError("there is no usable key in it")
    hint = number(document.get("spiffe_refresh_hint"))
    digest = hashlib.sha256(data).hexdigest()
    sequence = number(document.get("spiffe_sequence"))
    return KeySet(tuple(keys), digest, tuple(authorities), hint, sequence, tuple(warnings))


def import_public(entry: JsonObject) -> VerificationKey:
    """Return the public key of a JWK. Raises `ValueError` for an unaccepted type or strength."""
    kind = _TYPES.get(text(entry.get("kty")) or "")
    if kind is None:
        raise ValueError("its type is not RSA, EC or OKP")
    members = {name: value for name in _PUBLIC if (value := text(entry.get(name))) is not None}
    try:
        key = kind.import_key({**members})
        public = key.public_key
    except (JoseError, ValueError, KeyError) as error:
        raise ValueError("it is malformed") from error
    if isinstance(key, RSAKey) and getattr(public, "key_size", 0) not in _RSA_BITS:
        raise ValueError("its RSA modulus is not between 2048 and 8192 bits")
    return key


def _is_wanted(entry: JsonObject, use: str) -> bool:
    """Return whether a key is for verifying signatures. `use` may be absent in a JWKS, but not in a SPIFFE bundle."""
    default: Json = "sig" if use == "sig" else None
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", default) == use and isinstance(operations, list) and "verify" in operations


def _authority(entry: JsonObject) -> x509.Certificate:
    """Return the certificate of an `x509-svid` entry: exactly one, in `x5c` (SPIFFE X509-SVID section 6.2)."""
    chain = entry.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise ValueError("it has not exactly one certificate")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("its certificate is malformed") from error
