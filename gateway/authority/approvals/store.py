"""Approvals among the durable records, which gateways on the same records share.

A record decides. For a gateway alone the journal has each change first, and brings an older record up to date.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct

from gateway.authority.approvals.model import Approval
from gateway.base.store.engine import ABSENT
from gateway.base.store.records import FollowedRecords, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.base.store.records import SealedStore


class JournalPosition(Struct, frozen=True):
    """An entry of a journal. Records include the entries up to it, and may include later entries."""

    journal: str = ""
    seq: int = 0


class StoredApprovals(JournalPosition, frozen=True):
    """Contents of a store, with their position in the journal."""

    approvals: tuple[Approval, ...] = ()


class LatestQuestion(Struct, frozen=True):
    """The latest question of a caller. A new one takes its place, so two gateways do not ask at the same time."""

    id: str


APPROVALS: Final = RecordKind("approval", Approval, "the journal makes it again, or people are asked again")


def _name_sources(description: dict[str, Any]) -> dict[str, Any]:
    """Return a description of the first form in the second: sources have their own member, with more about each."""
    sources = description.get("ungrounded")
    return description if sources is None else {**description, "sources": sources, "ungrounded": [*sources]}


DESCRIPTIONS: Final = RecordKind(
    "description of a call", dict[str, Any], "the question has no details", upgrades=(_name_sources,)
)
LATEST: Final = RecordKind("latest question of a caller", LatestQuestion, "two gateways may ask for one call")
POSITIONS: Final = RecordKind("position of approvals", JournalPosition, "the journal is read from its beginning")
_ALL: Final = "all"


class StoredChanges(NamedTuple):
    """The approvals changed by other gateways, and the ids of removed ones."""

    changed: list[Approval]
    gone: list[str]


class ApprovalStore:
    """The stored approvals, each with the description of its call. Raises `StoreError`."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._approvals, self._descriptions = store.of(APPROVALS), store.of(DESCRIPTIONS)
        self._latest, self._positions = store.of(LATEST), store.of(POSITIONS)
        self._followed = FollowedRecords(self._approvals)

    async def load(self) -> StoredApprovals:
        """Return the stored approvals."""
        found = await self._followed.load()
        position = await self._positions.get(_ALL) or JournalPosition()
        return StoredApprovals(position.journal, position.seq, tuple(found.values()))

    async def save_position(self, journal: str, seq: int) -> None:
        """Note that the records follow the journal up to its entry `seq`."""
        await self._positions.put(_ALL, JournalPosition(journal, seq))

    async def describe(self, identifier: str) -> dict[str, Any] | None:
        """Return the description of a call, `None` without a whole description."""
        return await self._descriptions.get(identifier)

    # --- what other gateways did -----------------------------------------------------------------------

    async def look(self) -> StoredChanges:
        """Return what other gateways changed since the last look."""
        changed, gone = await self._followed.look()
        return StoredChanges(list(changed.values()), list(gone))

    async def refresh(self, identifier: str) -> StoredChanges:
        """Return what other gateways changed of one approval."""
        found = await self._approvals.find(identifier)
        if found is None:
            return StoredChanges([], [identifier] if self._followed.forget(identifier) else [])
        approval, version = found
        is_news = self._followed.find_version(identifier) != version
        self._followed.note(identifier, version)
        return StoredChanges([approval] if is_news else [], [])

    # --- changes ---------------------------------------------------------------------------------------

    async def find_turn(self, caller: str) -> int:
        """Return the turn of a caller's next question, for `add`."""
        found = await self._latest.find(_digest(caller))
        return ABSENT if found is None else found[1]

    async def add(self, approval: Approval, description: Mapping[str, Any], turn: int, ends: float) -> bool:
        """Write a new approval with the description of its call. Return whether it was still the caller's turn, which ends at `ends`."""
        caller = _digest(approval.question.requester.key)
        version = await self._store.change(
            self._approvals.changed(approval.id, approval, version=ABSENT),
            self._descriptions.changed(approval.id, dict(description)),
            self._latest.changed(caller, LatestQuestion(approval.id), version=turn, expires=ends),
        )
        if version is not None:
            self._followed.note(approval.id, version)
        return version is not None

    async def save(self, approval: Approval) -> bool:
        """Write a changed approval. Return whether no other gateway has changed or removed it meanwhile."""
        known = self._followed.find_version(approval.id)
        if known is None:
            return False
        version = await self._store.change(self._approvals.changed(approval.id, approval, version=known))
        if version is not None:
            self._followed.note(approval.id, version)
        return version is not None

    async def remove(self, gone: Iterable[str]) -> None:
        """Remove approvals. They do not come back."""
        removed = tuple(gone)
        await self._store.change(
            *(records.removed(one) for one in removed for records in (self._approvals, self._descriptions))
        )
        for identifier in removed:
            self._followed.forget(identifier)

    async def expire(self) -> None:
        """Forget the turns of callers without questions."""
        await self._latest.expire()


def _digest(caller: str) -> str:
    return hashlib.sha256(caller.encode("utf-8", "surrogatepass")).hexdigest()
