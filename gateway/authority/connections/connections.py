"""The connections of this gateway. A removed one is out of use at once; its refresh token is ended at its server after that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import structs

from gateway.authority.connections import events
from gateway.authority.connections.model import UserConnection
from gateway.authority.model import NotEnded
from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY

if TYPE_CHECKING:
    from gateway.authority.connections.model import ConnectionLink, RemovalCause
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

    The store names the connection in use, and memory has the connections that calls here used. Memory makes a refresh token a live
    value. `append` writes to the journal. `watch` hears of each removed connection, in the same turn of the event loop.
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
        self._issuers: Mapping[str, str] | None = None
        self._active: dict[tuple[str, str], UserConnection] = {}
        self._barred: dict[str, UserConnection] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._watchers: list[Callable[[UserConnection], None]] = []
        self.end_elsewhere: Callable[[Sequence[UserConnection]], Awaitable[object]] = _end_nothing
        """Ends the leases of removed connections at other gateways. `app` sets it."""

    async def load(self, issuers: Mapping[str, str], *, is_alone: bool) -> None:
        """Bring the stored connections up to date. `issuers` has the present server of each broker.

        No token goes to a server that did not give it, so this gateway uses no connection to another server. Without other
        gateways such a connection counts as removed. Otherwise a gateway with a later configuration may have made it.
        """
        self._issuers = issuers
        kept = list[UserConnection]()
        for connection in await self._store.load():
            is_other = issuers.get(connection.broker) != connection.issuer
            if connection.is_removed or (is_other and is_alone):
                await self._store.remove(structs.replace(connection, is_removed=True))
            else:
                kept.append(connection)
        await self._store.add_places(kept)

    def watch(self, hear: Callable[[UserConnection], None]) -> None:
        """Have `hear` called with each removed connection."""
        self._watchers.append(hear)

    async def find(self, owner_key: str, broker: str) -> UserConnection | None:
        """Return the connection that calls of an owner use, at all gateways. Raises `StoreError`."""
        place, found = (owner_key, broker), await self._store.find(owner_key, broker)
        is_other = found is not None and self._issuers is not None and self._issuers.get(broker) != found.issuer
        if found is None or is_other or found.id in self._barred:
            found = None
        known = self._active.get(place)
        if known is not None and (found is None or found.id != known.id):
            # Another gateway has removed it, or put another one in its place.
            self._drop(known)
        if found is not None:
            self._active[place] = found
        return found

    def has_met(self, owner_key: str, broker: str) -> bool:
        """Return whether an owner had a connection when this gateway last looked."""
        return (owner_key, broker) in self._active

    async def all(self) -> tuple[UserConnection, ...]:
        """Return the connections, with removed ones whose end is not confirmed. Raises `StoreError`."""
        found = [self._barred.get(each.id, each) for each in await self._store.load()]
        return (*found, *await self._store.load_removed())

    async def has_room(self) -> bool:
        """Return whether another connection may be made. Raises `StoreError`."""
        return await self._store.count() < MAX_CONNECTIONS

    @asynccontextmanager
    async def refreshing(self, connection: UserConnection) -> AsyncGenerator[None]:
        """Have the only use of a refresh token among all gateways: a server may take a second use for a theft."""
        async with self._locks.setdefault(connection.id, asyncio.Lock()), self._store.turn(f"refresh {connection.id}"):
            yield

    @asynccontextmanager
    async def connecting(self, link: str) -> AsyncGenerator[None]:
        """Have the only way from a link to its connection among all gateways."""
        async with self._store.turn(f"connect {sha256(link.encode()).hexdigest()[:32]}"):
            yield

    async def token(self, connection: UserConnection) -> str | None:
        """Return the refresh token of a connection in use. Raises `StoreError`."""
        present = await self.find(connection.owner.key, connection.broker)
        token = await self._store.token(connection.id)
        if present is None or present.id != connection.id:
            return None
        if token is not None:
            self._hold(connection, token)
        return token

    async def renew(self, connection: UserConnection, refresh_token: str) -> None:
        """Store a new refresh token in the place of the old token. Raises `StoreError`."""
        self._hold(connection, refresh_token)
        await self._store.renew(connection.id, refresh_token)

    async def make(self, connection: UserConnection, refresh_token: str, link: ConnectionLink) -> None:
        """Put a new connection into use, in place of an earlier one. Raises `JournalError` and `StoreError`."""
        self._hold(connection, refresh_token)
        await self._append(events.KIND, events.made_entry(connection, link, self._clock()))
        earlier = await self._store.put(connection, refresh_token)
        if earlier is not None:
            await self._note_replaced(earlier)
        self._active[_place(connection)] = connection

    async def _note_replaced(self, earlier: UserConnection) -> None:
        """Record the end of an earlier connection. Its token is not revoked: servers may count both connections as one grant."""
        now = self._clock()
        self._drop(earlier)
        await self._append(events.KIND, events.removed_entry(earlier, "replaced", now))
        problem = "replaced by a later connection, of which it may be a part at the server"
        await self._append(events.KIND, events.ended_entry(earlier, problem, now))
        await self.end_elsewhere([earlier])

    async def remove(self, chosen: Iterable[UserConnection], cause: RemovalCause) -> int:
        """Take connections out of use, and return their number. No call here uses them from the first turn of the event loop on.

        Raises `JournalError` and `StoreError`.
        """
        now = self._clock()
        removed = [
            structs.replace(connection, is_removed=True, removed=now)
            for connection in chosen
            if not connection.is_removed and connection.id not in self._barred
        ]
        for connection in removed:
            self._barred[connection.id] = connection
            self._drop(connection)
        count = 0
        for connection in removed:
            if await self._store.remove(connection):
                count += 1
                await self._append(events.KIND, events.removed_entry(connection, cause, now))
            del self._barred[connection.id]
        if removed:
            await self.end_elsewhere(removed)
        return count

    async def end_removed(self, revoke: Revoke) -> None:
        """Ask the servers once for the end of each removed connection's refresh token."""
        for connection in await self._store.load_removed():
            async with self._store.turn(f"end {connection.id}"):
                await self._end(connection, revoke)

    async def _end(self, connection: UserConnection, revoke: Revoke) -> None:
        token = await self._store.token(connection.id)
        answer = "the token cannot be read" if token is None else await revoke(connection, token)
        if isinstance(answer, NotEnded) and self._clock() < connection.removed + GIVE_UP:
            return
        problem = answer.problem if isinstance(answer, NotEnded) else answer or ""
        self._live.release(connection.id)
        if await self._store.forget(connection.id):
            await self._append(events.KIND, events.ended_entry(connection, problem, self._clock()))

    def _hold(self, connection: UserConnection, refresh_token: str) -> None:
        """Have a refresh token known wherever it shows: it is for its server alone."""
        self._live.replace(connection.id, refresh_token, OF_THE_GATEWAY)

    def _drop(self, connection: UserConnection) -> None:
        """Forget a connection here, and have its leases ended."""
        if (known := self._active.get(_place(connection))) is not None and known.id == connection.id:
            del self._active[_place(connection)]
        self._locks.pop(connection.id, None)
        for hear in self._watchers:
            hear(connection)


async def _end_nothing(_removed: Sequence[UserConnection]) -> None:
    """Return at once: no other gateway has leases."""


def _place(connection: UserConnection) -> tuple[str, str]:
    return connection.owner.key, connection.broker
