"""The endorsements: in memory for calls, in the journal for the record, in records for all gateways on the same store.

A new endorsement is in the journal before a call can use it. An ended endorsement is out of use before the journal
learns of its end. One change is made at a time. A copy may be late, so a call with an endorsement looks at the register again.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.authority.approvals import endorsement as events
from gateway.authority.approvals.endorsement import Endorsement, EndorsementSelection, Event
from gateway.authority.approvals.endorsement_store import EndorsementRegister
from gateway.authority.approvals.store import JournalPosition
from gateway.base.concurrency.background import to_the_end
from gateway.base.json import canonical
from gateway.base.steady_clock import SteadyClock
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from gateway.authority.approvals.endorsement_store import EndorsementStore
    from gateway.authority.approvals.model import Binding, Person
    from gateway.model.wire import Json, JsonObject

PER_CALLER: Final = 500
IN_ALL: Final = 10_000
"""Endorsements: some 1 KB each."""
_ATTEMPTS: Final = 32
"""Attempts to be the first gateway with a change."""


class Endorsements:
    """`key` digests the bound values. `append` writes to the journal. `clock` gives seconds since the epoch,
    `monotonic` seconds of a clock without setbacks. `is_shared`: other gateways change the records, too."""

    def __init__(
        self,
        store: EndorsementStore,
        *,
        key: bytes,
        append: Callable[[str, JsonObject], Awaitable[None]],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        is_shared: bool = False,
    ) -> None:
        self._is_shared = is_shared
        self._store = store
        self._key = key
        self._append = append
        self._clock = SteadyClock(clock, monotonic)
        self._all: dict[str, Endorsement] = {}
        self._by_binding: dict[Binding, str] = {}
        self._of_tool: dict[tuple[str, str, str], int] = {}
        self._changing = asyncio.Lock()
        self._place = JournalPosition()
        self._used: dict[str, float] = {}
        self._is_behind = False

    def now(self) -> float:
        """Return the time. A clock set back revives nothing, and lets nothing live longer."""
        return self._clock.now()

    # --- for calls -------------------------------------------------------------------------------------

    def digest(self, document: Json) -> str:
        """Return the keyed digest of bound values (HMAC-SHA256, FIPS 198-1). Raises `ValueError` for a document without
        a JSON form."""
        return f"hmac-sha256:{hmac.digest(self._key, canonical.digest(document).encode('ascii'), 'sha256').hex()}"

    def has_some(self, principal: str, kind: str, tool: str) -> bool:
        """Return whether there may be an endorsement for a call. All other calls need no digest."""
        return (principal, kind, tool) in self._of_tool

    def find(self, binding: Binding) -> Endorsement | None:
        """Return the endorsement of a call, if its time is not over."""
        identifier = self._by_binding.get(binding)
        return None if identifier is None else self.get(identifier)

    def get(self, identifier: str) -> Endorsement | None:
        """Return an endorsement by its id, if its time is not over."""
        found = self._all.get(identifier)
        return None if found is None or self.now() >= found.expires else found

    async def is_in_force(self, identifier: str) -> bool:
        """Return whether an endorsement is in force at this moment, also by the word of other gateways. Raises `StoreError`."""
        if self._is_shared:
            await self.follow()
        return self.get(identifier) is not None

    def note_use(self, identifier: str) -> None:
        """Note that a call used an endorsement. The `call` entry in the journal has the use already."""
        if (found := self._all.get(identifier)) is not None:
            self._all[identifier] = structs.replace(found, used=self.now())
            self._used[identifier] = self.now()

    async def give(self, endorsement: Endorsement) -> bool:
        """Take in an endorsement in the place of an earlier one of the same values. Returns whether there was room.
        Raises `JournalError`: then there is no endorsement. Raises `StoreError`: the next start reads the
        endorsement from the journal.
        """
        return await to_the_end(self._give(endorsement))

    async def _give(self, endorsement: Endorsement) -> bool:
        async with self._changing:
            for _ in range(_ATTEMPTS):
                await self._catch_up()
                replaced = self._by_binding.get(endorsement.binding)
                if replaced is None and self._is_full(endorsement.binding.principal):
                    return False
                await self._append(events.KIND, events.given_entry(endorsement, replaced))
                self._put(endorsement)
                if await self._save([endorsement], [] if replaced is None else [replaced]):
                    return True
                ended = events.ended_entry(endorsement, "withdrawn", self.now(), cause="overtaken")
                await self._append(events.KIND, ended)
        raise _make_race_error()

    # --- for people ------------------------------------------------------------------------------------

    def list(self) -> list[Endorsement]:
        """Return the endorsements in force, the oldest first."""
        now = self.now()
        return sorted((one for one in self._all.values() if now < one.expires), key=lambda one: one.granted)

    async def revoke(self, selection: EndorsementSelection, by: Person) -> list[Endorsement]:
        """Take back and return the selected endorsements. A call of an open task asks from now on.

        Raises `JournalError`: the endorsements without an entry are in force again.
        """
        return await to_the_end(self._revoke(selection, by))

    async def _revoke(self, selection: EndorsementSelection, by: Person) -> list[Endorsement]:
        async with self._changing:
            await self._catch_up()
            fitting = [] if selection.is_empty else [one for one in self.list() if selection.fits(one)]
            await self._end(fitting, "revoked", by=by)
        return fitting

    # --- time and restart ------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """End the expired endorsements. Raises `JournalError` and `StoreError`."""
        async with self._changing:
            now = self.now()
            await self._end([one for one in self._all.values() if now >= one.expires], "expired")

    async def write_down(self, place: tuple[str, int] | None) -> None:
        """Write the uses down. `place` is the id of a journal that the next start reads, and the number of its last entry."""
        async with self._changing:
            used, self._used = self._used, {}
            await self._store.note_uses(used)
            if place is not None:
                self._place = JournalPosition(*place)
                await self._save((), ())

    async def follow(self) -> None:
        """Take over what other gateways gave and revoked. Raises `StoreError`."""
        async with self._changing:
            await self._catch_up()

    async def restore(self) -> EndorsementRegister:
        """Take over the endorsements of the previous gateway. Raises `StoreError`."""
        register = await self._load()
        self._place = JournalPosition(register.journal, register.seq)
        return register

    async def resume(self) -> None:
        """Write the endorsements down as the journal has them, after all entries were replayed. Raises `StoreError`."""
        _, stored = await self._store.load()
        known = {one.id for one in stored}
        added = [one for one in self._all.values() if one.id not in known]
        if added or known - self._all.keys():
            await self._save(added, known - self._all.keys())

    def replay(self, entry: JsonObject) -> None:
        """Bring the restored endorsements up to date with an entry of the journal. Raises `ValueError` for a damaged entry."""
        if entry.get("kind") == "call":
            self._replay_use(entry)
        if entry.get("kind") != events.KIND:
            return
        self._clock.note(float(str(entry["at"])))
        if entry["event"] == "given":
            given = events.read_given(entry)
            known = self._all.get(given.id)
            self._put(given if known is None else structs.replace(given, shown=known.shown, used=known.used))
        elif isinstance(identifier := entry["id"], str) and identifier in self._all:
            self._remove(self._all[identifier])

    def _replay_use(self, entry: JsonObject) -> None:
        used = events.used_at(entry)
        found = None if used is None else self._all.get(used[0])
        if used is not None and found is not None:
            self._all[found.id] = structs.replace(found, used=max(used[1], found.used or 0.0))

    async def withdraw_all(self, cause: str) -> None:
        """End all endorsements. The journal may lack the revocation of any. Raises `JournalError`."""
        async with self._changing:
            await self._end(tuple(self._all.values()), "withdrawn", cause=cause)

    # --- small parts -----------------------------------------------------------------------------------

    async def _end(
        self, ending: Iterable[Endorsement], event: Event, *, by: Person | None = None, cause: str = ""
    ) -> None:
        """Take endorsements out of use, and record their end. Put back each endorsement without an entry."""
        ending = tuple(ending)
        left = list(ending)
        if not left:
            return
        for endorsement in left:
            self._remove(endorsement)
        try:
            while left:
                entry = events.ended_entry(left[0], event, self.now(), by=by, cause=cause)
                await self._append(events.KIND, entry)
                del left[0]
        finally:
            for endorsement in left:
                self._put(endorsement)
            kept = {endorsement.id for endorsement in left}
            await self._save((), [one.id for one in ending if one.id not in kept])

    def _is_full(self, principal: str) -> bool:
        of_caller = sum(one.binding.principal == principal for one in self._all.values())
        return of_caller >= PER_CALLER or len(self._all) >= IN_ALL

    def _put(self, endorsement: Endorsement) -> None:
        earlier = self._by_binding.get(endorsement.binding)
        if earlier is not None:
            self._remove(self._all[earlier])
        self._all[endorsement.id] = endorsement
        self._by_binding[endorsement.binding] = endorsement.id
        key = _tool_of(endorsement)
        self._of_tool[key] = self._of_tool.get(key, 0) + 1

    def _remove(self, endorsement: Endorsement) -> None:
        del self._all[endorsement.id]
        del self._by_binding[endorsement.binding]
        key = _tool_of(endorsement)
        self._of_tool[key] -= 1
        if not self._of_tool[key]:
            del self._of_tool[key]

    async def _load(self) -> EndorsementRegister:
        """Put the stored endorsements in the place of those in memory. Raises `StoreError`."""
        register, stored = await self._store.load()
        self._clock.note(register.latest)
        used = {name: one.used for name, one in self._all.items()}
        for endorsement in tuple(self._all.values()):
            self._remove(endorsement)
        for endorsement in stored:
            self._put(structs.replace(endorsement, used=used.get(endorsement.id) or endorsement.used))
        self._is_behind = False
        return register

    async def _catch_up(self) -> None:
        if self._is_shared and (self._is_behind or await self._store.has_changed()):
            await self._load()

    async def _save(self, added: Sequence[Endorsement], removed: Iterable[str]) -> bool:
        """Write a change, and return whether an addition counts: another gateway may have been first. A removal is made again then.

        Raises `StoreError`. Memory then has the change alone, and is behind the records of many gateways.
        """
        gone = frozenset(removed)
        try:
            for _ in range(_ATTEMPTS):
                if await self._store.change(added, gone, self._place, self.now()):
                    return True
                await self._load()
                if added:
                    return False
                for identifier in gone & self._all.keys():
                    self._remove(self._all[identifier])
        except StoreError:
            self._is_behind = self._is_shared
            raise
        raise _make_race_error()


def _make_race_error() -> StoreError:
    return StoreError(f"other gateways were first with {_ATTEMPTS} changes of endorsements", "try again")


def _tool_of(endorsement: Endorsement) -> tuple[str, str, str]:
    binding = endorsement.binding
    return binding.principal, binding.kind, binding.tool
