"""The leases of all gateways on the same records: followed, ended on the word of any gateway, and taken over after a crash.

Each lease belongs to the gateway that lent it. Only that gateway has its value, and asks its broker for the end. Another gateway
writes an order for it. After the end of a gateway, the first of the others takes its leases over, and ends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from msgspec import structs

from gateway.authority import state
from gateway.authority.store import LeaseOrder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator

    from gateway.authority.leases import Leases
    from gateway.authority.model import Cause, Lease
    from gateway.authority.store import LeaseStore

log = structlog.get_logger("gateway.leases")

_Item = TypeVar("_Item")

AT_ONCE: Final = 64
"""Leases that are taken over at the same time."""
_ORDERED_AT_ONCE: Final = 500
"""Orders in one change."""


class Fleet:
    """The leases of all gateways. `replica` names this gateway, and `list_living` the gateways that have not ended.

    For a gateway alone, every other gateway has ended.
    """

    def __init__(
        self,
        leases: Leases,
        store: LeaseStore,
        replica: str,
        list_living: Callable[[], Awaitable[frozenset[str]]],
    ) -> None:
        self._leases = leases
        self._store = store
        self._replica = replica
        self._list_living = list_living
        self._looking = asyncio.Lock()

    # --- what other gateways did -----------------------------------------------------------------------

    async def look(self) -> int:
        """Take in what other gateways did with leases. Return the number of leases that were taken over. Raises `StoreError`."""
        async with self._looking:
            changed, gone = await self._store.look()
            others = self._leases.others
            for lease in changed.values():
                if lease.replica != self._replica:
                    others.put(lease)
            for identifier in gone:
                others.remove(identifier)
            await self._carry_out_orders()
            return await self._take_over()

    async def _carry_out_orders(self) -> None:
        for identifier, order in (await self._store.load_orders()).items():
            lease = self._leases.get(identifier)
            if lease is None or lease.replica != self._replica:
                continue
            if order.abandoned:
                await self._leases.abandon(identifier, order.abandoned)
            else:
                self._leases.end([lease], order.cause)
            await self._store.drop_order(identifier)

    async def _take_over(self) -> int:
        """Take over the leases of gateways that have ended, and end them."""
        others = self._leases.others
        if not others:
            return 0
        living = await self._list_living()
        lost = [lease.id for lease in others if lease.replica not in living]
        taken = 0
        for some in _portions(lost, AT_ONCE):
            taken += sum(await asyncio.gather(*(self._take(identifier, living) for identifier in some)))
        if taken:
            log.info("lease.restored", leases=taken)
        return taken

    async def _take(self, identifier: str, living: frozenset[str]) -> bool:
        """Take over one lease, and return whether this gateway was the first to do so."""
        found = await self._store.find(identifier)
        if found is None:
            return False
        lease, version = found
        value = await self._store.find_value(identifier)
        if lease.replica != self._replica:
            if lease.replica in living:
                return False
            lease = structs.replace(lease, replica=self._replica)
            if not await self._store.take(lease, version):
                return False
        # The lease was this gateway's already if the outcome of the last attempt was unknown.
        self._leases.others.remove(identifier)
        self._leases.take_over(lease, value)
        return True

    # --- the word of this gateway ----------------------------------------------------------------------

    async def end(self, is_chosen: Callable[[Lease], bool], cause: Cause) -> int:
        """End leases of all gateways, and return their number. Those of this gateway end at once. Raises `StoreError`."""
        ended = self._leases.end_all(is_chosen, cause)
        await self.look()
        begun = [lease for lease in self._leases.others if lease.state in {"requested", "active"} and is_chosen(lease)]
        now = self._leases.now()
        for some in _portions(begun, _ORDERED_AT_ONCE):
            await self._store.order({lease.id: LeaseOrder(cause) for lease in some}, now)
            for lease in some:
                self._leases.others.put(state.begin_end(lease, cause, now))
        return ended + len(begun)

    async def abandon(self, identifier: str, reason: str) -> Lease | None:
        """Give up the end of a lease of any gateway. Returns `None` unless the lease is ending or stuck. Raises `StoreError`."""
        abandoned = await self._leases.abandon(identifier, reason)
        if abandoned is not None:
            return abandoned
        await self.look()
        lease = self._leases.others.get(identifier)
        if lease is None or lease.state not in {"ending", "stuck"}:
            return None
        await self._store.order({identifier: LeaseOrder("operator", reason)}, self._leases.now())
        self._leases.others.remove(identifier)
        return state.abandon(lease, reason)


def _portions(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    left = list(items)
    for start in range(0, len(left), size):
        yield left[start : start + size]
