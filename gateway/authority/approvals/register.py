"""The approvals of this gateway and of the others on the same records: each change is made from the newest state.

A record decides, and each change names the version that it was made from. So of two gateways one wins, and the other makes its change
again on what the first left. The journal learns of a change first, and of a lost race after it (`overtaken`). A change that the
store does not take is owed: memory has it, and the store gets it later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from gateway.authority.approvals import state
from gateway.authority.approvals.index import QuestionIndex
from gateway.authority.approvals.model import Approval, UseClaim, Vote
from gateway.model.decision import Reason
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.authority.approvals.store import ApprovalStore, StoredChanges
    from gateway.base.steady_clock import SteadyClock
    from gateway.base.store.duty import Replicas
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.approvals")


class Step(NamedTuple):
    """A change of an approval, with the vote or the cause behind it."""

    approval: Approval
    vote: Vote | None = None
    cause: str = ""


Make = Callable[[Approval], Approval | None]
"""Makes the next state of an approval from its newest one; `None` leaves it as it is."""
MakeStep = Callable[[Approval], Step | Reason | None]
"""Makes the next step from the newest state, or the reason against a vote."""


class Fleet(NamedTuple):
    """The other gateways on the same records. `was_counted` tells whether the shared history of a caller has a call."""

    replicas: Replicas
    was_counted: Callable[[str, str], Awaitable[bool]]


class ApprovalRegister:
    """The approvals in memory and in the store. `tell` hears of each changed approval, and `wake` of each that calls wait for."""

    def __init__(
        self,
        store: ApprovalStore,
        append: Callable[[str, JsonObject], Awaitable[None]],
        clock: SteadyClock,
        fleet: Fleet | None,
        *,
        tell: Callable[[Approval], None],
        wake: Callable[[str], None],
    ) -> None:
        self.index = QuestionIndex()
        self.gateway = "" if fleet is None else fleet.replicas.id
        self._store = store
        self._append = append
        self._clock = clock
        self._fleet = fleet
        self._tell = tell
        self._wake = wake
        self._saving = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self._owed: dict[str, list[Make]] = {}
        """Changes that the store did not take, in their order. No position passes the entries about these."""
        self._paying = set[asyncio.Task[None]]()

    @property
    def is_settled(self) -> bool:
        """Return whether the store is as far as the journal. A position may then pass the journal."""
        return not self._saving and not self._owed and all(one.claim is None for one in self.index)

    async def add(self, approval: Approval, description: Mapping[str, Any], turn: int, ends: float) -> bool:
        """Record a new question, and return whether it was still its caller's turn. Raises `JournalError` and `StoreError`."""
        with self.hold_position():
            await self._append(state.KIND, state.asked_entry(approval))
            is_first = await self._store.add(approval, description, turn, ends)
            if is_first:
                self.index.put(approval)
                self._tell(approval)
            else:
                await self._append(state.KIND, state.overtaken_entry(approval, self._clock.now()))
        return is_first

    async def change(self, identifier: str, make: MakeStep) -> Approval | Reason | None:
        """Record a step from the newest state, and then let calls see it. Return what `make` returned instead of a step.

        Raises `JournalError`: then nothing has changed. Raises `StoreError`: then the step is owed, if the journal has it.
        """
        async with self._lock_approval(identifier):
            for _ in range(ATTEMPTS):
                self.take(await self._store.refresh(identifier))
                newest = self.index.get(identifier)
                step = None if newest is None else make(newest)
                if newest is None:
                    self._locks.pop(identifier, None)
                if not isinstance(step, Step):
                    return step
                with self.hold_position():
                    entry = state.changed_entry(step.approval, self._clock.now(), vote=step.vote, cause=step.cause)
                    await self._append(state.KIND, entry)
                    try:
                        is_first = await self._store.save(step.approval)
                    except StoreError:
                        self.owe(identifier, partial(_take_step, make=make))
                        self._tell(step.approval)
                        raise
                    if is_first:
                        self.index.put(step.approval)
                        self._tell(step.approval)
                        return step.approval
                    await self._append(state.KIND, state.overtaken_entry(step.approval, self._clock.now()))
        raise make_race_error(identifier)

    async def write(self, identifier: str, make: Make) -> Approval | None:
        """Change the newest state of an approval without an entry, under its lock. Raises `StoreError`."""
        async with self._lock_approval(identifier):
            if identifier in self._owed:
                await self._pay_locked(identifier)
            return await self._write_locked(identifier, make)

    async def _write_locked(self, identifier: str, make: Make) -> Approval | None:
        """Change the newest state of an approval. Return `None` if `make` leaves it as it is. Raises `StoreError`."""
        for _ in range(ATTEMPTS):
            newest = self.index.get(identifier)
            changed = None if newest is None else make(newest)
            if changed is None:
                return None
            if await self._store.save(changed):
                self.index.put(changed)
                return changed
            self.take(await self._store.refresh(identifier))
        raise make_race_error(identifier)

    def take(self, stored: StoredChanges) -> None:
        """Take stored approvals into memory, with what this gateway still has to write about each."""
        for newest in stored.changed:
            approval = newest
            for make in self._owed.get(newest.id, ()):
                approval = make(approval) or approval
            earlier = self.index.get(approval.id)
            self.index.put(approval)
            self._clock.note(approval.question.asked, *(vote.at for vote in approval.votes))
            if earlier is None or (earlier.state, earlier.votes) != (approval.state, approval.votes):
                self._tell(approval)
            elif approval.is_unreached:
                self._wake(approval.id)
        for identifier in stored.gone:
            if (approval := self.index.get(identifier)) is not None:
                self.forget(approval)
                self._wake(identifier)

    def forget(self, approval: Approval) -> None:
        """Take an approval out of memory."""
        self.index.remove(approval)
        self._locks.pop(approval.id, None)
        self._owed.pop(approval.id, None)

    # --- changes that the store did not take -------------------------------------------------------------

    def owe(self, identifier: str, make: Make) -> None:
        """Change an approval in memory now, and in the store as soon as it takes the change."""
        approval = self.index.get(identifier)
        changed = None if approval is None else make(approval)
        if changed is not None:
            self.index.put(changed)
        self._owed.setdefault(identifier, []).append(make)

    async def pay(self, identifier: str) -> None:
        """Write the owed changes of an approval. Raises `StoreError`."""
        async with self._lock_approval(identifier):
            await self._pay_locked(identifier)

    async def _pay_locked(self, identifier: str) -> None:
        owed = self._owed.get(identifier, [])
        for _ in range(ATTEMPTS):
            paid = len(owed)
            newest = self.index.get(identifier)
            if not owed or newest is None or await self._store.save(newest):
                # Memory may owe more since.
                del owed[:paid]
                break
            self.take(await self._store.refresh(identifier))
        if not owed:
            self._owed.pop(identifier, None)

    async def pay_all(self) -> None:
        """Write all owed changes. Raises `StoreError`."""
        for identifier in tuple(self._owed):
            await self.pay(identifier)

    async def pay_or_log(self, identifier: str) -> None:
        """Write the owed changes of an approval, or leave them to the next attempt."""
        try:
            await self.pay(identifier)
        except StoreError as error:
            log.warning("approval.unsaved", id=identifier, problem=error.message)

    # --- claims of gateways that have ended --------------------------------------------------------------

    def end_own_claim(self, approval: Approval) -> Approval:
        """Return an approval at the start of a gateway alone, whose journal has each use of its own."""
        if self._fleet is not None or approval.claim is None:
            return approval
        is_own = approval.claim.gateway == self.gateway
        return _settle_lost(approval, approval.claim, is_used=not is_own) or approval

    async def settle_lost_claims(self) -> None:
        """Settle the claims of gateways that have ended: the approval is used if the history has the call, and else free again.

        Raises `GatewayError`. A call is counted after its claim. So without a place in the history it was never sent, and it can get
        none later: a gateway without a claim changes nothing.
        """
        claims = {one.id: one.claim for one in self.index if one.claim and one.claim.gateway != self.gateway}
        if not claims or self._fleet is None:
            return
        ended = {claim.gateway for claim in claims.values()} - await self._fleet.replicas.list_living()
        for identifier, claim in claims.items():
            approval = self.index.get(identifier)
            if claim.gateway not in ended or approval is None:
                continue
            is_used = await _was_used(self._fleet, claim)
            log.warning("approval.claim-settled", id=identifier, used=is_used)
            await self.write(identifier, partial(_settle_lost, claim=claim, is_used=is_used))

    @contextmanager
    def hold_position(self) -> Generator[None]:
        """Hold back the position while the journal knows more than the store."""
        self._saving += 1
        try:
            yield
        finally:
            self._saving -= 1

    @asynccontextmanager
    async def _lock_approval(self, identifier: str) -> AsyncGenerator[None]:
        """Hold the lock of an approval: the changes of this gateway come one after the other."""
        async with self._locks.setdefault(identifier, asyncio.Lock()):
            yield


def _take_step(approval: Approval, make: MakeStep) -> Approval | None:
    step = make(approval)
    return step.approval if isinstance(step, Step) else None


async def _was_used(fleet: Fleet, claim: UseClaim) -> bool:
    """Return whether the call of a claim may have passed.

    The shared history does not have the calls of a gateway alone, whose records were moved.
    """
    return not (claim.job and claim.gateway) or await fleet.was_counted(claim.job, claim.call)


def _settle_lost(approval: Approval, claim: UseClaim, *, is_used: bool) -> Approval | None:
    """Return the approval after the end of the gateway with its claim; `None` if another gateway was faster."""
    if approval.claim != claim:
        return None
    return state.use(approval, claim.call) if is_used else state.give_back(approval, claim.gateway, claim.call)


def make_race_error(identifier: str) -> StoreError:
    return StoreError(f"other gateways were first with {ATTEMPTS} changes of {identifier}", "try again")


ATTEMPTS: Final = 32
"""Attempts to be the first gateway with a change."""
