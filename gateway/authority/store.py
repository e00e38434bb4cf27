"""Open leases on disk: `<state>/leases/leases.db`. A lease stays there until its end is proven or its time is over.

A restarted gateway ends each lease that it finds here. With `authority.leases.keep: sealed`, a second table has the values without
which an issuer ends no credential. Without it no row has a value.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.authority.model import Credential, Lease
from gateway.background import in_thread
from gateway.errors import LeaseStoreError
from gateway.sealed_database import SealedDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SCHEMA: Final = """
create table if not exists leases (id text primary key, lease blob not null) without rowid;
create table if not exists credentials (id text primary key, credential blob not null) without rowid;
"""
_ALL: Final = "select id, lease from leases"
_PUT: Final = "insert or replace into leases values (?, ?)"
_REMOVE: Final = "delete from leases where id = ?"
_VALUES: Final = "select id, credential from credentials"
_PUT_VALUE: Final = "insert or replace into credentials values (?, ?)"
_REMOVE_VALUE: Final = "delete from credentials where id = ?"
AT_ONCE: Final = 128
"""Changes in one write: the wait for the disk is shared, and the answers to all of them fit into one turn of the event loop."""


class _LeaseChange(NamedTuple):
    """A lease to write, with or without its value; without a lease, the row is to be removed."""

    id: str
    lease: Lease | None = None
    credential: Credential | None = None


class LeaseStore:
    """Raises `LeaseStoreError` for a file that cannot be read or written."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "leases.db"
        # A lease that a loss of power hides would live on at its issuer.
        self._database = SealedDatabase(self.path, key, _SCHEMA, _make_error, synchronous="full")
        self._queue: deque[tuple[_LeaseChange, asyncio.Future[None]]] = deque()
        self._valued: set[str] = set()
        """The leases whose values are on disk. The thread that writes uses it too."""
        self._writer: asyncio.Task[None] | None = None

    async def load(self) -> tuple[tuple[Lease, ...], int]:
        """Return the open leases, and the number of rows that cannot be read."""
        if not self.path.exists():
            return (), 0
        rows = await in_thread(partial(self._database.query_rows, _ALL))
        found = [self._database.open_record(name, sealed, Lease) for name, sealed in rows]
        leases = tuple(lease for lease in found if lease is not None)
        return leases, len(found) - len(leases)

    async def load_values(self) -> dict[str, Credential]:
        """Return the kept values of open leases, by the id of the lease."""
        if not self.path.exists():
            return {}
        rows = await in_thread(partial(self._database.query_rows, _VALUES))
        self._valued.update(name for name, _ in rows)
        found = {name: self._database.open_record(_value_name(name), sealed, Credential) for name, sealed in rows}
        return {name: credential for name, credential in found.items() if credential is not None}

    async def put(self, lease: Lease, credential: Credential | None = None) -> None:
        """Write a lease, and its value if one is given. Both are on disk when this returns."""
        await self._change(_LeaseChange(lease.id, lease, credential))

    async def remove(self, identifier: str) -> None:
        """Remove a lease and its value, if they are there."""
        await self._change(_LeaseChange(identifier))

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._database.close()

    async def _change(self, change: _LeaseChange) -> None:
        """Change a row. Changes that come while the disk works share the next write. A caller that is cancelled goes afterwards."""
        written = asyncio.get_running_loop().create_future()
        self._queue.append((change, written))
        if self._writer is None:
            self._start_writer()
        try:
            await asyncio.shield(written)
        except asyncio.CancelledError:
            await asyncio.wait([written])
            raise

    def _start_writer(self) -> None:
        self._writer = asyncio.create_task(self._write_queue(), name="leases on disk")
        self._writer.add_done_callback(self._forget_writer)

    async def _write_queue(self) -> None:
        while self._queue:
            taken = [self._queue.popleft() for _ in range(min(len(self._queue), AT_ONCE))]
            await self._write_together(taken)

    def _forget_writer(self, writer: asyncio.Task[None]) -> None:
        """Give the queue to the next writer. A cancelled writer, also one that never ran, leaves nobody waiting."""
        self._writer = None
        if writer.cancelled():
            while self._queue:
                self._queue.popleft()[1].cancel()
        elif self._queue:
            self._start_writer()

    async def _write_together(self, changes: Sequence[tuple[_LeaseChange, asyncio.Future[None]]]) -> None:
        try:
            await in_thread(partial(self._write, [change for change, _ in changes]))
        except BaseException as error:
            for _, written in changes:
                if isinstance(error, Exception):
                    written.set_exception(error)
                else:
                    written.cancel()
            if not isinstance(error, Exception):
                raise
        else:
            for _, written in changes:
                written.set_result(None)

    def _write(self, changes: Sequence[_LeaseChange]) -> None:
        self._database.write([statement for change in changes for statement in self._statements(change)])
        self._valued.difference_update(change.id for change in changes if change.lease is None)

    def _statements(self, change: _LeaseChange) -> Iterator[tuple[str, tuple[str | bytes, ...]]]:
        if change.lease is None:
            yield _REMOVE, (change.id,)
            if change.id in self._valued:
                yield _REMOVE_VALUE, (change.id,)
            return
        yield _PUT, (change.id, self._database.seal_record(change.id, change.lease))
        if change.credential is not None:
            self._valued.add(change.id)
            name = _value_name(change.id)
            yield _PUT_VALUE, (change.id, self._database.seal_record(name, change.credential))


def _value_name(identifier: str) -> str:
    """Return the name under which a value is sealed, so that no row of another table opens in its place."""
    return f"credential {identifier}"


def _make_error(problem: str) -> LeaseStoreError:
    return LeaseStoreError(
        f"the leases {problem}", "make the folder writable; without it the gateway lends no credential"
    )
