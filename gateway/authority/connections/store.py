"""Connections on disk: `<state>/connections/connections.db`, a SQLite file with sealed rows.

A row has the connection and, sealed apart, its refresh token. Another table has the clients that the gateway registered.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.authority.connections.model import RegisteredClient, UserConnection
from gateway.background import in_thread
from gateway.errors import ConnectionStoreError
from gateway.sealed_database import SealedDatabase

if TYPE_CHECKING:
    from pathlib import Path


_SCHEMA: Final = """
create table if not exists connections (id text primary key, connection blob not null, token blob not null) without rowid;
create table if not exists clients (broker text primary key, client blob not null) without rowid;
"""
_ALL: Final = "select id, connection from connections"
_REFRESH: Final = "select token from connections where id = ?"
_PUT: Final = "insert or replace into connections values (?, ?, ?)"
_CHANGE: Final = "update connections set connection = ? where id = ?"
_RENEW: Final = "update connections set token = ? where id = ?"
_REMOVE: Final = "delete from connections where id = ?"
_CLIENT: Final = "select client from clients where broker = ?"
_PUT_CLIENT: Final = "insert or replace into clients values (?, ?)"
_REMOVE_CLIENT: Final = "delete from clients where broker = ?"


class ConnectionStore:
    """Raises `ConnectionStoreError` for a file that cannot be read or written. A write is on disk when it returns."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "connections.db"
        # A rotated refresh token that a loss of power takes away would end the connection.
        self._database = SealedDatabase(self.path, key, _SCHEMA, _make_error, synchronous="full")

    async def load(self) -> tuple[tuple[UserConnection, ...], int]:
        """Return the connections, and the number of rows that cannot be read."""
        if not self.path.exists():
            return (), 0
        rows = await in_thread(partial(self._database.query_rows, _ALL))
        found = [self._database.open_record(name, sealed, UserConnection) for name, sealed in rows]
        whole = tuple(connection for connection in found if connection is not None)
        return whole, len(found) - len(whole)

    async def put(self, connection: UserConnection, refresh_token: str) -> None:
        """Write a new connection with its refresh token."""
        await self._write(
            _PUT,
            connection.id,
            self._database.seal_record(connection.id, connection),
            self._seal_token(connection.id, refresh_token),
        )

    async def change(self, connection: UserConnection) -> None:
        """Write a changed connection. Its refresh token stays."""
        await self._write(_CHANGE, self._database.seal_record(connection.id, connection), connection.id)

    async def renew(self, identifier: str, refresh_token: str) -> None:
        """Write a new refresh token over the old token."""
        await self._write(_RENEW, self._seal_token(identifier, refresh_token), identifier)

    async def token(self, identifier: str) -> str | None:
        """Return the refresh token of a connection, `None` if there is no whole one."""
        rows = await in_thread(partial(self._database.query_rows, _REFRESH, (identifier,)))
        text = self._database.open(_token_name(identifier), rows[0][0]) if rows else None
        return None if text is None else text.decode("ascii")

    async def remove(self, identifier: str) -> None:
        """Remove a connection, if it is there."""
        await self._write(_REMOVE, identifier)

    async def client(self, broker: str) -> RegisteredClient | None:
        """Return the client that the gateway registered for a broker."""
        if not self.path.exists():
            return None
        rows = await in_thread(partial(self._database.query_rows, _CLIENT, (broker,)))
        return self._database.open_record(_client_name(broker), rows[0][0], RegisteredClient) if rows else None

    async def put_client(self, broker: str, client: RegisteredClient) -> None:
        """Write the client of a broker."""
        await self._write(_PUT_CLIENT, broker, self._database.seal_record(_client_name(broker), client))

    async def remove_client(self, broker: str) -> None:
        """Remove the client of a broker: its server does not know it any more."""
        await self._write(_REMOVE_CLIENT, broker)

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._database.close()

    async def _write(self, statement: str, *values: str | bytes) -> None:
        await in_thread(partial(self._database.write, [(statement, values)]))

    def _seal_token(self, identifier: str, token: str) -> bytes:
        return self._database.seal(_token_name(identifier), token.encode("ascii"))


def _token_name(identifier: str) -> str:
    """Return the name under which a token is sealed: no row's connection opens as its token."""
    return f"token {identifier}"


def _client_name(broker: str) -> str:
    return f"client {broker}"


def _make_error(problem: str) -> ConnectionStoreError:
    return ConnectionStoreError(
        f"the connections {problem}",
        "make the folder writable; without it no user can connect, and no token is renewed",
    )
