"""Durable records for tests."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.records import SealedStore
from gateway.base.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = b"k" * 32
FILE = "records.db"


def sealed_store(folder: Path, key: bytes = KEY, clock: Callable[[], float] = time.time) -> SealedStore:
    """Return the records of a state folder."""
    return SealedStore(SqliteStore(folder / FILE, clock), KeyRing(key))


def edit(folder: Path, statement: str, *values: Any) -> list[Any]:
    """Carry out a statement on the file, as a person with the rights of the gateway can."""
    with closing(sqlite3.connect(folder / FILE)) as database, database:
        return database.execute(statement, values).fetchall()


Rows = list[tuple[str, str, int, bytes]]

_ENDORSEMENTS = "kind in ('endorsement', 'endorsements')"


def read_endorsements(folder: Path) -> Rows:
    """Return the sealed endorsements of a state folder, with their register."""
    return edit(folder, f"select kind, id, version, value from records where {_ENDORSEMENTS}")


def put_back_endorsements(folder: Path, rows: Rows) -> None:
    """Put the endorsements of an earlier moment in the place of the present ones."""
    edit(folder, f"delete from records where {_ENDORSEMENTS}")
    for row in rows:
        edit(folder, "insert into records values (?, ?, ?, ?, null)", *row)


def damage_register(folder: Path, value: bytes = b"") -> None:
    """Put other bytes in the place of the register of endorsements."""
    edit(folder, "update records set value = ? where kind = 'endorsements'", value)
