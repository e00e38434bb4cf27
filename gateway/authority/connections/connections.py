"""The connections of this gateway. A removed one is out of use at once; its refresh token is ended at its server after that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import structs

from gateway.authority.connections import events
from gateway.authority.model import NotEnded
from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY

if TYPE_CHECKING:
    from gateway.authority.connections.model import ConnectionLink, RemovalCause, UserConnection
    from gateway.authority.connections.store import ConnectionStore
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.connections")

MAX_CONNECTIONS: Final = 100_000
GIVE_UP: Final = 7 * 86_400.0
"""Seconds after which a server that confirms no end is asked no more."""

Revoke = Callable[["UserConnection", str], Awaitable["NotEnded | str | None"]]
"""Asks a server for the end of a refresh token. Returns `None` once it is confirmed, a text if the server has no such end."""


class Connections:
    """Connections by owner and broker. All methods run on one event loop.

    A refresh token is a live value from the moment in which this memory has it. `append` writes to the journal. `watch` hears of each connection that is removed, in the same turn of the event loop.
    """

    def __init__(
        self,
        store: ConnectionStore,
        append: Callable[[str, JsonObject], Awaitable[None]],
        clock: Callable[[], float],
        live: LiveValues,
    ) -> None:
        self._store = store
        self._live = live
        self._append = append
        self._clock = clock
        self._active: dict[tuple[str, str], UserConnection] = {}
        self._removed: dict[str, UserConnection] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._watchers: list[Callable[[UserConnection], None]] = []

    async def load(self, issuers: Mapping[str, str]) -> None:
        """Read the connections of the gateway before this one. `issuers` has the present server of each broker.

        A connection to another server counts as removed: no token goes to a server that did not give it.
        """
        for connection in await self._store.load():
            if connection.is_removed or issuers.get(connection.broker) != connection.issuer:
                self._removed[connection.id] = structs.replace(connection, is_removed=True)
            else:
                self._active[_place(connection)] = connection

    def watch(self, hear: Callable[[UserConnection], None]) -> None:
        """Have `hear` called with each removed connection."""
        self._watchers.append(hear)

    def find(self, owner_key: str, broker: str) -> UserConnection | None:
        """Return the connection that calls of an owner use."""
        return self._active.get((owner_key, broker))

    def all(self) -> tuple[UserConnection, ...]:
        """Return the connections, with removed ones whose end is not confirmed."""
        return (*self._active.values(), *self._removed.values())

    def has_room(self) -> bool:
        """Return whether another connection may be made."""
        return len(self._active) + len(self._removed) < MAX_CONNECTIONS

    def lock(self, connection: UserConnection) -> asyncio.Lock:
        """Return the lock under which a refresh token is used: a server may take a second use for a theft."""
        return self._locks.setdefault(connection.id, asyncio.Lock())

    async def token(self, connection: UserConnection) -> str | None:
        """Return the refresh token of a connection in use. Raises `StoreError`."""
        token = await self._store.token(connection.id)
        if token is not None:
            self._hold(connection, token)
        return token if self._active.get(_place(connection)) is connection else None

    async def renew(self, connection: UserConnection, refresh_token: str) -> None:
        """Store a new refresh token in the place of the old token. Raises `StoreError`."""
        self._hold(connection, refresh_token)
        await self._store.renew(connection.id, refresh_token)

    async def make(self, connection: UserConnection, refresh_token: str, link: ConnectionLink) -> None:
        """Put a new connection into use, in place of an earlier one. Raises `JournalError` and `StoreError`."""
        self._hold(connection, refresh_token)
        await self._append(events.KIND, events.made_entry(connection, link, self._clock()))
        await self._store.put(connection, refresh_token)
        earlier = self._active.get(_place(connection))
        if earlier is not None:
            await self.remove([earlier], "replaced")
        self._active[_place(connection)] = connection

    async def remove(self, chosen: list[UserConnection], cause: RemovalCause) -> int:
        """Take connections out of use, and return their number. No call uses them from the first turn of the event loop on.

        Raises `JournalError` and `StoreError`.
        """
        now = self._clock()
        removed = [self._take_out(connection, now) for connection in chosen if self._is_active(connection)]
        for connection in removed:
            for hear in self._watchers:
                hear(connection)
        for connection in removed:
            await self._store.change(connection)
            await self._append(events.KIND, events.removed_entry(connection, cause, now))
        if cause == "replaced":
            # Servers may count both as one grant: the end of the earlier token would be that of the new one.
            for connection in removed:
                await self._forget(
                    connection, "replaced by a later connection, of which it may be a part at the server"
                )
        return len(removed)

    async def end_removed(self, revoke: Revoke) -> None:
        """Ask the servers once for the end of each removed connection's refresh token."""
        for connection in tuple(self._removed.values()):
            token = await self._store.token(connection.id)
            answer = "the token cannot be read" if token is None else await revoke(connection, token)
            if isinstance(answer, NotEnded) and self._clock() < connection.removed + GIVE_UP:
                continue
            await self._forget(connection, answer.problem if isinstance(answer, NotEnded) else answer or "")

    async def _forget(self, connection: UserConnection, problem: str) -> None:
        """Forget a removed connection with its token. `problem` is empty if the server confirmed the end."""
        await self._store.remove(connection.id)
        self._removed.pop(connection.id, None)
        self._live.release(connection.id)
        await self._append(events.KIND, events.ended_entry(connection, problem, self._clock()))

    def _hold(self, connection: UserConnection, refresh_token: str) -> None:
        """Have a refresh token known wherever it shows: it is for its server alone."""
        self._live.replace(connection.id, refresh_token, OF_THE_GATEWAY)

    def _is_active(self, connection: UserConnection) -> bool:
        return self._active.get(_place(connection)) is connection

    def _take_out(self, connection: UserConnection, now: float) -> UserConnection:
        del self._active[_place(connection)]
        self._locks.pop(connection.id, None)
        removed = structs.replace(connection, is_removed=True, removed=now)
        self._removed[connection.id] = removed
        return removed


def _place(connection: UserConnection) -> tuple[str, str]:
    return connection.owner.key, connection.broker
