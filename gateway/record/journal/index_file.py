"""The SQLite file of a journal's index: a row for each line, with its place and digests of its values.

<journal>/index/entries.db    rows of all segments; those of a closed segment have a MAC under the journal's key

The rows are derived from the journal. Rows with a wrong MAC are made anew, and so is a file that is no database. Without a
key, or a folder to write to, the rows are in memory.
"""

from __future__ import annotations

import hmac
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from hashlib import blake2b
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from gateway.base.keys.key_ring import subkey
from gateway.base.store.sqlite import open_database, use_write_ahead_log
from gateway.record.journal.columns import ASKED, CALLS, COLUMNS, DENIED, ENDED, REFUSED, UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from gateway.record.journal.columns import Column, IndexedLine, Search

FORMAT: Final = 4
FILE: Final = "index/entries.db"
_SCHEMA: Final = """
create table segments (number integer primary key, size integer not null, link text not null, begun text not null,
  broken integer not null, mac blob);
create table lines (segment integer not null, place integer not null, kind integer not null, id integer, task integer,
  agent integer, user integer, upstream integer, tool integer, arguments integer, codes text, hour integer, primary key (segment, place)) without rowid;
create index lines_by_id on lines (segment, id);
create index lines_by_task on lines (segment, task, kind);
create index lines_by_kind on lines (segment, kind);
create index lines_by_hour on lines (segment, hour, kind, agent, user, upstream);
"""
_DROP: Final = "drop table if exists segments; drop table if exists lines;"
_ADD: Final = "insert or replace into lines values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ROWS: Final = """
select count(*), group_concat(row, x'0a') from (
  select place || ' ' || kind || ' ' || quote(id) || quote(task) || quote(agent) || quote(user) || quote(upstream)
    || quote(tool) || quote(arguments) || quote(codes) || quote(hour) as row from lines where segment = ? order by place)
"""
_TASKS: Final = f"""
select task, min(place), max(place), count(*), sum(kind = {ASKED}), sum(kind = {DENIED}) from lines
  where segment = ? and kind in ({", ".join(map(str, sorted(CALLS)))}) group by task
"""  # noqa: S608 - numbers alone
_TASK: Final = _TASKS.replace("group by task", "and task is ?")
_HOURS: Final = f"""
select hour, kind, count(*) from lines indexed by lines_by_hour
  where segment = ? and hour >= ? and kind in ({", ".join(map(str, sorted((*CALLS, REFUSED))))}) group by hour, kind
"""  # noqa: S608 - numbers alone
_STOPPED: Final = f"""
select agent, codes, count(*), max(place) from lines indexed by lines_by_hour
  where segment = ? and hour >= ? and kind in ({DENIED}, {REFUSED}) group by agent, codes
"""  # noqa: S608 - numbers alone
_CALLS: Final = f"""
select {{by}}, kind, count(*), max(place) from lines indexed by lines_by_hour
  where segment = ? and hour >= ? and kind in ({", ".join(map(str, sorted(CALLS)))}) and {{by}} is not null{{where}} group by {{by}}, kind
"""  # noqa: S608 - numbers alone
_ENDS: Final = f"""
select place from lines indexed by lines_by_id where segment = ? and place < ? and kind = {ENDED} and id in (select value from json_each(?))
  order by place desc
"""  # noqa: S608 - a number alone


class IndexedSegment(NamedTuple):
    """The indexed part of a segment: its bytes, the link of its last line, and the time of its first line.

    `broken` counts edited lines, and lines whose predecessor is missing.
    """

    number: int
    size: int = 0
    link: str = ""
    begun: str = ""
    broken: int = 0


class TaskRows(NamedTuple):
    """The calls of a task in a segment. `task` is a digest, and `first` and `last` are the places of its first and last call."""

    task: int
    first: int
    last: int
    calls: int = 0
    asked: int = 0
    stopped: int = 0


class StoppedRows(NamedTuple):
    """Refused calls of one agent with the same codes, both as digests. `last` is the place of the latest one."""

    agent: int | None
    codes: str | None
    calls: int
    last: int


class CallRows(NamedTuple):
    """Calls of one outcome with the same value, as its digest. `last` is the place of the latest one."""

    value: int
    kind: int
    calls: int
    last: int


class IndexFile:
    """The rows of one journal. For one thread at a time. Raises `sqlite3.Error`."""

    def __init__(self, path: Path, key: bytes | None) -> None:
        self.is_stored = key is not None
        self._path = path
        self._key = subkey(token_bytes(32) if key is None else key, "index")
        self._opened: sqlite3.Connection | None = None
        self._version = 0

    def was_changed(self) -> bool:
        """Return whether another connection has written to the file since the last question."""
        before, (self._version,) = self._version, self._database.execute("pragma data_version").fetchone()
        return before != self._version

    def load(self, number: int) -> IndexedSegment | None:
        """Return a stored closed segment, if its rows are as they were written."""
        row = self._database.execute(
            "select number, size, link, begun, broken, mac from segments where number = ?", (number,)
        ).fetchone()
        if row is None or row[5] is None:
            return None
        segment = IndexedSegment(*row[:5])
        return segment if hmac.compare_digest(row[5], self._mac(segment)) else None

    def add(self, before: IndexedSegment, lines: Iterable[tuple[IndexedSegment, int, IndexedLine]]) -> IndexedSegment:
        """Add rows of lines, each with the segment after it and its place. Return the segment after the last one.

        An empty `before` begins the segment anew.
        """
        after = before

        def rows() -> Iterator[tuple[Any, ...]]:
            nonlocal after
            for segment, place, line in lines:
                after = segment
                yield self._row(before.number, place, line)

        with self._database as database:
            if not before.size:
                self._remove(before.number)
            database.executemany(_ADD, rows())
            database.execute("insert or replace into segments values (?, ?, ?, ?, ?, null)", after)
        return after

    def seal(self, segment: IndexedSegment) -> None:
        """Note that a segment is closed, and its rows are whole."""
        with self._database as database:
            database.execute("update segments set mac = ? where number = ?", (self._mac(segment), segment.number))

    def retain(self, numbers: Collection[int]) -> None:
        """Remove the rows of other segments."""
        for (number,) in self._database.execute("select number from segments").fetchall():
            if number not in numbers:
                with self._database:
                    self._remove(number)

    def find(self, number: int, search: Search, end: int) -> Iterator[int]:
        """Yield the places before `end` of lines with the searched values, and of unreadable lines, in falling order."""
        terms, values = ["segment = ? and place < ? and kind <> ?"], [number, end, UNREADABLE]
        for name, value in search.values.items():
            terms.append(f"{name} = ?")
            values.append(self.digest(value))
        if search.kinds:
            terms.append(f"kind in ({', '.join(map(str, sorted(search.kinds)))})")
        if search.any_of:
            terms.append(f"({' or '.join(f'{name} = ?' for name in search.any_of)})")
            values += (self.digest(value) for value in search.any_of.values())
        if search.hours is not None:
            terms.append("hour between ? and ?")
            values += search.hours
        texts = [] if search.code is None else [f'%"{self.digest(search.code)}"%']
        terms += ["codes like ?"] * len(texts)
        # By itself SQLite would read all rows of the segment, because they have the wanted order.
        chosen = next((f"indexed by lines_by_{name}" for name in ("id", "task") if name in search.values), "")
        statement = (
            f"select place from lines {chosen} where {' and '.join(terms)} union all "  # noqa: S608 - names of columns alone
            "select place from lines where segment = ? and place < ? and kind = ? order by place desc"
        )
        with closing(self._database.execute(statement, (*values, *texts, number, end, UNREADABLE))) as rows:
            for (place,) in rows:
                yield place

    def find_ends(self, number: int, calls: Collection[str], end: int) -> list[int]:
        """Return the places before `end` with outcomes of the given calls, newest first."""
        wanted = msgspec.json.encode([self.digest(call) for call in calls]).decode()
        return [place for (place,) in self._database.execute(_ENDS, (number, end, wanted))]

    def find_tasks(self, number: int) -> list[TaskRows]:
        """Return the tasks with calls in a segment, the one with the latest call first."""
        return sorted((TaskRows(*row) for row in self._database.execute(_TASKS, (number,))), key=lambda row: -row.last)

    def find_task(self, number: int, task: int) -> TaskRows:
        """Return the calls of one task in a segment."""
        row = self._database.execute(_TASK, (number, task)).fetchone()
        return TaskRows(task, *(value or 0 for value in row[1:]))

    def count_hours(self, number: int, since: int) -> list[tuple[int, int, int]]:
        """Return the decisions of a segment from an hour on: the hour since the epoch, the outcome, and the number."""
        return self._database.execute(_HOURS, (number, since)).fetchall()

    def find_stopped(self, number: int, since: int) -> list[StoppedRows]:
        """Return the refused calls of a segment from an hour on."""
        return [StoppedRows(*row) for row in self._database.execute(_STOPPED, (number, since))]

    def count_calls(self, number: int, since: int, by: Column, where: Mapping[Column, str]) -> list[CallRows]:
        """Return the calls of a segment from an hour on, by the values of a column. `where` are the wanted values of others."""
        terms = "".join(f" and {name} = ?" for name in where)
        values = [self.digest(value) for value in where.values()]
        found = self._database.execute(_CALLS.format(by=by, where=terms), (number, since, *values))
        return [CallRows(*row) for row in found]

    def has_values(self, number: int, place: int, values: Mapping[Column, str]) -> bool:
        """Return whether the line at a place has these values."""
        found = self._database.execute(
            f"select {', '.join(COLUMNS)} from lines where segment = ? and place = ?",  # noqa: S608 - names of columns
            (number, place),
        ).fetchone()
        return found is not None and all(
            found[COLUMNS.index(name)] == self.digest(value) for name, value in values.items()
        )

    def renew(self) -> None:
        """Begin a new file in the place of a damaged one, or go on in memory."""
        self.close()
        if self.is_stored:
            for suffix in ("", "-wal", "-shm", "-journal"):
                with suppress(OSError):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _row(self, number: int, place: int, line: IndexedLine) -> tuple[Any, ...]:
        values = (line.values.get(name) for name in COLUMNS)
        digests = (None if value is None else self.digest(value) for value in values)
        codes = "".join(f'"{self.digest(code)}"' for code in line.codes) or None
        return number, place, line.kind, *digests, codes, _hour_of(line.time[:13])

    def _remove(self, number: int) -> None:
        for table, name in (("lines", "segment"), ("segments", "number")):
            self._database.execute(f"delete from {table} where {name} = ?", (number,))  # noqa: S608 - names of tables

    def _mac(self, segment: IndexedSegment) -> bytes:
        rows = self._database.execute(_ROWS, (segment.number,)).fetchone()
        return hmac.digest(self._key, msgspec.json.encode((FORMAT, segment, rows)), "sha256")

    def digest(self, value: str) -> int:
        """Return the digest in the place of a value."""
        digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=6, key=self._key).digest()
        return int.from_bytes(digest, "big")

    @property
    def _database(self) -> sqlite3.Connection:
        if self._opened is None:
            self._opened = self._open_file() if self.is_stored else _open_memory()
        return self._opened

    def _open_file(self) -> sqlite3.Connection:
        try:
            return _prepare(open_database(self._path))
        except (OSError, sqlite3.Error):
            # A reader without a right to write searches all the same.
            self.is_stored = False
            return _open_memory()


def _hour_of(text: str) -> int | None:
    """Return the hour since the epoch of a time that begins with the date and the hour."""
    try:
        return int(datetime.fromisoformat(f"{text}:00+00:00").timestamp()) // 3600
    except ValueError:
        return None


def _open_memory() -> sqlite3.Connection:
    return _prepare(sqlite3.connect(":memory:", check_same_thread=False))


def _prepare(database: sqlite3.Connection) -> sqlite3.Connection:
    """Return a database with the tables of the index."""
    try:
        use_write_ahead_log(database)
        database.execute("pragma synchronous = off")
        if database.execute("pragma user_version").fetchone() != (FORMAT,):
            database.executescript(f"{_DROP}{_SCHEMA}pragma user_version = {FORMAT};")
    except BaseException:
        database.close()
        raise
    return database
