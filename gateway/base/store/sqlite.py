"""The embedded engine: one SQLite file with a write-ahead log. A finished change survives a crash and a loss of power.

Changes that come while the disk works share the next write. A thread does the work, so no call waits for the disk of another.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gateway.base.concurrency.background import in_thread
from gateway.base.store.batches import Batches
from gateway.base.store.engine import ABSENT, Append, Change, Log, Missing, Record, find_later
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.base.store.engine import Rewrite

AT_ONCE: Final = 128
"""Sets of changes in one write: the answers to all of them fit into one turn of the event loop."""
FORMAT: Final = 3
"""The form of the file, kept in its `user_version`. Since form 2, a value names the key that sealed it; since form 3, it has logs."""
_PATIENCE: Final = 5.0
"""Seconds that a statement waits for other processes."""
_PAUSE: Final = 0.005
_SCHEMA: Final = """
begin immediate;
create table if not exists records (kind text not null, id text not null, version integer not null, value blob not null,
  expires real, primary key (kind, id)) without rowid;
create index if not exists records_by_end on records (kind, expires) where expires is not null;
create table if not exists latest (one integer primary key check (one = 1), version integer not null);
insert or ignore into latest values (1, 0);
create table if not exists events (owner blob not null, log text not null, version integer not null, event blob not null,
  primary key (owner, log, version)) without rowid;
pragma user_version = 3;
commit;
"""
_LIST: Final = "select id, version, value from records where kind = ? and (expires is null or expires > ?) order by id"
_READ: Final = _LIST.replace(" order by id", " and id = ?")
_READ_SOME: Final = _LIST.replace(" order by id", " and id in (select value from json_each(?))")
_VERSION: Final = _READ.replace("id, version, value", "version")
_VERSIONS: Final = _LIST.replace("id, version, value", "id, version")
_ALL: Final = "select kind, id, value, expires from records order by kind, id"
_SURVEY: Final = "select kind, lower(hex(substr(value, 2, 8))), count(*) from records group by 1, 2"
_COUNT: Final = "select count(*) from records where kind = ? and (expires is null or expires > ?)"
_PUT: Final = "insert or replace into records values (?, ?, ?, ?, ?)"
_REMOVE: Final = "delete from records where kind = ? and id = ?"
_EXPIRE: Final = "delete from records where kind = ? and expires <= ?"
_BATCH: Final = (
    _LIST.replace("id, version", "kind, id")
    .replace("kind = ?", "(kind, id) > (?, ?)")
    .replace("order by id", "and substr(value, 1, ?) <> ? order by kind, id limit 500")
)
_REWRITE: Final = "update records set value = ? where kind = ? and id = ?"
_LATEST: Final = "select version from latest"
_RAISE: Final = "update latest set version = ?"
_LOG_VERSION: Final = "select coalesce(max(version), 0) from events where owner = ? and log = ?"
_LOG: Final = "select event from events where owner = ? and log = ? and version > ? order by version"
_APPEND: Final = "insert into events values (?, ?, ?, ?)"


def open_database(path: Path) -> sqlite3.Connection:
    """Open an SQLite file for its owner alone, and make it first if need be. Raises `OSError` and `sqlite3.Error`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Without O_NONBLOCK a pipe in the place of the file would keep the process waiting.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # An open file would lose the locks of this process on the database when it is closed.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(f"{path} is no file") from None
    return sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)


def use_write_ahead_log(database: sqlite3.Connection) -> None:
    """Turn on the write-ahead log. SQLite waits for no other process here, so the statement is repeated. Raises `sqlite3.Error`."""
    end = time.monotonic() + _PATIENCE
    while not _try_write_ahead_log(database, end):
        time.sleep(_PAUSE)


def _try_write_ahead_log(database: sqlite3.Connection, end: float) -> bool:
    """Try to turn on the write-ahead log, and return whether it is on. After `end`, raise `sqlite3.Error` of a busy file."""
    try:
        database.execute("pragma journal_mode = wal")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
            raise
        return False
    return True


def read_form(path: Path) -> int:
    """Return the number of a file's form (`user_version`), 0 without a file. Raises `StoreError`."""
    rows = query_file(path, "pragma user_version") if path.exists() else []
    return int(rows[0][0]) if rows else 0


def query_file(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query. The SQLite file is opened for reading alone. Raises `StoreError`."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as database:
            return database.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}", "put a damaged file back from a copy") from error


class SqliteStore:
    """The engine over one file. `clock` gives seconds since the epoch, for the ends of records."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        # SQLite's module crashes when two threads use one connection at the same time.
        self._lock = threading.RLock()
        self._batches = Batches[Sequence[Change], int | None](self._write_in_thread, AT_ONCE, "records on disk")
        self._appends = Batches[Append, Missing](self._append_in_thread, AT_ONCE, "logs on disk")

    async def read(self, kind: str, identifier: str, /) -> Record | None:
        """Return a record, `None` if it is not there or has ended. Raises `StoreError`."""
        rows = await self._query(_READ, kind, identifier)
        return Record(*rows[0]) if rows else None

    async def read_some(self, kind: str, identifiers: Sequence[str], /) -> Sequence[Record]:
        """Return the records of these ids, by one query. Raises `StoreError`."""
        found = await self._query(_READ_SOME, kind, json.dumps([*identifiers]))
        return [Record(*row) for row in found]

    async def list(self, kind: str, /) -> list[Record]:
        """Return the records of a kind, in the order of their ids. Raises `StoreError`."""
        return [Record(*row) for row in await self._query(_LIST, kind)]

    async def list_versions(self, kind: str, /) -> dict[str, int]:
        """Return the versions of the records of a kind by their ids. Raises `StoreError`."""
        return dict(await self._query(_VERSIONS, kind))

    async def count(self, kind: str, /) -> int:
        """Return the number of records of a kind. Raises `StoreError`."""
        rows = await self._query(_COUNT, kind)
        return rows[0][0] if rows else 0

    async def survey(self) -> dict[tuple[str, str], int]:
        """Return the number of records by kind and sealing key: see `Engine.survey`. Raises `StoreError`."""
        return {(kind, seal): count for kind, seal, count in await in_thread(partial(self._look, _SURVEY))}

    async def read_all(self) -> list[Change]:
        """Return each record as the change that writes it (`Engine.read_all`). Raises `StoreError`."""
        now = self._clock()
        rows = await in_thread(partial(self._look, _ALL))
        return [Change(*row[:3], expires=row[3]) for row in rows if row[3] is None or row[3] > now]

    async def change(self, *changes: Change) -> int | None:
        """Carry out all changes or none: see `Engine.change`. Raises `StoreError`."""
        return await self._batches.add(changes)

    async def append(self, append: Append, /) -> Missing:
        """Append all events or none: see `Engine.append`. Raises `StoreError`."""
        return await self._appends.add(append)

    async def find_version(self, log: Log, /) -> int:
        """Return the number of events of a log. Raises `StoreError`."""
        found = await in_thread(partial(self._query_log, _LOG_VERSION, log))
        return found[0] if found else 0

    async def has_turn(self, _log: Log, /) -> bool:
        """Return true, since one process alone appends to a file."""
        return True

    async def read_log(self, log: Log, after: int = 0, /) -> list[bytes]:
        """Return the events of a log after a version. Raises `StoreError`."""
        return await in_thread(partial(self._query_log, _LOG, log, after))

    async def expire(self, kind: str, /) -> None:
        """Remove the records of a kind that have ended. Raises `StoreError`."""
        await in_thread(partial(self._expire, kind))

    async def rewrite(self, change: Rewrite, /, *, unless: bytes) -> int:
        """Rewrite each value that does not begin with `unless`, and return their number. Raises `StoreError`."""
        changed, place = 0, ("", "")
        while True:
            found, written, place = await in_thread(partial(self._rewrite, change, place, unless))
            changed += written
            if not found:
                return changed

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    # --- the file, in a thread ---------------------------------------------------------------------------

    async def _query(self, statement: str, kind: str, *values: str) -> list[tuple[Any, ...]]:
        return await in_thread(partial(self._fetch, statement, kind, *values))

    async def _write_in_thread(self, sets: Sequence[Sequence[Change]]) -> list[int | None]:
        return await in_thread(partial(self._write, sets))

    def _look(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, without a change of the file. There are none without a file."""
        if (form := read_form(self.path)) > FORMAT:
            raise StoreError(f"a later release of the gateway wrote {self.path}, in form {form}", "start that release")
        return query_file(self.path, statement) if form else []

    def _fetch(self, statement: str, kind: str, *values: str) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._database is None and not self.path.exists():
                return []
            try:
                return self._connect_once().execute(statement, (kind, self._clock(), *values)).fetchall()
            except sqlite3.Error as error:
                raise self._make_error(error) from error

    def _write(self, sets: Sequence[Sequence[Change]]) -> list[int | None]:
        """Carry out sets of changes in one transaction, each set whole or not at all."""
        with self._lock:
            try:
                database, now = self._connect_once(), self._clock()
                database.execute("begin immediate")
                (latest,) = database.execute(_LATEST).fetchone()
                versions: list[int | None] = []
                for version, changes in enumerate(sets, latest + 1):
                    fits = all(_fits(database, change, now) for change in changes)
                    versions.append(version if fits else None)
                    for change in changes if fits else ():
                        _apply(database, change, version)
                database.execute(_RAISE, (latest + len(sets),))
                database.execute("commit")
            except sqlite3.Error as error:
                # Closing takes back what was begun.
                self.close()
                raise self._make_error(error) from error
        return versions

    async def _append_in_thread(self, appends: Sequence[Append]) -> list[Missing | Exception]:
        return await in_thread(partial(self._append, appends))

    def _append(self, appends: Sequence[Append]) -> list[Missing | Exception]:
        """Carry out appends in one transaction, each whole or not at all."""
        with self._lock:
            try:
                database = self._connect_once()
                database.execute("begin immediate")
                outcomes = [self._append_one(database, append) for append in appends]
                database.execute("commit")
            except sqlite3.Error as error:
                self.close()
                raise self._make_error(error) from error
        return outcomes

    def _append_one(self, database: sqlite3.Connection, append: Append) -> Missing | Exception:
        logs = append.ends.union(append.versions)
        versions: dict[Log, int] = {log: database.execute(_LOG_VERSION, log).fetchone()[0] for log in logs}
        try:
            behind = find_later(append, versions)
        except StoreError as error:
            return error
        if behind:
            return {log: [row[0] for row in database.execute(_LOG, (*log, append.versions[log]))] for log in behind}
        for log, event in append.events:
            versions[log] += 1
            database.execute(_APPEND, (*log, versions[log], event))
        return {}

    def _query_log(self, statement: str, log: Log, *values: int) -> list[Any]:
        with self._lock:
            if self._database is None and not self.path.exists():
                return []
            try:
                return [row[0] for row in self._connect_once().execute(statement, (*log, *values))]
            except sqlite3.Error as error:
                raise self._make_error(error) from error

    def _expire(self, kind: str) -> None:
        with self._lock:
            if self._database is None and not self.path.exists():
                return
            try:
                self._connect_once().execute(_EXPIRE, (kind, self._clock()))
            except sqlite3.Error as error:
                self.close()
                raise self._make_error(error) from error

    def _rewrite(self, change: Rewrite, after: tuple[str, str], unless: bytes) -> tuple[int, int, tuple[str, str]]:
        """Rewrite the records that follow a place. Return their number, the number of changed ones, and the last place."""
        with self._lock:
            if self._database is None and not self.path.exists():
                return 0, 0, after
            try:
                database = self._connect_once()
                database.execute("begin immediate")
                rows = database.execute(_BATCH, (*after, self._clock(), len(unless), unless)).fetchall()
                changed = [
                    (value, kind, identifier)
                    for kind, identifier, sealed in rows
                    if (value := change(kind, identifier, sealed)) is not None
                ]
                database.executemany(_REWRITE, changed)
                database.execute("commit")
            except sqlite3.Error as error:
                self.close()
                raise self._make_error(error) from error
        return len(rows), len(changed), (rows[-1][0], rows[-1][1]) if rows else after

    def _connect_once(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = open_database(self.path)
                self._database.isolation_level = None
                (form,) = self._database.execute("pragma user_version").fetchone()
                if form <= FORMAT:
                    use_write_ahead_log(self._database)
                    self._database.execute("pragma synchronous = full")
                    self._database.executescript(_SCHEMA)
            except (OSError, sqlite3.Error) as error:
                self.close()
                raise self._make_error(error) from error
            if form > FORMAT:
                self.close()
                raise StoreError(f"a later release of the gateway wrote {self.path}", "start that release")
        return self._database

    def _make_error(self, error: Exception) -> StoreError:
        return StoreError(
            f"the gateway's records {self.path} cannot be used: {error}",
            "make the state folder writable, with free space; put a damaged file back from a copy",
        )


def _fits(database: sqlite3.Connection, change: Change, now: float) -> bool:
    """Return whether a record has the version that a change expects."""
    if change.version is None:
        return True
    found = database.execute(_VERSION, (change.kind, now, change.id)).fetchone()
    return change.version == (ABSENT if found is None else found[0])


def _apply(database: sqlite3.Connection, change: Change, version: int) -> None:
    if change.value is None:
        database.execute(_REMOVE, (change.kind, change.id))
    else:
        database.execute(_PUT, (change.kind, change.id, version, change.value, change.expires))
