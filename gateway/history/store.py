"""Snapshots of tasks on disk: `<state>/history/tasks.db`, a SQLite file. Each row has a keyed MAC (HMAC-SHA256, FIPS
198-1) over its content, and the checkpoint has one over the present rows. A writer without the key can make no valid
row, and can neither remove nor restore a single row. The running gateway knows the state of each task. As with the
journal, the whole file can be replaced by an earlier copy; then the journal has the later entries. A checkpoint is one
transaction. Safe to use from one thread at a time."""

from __future__ import annotations

import hmac
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.base.store.sqlite import open_database, use_write_ahead_log
from gateway.model.errors import HistoryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.base.keys.key_ring import KeyRing

Item = TypeVar("Item")

_SCHEMA: Final = """
create table if not exists tasks (id text primary key, seq integer not null, meta blob not null, digest blob not null,
  mac blob not null, state blob not null) without rowid;
create table if not exists checkpoints (one integer primary key check (one = 1), journal text not null,
  seq integer not null, mac blob not null);
"""


_MACS: Final = "select json_group_array(json_array(id, hex(mac))) from (select id, mac from tasks order by id)"

# SQLite lets go of the interpreter at each step, and a busy event loop is slow to give it back: a statement for each row
# took minutes. 900 is under every build's limit of values.
_AT_ONCE: Final = 900 // 6


@dataclass(frozen=True, slots=True)
class Row:
    """A task as it is stored. Journal entries up to `seq` are in its state."""

    id: str
    seq: int
    meta: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An atomic change of the store: new or changed rows, and ids of removed rows. Afterwards the store covers the
    journal's entries up to `seq`. `whole`: the rows are its whole content."""

    journal: str
    seq: int
    rows: tuple[Row, ...]
    gone: tuple[str, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class StoredTask:
    """Task without its state. `Store.state` reads the state with this `digest`."""

    id: str
    seq: int
    meta: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of a store, without the states."""

    journal: str
    seq: int
    tasks: tuple[StoredTask, ...]

    @property
    def known(self) -> int:
        """The last entry of the journal that is in any of its tasks, or in all of them."""
        return max((self.seq, *(task.seq for task in self.tasks)))


class StoreReplaced(HistoryError):
    """A replaced file of the store: another process removed it or put another copy in its place."""


class StoreEdited(HistoryError):
    """The file has its form, and is not what this key wrote."""


class Store:
    """The database of tasks. Raises `HistoryError` for a failed read or write, and for an edited file."""

    def __init__(self, folder: Path, keys: KeyRing[bytes]) -> None:
        self.path = folder / "tasks.db"
        self._keys = keys
        self._key = keys.newest  # the key of the present rows
        self._checkpoint: bytes | None = None  # the MAC of the one that was read or written last

    def load(self) -> Stored | None:
        """Return all tasks without their states; `None` if nothing was stored yet."""
        if not self.path.exists():
            return None
        with closing(self._connect()) as database:
            try:
                return self._load(database)
            except sqlite3.Error as error:
                raise self._make_error(error) from error

    def state(self, task_id: str, digest: bytes) -> bytes:
        """Return the state of a task, if its digest matches."""
        with closing(self._connect()) as database:
            try:
                row = database.execute("select state from tasks where id = ?", (task_id,)).fetchone()
            except sqlite3.Error as error:
                raise self._make_error(error) from error
        if row is None or digest_of(row[0]) != digest:
            raise self._make_edited_error(f"the task {task_id} is not as it was written")
        return row[0]

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, whole or not at all; on disk when this returns. Raises `StoreReplaced`, and writes nothing,
        if changes alone would leave something out."""
        with closing(self._connect()) as database:
            try:
                self._save(database, checkpoint)
            except sqlite3.Error as error:
                raise self._make_error(error) from error

    def discard(self) -> None:
        """Forget all snapshots. The journal has what they had."""
        for suffix in ("", "-journal", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._checkpoint = None

    def _load(self, database: sqlite3.Connection) -> Stored | None:
        if database.execute("select 1 from sqlite_master where name = 'checkpoints'").fetchone() is None:
            return None
        found = database.execute("select journal, seq, mac from checkpoints").fetchone()
        rows = database.execute("select id, seq, meta, digest, mac from tasks order by id").fetchall()
        if found is None:
            raise self._make_edited_error("it has no checkpoint")
        journal, seq, mac = found
        key = self._find_key(journal, seq, mac, [(row[0], row[4]) for row in rows])
        if key is None:
            raise self._make_edited_error("rows were removed, added or put back")
        for row in rows:
            self._require_row(key, row)
        self._key, self._checkpoint = key, mac
        return Stored(journal, seq, tuple(StoredTask(*row[:4]) for row in rows))

    def _find_key(self, journal: str, seq: int, mac: bytes, macs: list[tuple[str, bytes]]) -> bytes | None:
        """Return the key that wrote a checkpoint, or `None` if no known key did."""
        made = ((key, _checkpoint_mac(key, journal, seq, macs)) for key in self._keys.keys)
        return next((key for key, expected in made if hmac.compare_digest(mac, expected)), None)

    def _require_row(self, key: bytes, row: tuple[str, int, bytes, bytes, bytes]) -> None:
        """Refuse an edited row: its id, number, meta, digest and MAC."""
        if not hmac.compare_digest(row[4], _row_mac(key, *row[:4])):
            raise self._make_edited_error(f"the task {row[0]} is not as it was written")

    def _change_key(self, database: sqlite3.Connection, key: bytes) -> None:
        """Write the MAC of each row under a new key. Refuse an edited row."""
        rows = database.execute("select id, seq, meta, digest, mac from tasks").fetchall()
        for row in rows:
            self._require_row(self._key, row)
        macs = [(_row_mac(key, *row[:4]), row[0]) for row in rows]
        database.executemany("update tasks set mac = ? where id = ?", macs)

    def _save(self, database: sqlite3.Connection, checkpoint: Checkpoint) -> None:
        use_write_ahead_log(database)
        database.executescript(_SCHEMA)
        found = database.execute("select mac from checkpoints").fetchone()
        if not checkpoint.whole and (None if found is None else found[0]) != self._checkpoint:
            raise StoreReplaced(
                f"the snapshots {self.path} were removed or replaced while the gateway ran",
                "find out who did: `<state>` is the gateway's alone",
            )
        key = self._keys.newest
        with database:
            if checkpoint.whole:
                database.execute("delete from tasks")
            elif key != self._key:
                self._change_key(database, key)
            for gone in _batch(checkpoint.gone):
                database.execute(f"delete from tasks where id in ({_list(len(gone))})", gone)  # noqa: S608 - only marks
            for rows in _batch(checkpoint.rows):
                marks = ", ".join([f"({_list(6)})"] * len(rows))
                values = tuple(chain.from_iterable(_stored(key, row) for row in rows))
                database.execute(f"insert or replace into tasks values {marks}", values)  # noqa: S608 - only marks
            (listed,) = database.execute(_MACS).fetchone()
            macs = ((task_id, bytes.fromhex(mac)) for task_id, mac in json.loads(listed))
            mac = _checkpoint_mac(key, checkpoint.journal, checkpoint.seq, macs)
            database.execute(
                "insert or replace into checkpoints values (1, ?, ?, ?)", (checkpoint.journal, checkpoint.seq, mac)
            )
        self._key, self._checkpoint = key, mac

    def _connect(self) -> sqlite3.Connection:
        try:
            return open_database(self.path)
        except (OSError, sqlite3.Error) as error:
            raise self._make_error(error) from error

    def _make_error(self, error: Exception) -> HistoryError:
        return HistoryError(
            f"the snapshots {self.path} cannot be used: {error}",
            f"make the state folder writable; if the file is damaged, remove {self.path} and start again",
        )

    def _make_edited_error(self, what: str) -> StoreEdited:
        return StoreEdited(
            f"the snapshots {self.path} were edited: {what}",
            f"find out who did; then remove {self.path}, and the journal is read instead",
        )


def _batch(items: tuple[Item, ...]) -> Iterator[tuple[Item, ...]]:
    """Yield the same items, as many as one statement takes."""
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _list(count: int) -> str:
    """Return so many parameters."""
    return ", ".join("?" * count)


def _frame(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part


def digest_of(state: bytes) -> bytes:
    return sha256(state).digest()


def _stored(key: bytes, row: Row) -> tuple[str, int, bytes, bytes, bytes, bytes]:
    digest = digest_of(row.state)
    return row.id, row.seq, row.meta, digest, _row_mac(key, row.id, row.seq, row.meta, digest), row.state


def _row_mac(key: bytes, task_id: str, seq: int, meta: bytes, digest: bytes) -> bytes:
    return _mac(key, b"task", task_id.encode(), seq.to_bytes(8, "big"), meta, digest)


def _checkpoint_mac(key: bytes, journal: str, seq: int, macs: Iterable[tuple[str, bytes]]) -> bytes:
    rows = sha256()
    for task_id, mac in macs:
        rows.update(_frame(task_id.encode()) + _frame(mac))
    return _mac(key, b"checkpoint", journal.encode(), seq.to_bytes(8, "big"), rows.digest())


def _mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(map(_frame, parts)), "sha256")
