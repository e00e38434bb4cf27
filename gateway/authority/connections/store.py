"""Users' connections among the durable records, with their refresh tokens and the clients that the gateway registered.

The record of a place (an owner at a broker) names the connection in use there. So gateways on the same records agree on it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import structlog

from gateway.authority.connections.model import RegisteredClient, UserConnection
from gateway.base.store.engine import ABSENT
from gateway.base.store.records import RecordKind
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from gateway.base.store.engine import Change
    from gateway.base.store.records import SealedStore

log = structlog.get_logger("gateway.connections")

CONNECTIONS: Final = RecordKind("connection", UserConnection, "the user connects again")
PLACES: Final = RecordKind("place of a connection", str, "the user connects again")
REMOVED: Final = RecordKind("removed connection", UserConnection, "its refresh token lives on at its server")
TOKENS: Final = RecordKind("refresh token", str, "the user connects again")
CLIENTS: Final = RecordKind("registered client", RegisteredClient, "the gateway registers again")
TURNS: Final = RecordKind("turn at a server", float, "two gateways may refresh one connection at the same time")
TURN: Final = 60.0
"""Seconds after which the turn of a gateway that has ended is over."""
_LOOK: Final = 0.05
"""Seconds between two looks for the end of another gateway's turn."""
_ATTEMPTS: Final = 8


class ConnectionStore:
    """The stored connections and clients. Raises `StoreError`. A write is on disk when it returns. `clock` gives seconds since the epoch."""

    def __init__(self, store: SealedStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._connections, self._tokens = store.of(CONNECTIONS), store.of(TOKENS)
        self._places, self._removed, self._turns = store.of(PLACES), store.of(REMOVED), store.of(TURNS)
        self.clients = store.of(CLIENTS)
        """The clients of the gateway, by the names of their brokers."""

    # --- connections -----------------------------------------------------------------------------------

    async def load(self) -> tuple[UserConnection, ...]:
        """Return the connections in use."""
        return tuple((await self._connections.load()).values())

    async def load_removed(self) -> tuple[UserConnection, ...]:
        """Return the removed connections whose end is not confirmed."""
        return tuple((await self._removed.load()).values())

    async def count(self) -> int:
        """Return the number of connections, with removed ones."""
        return await self._connections.count() + await self._removed.count()

    async def find(self, owner_key: str, broker: str) -> UserConnection | None:
        """Return the connection in use at a place."""
        identifier = await self._places.get(name_place(owner_key, broker))
        return None if identifier is None else await self._connections.get(identifier)

    async def put(self, connection: UserConnection, refresh_token: str) -> UserConnection | None:
        """Write a new connection with its refresh token. Return the connection of before at its place, which is gone."""
        place = name_place(connection.owner.key, connection.broker)
        for _ in range(_ATTEMPTS):
            known = await self._places.find(place)
            earlier = None if known is None else await self._connections.get(known[0])
            gone = () if earlier is None else (self._connections.removed(earlier.id), self._tokens.removed(earlier.id))
            written = await self._store.change(
                self._places.changed(place, connection.id, version=ABSENT if known is None else known[1]),
                self._connections.changed(connection.id, connection),
                self._tokens.changed(connection.id, refresh_token),
                *gone,
            )
            if written is not None:
                return earlier
        raise StoreError("other gateways were first to connect the same user", "open the link again")

    async def add_places(self, connections: Iterable[UserConnection]) -> None:
        """Give the connections of an earlier release their places, unless others are there."""
        known = frozenset((await self._places.load()).values())
        for connection in connections:
            if connection.id not in known:
                await self._places.add(name_place(connection.owner.key, connection.broker), connection.id)

    async def drop_client(self, name: str, identifier: str) -> None:
        """Forget a client that its server does not know, unless the gateway has another one by now."""
        found = await self.clients.find(name)
        if found is not None and found[0].id == identifier:
            await self._store.change(self.clients.removed(name)._replace(version=found[1]))

    async def remove(self, removed: UserConnection) -> bool:
        """Take a connection out of use. Its refresh token stays. Return whether this gateway was the first to do so."""
        place = name_place(removed.owner.key, removed.broker)
        for _ in range(_ATTEMPTS):
            found, known = await self._connections.find(removed.id), await self._places.find(place)
            if found is None:
                return False
            changes: list[Change] = [
                self._connections.removed(removed.id)._replace(version=found[1]),
                self._removed.changed(removed.id, removed),
            ]
            if known is not None and known[0] == removed.id:
                changes.append(self._places.removed(place)._replace(version=known[1]))
            if await self._store.change(*changes) is not None:
                return True
        raise StoreError("other gateways changed the same connection again and again", "try again")

    async def forget(self, identifier: str) -> bool:
        """Forget a removed connection with its refresh token. Return whether it was there still."""
        found = await self._removed.find(identifier)
        if found is None:
            return False
        gone = self._removed.removed(identifier)._replace(version=found[1])
        return await self._store.change(gone, self._tokens.removed(identifier)) is not None

    # --- refresh tokens --------------------------------------------------------------------------------

    async def renew(self, identifier: str, refresh_token: str) -> None:
        """Write a new refresh token over the old token."""
        await self._tokens.put(identifier, refresh_token)

    async def token(self, identifier: str) -> str | None:
        """Return the refresh token of a connection, `None` if there is no whole one."""
        return await self._tokens.get(identifier)

    # --- turns -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncGenerator[None]:
        """Wait for the only turn at a server among all gateways, and have it until the block ends."""
        version = await self._wait_for_turn(name)
        try:
            yield
        finally:
            try:
                # After its time another gateway may have the turn.
                await self._store.change(self._turns.removed(name)._replace(version=version))
            except StoreError as error:
                log.warning("connection.turn-kept", name=name, problem=error.message)

    async def _wait_for_turn(self, name: str) -> int:
        """Return the version of the turn's record, once no other gateway has the turn."""
        while True:
            now = self._clock()
            change = self._turns.changed(name, now, version=ABSENT, expires=now + TURN)
            if (version := await self._store.change(change)) is not None:
                return version
            await asyncio.sleep(_LOOK)


def name_place(owner_key: str, broker: str) -> str:
    """Return the id of the place of an owner at a broker: 32 hexadecimal digits."""
    return sha256(f"{owner_key}\n{broker}".encode()).hexdigest()[:32]
