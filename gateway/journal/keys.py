"""The journal's key: `<state>/journal-key`, made for a journal that has not begun.

It keys the chain (see `chain`) and the fingerprints of arguments, results and credentials (see `redaction`). Who can
read it can forge the record; keep it where the journal's readers cannot.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.errors import JournalError
from gateway.journal.storage import segments
from gateway.key_files import KeyFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_FILE: Final = "journal-key"
KEY_BYTES: Final = 32


def load_key(state: Path, journal: Path, *, random: Callable[[int], bytes] = secrets.token_bytes) -> bytes:
    """Read the key below the state folder, or make one for a journal that has not begun: a new one would make all that
    was written with the other look damaged. Raises `JournalError`."""
    file = _file(state)
    if not file.path.exists() and journal.exists() and segments(journal):
        raise lost(state, journal)
    return _whole(file, file.load(partial(random, KEY_BYTES)))


def lost(state: Path, journal: Path) -> JournalError:
    """Why a journal cannot go on whose key is missing."""
    return JournalError(
        f"{journal} was written with a key that is not there: {state / KEY_FILE}",
        "put it back from a copy; to go on without, move the journal folder away",
    )


def read_key(state: Path) -> bytes | None:
    """The key below the state folder, `None` if there is none. Raises `JournalError`."""
    file = _file(state)
    key = file.read()
    return None if key is None else _whole(file, key)


def _file(state: Path) -> KeyFile:
    return KeyFile(state / KEY_FILE, "the journal's key", JournalError)


def _whole(file: KeyFile, key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise JournalError(f"the journal's key {file.path} is damaged", "put it back from a copy")
    return key
