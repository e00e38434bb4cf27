"""Open leases on disk: `<state>/leases/leases.db`. A lease stays there until its end is proven or its time is over.

No row has a value of a credential. A restarted gateway ends each lease that it finds here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gateway.authority.model import Lease
from gateway.background import in_thread
from gateway.errors import LeaseStoreError
from gateway.sealed_rows import SealedRows

if TYPE_CHECKING:
    from pathlib import Path


class LeaseStore:
    """Raises `LeaseStoreError` for a file that cannot be read or written."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._rows = SealedRows(folder / "leases.db", key, _broken)

    async def load(self) -> tuple[tuple[Lease, ...], int]:
        """Return the open leases, and the number of rows that cannot be read."""
        rows = await in_thread(self._rows.load)
        found = [_read(value) for value in rows.values()]
        leases = tuple(lease for lease in found if lease is not None)
        return leases, len(found) - len(leases)

    async def put(self, lease: Lease) -> None:
        await in_thread(partial(self._rows.put, lease.id, msgspec.json.encode(lease)))

    async def remove(self, identifier: str) -> None:
        await in_thread(partial(self._rows.remove, identifier))

    def close(self) -> None:
        self._rows.close()


def _read(value: bytes | None) -> Lease | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=Lease)
    except msgspec.MsgspecError:
        return None


def _broken(problem: str) -> LeaseStoreError:
    return LeaseStoreError(problem, "make the folder writable; without it the gateway lends no credential")
