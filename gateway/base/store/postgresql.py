"""The shared engine: records in PostgreSQL, for many gateways. Each statement is plain SQL, without extensions.

A change is one transaction: it locks its rows in the order of their keys, compares versions, writes and commits. Changes
that come while the server works share the next transaction. Only a commit without an answer leaves the outcome unknown.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import asyncpg

from gateway.base.store.batches import Batches
from gateway.base.store.engine import ABSENT, Append, Change, Log, Missing, Record
from gateway.base.store.postgresql_connection import Link, Raced, confirm, transact
from gateway.base.store.postgresql_logs import APPEND, Place, find_places, parameters, read_missing, split
from gateway.base.store.postgresql_logs import READ as READ_LOG
from gateway.base.store.postgresql_schema import require_schema
from gateway.model.errors import OutcomeUnknown, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.base.store.engine import Rewrite
    from gateway.base.store.postgresql_connection import Connection, Server

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE: Final = 128
"""Sets of changes in one transaction."""
_OF_A_CALL: Final = 1_000
"""Records that a call may wait for. More at once are the work of a sweep."""
_LEAST_PART: Final = 1 / 3
"""Part of the deadline that a set of changes needs when its transaction begins. A set with less is not begun."""
_VERSION_BITS: Final = 62
"""Bits of a version. A version is drawn, so no counter makes gateways wait for each other."""

_LIST: Final = """
select id, version, value from opagate_records where kind = $1 and (expires is null or expires > $2) order by id
"""
_READ: Final = _LIST.replace("order by id", "and id = $3")
_READ_SOME: Final = _LIST.replace("order by id", "and id = any($3::text[])")
_VERSIONS: Final = _LIST.replace("id, version, value", "id, version").replace("order by id", "")
_COUNT: Final = _LIST.replace("id, version, value", "count(*)").replace("order by id", "")
_EXPIRE: Final = "delete from opagate_records where kind = $1 and expires <= $2"
_SHARE: Final = "select id from opagate_writers where id = $1 for share"
_LOCK: Final = """
select kind, id, version, expires from opagate_records
where (kind, id) in (select * from unnest($1::text[], $2::text[])) order by kind, id for update
"""
_REMOVE: Final = """
delete from opagate_records where (kind, id) in (select * from unnest($1::text[], $2::text[]))
"""
_UPDATE: Final = """
update opagate_records as r set version = n.version, value = n.value, expires = n.expires
from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::float8[]) as n (kind, id, version, value, expires)
where r.kind = n.kind and r.id = n.id
"""
_ADD: Final = """
insert into opagate_records (kind, id, version, value, expires)
select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::float8[])
"""
_BATCH: Final = """
select kind, id, value from opagate_records where (kind, id) > ($1, $3) and (expires is null or expires > $2)
and substring(value from 1 for $4) <> $5 order by kind, id limit 500 for update
"""
_REWRITE: Final = """
update opagate_records as r set value = n.value from unnest($1::text[], $2::text[], $3::bytea[]) as n (kind, id, value)
where r.kind = n.kind and r.id = n.id
"""
_FENCE: Final = "delete from opagate_writers where id = any($1::text[])"
_FORGET: Final = """
delete from opagate_writers where id in
(select id from opagate_writers where since < now() - interval '1 day' for update skip locked)
"""
_REGISTER: Final = "insert into opagate_writers (id, gateway) values ($1, $2)"
_SURVEY: Final = """
select kind, encode(substring(value from 2 for 8), 'hex'), count(*) from opagate_records group by 1, 2
"""
_HAS_RECORDS: Final = "select to_regclass('opagate_records')::text"
_ALL: Final = """
select kind, id, value, expires from opagate_records where expires is null or expires > $1 order by kind, id
"""


class _Waiting(NamedTuple, Generic[Item]):
    """An item that waits for its transaction. `until` is a time of the event loop."""

    item: Item
    until: float


class _Write(NamedTuple):
    """A new row, or the removal of a row for `None`."""

    kind: str
    id: str
    version: int
    value: bytes | None
    expires: float | None


class PostgresStore:
    """The engine over one server. `clock` gives seconds since the epoch, for the ends of records.

    With a `claim`, it changes nothing after the claim is lost. Unless it `may_make` tables, a read leaves the tables as they are.

    Each writing connection has a row of its own, and its transactions share that row. After an unknown outcome the next
    connection removes the row first. The removal waits for a transaction under way, and a later transaction finds no row. So
    a read after an unknown outcome tells the truth for good.
    """

    def __init__(
        self, server: Server, clock: Callable[[], float] = time.time, *, claim: str | None = None, may_make: bool = True
    ) -> None:
        self._server = server
        self._clock = clock
        self._claim = claim
        self._reader = Link(server, partial(require_schema, server=server, may_make=may_make), writes=False)
        self._writer = Link(server, self._register)
        self._name = ""
        self._doubts: list[str] = []
        self._batches = Batches[_Waiting[Sequence[Change]], int | None](
            partial(self._work_together, self._write_until, self._change_all), AT_ONCE, "records in PostgreSQL"
        )
        self._appends = Batches[_Waiting[Append], bool](self._append_together, AT_ONCE, "logs in PostgreSQL")
        self._gateway = claim or secrets.token_hex(16)
        self._places = Batches[_Waiting[Log], Place](
            partial(self._work_together, self._read_until, partial(find_places, self._gateway)),
            AT_ONCE,
            "versions in PostgreSQL",
        )

    async def read(self, kind: str, identifier: str, /) -> Record | None:
        """Return a record, `None` if it is not there or has ended. Raises `StoreError`."""
        rows = await self._query(self._server.deadline, _READ, kind, self._clock(), identifier)
        return Record(*rows[0]) if rows else None

    async def read_some(self, kind: str, identifiers: Sequence[str], /) -> Sequence[Record]:
        """Return the records of these ids, by one query. Raises `StoreError`."""
        seconds = self._server.deadline if len(identifiers) <= _OF_A_CALL else self._server.patience
        rows = await self._query(seconds, _READ_SOME, kind, self._clock(), [*identifiers])
        return [Record(*row) for row in rows]

    async def list(self, kind: str, /) -> list[Record]:
        """Return the records of a kind, in the order of their ids. Raises `StoreError`."""
        return [Record(*row) for row in await self._query(self._server.patience, _LIST, kind, self._clock())]

    async def list_versions(self, kind: str, /) -> dict[str, int]:
        """Return the versions of the records of a kind by their ids. Raises `StoreError`."""
        rows = await self._query(self._server.deadline, _VERSIONS, kind, self._clock())
        return {row["id"]: row["version"] for row in rows}

    async def count(self, kind: str, /) -> int:
        """Return the number of records of a kind. Raises `StoreError`."""
        return (await self._query(self._server.patience, _COUNT, kind, self._clock()))[0][0]

    async def survey(self) -> dict[tuple[str, str], int]:
        """Return the number of records by kind and sealing key: see `Engine.survey`. Raises `StoreError`."""
        return {(kind, seal): count for kind, seal, count in await self._look(_SURVEY)}

    async def read_all(self) -> list[Change]:
        """Return each record as the change that writes it (`Engine.read_all`). Raises `StoreError`."""
        rows = await self._look(_ALL, self._clock())
        return [Change(row["kind"], row["id"], row["value"], expires=row["expires"]) for row in rows]

    async def change(self, *changes: Change) -> int | None:
        """Carry out all changes or none: see `Engine.change`. Raises `StoreError`, and `OutcomeUnknown` for a commit without an answer."""
        until = asyncio.get_running_loop().time() + self._server.deadline
        return await self._batches.add(_Waiting(changes, until))

    async def append(self, append: Append, /) -> Missing:
        """Append all events or none: see `Engine.append`. Raises `StoreError`, and `OutcomeUnknown` for a commit without an answer."""
        until = asyncio.get_running_loop().time() + self._server.deadline
        if await self._appends.add(_Waiting(append, until)):
            return {}
        return await self._run_reader(partial(read_missing, append), self._server.deadline)

    async def find_version(self, log: Log, /) -> int:
        """Return the number of events of a log. Raises `StoreError`."""
        return (await self._find_place(log)).version

    async def has_turn(self, log: Log, /) -> bool:
        """Return whether no other gateway is before this one in the line of a log. Raises `StoreError`."""
        return (await self._find_place(log)).is_free

    async def read_log(self, log: Log, after: int = 0, /) -> list[bytes]:
        """Return the events of a log after a version. Raises `StoreError`."""
        return [row["event"] for row in await self._query(self._server.deadline, READ_LOG, *log, after)]

    async def expire(self, kind: str, /) -> None:
        """Remove the records of a kind that have ended. Raises `StoreError`."""
        await self._write(lambda connection: connection.execute(_EXPIRE, kind, self._clock()), self._server.patience)

    async def rewrite(self, change: Rewrite, /, *, unless: bytes) -> int:
        """Rewrite each value that does not begin with `unless`, and return their number. Raises `StoreError`."""
        changed, place = 0, ("", "")
        while True:
            work = partial(self._rewrite, change, place, unless)
            found, written, place = await self._write(work, self._server.patience)
            changed += written
            if not found:
                return changed

    def close(self) -> None:
        """Close the connections. The next use opens them again."""
        self._reader.close()
        self._writer.close()

    async def _work_together(
        self,
        run: Callable[[Callable[[Connection], Awaitable[Sequence[Result]]], float], Awaitable[Sequence[Result]]],
        carry_out: Callable[[Sequence[Item], Connection], Awaitable[Sequence[Result]]],
        waiting: Sequence[_Waiting[Item]],
    ) -> list[Result | Exception]:
        """Carry out items in one transaction, which ends within the deadline of each. `run` has the connection."""
        least = asyncio.get_running_loop().time() + self._server.deadline * _LEAST_PART
        begun = [each for each in waiting if each.until >= least]
        if not begun:
            raise self._server.make_late_error(self._server.deadline)
        work = partial(carry_out, [each.item for each in begun])
        outcomes = iter(await run(work, min(each.until for each in begun)))
        late = self._server.make_late_error(self._server.deadline)
        return [next(outcomes) if each.until >= least else late for each in waiting]

    # --- transactions ------------------------------------------------------------------------------------

    async def _find_place(self, log: Log) -> Place:
        until = asyncio.get_running_loop().time() + self._server.deadline
        return await self._places.add(_Waiting(log, until))

    async def _query(self, seconds: float, statement: str, *values: Any) -> Sequence[Any]:
        return await self._run_reader(lambda connection: connection.fetch(statement, *values), seconds)

    async def _look(self, statement: str, *values: Any) -> Sequence[Any]:
        """Return the rows of a query, none of a database without tables."""

        async def work(connection: Connection) -> Sequence[Any]:
            has_records = await connection.fetchval(_HAS_RECORDS) is not None
            return await connection.fetch(statement, *values) if has_records else []

        return await self._run_reader(work, self._server.patience)

    async def _run_reader(self, work: Callable[[Connection], Awaitable[Result]], seconds: float) -> Result:
        return await self._read_until(work, asyncio.get_running_loop().time() + seconds)

    async def _read_until(self, work: Callable[[Connection], Awaitable[Result]], until: float) -> Result:
        """Read after the outcome of each earlier write is settled."""
        if self._doubts:
            await self._writer.run(_do_nothing, until)
        return await self._reader.run(work, until)

    async def _write(self, work: Callable[[Connection], Awaitable[Result]], seconds: float) -> Result:
        """Do work in a transaction."""
        return await self._write_until(partial(self._transact, work), asyncio.get_running_loop().time() + seconds)

    async def _write_until(self, work: Callable[[Connection], Awaitable[Result]], until: float) -> Result:
        """Do work that commits by itself. Do it again after a race, until its time is over."""
        while True:
            try:
                return await self._writer.run(partial(self._note_doubt, work), until)
            except Raced:
                continue

    async def _note_doubt(self, work: Callable[[Connection], Awaitable[Result]], connection: Connection) -> Result:
        """Do work. After an unknown outcome, the next connection has to settle what this one did."""
        try:
            return await work(connection)
        except OutcomeUnknown:
            self._doubts.append(self._name)
            connection.terminate()
            raise

    async def _transact(self, work: Callable[[Connection], Awaitable[Result]], connection: Connection) -> Result:
        async def work_as_writer() -> Result:
            if not await connection.fetch(_SHARE, self._name):
                # Another gateway forgot this writer for its age.
                connection.terminate()
                raise Raced
            return await work(connection)

        return await transact(connection, work_as_writer, self._server)

    async def _append_together(self, waiting: Sequence[_Waiting[Append]]) -> list[bool | Exception]:
        """Carry out appends, each with whether its versions were the present ones. Those that depend on a common log take turns."""
        outcomes: dict[int, bool | Exception] = {}
        left = list(range(len(waiting)))
        while left:
            turn, left = split(left, [each.item for each in waiting])
            try:
                found = await self._work_together(
                    self._write_until, self._append_apart, [waiting[number] for number in turn]
                )
            except StoreError as error:
                found = [error] * len(turn)
            outcomes.update(zip(turn, found, strict=True))
        return [outcomes[number] for number in range(len(waiting))]

    async def _append_apart(self, appends: Sequence[Append], connection: Connection) -> list[bool]:
        """Carry out appends that depend on no common log, in one statement."""
        rows = await confirm(connection.fetch(APPEND, self._name, self._gateway, *parameters(appends)), self._server)
        if not rows[0]["is_known"]:
            connection.terminate()
            raise Raced
        fitting = set(rows[0]["fitting"])
        return [number in fitting for number in range(len(appends))]

    async def _change_all(self, sets: Sequence[Sequence[Change]], connection: Connection) -> list[int | None]:
        return await self._transact(partial(self._carry_out, sets), connection)

    async def _register(self, connection: Connection) -> None:
        """Make sure that earlier writers in doubt change nothing any more, and give this connection a row of its own."""
        await require_schema(connection, self._server)
        doubts, name = tuple(self._doubts), secrets.token_hex(16)
        if doubts:
            await connection.execute(_FENCE, doubts)
        await connection.execute(_FORGET)
        try:
            await connection.execute(_REGISTER, name, self._claim)
        except asyncpg.ForeignKeyViolationError as error:
            raise self._server.make_lost_error() from error
        self._name = name
        self._doubts = [doubt for doubt in self._doubts if doubt not in doubts]

    async def _carry_out(self, sets: Sequence[Sequence[Change]], connection: Connection) -> list[int | None]:
        """Carry out sets of changes in their order, each set whole or not at all."""
        keys = sorted({(change.kind, change.id) for changes in sets for change in changes})
        rows = await connection.fetch(_LOCK, [kind for kind, _ in keys], [name for _, name in keys])
        now = self._clock()
        stored = {(row["kind"], row["id"]) for row in rows}
        versions = {(row["kind"], row["id"]): row["version"] for row in rows if not _is_over(row["expires"], now)}
        writes: dict[tuple[str, str], _Write] = {}
        found: list[int | None] = []
        for changes in sets:
            fits = all(each.version in {None, versions.get((each.kind, each.id), ABSENT)} for each in changes)
            version = 1 + secrets.randbits(_VERSION_BITS) if fits else None
            found.append(version)
            for change in changes if version is not None else ():
                key = (change.kind, change.id)
                writes[key] = _Write(*key, version or 0, change.value, change.expires)
                is_there = change.value is not None and not _is_over(change.expires, now)
                versions[key] = version or 0 if is_there else ABSENT
        await _write_rows(connection, stored, [writes[key] for key in sorted(writes)])
        return found

    async def _rewrite(
        self, change: Rewrite, after: tuple[str, str], unless: bytes, connection: Connection
    ) -> tuple[int, int, tuple[str, str]]:
        """Rewrite the records that follow a place. Return their number, the number of changed ones, and the last place."""
        rows = await connection.fetch(_BATCH, after[0], self._clock(), after[1], len(unless), unless)
        changed = [
            (row["kind"], row["id"], value)
            for row in rows
            if (value := change(row["kind"], row["id"], row["value"])) is not None
        ]
        if changed:
            await connection.execute(_REWRITE, *zip(*changed, strict=True))
        return len(rows), len(changed), (rows[-1]["kind"], rows[-1]["id"]) if rows else after


def _is_over(expires: float | None, now: float) -> bool:
    return expires is not None and expires <= now


async def _write_rows(connection: Connection, stored: set[tuple[str, str]], writes: Sequence[_Write]) -> None:
    """Write new rows. A row that another gateway added meanwhile ends the transaction as a race."""
    old = [write for write in writes if write[:2] in stored]
    removed = [write[:2] for write in old if write.value is None]
    for statement, rows in (
        (_REMOVE, removed),
        (_UPDATE, [write for write in old if write.value is not None]),
        (_ADD, [write for write in writes if write[:2] not in stored and write.value is not None]),
    ):
        if rows:
            await connection.execute(statement, *map(list[Any], zip(*rows, strict=True)))


async def _do_nothing(_connection: Connection) -> None:
    """Have the connection opened, which settles doubts."""
