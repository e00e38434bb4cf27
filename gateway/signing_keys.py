"""Signing keys in files of their own: P-256, PEM (see `key_files`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.errors import ConfigurationError
from gateway.key_files import KeyFile

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path, what: str, *, remedy: str) -> ECKey:
    """The key in a file, made when there is none. `what` it is, and the `remedy` when it is none, are for messages.

    Raises `ConfigurationError`.
    """
    pem = KeyFile(path, what, ConfigurationError).load(lambda: ECKey.generate_key("P-256").as_pem(private=True))
    try:
        key = ECKey.import_key(pem)
    except (JoseError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{what} {path} is not a private key", remedy) from error
    if not key.is_private or key.curve_name != "P-256":
        raise ConfigurationError(f"{what} {path} is not a P-256 private key", remedy)
    return key
