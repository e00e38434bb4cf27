"""Signals among the durable records. A restart forgets neither an ended login nor the `jti` of an event.

An event is known by a digest of its transmitter and its `jti`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.authority.signals.register import Signal
from gateway.authority.signals.set import KEPT
from gateway.base.store.records import FollowedRecords, RecordKind
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.base.store.records import SealedStore

MOST_EVENTS: Final = 1_000_000
"""Events that are known again at once, some 100 MB. Beyond it no event is taken."""
# An ended login that is not read would be let in again.
SIGNALS: Final = RecordKind("signal", Signal, "an ended login is let in again", is_vital=True)
EVENTS: Final = RecordKind("event of a transmitter", str, "an event that comes again is taken again")


class StreamSign(msgspec.Struct, frozen=True):
    """The last signs of life of a stream: times of an event and of a verification event, with the `state` of the latter."""

    event: float
    verified: float | None = None
    state: str | None = None
    status: str = "unknown"


SIGNS: Final = RecordKind("stream of signals", StreamSign, "the watch over a stream begins anew")


class StoredEvent(msgspec.Struct, frozen=True):
    """An event to be known again. `digest` names it, and `content` is the digest of its token."""

    digest: str
    content: str


class SignalStore:
    """The stored signals and events. Raises `StoreError`."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._signals, self._events = store.of(SIGNALS), store.of(EVENTS)
        self._signs = store.of(SIGNS)
        self._followed, self._followed_signs = FollowedRecords(self._signals), FollowedRecords(self._signs)
        self._count = 0

    async def load(self) -> tuple[Signal, ...]:
        """Return the signals in force."""
        self._count = await self._events.count()
        return tuple((await self._signals.load()).values())

    async def look(self) -> tuple[dict[str, Signal], frozenset[str]]:
        """Return what this and other gateways changed since the look before: changed signals, and the ids of removed ones."""
        return await self._followed.look()

    async def look_at_signs(self) -> dict[str, StreamSign]:
        """Return the new signs of life of streams since the look before, by stream."""
        return (await self._followed_signs.look())[0]

    async def content_of(self, digest: str) -> str | None:
        """Return the digest of the token that brought an event, `None` for an event that never came."""
        return await self._events.get(digest)

    async def note(
        self, event: StoredEvent, now: float, *, put: Signal | None = None, sign: tuple[str, StreamSign] | None = None
    ) -> None:
        """Write an event with its signal and the sign of its stream, all or none. They are on disk when this returns."""
        if self._count >= MOST_EVENTS:
            raise StoreError(f"{MOST_EVENTS:,} events came within a week", "find out why the transmitter sends so many")
        signal = () if put is None else (self._signals.changed(put.id, put),)
        signs = () if sign is None else (self._signs.changed(*sign),)
        written = self._events.changed(event.digest, event.content, expires=now + KEPT)
        await self._store.change(written, *signal, *signs)
        if put is not None:
            self._followed.note(put.id)
        self._count += 1

    async def remove(self, identifiers: Iterable[str]) -> None:
        """Remove signals."""
        if gone := tuple(identifiers):
            await self._signals.remove(*gone)

    async def forget(self) -> None:
        """Forget the events that are too old to be taken again."""
        await self._events.expire()
        self._count = await self._events.count()
