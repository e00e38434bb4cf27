"""Sealed rows on disk: a SQLite file whose rows are encrypted with AES-256-GCM (NIST SP 800-38D), each under its own id.

A row that was edited, or put under another id, does not open. Safe to use from several threads: one works with the file at a time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NONCE: Final = 12
_SCHEMA: Final = "create table if not exists sealed (id text primary key, value blob not null) without rowid"


class SealedRows:
    """Rows by their id. `refuse` makes the error to raise from the problem of a file that cannot be used."""

    def __init__(self, path: Path, key: bytes, refuse: Callable[[str], Exception]) -> None:
        self.path = path
        self._cipher = AESGCM(key)
        self._refuse = refuse
        self._database: sqlite3.Connection | None = None
        # SQLite's module crashes when two threads use one connection at the same time.
        self._lock = threading.RLock()

    def load(self) -> dict[str, bytes | None]:
        """Return all rows: id → value, `None` for a row that does not open."""
        if not self.path.exists():
            return {}
        with self._lock:
            try:
                rows = self._connected().execute("select id, value from sealed").fetchall()
            except sqlite3.Error as error:
                raise self._broken(error) from error
        return {identifier: self._open(identifier, sealed) for identifier, sealed in rows}

    def put(self, identifier: str, value: bytes) -> None:
        """Write a row. It is on disk when this returns."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, value, identifier.encode())
        self._write("insert or replace into sealed values (?, ?)", (identifier, sealed))

    def remove(self, identifier: str) -> None:
        """Remove a row, if it is there."""
        self._write("delete from sealed where id = ?", (identifier,))

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _write(self, statement: str, values: tuple[str | bytes, ...]) -> None:
        with self._lock:
            try:
                with closing(self._connected().cursor()) as cursor:
                    cursor.execute(statement, values)
            except sqlite3.Error as error:
                self.close()
                raise self._broken(error) from error

    def _open(self, identifier: str, sealed: bytes) -> bytes | None:
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], identifier.encode())
        except (InvalidTag, ValueError):
            return None

    def _connected(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                self._database = sqlite3.connect(self.path, timeout=5, check_same_thread=False, isolation_level=None)
                self._database.execute("pragma journal_mode = wal")
                self._database.execute("pragma synchronous = full")
                self._database.execute(_SCHEMA)
            except (OSError, sqlite3.Error) as error:
                self.close()
                raise self._broken(error) from error
        return self._database

    def _broken(self, error: Exception) -> Exception:
        return self._refuse(f"{self.path} cannot be used: {error}")
