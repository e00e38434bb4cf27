"""Endorsements among the durable records: one of each, and a register of the ones in force.

A change writes the register with the records, by version. So two gateways do not undo each other's changes. And without the key, no
old endorsement can be put back: the register does not name it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from gateway.authority.approvals.endorsement import Endorsement
from gateway.authority.approvals.store import JournalPosition
from gateway.base.store.engine import ABSENT
from gateway.base.store.records import RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.base.store.records import SealedStore


class EndorsementRegister(JournalPosition, frozen=True):
    """The ids of the endorsements in force, with their position in the journal. `latest` is the latest time of the gateway, so a
    clock set back revives nothing. `first` are endorsements of the first form, which the next change writes apart."""

    ids: tuple[str, ...] = ()
    latest: float = 0.0
    first: tuple[Endorsement, ...] = ()


def _keep_first(register: dict[str, Any]) -> dict[str, Any]:
    """Return a register of the first form, which had all endorsements, in the second."""
    first = register.pop("endorsements", [])
    return {**register, "ids": [each["id"] for each in first], "first": first}


ENDORSEMENTS: Final = RecordKind("endorsement", Endorsement, "people are asked again for values that return")
REGISTER: Final = RecordKind(
    "endorsements", EndorsementRegister, "people are asked again for values that return", upgrades=(_keep_first,)
)
_ALL: Final = "all"


class EndorsementStore:
    """The stored endorsements. Raises `StoreError`."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._records, self._register = store.of(ENDORSEMENTS), store.of(REGISTER)
        self._known = EndorsementRegister()
        self._version = ABSENT

    async def load(self) -> tuple[EndorsementRegister, list[Endorsement]]:
        """Return the register with the endorsements in it, none if it cannot be read: then people are asked again."""
        version = (await self._register.list_versions()).get(_ALL, ABSENT)
        self._known, self._version = await self._register.find(_ALL) or (EndorsementRegister(), version)
        stored = {one.id: one for one in self._known.first}
        stored.update((name, one) for name, (one, _) in (await self._records.find_all(self._known.ids)).items())
        return self._known, [stored[name] for name in self._known.ids if name in stored]

    async def has_changed(self) -> bool:
        """Return whether another gateway has changed the register."""
        return (await self._register.list_versions()).get(_ALL, ABSENT) != self._version

    async def change(
        self, added: Sequence[Endorsement], removed: Iterable[str], position: JournalPosition, latest: float
    ) -> bool:
        """Add and remove endorsements. Return whether no other gateway has changed the register meanwhile."""
        gone = frozenset(removed)
        first = [one for one in self._known.first if one.id not in gone]
        ids = [*(name for name in self._known.ids if name not in gone), *(one.id for one in added)]
        register = EndorsementRegister(position.journal, position.seq, tuple(dict.fromkeys(ids)), latest)
        version = await self._store.change(
            *(self._records.changed(one.id, one) for one in (*first, *added)),
            *map(self._records.removed, gone),
            self._register.changed(_ALL, register, version=self._version),
        )
        if version is not None:
            self._known, self._version = register, version
        return version is not None

    async def note_uses(self, used: Mapping[str, float]) -> None:
        """Write the times of uses down, by the ids of the endorsements."""
        for name, (one, version) in (await self._records.find_all(tuple(used))).items():
            noted = structs.replace(one, used=max(used[name], one.used or 0.0))
            # An endorsement that another gateway has removed meanwhile stays away.
            await self._store.change(self._records.changed(name, noted, version=version))
