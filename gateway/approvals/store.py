"""Approvals on disk: `<state>/approvals/approvals.db`, a SQLite file with a sealed row for each.

A row holds the description of a call, so it is encrypted with AES-256-GCM (NIST SP 800-38D) under its id. An edited or
moved row does not open. The journal decides on the state: an older copy of a row is brought up to date from the
journal. Several threads may use the file; a lock lets them take turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.approvals.model import Approval
from gateway.errors import ApprovalStoreError
from gateway.sealed_database import SealedDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


_SCHEMA: Final = """
create table if not exists approvals (id text primary key, approval blob not null, description blob not null) without rowid;
create table if not exists positions (one integer primary key check (one = 1), journal text not null, seq integer not null);
"""
_APPROVALS: Final = "select id, approval from approvals"
_POSITION: Final = "select journal, seq from positions"
_ADD: Final = "insert or replace into approvals values (?, ?, ?)"
_CHANGE: Final = "update approvals set approval = ? where id = ?"
_DESCRIPTION: Final = "select description from approvals where id = ?"
_REMOVE: Final = "delete from approvals where id = ?"


@dataclass(frozen=True, slots=True)
class StoredApprovals:
    """Contents of a store. `unreadable` counts the unreadable rows. The rows include the entries of the journal
    `journal` up to the entry `seq`, and may include later entries."""

    approvals: tuple[Approval, ...] = ()
    unreadable: int = 0
    journal: str = ""
    seq: int = 0


class ApprovalStore:
    """The database of approvals. Raises `ApprovalStoreError` for an unreadable or unwritable file."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "approvals.db"
        # The journal is the record: after a loss of power, a question that is gone is asked again.
        self._database = SealedDatabase(self.path, key, _SCHEMA, self._make_error, synchronous="normal")

    def load(self) -> StoredApprovals:
        """Return the stored approvals."""
        if not self.path.exists():
            return StoredApprovals()
        found = [
            self._database.open_record(name, sealed, Approval) for name, sealed in self._database.query_rows(_APPROVALS)
        ]
        whole = tuple(approval for approval in found if approval is not None)
        journal, seq = next(iter(self._database.query_rows(_POSITION)), ("", 0))
        return StoredApprovals(whole, len(found) - len(whole), journal, seq)

    def save_position(self, journal: str, seq: int) -> None:
        """Note that the rows follow the journal up to its entry `seq`."""
        self._database.write([("insert or replace into positions values (1, ?, ?)", (journal, seq))])

    def describe(self, identifier: str) -> dict[str, Any] | None:
        """Return the description of a call, `None` without a whole description."""
        rows = self._database.query_rows(_DESCRIPTION, (identifier,))
        return self._database.open_record(_description(identifier), rows[0][0], dict[str, Any]) if rows else None

    def add(self, approval: Approval, description: Mapping[str, Any]) -> None:
        """Write a new approval with the description of its call."""
        sealed = (
            self._database.seal_record(approval.id, approval),
            self._database.seal_record(_description(approval.id), description),
        )
        self._database.write([(_ADD, (approval.id, *sealed))])

    def save(self, changed: Iterable[Approval], gone: Iterable[str] = ()) -> None:
        """Write changed approvals and remove others, all or nothing."""
        changes = [(_CHANGE, (self._database.seal_record(approval.id, approval), approval.id)) for approval in changed]
        self._database.write([*changes, *((_REMOVE, (identifier,)) for identifier in gone)])

    def close(self) -> None:
        """Close the file. The next use opens the file again."""
        self._database.close()

    def _make_error(self, problem: str) -> ApprovalStoreError:
        return ApprovalStoreError(f"the approvals {problem}", f"make {self.path.parent} writable, or remove it")


def _description(identifier: str) -> str:
    """Return the name for the seal of a description: no row's approval opens as its description."""
    return f"description {identifier}"
