"""Endorsements on disk: `<state>/approvals/endorsements`, a file encrypted with AES-256-GCM (NIST SP 800-38D).

All endorsements are sealed together, with their place in the journal. So without the key an old endorsement cannot be
put back beside newer endorsements. An older copy of the whole file is brought up to date from the journal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from gateway.approvals.endorsement import Endorsement
from gateway.errors import ApprovalStoreError

if TYPE_CHECKING:
    from pathlib import Path

_NONCE: Final = 12
_NAME: Final = b"opagate endorsements 1"


class StoredEndorsements(Struct, frozen=True):
    """Contents of a store. All entries of the journal `journal` up to the entry `seq` are included, and perhaps later
    entries. `latest` is the latest time of the gateway, so a clock set back revives nothing."""

    endorsements: tuple[Endorsement, ...] = ()
    journal: str = ""
    seq: int = 0
    latest: float = 0.0


class EndorsementFile:
    """A sealed file of endorsements. Raises `ApprovalStoreError` if the file cannot be read or written. Safe to use
    from one thread at a time."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "endorsements"
        self._cipher = AESGCM(key)

    def load(self) -> StoredEndorsements | None:
        """Return the stored endorsements, `None` if the file does not open: the key is another, or a person changed the
        file."""
        try:
            sealed = self.path.read_bytes()
        except FileNotFoundError:
            return StoredEndorsements()
        except OSError as error:
            raise self._make_error(error) from error
        try:
            text = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _NAME)
            return msgspec.msgpack.decode(text, type=StoredEndorsements)
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            return None

    def save(self, stored: StoredEndorsements) -> None:
        """Write all endorsements, whole or not at all."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, msgspec.msgpack.encode(stored), _NAME)
        new = self.path.with_name("endorsements.new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise self._make_error(error) from error

    def _make_error(self, error: OSError) -> ApprovalStoreError:
        return ApprovalStoreError(
            f"the endorsements {self.path} cannot be used: {error.strerror or error}",
            f"make {self.path.parent} writable, or remove {self.path}",
        )
