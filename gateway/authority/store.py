"""Open leases on disk: `<state>/leases/leases.db`. A lease stays there until its end is proven or its time is over.

No row has a value of a credential. A restarted gateway ends each lease that it finds here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.authority.model import Lease
from gateway.background import in_thread
from gateway.errors import LeaseStoreError
from gateway.sealed_database import SealedDatabase

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA: Final = "create table if not exists leases (id text primary key, lease blob not null) without rowid"
_ALL: Final = "select id, lease from leases"
_PUT: Final = "insert or replace into leases values (?, ?)"
_REMOVE: Final = "delete from leases where id = ?"


class LeaseStore:
    """Raises `LeaseStoreError` for a file that cannot be read or written."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.path = folder / "leases.db"
        # A lease that a loss of power hides would live on at its issuer.
        self._database = SealedDatabase(self.path, key, _SCHEMA, _broken, synchronous="full")

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
        sealed = self._database.seal(lease.id, msgspec.json.encode(lease))
        await in_thread(partial(self._database.write, [(_PUT, (lease.id, sealed))]))

    async def remove(self, identifier: str) -> None:
        """Remove a lease, if it is there."""
        await in_thread(partial(self._database.write, [(_REMOVE, (identifier,))]))

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._database.close()

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
