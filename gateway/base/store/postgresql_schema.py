"""The tables in PostgreSQL, with the number of their form. Several gateways may bring them up to date at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg

from gateway.base.store.postgresql_connection import Raced, transact
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from gateway.base.store.postgresql_connection import Connection, Server

STEPS: Final = (
    """
    create table opagate_records (kind text collate "C" not null, id text collate "C" not null, version bigint not null,
      value bytea not null, expires double precision, primary key (kind, id));
    create index opagate_records_by_end on opagate_records (kind, expires) where expires is not null;
    create table opagate_gateways (id text collate "C" primary key, name text not null, journal text collate "C" not null,
      deployment text not null, is_alone boolean not null, until timestamptz not null);
    create table opagate_writers (id text primary key, since timestamptz not null default now(),
      gateway text collate "C" references opagate_gateways (id) on delete cascade);
    """,
    """
    create table opagate_logs (owner bytea not null, name text collate "C" not null, version bigint not null,
      primary key (owner, name));
    create table opagate_events (owner bytea not null, name text collate "C" not null, version bigint not null,
      event bytea not null, primary key (owner, name, version));
    """,
    """
    alter table opagate_gateways add column about text not null default '';
    """,
    """
    alter table opagate_logs add column line text[] not null default '{}',
      add column turn_until timestamptz not null default now();
    """,
)
"""The statements that lead from each form to the next."""
FORMAT: Final = len(STEPS)
"""The form of the tables, kept in `opagate_format`."""
_RACES: Final = (Raced, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError)
"""Errors of two gateways that make the same tables."""
_TABLES: Final = (
    "opagate_records",
    "opagate_writers",
    "opagate_logs",
    "opagate_events",
    "opagate_gateways",
    "opagate_format",
)
_RIGHTS: Final = ("select", "insert", "update", "delete")
_TRIES: Final = 5
_MAKE_FORM: Final = """
create table if not exists opagate_format (one int primary key check (one = 1), number int not null)
"""


async def require_schema(connection: Connection, server: Server, *, may_make: bool = True) -> None:
    """Make the tables, or bring them up to the present form, if that is wanted.

    Raises `StoreError` for tables of a later release and missing rights.
    """
    try:
        form = await _read_form(connection)
        if form < FORMAT and may_make:
            form = await _bring_up(connection, server)
        missing = await _find_missing_right(connection) if form == FORMAT else None
    except asyncpg.InsufficientPrivilegeError as error:
        raise _make_rights_error(server, str(error.args[0])) from error
    if form > FORMAT:
        raise StoreError(f"a later release of the gateway wrote the tables at {server.name}", "start that release")
    if missing is not None:
        raise _make_rights_error(server, missing)


async def _read_form(connection: Connection) -> int:
    """Return the form of the tables, 0 without tables."""
    if await connection.fetchval("select to_regclass('opagate_format')::text") is None:
        return 0
    return await connection.fetchval("select max(number) from opagate_format") or 0


async def _bring_up(connection: Connection, server: Server) -> int:
    """Carry out the missing steps in one transaction, and return the form. A second gateway waits for the row of the form."""

    async def carry_out() -> int:
        await connection.execute(_MAKE_FORM)
        await connection.execute("insert into opagate_format values (1, 0) on conflict do nothing")
        form: int = await connection.fetchval("select number from opagate_format for update")
        for step in STEPS[form:]:
            await connection.execute(step)
        await connection.execute("update opagate_format set number = $1 where number < $1", FORMAT)
        return max(form, FORMAT)

    for _ in range(_TRIES - 1):
        try:
            return await transact(connection, carry_out, server)
        except _RACES:
            continue
    return await transact(connection, carry_out, server)


async def _find_missing_right(connection: Connection) -> str | None:
    """Return the first right that the role lacks, `None` for a role that has all."""
    for table in _TABLES:
        for right in _RIGHTS:
            if not await connection.fetchval("select has_table_privilege($1, $2)", table, right):
                return f"its role may not {right} {'from' if right in {'select', 'delete'} else 'in'} {table}"
    return None


def _make_rights_error(server: Server, problem: str) -> StoreError:
    return StoreError(
        f"PostgreSQL at {server.name} is not safe: the role lacks a right ({problem})",
        f"grant select, insert, update and delete on {', '.join(_TABLES)}, or have the role own an empty schema",
    )
