"""Open leases on disk: `<state>/leases/leases.db`. A lease stays there until its end is proven or its time is over.

No row has a value of a credential. A restarted gateway ends each lease that it finds here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.authority.model import Lease
from gateway.background import in_thread
from gateway.errors import LeaseStoreError
from gateway.sealed_database import SealedDatabase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SCHEMA: Final = "create table if not exists leases (id text primary key, lease blob not null) without rowid"
_ALL: Final = "select id, lease from leases"
_PUT: Final = "insert or replace into leases values (?, ?)"
_REMOVE: Final = "delete from leases where id = ?"
AT_ONCE: Final = 128
"""Changes in one write: the wait for the disk is shared, and the answers to all of them fit into one turn of the event loop."""


class LeaseStore:
    """Raises `LeaseStoreError` for a file that cannot be read or written."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "leases.db"
        # A lease that a loss of power hides would live on at its issuer.
        self._database = SealedDatabase(self.path, key, _SCHEMA, _broken, synchronous="full")
        self._queue: deque[tuple[str, Lease | None, asyncio.Future[None]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def load(self) -> tuple[tuple[Lease, ...], int]:
        """Return the open leases, and the number of rows that cannot be read."""
        if not self.path.exists():
            return (), 0
        rows = await in_thread(partial(self._database.read, _ALL))
        found = [self._open(name, sealed) for name, sealed in rows]
        leases = tuple(lease for lease in found if lease is not None)
        return leases, len(found) - len(leases)

    async def put(self, lease: Lease) -> None:
        """Write a lease. It is on disk when this returns."""
        await self._change(lease.id, lease)

    async def remove(self, identifier: str) -> None:
        """Remove a lease, if it is there."""
        await self._change(identifier, None)

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._database.close()

    async def _change(self, identifier: str, lease: Lease | None) -> None:
        """Change a row. Changes that come while the disk works share the next write. A caller that is cancelled goes afterwards."""
        written = asyncio.get_running_loop().create_future()
        self._queue.append((identifier, lease, written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_queue(), name="leases on disk")
        try:
            await asyncio.shield(written)
        except asyncio.CancelledError:
            await asyncio.wait([written])
            raise

    async def _write_queue(self) -> None:
        try:
            while self._queue:
                taken = [self._queue.popleft() for _ in range(min(len(self._queue), AT_ONCE))]
                await self._write_together(taken)
        finally:
            self._writer = None
            while self._queue:
                self._queue.popleft()[2].cancel()

    async def _write_together(self, changes: Sequence[tuple[str, Lease | None, asyncio.Future[None]]]) -> None:
        try:
            await in_thread(partial(self._write, [(identifier, lease) for identifier, lease, _ in changes]))
        except BaseException as error:
            for _, _, written in changes:
                if isinstance(error, Exception):
                    written.set_exception(error)
                else:
                    written.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for _, _, written in changes:
                written.set_result(None)

    def _write(self, changes: Sequence[tuple[str, Lease | None]]) -> None:
        self._database.write(
            [
                (_REMOVE, (identifier,))
                if lease is None
                else (_PUT, (identifier, self._database.seal(identifier, msgspec.json.encode(lease))))
                for identifier, lease in changes
            ]
        )

    def _open(self, name: str, sealed: bytes) -> Lease | None:
        text = self._database.open(name, sealed)
        try:
            return None if text is None else msgspec.json.decode(text, type=Lease)
        except msgspec.MsgspecError:
            return None


def _broken(problem: str) -> LeaseStoreError:
    return LeaseStoreError(
        f"the leases {problem}", "make the folder writable; without it the gateway lends no credential"
    )
