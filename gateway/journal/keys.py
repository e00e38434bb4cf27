"""The journal's key: `<state>/journal-key`, made when it is missing.

It keys the chain (see `chain`) and the fingerprints of arguments, results and credentials (see `redaction`). Who can
read it can forge the record; keep it where the journal's readers cannot.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gateway.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_BYTES: Final = 32


def load_key(state: Path, *, random: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Read the key below the state folder, or make one. Raises `JournalError`."""
    path = state / "journal-key"
    try:
        if not path.exists():
            _make(path, random(KEY_BYTES))
        return _read(path)
    except OSError as error:
        raise JournalError(
            f"the journal's key {path} cannot be read or made: {error.strerror}", "make the state folder writable"
        ) from error


def read_key(state: Path) -> bytes | None:
    """The key below the state folder, `None` if there is none. Raises `JournalError`."""
    path = state / "journal-key"
    try:
        return _read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(
            f"the journal's key {path} cannot be read: {error.strerror}", "run this as the gateway's user"
        ) from error


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode, key = os.fstat(fd).st_mode, os.read(fd, KEY_BYTES + 1)
    finally:
        os.close(fd)
    if mode & 0o077:
        raise JournalError(f"others may use the journal's key {path}", f"run: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise JournalError(f"the journal's key {path} is damaged", "put it back from a copy")
    return key


def _make(path: Path, key: bytes) -> None:
    """Whole or not at all: the name appears when the content is on disk, and an existing key is never replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key)
        os.fsync(fd)
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.close(fd)
        fresh.unlink()
