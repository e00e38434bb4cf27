"""Signals on disk: `<state>/signals/signals.db`. A restart forgets neither an ended login nor the `jti` of an event.

Rows are sealed. An event is known by a digest of its transmitter and its `jti`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.authority.signals.register import Signal
from gateway.authority.signals.set import KEPT
from gateway.background import in_thread
from gateway.errors import SignalStoreError
from gateway.sealed_database import SealedDatabase

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

MOST_EVENTS: Final = 1_000_000
"""Events that are known again at once, some 100 MB. Beyond it no event is taken."""
_SCHEMA: Final = """
create table if not exists signals (id text primary key, signal blob not null) without rowid;
create table if not exists events (digest text primary key, content text not null, at real not null) without rowid;
create index if not exists events_by_time on events (at);
"""
_ALL: Final = "select id, signal from signals"
_COUNT: Final = "select count(*) from events"
_FIND: Final = "select content from events where digest = ?"
_PUT: Final = "insert or replace into signals values (?, ?)"
_REMOVE: Final = "delete from signals where id = ?"
_NOTE: Final = "insert or replace into events values (?, ?, ?)"
_FORGET: Final = "delete from events where at < ?"


class StoredEvent(msgspec.Struct, frozen=True):
    """An event to be known again. `digest` names it, and `content` is the digest of its token."""

    digest: str
    content: str


class SignalStore:
    """Raises `SignalStoreError` for a file that cannot be read or written."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "signals.db"
        # An ended login that a loss of power hides would be let in again.
        self._database = SealedDatabase(self.path, key, _SCHEMA, _make_error, synchronous="full")
        self._events = 0

    async def load(self) -> tuple[tuple[Signal, ...], int]:
        """Return the signals in force, and the number of rows that cannot be read."""
        rows = await in_thread(partial(self._database.query_rows, _ALL))
        ((self._events,),) = await in_thread(partial(self._database.query_rows, _COUNT))
        found = [self._database.open_record(name, sealed, Signal) for name, sealed in rows]
        signals = tuple(signal for signal in found if signal is not None)
        return signals, len(found) - len(signals)

    async def content_of(self, digest: str) -> str | None:
        """Return the digest of the token that brought an event, `None` for an event that never came."""
        rows = await in_thread(partial(self._database.query_rows, _FIND, (digest,)))
        return rows[0][0] if rows else None

    async def note(
        self, event: StoredEvent, now: float, *, put: Signal | None = None, removed: Iterable[str] = ()
    ) -> None:
        """Write an event with its change of the signals, all or none. It is on disk when this returns."""
        if self._events >= MOST_EVENTS:
            raise SignalStoreError(
                f"{MOST_EVENTS:,} events came within a week", "find out why the transmitter sends so many"
            )
        statements: list[tuple[str, tuple[Any, ...]]] = [(_NOTE, (event.digest, event.content, now))]
        statements += [(_REMOVE, (identifier,)) for identifier in removed]
        if put is not None:
            statements.append((_PUT, (put.id, self._database.seal_record(put.id, put))))
        await in_thread(partial(self._database.write, statements))
        self._events += 1

    async def remove(self, identifiers: Iterable[str]) -> None:
        """Remove signals."""
        statements = [(_REMOVE, (identifier,)) for identifier in identifiers]
        if statements:
            await in_thread(partial(self._database.write, statements))

    async def forget(self, now: float) -> None:
        """Forget the events that are too old to be taken again."""
        await in_thread(partial(self._database.write, [(_FORGET, (now - KEPT,))]))
        ((self._events,),) = await in_thread(partial(self._database.query_rows, _COUNT))

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._database.close()


def _make_error(problem: str) -> SignalStoreError:
    return SignalStoreError(
        f"the signals {problem}", "make the folder writable; until then no event of an identity provider is taken"
    )
