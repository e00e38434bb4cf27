"""Approvals on disk: `<state>/approvals/approvals.db`, a SQLite file with a sealed row for each.

A row holds the description of a call, so it is encrypted with AES-256-GCM (NIST SP 800-38D) under its id. A row that was edited, or
put under another id, does not open. The journal decides on the state: an older copy of a row is brought up to date from it.

Safe to use from several threads: one works with the file at a time.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.approvals.model import Approval
from gateway.errors import ApprovalStoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Form = TypeVar("Form")

_NONCE: Final = 12
_SCHEMA: Final = """
create table if not exists approvals (id text primary key, approval blob not null, description blob not null) without rowid;
create table if not exists positions (one integer primary key check (one = 1), journal text not null, seq integer not null);
"""
_ADD: Final = "insert or replace into approvals values (?, ?, ?)"
_CHANGE: Final = "update approvals set approval = ? where id = ?"
_DESCRIPTION: Final = "select description from approvals where id = ?"
_REMOVE: Final = "delete from approvals where id = ?"


@dataclass(frozen=True, slots=True)
class StoredApprovals:
    """Contents of a store. `unreadable` counts the rows that do not open. The rows include the entries of the journal `journal`
    up to the entry `seq`, and may include later entries."""

    approvals: tuple[Approval, ...] = ()
    unreadable: int = 0
    journal: str = ""
    seq: int = 0


class ApprovalStore:
    """Raises `ApprovalStoreError` for what cannot be read or written."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "approvals.db"
        self._cipher = AESGCM(key)
        self._database: sqlite3.Connection | None = None
        # SQLite's module crashes when two threads use one connection at the same time.
        self._lock = threading.RLock()

    def load(self) -> StoredApprovals:
        """Return the stored approvals."""
        if not self.path.exists():
            return StoredApprovals()
        with self._lock:
            try:
                rows = self._connected().execute("select id, approval from approvals").fetchall()
                position = self._connected().execute("select journal, seq from positions").fetchone()
            except sqlite3.Error as error:
                raise self._broken(error) from error
        found = [self._open(identifier, sealed, Approval) for identifier, sealed in rows]
        whole = tuple(approval for approval in found if approval is not None)
        journal, seq = position or ("", 0)
        return StoredApprovals(whole, len(found) - len(whole), journal, seq)

    def save_position(self, journal: str, seq: int) -> None:
        """Note that the rows have all that the journal says up to its entry `seq`."""
        self._write([("insert or replace into positions values (1, ?, ?)", (journal, seq))])

    def describe(self, identifier: str) -> dict[str, Any] | None:
        """Return the description of a call, `None` if there is no whole one."""
        with self._lock:
            try:
                found = self._connected().execute(_DESCRIPTION, (identifier,)).fetchone()
            except sqlite3.Error as error:
                raise self._broken(error) from error
        return None if found is None else self._open(_description(identifier), found[0], dict[str, Any])

    def add(self, approval: Approval, description: Mapping[str, Any]) -> None:
        """Write a new approval with the description of its call."""
        sealed = self._seal(approval.id, approval), self._seal(_description(approval.id), description)
        self._write([(_ADD, (approval.id, *sealed))])

    def save(self, changed: Iterable[Approval], gone: Iterable[str] = ()) -> None:
        """Write changed approvals and remove others, all or nothing."""
        changes = [(_CHANGE, (self._seal(approval.id, approval), approval.id)) for approval in changed]
        self._write([*changes, *((_REMOVE, (identifier,)) for identifier in gone)])

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        with self._lock:
            try:
                with closing(self._connected().cursor()) as cursor:
                    cursor.execute("begin")
                    for statement, values in statements:
                        cursor.execute(statement, values)
                    cursor.execute("commit")
            except sqlite3.Error as error:
                self.close()
                raise self._broken(error) from error

    def _seal(self, name: str, value: object) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, msgspec.json.encode(value), name.encode())

    def _open(self, name: str, sealed: bytes, form: type[Form]) -> Form | None:
        try:
            return msgspec.json.decode(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode()), type=form)
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            return None

    def _connected(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                self._database = sqlite3.connect(self.path, timeout=5, check_same_thread=False, isolation_level=None)
                self._database.execute("pragma journal_mode = wal")
                # The journal is the record: after a loss of power, a question that is gone is asked again.
                self._database.execute("pragma synchronous = normal")
                self._database.executescript(_SCHEMA)
            except (OSError, sqlite3.Error) as error:
                self.close()
                raise self._broken(error) from error
        return self._database

    def _broken(self, error: Exception) -> ApprovalStoreError:
        return ApprovalStoreError(
            f"the approvals {self.path} cannot be used: {error}", f"make {self.path.parent} writable, or remove it"
        )


def _description(identifier: str) -> str:
    """Return the name under which a description is sealed: no row's approval opens as its description."""
    return f"description {identifier}"
