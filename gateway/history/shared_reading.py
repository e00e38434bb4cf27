"""The reading of a shared log: the tasks as of one of its events, and the entries after that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.base.store.engine import Log, require_seen
from gateway.history.shared_forms import SNAPSHOTS
from gateway.history.states import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.base.store.records import SealedStore
    from gateway.history.shared_forms import Sealing, Snapshot, Written
    from gateway.history.shared_owner import OwnerLog

NAME: Final = "history"
"""The name of each log."""
SNAPSHOT_AFTER: Final = 256
"""Appends after which the tasks of an owner are written down whole."""


class WholeLog(NamedTuple):
    """A log of an owner as it was read. `snapshot` has the tasks before `later`, and `version` is the end of the log."""

    snapshot: Snapshot | None
    later: Sequence[Written]
    version: int


class LogReader:
    """The logs of all owners, as they are read."""

    def __init__(self, store: SealedStore, sealing: Sealing) -> None:
        self._engine = store.engine
        self._snapshots = store.of(SNAPSHOTS)
        self._sealing = sealing

    async def read(self, owner: OwnerLog) -> WholeLog:
        """Return the whole log of an owner. Raises `StoreError` and `HistoryError`."""
        snapshot = owner.find_base(SNAPSHOT_AFTER) or await self._snapshots.get(owner.log.owner.hex())
        if snapshot is not None and snapshot.states != VERSION:
            snapshot = None  # of another release: the log has everything
        after = 0 if snapshot is None else snapshot.version
        sealed = await self._engine.read_log(owner.log, after)
        require_seen(owner.log, after + len(sealed), owner.version)
        later = [self._sealing.open_entries(owner.log.owner, each) for each in sealed]
        return WholeLog(snapshot, later, after + len(later))

    async def has_reserved(self, owner: str, call: str) -> bool:
        """Return whether the log of an owner has the reservation of a call. Raises `StoreError` and `HistoryError`."""
        named = Log(self._sealing.digest(owner), NAME)
        sealed = await self._engine.read_log(named)
        return any(self._sealing.open_entries(named.owner, each).has_reserved(call) for each in sealed)
