"""A SQLite file with values encrypted by AES-256-GCM (NIST SP 800-38D), each under its own name. An edited or moved
value does not open. Several threads may use the file; a lock lets them take turns.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_NONCE: Final = 12
Form = TypeVar("Form")


class SealedDatabase:
    """A file with the tables of `schema`. `refuse` makes the error to raise from the problem of an unusable file.

    With `full`, a write is on disk when it returns. With `normal`, a loss of power may take the last writes.
    """

    def __init__(
        self,
        path: Path,
        key: bytes,
        schema: str,
        refuse: Callable[[str], Exception],
        *,
        synchronous: Literal["full", "normal"],
    ) -> None:
        self.path = path
        self._cipher = AESGCM(key)
        self._schema = schema
        self._refuse = refuse
        self._synchronous = synchronous
        self._database: sqlite3.Connection | None = None
        # SQLite's module crashes when two threads use one connection at the same time.
        self._lock = threading.RLock()

    def query_rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        with self._lock:
            try:
                return self._connect_once().execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._make_error(error) from error

    def write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Carry out statements, all or none."""
        with self._lock:
            try:
                with closing(self._connect_once().cursor()) as cursor:
                    cursor.execute("begin")
                    for statement, values in statements:
                        cursor.execute(statement, values)
                    cursor.execute("commit")
            except sqlite3.Error as error:
                self.close()
                raise self._make_error(error) from error

    def seal(self, name: str, value: bytes) -> bytes:
        """Return a value encrypted under a name."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes | None:
        """Return the value sealed under a name, `None` for the value of another name."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
        except (InvalidTag, ValueError):
            return None

    def seal_record(self, name: str, record: object) -> bytes:
        """Return a record as JSON, encrypted under a name."""
        return self.seal(name, msgspec.json.encode(record))

    def open_record(self, name: str, sealed: bytes, form: type[Form]) -> Form | None:
        """Return the record sealed under a name. Return `None` for another name, or for another form."""
        text = self.open(name, sealed)
        try:
            return None if text is None else msgspec.json.decode(text, type=form)
        except msgspec.MsgspecError:
            return None

    def close(self) -> None:
        """Close the file. The next use opens the file again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _connect_once(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                self._database = sqlite3.connect(self.path, timeout=5, check_same_thread=False, isolation_level=None)
                self._database.execute("pragma journal_mode = wal")
                self._database.execute(f"pragma synchronous = {self._synchronous}")
                self._database.executescript(self._schema)
            except (OSError, sqlite3.Error) as error:
                self.close()
                raise self._make_error(error) from error
        return self._database

    def _make_error(self, error: Exception) -> Exception:
        return self._refuse(f"{self.path} cannot be used: {error}")
