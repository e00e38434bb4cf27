"""The key that the gateway signs task tokens with: `<state>/gateway-key.pem`, P-256, made when it is missing."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE: Final = "gateway-key.pem"


def load_key(state: Path) -> ECKey:
    """Read the key below the state folder, or make one. Raises `ConfigurationError`."""
    path = state / KEY_FILE
    try:
        if not path.exists():
            _make(path)
        pem = _read(path)
    except OSError as error:
        raise ConfigurationError(
            f"the gateway's key {path} cannot be read or made: {error.strerror}", "make the state folder writable"
        ) from error
    try:
        key = ECKey.import_key(pem)
    except (JoseError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{path} is not a private key", "put it back from a copy, or delete it") from error
    if not key.is_private or key.curve_name != "P-256":
        raise ConfigurationError(f"{path} is not a P-256 private key", "put it back from a copy, or delete it")
    return key


def _make(path: Path) -> None:
    """Whole or not at all: the name appears when the content is on disk, and an existing key is never replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(ECKey.generate_key("P-256").as_pem(private=True))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            # Another process was first; its key is as good.
            return
    finally:
        fresh.unlink()


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ConfigurationError(f"others may use the gateway's key {path}", f"run: chmod 600 {path}")
        return file.read()
