"""Open leases among the durable records. A lease stays there until its end is proven or its time is over.

A restarted gateway ends each lease that it finds here. With `authority.leases.keep: sealed`, there are also the values without
which an issuer ends no credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.authority.model import Credential, Lease
from gateway.base.store.records import RecordKind

if TYPE_CHECKING:
    from gateway.base.store.records import SealedStore

# A lease that is not read would live on at its issuer.
LEASES: Final = RecordKind("lease", Lease, "its credential lives on at its issuer", is_vital=True)
VALUES: Final = RecordKind("value of a lease", Credential, "its credential lives on at its issuer", is_vital=True)


class LeaseStore:
    """The stored leases. Raises `StoreError`. A write is on disk when it returns."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._leases, self._values = store.of(LEASES), store.of(VALUES)

    async def load(self) -> tuple[Lease, ...]:
        """Return the open leases."""
        return tuple((await self._leases.load()).values())

    async def load_values(self) -> dict[str, Credential]:
        """Return the kept values of open leases, by the id of the lease."""
        return await self._values.load()

    async def put(self, lease: Lease, credential: Credential | None = None) -> None:
        """Write a lease, and its value if one is given."""
        value = () if credential is None else (self._values.changed(lease.id, credential),)
        await self._store.change(self._leases.changed(lease.id, lease), *value)

    async def remove(self, identifier: str) -> None:
        """Remove a lease and its value, if they are there."""
        await self._store.change(self._leases.removed(identifier), self._values.removed(identifier))
