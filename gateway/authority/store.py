"""Open leases among the durable records. A lease stays there until its end is proven or its time is over.

Each lease names its gateway. After the end of that gateway, another one ends the lease. With `authority.leases.keep: sealed`,
there are also the values without which an issuer ends no credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.model import Cause, Credential, Lease
from gateway.base.store.records import FollowedRecords, RecordKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.base.store.records import SealedStore

# A lease that is not read would live on at its issuer.
LEASES: Final = RecordKind("lease", Lease, "its credential lives on at its issuer", is_vital=True)
VALUES: Final = RecordKind("value of a lease", Credential, "its credential lives on at its issuer", is_vital=True)


class LeaseOrder(Struct, frozen=True):
    """An order of another gateway to the gateway of a lease: to end it, or to give up its end for a reason."""

    cause: Cause
    abandoned: str = ""


# A lost order to end a lease would leave its credential alive until its time is over.
ORDERS: Final = RecordKind("order for a lease", LeaseOrder, "a lease ends later than an operator said", is_vital=True)
_ORDERED: Final = 86_400.0
"""Seconds for which an order is kept: far longer than a gateway needs to carry it out, or another to take the lease over."""


class LeaseStore:
    """The stored leases. Raises `StoreError`. A write is on disk when it returns."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._leases, self._values, self._orders = store.of(LEASES), store.of(VALUES), store.of(ORDERS)
        self._followed = FollowedRecords(self._leases)

    async def look(self) -> tuple[dict[str, Lease], frozenset[str]]:
        """Return what this and other gateways changed since the look before: changed leases, and the ids of removed ones."""
        return await self._followed.look()

    async def find(self, identifier: str) -> tuple[Lease, int] | None:
        """Return an open lease of any gateway, with its version."""
        return await self._leases.find(identifier)

    async def find_value(self, identifier: str) -> Credential | None:
        """Return the kept value of a lease."""
        return await self._values.get(identifier)

    async def drop_values(self) -> None:
        """Remove the values whose lease is gone. The values are read first, so each had a lease then."""
        values = await self._values.load()
        if values and (left := values.keys() - (await self._leases.load()).keys()):
            await self._values.remove(*left)

    async def take(self, lease: Lease, version: int) -> bool:
        """Write a lease unless another gateway was first to change it. Return whether it is written."""
        return await self._store.change(self._leases.changed(lease.id, lease, version=version)) is not None

    async def order(self, orders: Mapping[str, LeaseOrder], now: float) -> None:
        """Write orders for leases of other gateways, by the id of the lease."""
        changes = [self._orders.changed(name, order, expires=now + _ORDERED) for name, order in orders.items()]
        await self._store.change(*changes)

    async def load_orders(self) -> dict[str, LeaseOrder]:
        """Return the orders that are not carried out yet, by the id of their lease."""
        return await self._orders.load()

    async def drop_order(self, identifier: str) -> None:
        """Remove an order that was carried out."""
        await self._orders.remove(identifier)

    async def put(self, lease: Lease, credential: Credential | None = None) -> None:
        """Write a lease, and its value if one is given."""
        value = () if credential is None else (self._values.changed(lease.id, credential),)
        await self._store.change(self._leases.changed(lease.id, lease), *value)

    async def remove(self, identifier: str) -> None:
        """Remove a lease, its value and an order for it, if they are there."""
        await self._store.change(
            self._leases.removed(identifier), self._values.removed(identifier), self._orders.removed(identifier)
        )
