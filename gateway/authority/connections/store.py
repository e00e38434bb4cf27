"""Users' connections among the durable records, with their refresh tokens and the clients that the gateway registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.authority.connections.model import RegisteredClient, UserConnection
from gateway.base.store.records import RecordKind

if TYPE_CHECKING:
    from gateway.base.store.records import SealedStore

CONNECTIONS: Final = RecordKind("connection", UserConnection, "the user connects again")
TOKENS: Final = RecordKind("refresh token", str, "the user connects again")
CLIENTS: Final = RecordKind("registered client", RegisteredClient, "the gateway registers again")


class ConnectionStore:
    """The stored connections and clients. Raises `StoreError`. A write is on disk when it returns."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._connections, self._tokens = store.of(CONNECTIONS), store.of(TOKENS)
        self.clients = store.of(CLIENTS)
        """The clients of the gateway, by the names of their brokers."""

    async def load(self) -> tuple[UserConnection, ...]:
        """Return the connections."""
        return tuple((await self._connections.load()).values())

    async def put(self, connection: UserConnection, refresh_token: str) -> None:
        """Write a new connection with its refresh token."""
        await self._store.change(
            self._connections.changed(connection.id, connection), self._tokens.changed(connection.id, refresh_token)
        )

    async def change(self, connection: UserConnection) -> None:
        """Write a changed connection. Its refresh token stays."""
        await self._connections.put(connection.id, connection)

    async def renew(self, identifier: str, refresh_token: str) -> None:
        """Write a new refresh token over the old token."""
        await self._tokens.put(identifier, refresh_token)

    async def token(self, identifier: str) -> str | None:
        """Return the refresh token of a connection, `None` if there is no whole one."""
        return await self._tokens.get(identifier)

    async def remove(self, identifier: str) -> None:
        """Remove a connection with its refresh token, if it is there."""
        await self._store.change(self._connections.removed(identifier), self._tokens.removed(identifier))
