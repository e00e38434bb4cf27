"""Stops on disk: `<state>/stops/stops.db`. A restart forgets no stop. Rows are sealed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.authority.stops.model import Stop
from gateway.background import in_thread
from gateway.errors import StopStoreError
from gateway.sealed_database import SealedDatabase

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA: Final = "create table if not exists stops (id text primary key, stop blob not null) without rowid;"
_ALL: Final = "select id, stop from stops"
_PUT: Final = "insert or replace into stops values (?, ?)"
_REMOVE: Final = "delete from stops where id = ?"


class StopStore:
    """Raises `StopStoreError` for a file that cannot be read or written."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "stops.db"
        # A stop that a loss of power hides would let calls go on.
        self._database = SealedDatabase(self.path, key, _SCHEMA, _make_error, synchronous="full")

    async def load(self) -> tuple[Stop, ...]:
        """Return the stops in force. A row that cannot be read is an error: it may be of a stop."""
        if not self.path.exists():
            return ()
        rows = await in_thread(partial(self._database.query_rows, _ALL))
        found = [self._database.open_record(name, sealed, Stop) for name, sealed in rows]
        stops = tuple(stop for stop in found if stop is not None)
        if len(stops) < len(found):
            raise StopStoreError(
                f"{self.path} has {len(found) - len(stops)} stops that cannot be read",
                "put the file back from a copy; to go on without any stop, delete it",
            )
        return stops

    async def put(self, stop: Stop) -> None:
        """Write a stop. It is on disk when this returns."""
        await in_thread(partial(self._database.write, [(_PUT, (stop.id, self._database.seal_record(stop.id, stop)))]))

    async def remove(self, identifier: str) -> None:
        """Remove a stop."""
        await in_thread(partial(self._database.write, [(_REMOVE, (identifier,))]))

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._database.close()


def _make_error(problem: str) -> StopStoreError:
    return StopStoreError(f"the stops {problem}", "make the state folder writable, and give the command again")
