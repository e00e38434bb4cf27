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


def read_endorsements(folder: Path) -> bytes:
    """Return the sealed endorsements of a state folder."""
    ((value,),) = edit(folder, "select value from records where kind = 'endorsements'")
    return value


def put_back_endorsements(folder: Path, value: bytes) -> None:
    """Put the endorsements of an earlier moment in the place of the present ones."""
    edit(folder, "update records set value = ? where kind = 'endorsements'", value)
