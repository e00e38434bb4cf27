"""A duty that one gateway has for all gateways on the same records, such as to send messages to people.

The duty passes to another gateway after the end of its gateway. What that gateway began to write has ended by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from gateway.base.store.engine import ABSENT, Replica
from gateway.base.store.records import RecordKind

if TYPE_CHECKING:
    from gateway.base.store.records import SealedStore
    from gateway.model.errors import StoreError


class Replicas(Replica, Protocol):
    """This gateway among those on the same records."""

    def find_end(self) -> StoreError | None:
        """Return the reason to act no more as this gateway, `None` while it has not ended."""
        ...


class DutyHolder(Struct, frozen=True):
    """The gateway that has a duty."""

    gateway: str


DUTIES: Final = RecordKind("duty", DutyHolder, "another gateway may take the duty over")


class Duty:
    """A duty by its name. A gateway alone, without `replicas`, has all duties."""

    def __init__(self, store: SealedStore, name: str, replicas: Replicas | None) -> None:
        self._store = store
        self._records = store.of(DUTIES)
        self._name = name
        self._replicas = replicas

    async def take(self) -> bool:
        """Return whether this gateway has the duty. It takes the duty over from a gateway that has ended. Raises `StoreError`."""
        replicas = self._replicas
        if replicas is None:
            return True
        if replicas.find_end() is not None:
            return False  # another gateway may have taken over
        found = await self._records.find(self._name)
        holder, version = (None, ABSENT) if found is None else found
        if holder is not None:
            if holder.gateway == replicas.id:
                return True
            if holder.gateway in await replicas.list_living():
                return False
        change = self._records.changed(self._name, DutyHolder(replicas.id), version=version)
        return await self._store.change(change) is not None
