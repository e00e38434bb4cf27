"""Approvals among the durable records. The journal decides on the state: an older record is brought up to date from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from gateway.authority.approvals.endorsement import Endorsement
from gateway.authority.approvals.model import Approval
from gateway.base.store.engine import ABSENT
from gateway.base.store.records import RecordKind
from gateway.model.errors import StoreError

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


class StoredEndorsements(JournalPosition, frozen=True):
    """All endorsements, with their position in the journal. `latest` is the latest time of the gateway, so a clock set back
    revives nothing. They are one record: without the key, no old endorsement can be put back beside newer ones."""

    endorsements: tuple[Endorsement, ...] = ()
    latest: float = 0.0


APPROVALS: Final = RecordKind("approval", Approval, "the journal makes it again, or people are asked again")


def _name_sources(description: dict[str, Any]) -> dict[str, Any]:
    """Return a description of the first form in the second: sources have their own member, with more about each."""
    sources = description.get("ungrounded")
    return description if sources is None else {**description, "sources": sources, "ungrounded": [*sources]}


DESCRIPTIONS: Final = RecordKind(
    "description of a call", dict[str, Any], "the question has no details", upgrades=(_name_sources,)
)
POSITIONS: Final = RecordKind("position of approvals", JournalPosition, "the journal is read from its beginning")
ENDORSEMENTS: Final = RecordKind("endorsements", StoredEndorsements, "people are asked again for values that return")
_ALL: Final = "all"


class ApprovalStore:
    """The stored approvals, each with the description of its call. Raises `StoreError`."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._approvals, self._descriptions = store.of(APPROVALS), store.of(DESCRIPTIONS)
        self._positions = store.of(POSITIONS)
        self._versions: dict[str, int] = {}

    async def load(self) -> StoredApprovals:
        """Return the stored approvals."""
        found = await self._approvals.load_versions()
        self._versions = {name: version for name, (_, version) in found.items()}
        position = await self._positions.get(_ALL) or JournalPosition()
        return StoredApprovals(position.journal, position.seq, tuple(approval for approval, _ in found.values()))

    async def save_position(self, journal: str, seq: int) -> None:
        """Note that the records follow the journal up to its entry `seq`."""
        await self._positions.put(_ALL, JournalPosition(journal, seq))

    async def describe(self, identifier: str) -> dict[str, Any] | None:
        """Return the description of a call, `None` without a whole description."""
        return await self._descriptions.get(identifier)

    async def add(self, approval: Approval, description: Mapping[str, Any]) -> None:
        """Write a new approval with the description of its call."""
        version = await self._store.change(
            self._approvals.changed(approval.id, approval, version=ABSENT),
            self._descriptions.changed(approval.id, dict(description)),
        )
        self._note((approval,), version)

    async def save(self, changed: Iterable[Approval], gone: Iterable[str] = ()) -> None:
        """Write changed approvals and remove others, all or nothing. A removed approval does not come back."""
        kept = tuple(approval for approval in changed if approval.id in self._versions)
        removed = tuple(gone)
        version = await self._store.change(
            *(self._approvals.changed(one.id, one, version=self._versions[one.id]) for one in kept),
            *(records.removed(one) for one in removed for records in (self._approvals, self._descriptions)),
        )
        self._note(kept, version)
        for identifier in removed:
            self._versions.pop(identifier, None)

    def _note(self, written: tuple[Approval, ...], version: int | None) -> None:
        if version is None:
            raise StoreError("another process changed an approval on disk", "run one gateway on a state folder")
        self._versions.update((approval.id, version) for approval in written)


class EndorsementStore:
    """The stored endorsements. Raises `StoreError`."""

    def __init__(self, store: SealedStore) -> None:
        self._records = store.of(ENDORSEMENTS)

    async def load(self) -> StoredEndorsements:
        """Return the stored endorsements, none if they cannot be read: then people are asked again."""
        return (await self._records.load()).get(_ALL, StoredEndorsements())

    async def save(self, stored: StoredEndorsements) -> None:
        """Write all endorsements, whole or not at all."""
        await self._records.put(_ALL, stored)
