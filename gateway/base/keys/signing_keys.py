"""Signing keys: P-256. A key is in a file of its own (PEM, see `key_files`), or derived from such a key for another purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.base.keys.key_files import KeyFile
from gateway.model.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path, what: str, *, remedy: str) -> ECKey:
    """Return the key in a file, and make a key first if the file is missing. `what` names the key in messages, and
    `remedy` says how to mend a broken file.

    Raises `ConfigurationError`.
    """
    return read_pem(KeyFile(path, what, ConfigurationError).load(make_pem), path, what, remedy)


def make_pem() -> bytes:
    """Return a new key, in PEM."""
    return ECKey.generate_key("P-256").as_pem(private=True)


def read_pem(pem: bytes, path: Path, what: str, remedy: str) -> ECKey:
    """Return the key in the content of a file. Raises `ConfigurationError`."""
    try:
        key = ECKey.import_key(pem)
    except (JoseError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{what} {path} is not a private key", remedy) from error
    if not key.is_private or key.curve_name != "P-256":
        raise ConfigurationError(f"{what} {path} is not a P-256 private key", remedy)
    return key


_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of the group of P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3)."""
_SCALAR_BYTES: Final = 44
"""96 bits more than the order, so that the remainder has no bias (FIPS 186-5 appendix A.2.1)."""


def derive(key: ECKey, purpose: str) -> ECKey:
    """Return the key of one purpose. Its signatures do not verify under `key`, and the derived key reveals nothing
    about `key` (RFC 5869)."""
    own = cast("ec.EllipticCurvePrivateKey", key.private_key).private_numbers().private_value
    expand = HKDF(hashes.SHA256(), _SCALAR_BYTES, salt=None, info=b"opagate signing key: " + purpose.encode())
    scalar = int.from_bytes(expand.derive(own.to_bytes(32, "big")), "big") % (_ORDER - 1) + 1
    return ECKey.import_key(ec.derive_private_key(scalar, ec.SECP256R1()))
