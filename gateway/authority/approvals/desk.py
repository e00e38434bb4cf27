"""The questions to people, for the calls, the people and the channels of this gateway.

The register has the approvals of all gateways on the same records. A call claims its granted approval before it is counted and
decided. A claim ends with the decision; that of a gateway which has ended is settled by another one. The copy in memory may be
late: it never lets a call pass, since a claim is a change of the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from gateway.authority.approvals import state
from gateway.authority.approvals.digest import digest_subject
from gateway.authority.approvals.index import UNHEARD
from gateway.authority.approvals.model import OPEN, Approval, Question, UseClaim, Vote
from gateway.authority.approvals.register import ATTEMPTS, ApprovalRegister, Fleet, Step, make_race_error
from gateway.base.concurrency.background import to_the_end
from gateway.base.steady_clock import SteadyClock
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from gateway.authority.approvals.store import ApprovalStore, StoredApprovals
    from gateway.model.target import Target
    from gateway.model.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: `pending` for people to answer, `grant` for the approved call to come, `hold` for one request to wait.

    `per_task`: so many questions of one task stand before people at once.
    """

    pending: float
    grant: float
    hold: float
    per_task: int = 5


class Desk:
    """Questions to people, and their answers.

    `append` writes to the journal. `clock` gives seconds since the epoch, and `monotonic` seconds of a clock without
    setbacks. `has_ended` tells whether the task of a question is over. `fleet` has the other gateways on the same records.
    """

    def __init__(
        self,
        times: Times,
        store: ApprovalStore,
        *,
        append: Callable[[str, JsonObject], Awaitable[None]],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = lambda: 0.0,
        has_ended: Callable[[Question, float], bool] = lambda _question, _now: False,
        fleet: Fleet | None = None,
    ) -> None:
        self.times = times
        self._store = store
        self._append = append
        self._clock = SteadyClock(clock, monotonic)
        self._has_ended = has_ended
        self._register = ApprovalRegister(store, append, self._clock, fleet, tell=self._tell, wake=self._wake)
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._stored: dict[str, Approval] = {}
        self._giving_back = set[asyncio.Task[None]]()
        self._draining = False
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._watchers: set[Callable[[Approval], None]] = set()

    @property
    def is_shared(self) -> bool:
        """Return whether other gateways may change the records."""
        return self._register.gateway != ""

    def now(self) -> float:
        """Return the time. A clock set back revives nothing, and lengthens nothing."""
        return self._clock.now()

    # --- for calls -------------------------------------------------------------------------------------

    def has_questions_about(self, caller: str, target: Target) -> bool:
        """Return whether a caller has a remembered question about a target. All other calls need no digest."""
        return self._register.index.has_questions(caller) and self._register.index.has_questions_about(
            caller, digest_subject(target)
        )

    def find_round(self, operation: str, earlier: str) -> Approval | None:
        """Return the approval of an exchange for its next round. `earlier` is the decision id of the previous round."""
        return self._register.index.continued(operation, earlier, self.now())

    def has_granted_otherwise(self, act: str, call: str) -> bool:
        """Return whether people approved such a call with other parts beside its arguments, and it has not come yet."""
        return self._register.index.granted_otherwise(act, call, self.now()) is not None

    def find(self, call: str) -> Approval | None:
        """Return the approval for a call."""
        found = self._register.index.answering(call, self.now())
        return None if found is None or found.claim is not None else found

    async def ask(self, question: Question, description: Mapping[str, Any]) -> Approval | Reason:
        """Put a question to people, or join the question about the same call with a no, or without an answer yet.
        Refuse too many questions.

        Raises `JournalError` and `StoreError`: then there is no question.
        """
        return await to_the_end(self._ask(question, description))

    async def _ask(self, question: Question, description: Mapping[str, Any]) -> Approval | Reason:
        caller = question.requester.key
        async with self._asking:
            await self._leave_room()
            for _ in range(ATTEMPTS):
                # Before the look: a question that another gateway asks after it takes the turn.
                turn = await self._store.find_turn(caller)
                await self.follow()
                known = self._register.index.answering(question.call, self.now())
                if known is not None and (known.state in {"pending", "denied"} or _is_free(known)):
                    return known
                if (refusal := self._register.index.object_to_question(question)) is not None:
                    return refusal
                approval = state.ask(question)
                if await self._register.add(approval, description, turn, self.now() + 2 * self.times.pending):
                    self._asked = asyncio.get_running_loop().time()
                    return approval
        raise make_race_error(question.id)

    async def _leave_room(self) -> None:
        """Let another gateway ask in between. It reads the last question first, and would lose each race."""
        left = self._asked + _YIELD - asyncio.get_running_loop().time()
        if self.is_shared and left > 0:
            await asyncio.sleep(left)

    async def wait(self, identifier: str, seconds: float, woken: asyncio.Future[None] | None = None) -> Approval | None:
        """Wait until an approval is pending no more, at most so many seconds, or until `woken` has a result.

        The wait also ends when the gateway stops, and when no channel reaches people. Returns `None` for a forgotten approval.
        """
        approval = self._register.index.get(identifier)
        if approval is None or approval.state != "pending" or self._draining or approval.is_unreached:
            return approval
        changed = asyncio.get_running_loop().create_future() if woken is None else woken
        waiting = self._waiting.setdefault(identifier, [])
        waiting.append(changed)
        left = max(approval.until - self.now(), 0.0)
        try:
            async with asyncio.timeout(min(seconds, left)):
                await changed
        except TimeoutError:
            if left <= seconds:
                # A timer of uvloop comes up to a millisecond early.
                self._note_time(approval.until)
            await to_the_end(self._end_over(identifier))
        finally:
            if changed in waiting:
                waiting.remove(changed)
        return self._register.index.get(identifier)

    async def claim(self, identifier: str, call: str, earlier: str | None = None, *, job: str = "") -> bool:
        """Claim an approval for one call, and return whether the call may use it. `call` is its decision id, and `job` as in `UseClaim`.

        A claim ends with `give_back`, `use` or `end`. `earlier` is the decision id of the previous round of an
        upstream's exchange; a round can have one next round. Raises `StoreError`: then the call has no claim.
        """
        mine = UseClaim(self._register.gateway, call, job)
        make = partial(state.claim_use, claim=mine, now=self.now(), earlier=earlier)
        try:
            return await to_the_end(self._register.write(identifier, make)) is not None
        except (StoreError, asyncio.CancelledError):
            # The store may have the claim even so.
            self.give_back(identifier, call)
            raise

    def give_back(self, identifier: str, call: str) -> None:
        """Let another call have an approval that this call has claimed."""
        self._register.owe(identifier, partial(state.give_back, gateway=self._register.gateway, call=call))
        giving = asyncio.ensure_future(self._register.pay_or_log(identifier))
        self._giving_back.add(giving)
        giving.add_done_callback(self._giving_back.discard)

    async def use(self, identifier: str, decision: str) -> None:
        """Note that a call used its claimed approval. The `call` entry in the journal has the use already.

        Raises `StoreError`. The claim then stays until the store takes the use. The next start of a gateway alone reads the use
        from the journal, which has to be on the disk before the call goes on.
        """
        if self._register.index.get(identifier) is None:
            return
        make = partial(state.use_once, decision=decision)
        with self._register.hold_position():
            try:
                used = await to_the_end(self._register.write(identifier, make))
            except StoreError:
                self._register.owe(identifier, make)
                raise
        if used is not None:
            self._tell(used)

    async def end(self, identifier: str, how: state.End, cause: str = "") -> None:
        """End an approval that its call did not use. Raises `JournalError`: then another call may have it."""
        await to_the_end(self._end(identifier, how, cause))

    async def withdraw(self, identifier: str, cause: str) -> bool:
        """End an open approval without a claim, and return whether the approval has ended. Raises `JournalError`."""
        return await to_the_end(self._withdraw(identifier, cause))

    async def _withdraw(self, identifier: str, cause: str) -> bool:
        def make(approval: Approval) -> Step | None:
            if approval.state not in OPEN or approval.claim is not None:
                return None
            return Step(state.end(approval, "withdrawn", self.now()), cause=cause)

        return isinstance(await self._register.change(identifier, make), Approval)

    async def _end(self, identifier: str, how: state.End, cause: str) -> None:
        def make(approval: Approval) -> Step | None:
            return Step(state.end(approval, how, self.now()), cause=cause) if approval.state in OPEN else None

        await self._register.change(identifier, make)

    def note_told(self, approval: Approval) -> None:
        """Note that the caller knows the answer. After an unanswered question its next call asks anew; a no stays a no."""
        if approval.state in UNHEARD:
            self._register.index.let_ask_anew(approval)

    def is_unreached(self, identifier: str) -> bool:
        """Return whether all channels have failed so far to tell people about an open question."""
        approval = self._register.index.get(identifier)
        return approval is not None and approval.is_unreached

    def end_waits(self) -> None:
        """End all waits of calls, now and from now on: the gateway stops. The questions stay open."""
        self._draining = True
        for identifier in tuple(self._waiting):
            self._wake(identifier)

    # --- for channels ----------------------------------------------------------------------------------

    async def mark_unreached(self, identifier: str) -> None:
        """Have waiting calls told that all channels have failed so far. Raises `StoreError`."""

        def make(approval: Approval) -> Approval | None:
            is_news = approval.state == "pending" and not approval.is_unreached
            return structs.replace(approval, is_unreached=True) if is_news else None

        if await to_the_end(self._register.write(identifier, make)) is not None:
            self._wake(identifier)

    async def note_sent(self, identifier: str, delivery: state.NoticeDelivery) -> None:
        """Note that a channel delivered news of a question. Raises `JournalError` and `StoreError`."""
        await to_the_end(self._note_sent(identifier, delivery))

    async def _note_sent(self, identifier: str, delivery: state.NoticeDelivery) -> None:
        approval = self._register.index.get(identifier)
        if approval is None:
            return
        make = partial(state.note_told, channel=delivery.channel, notice=delivery.notice)
        with self._register.hold_position():
            await self._append(state.KIND, state.delivery_entry(approval, self.now(), delivery))
            await self._register.write(identifier, make)

    async def note_unsent(self, identifier: str, delivery: state.NoticeDelivery, problem: str) -> None:
        """Note the channel's failure to deliver news of a question. Raises `JournalError`."""
        if (approval := self._register.index.get(identifier)) is not None:
            entry = state.delivery_entry(approval, self.now(), delivery, problem=problem)
            await to_the_end(self._note(entry))

    async def _note(self, entry: JsonObject) -> None:
        await self._append(state.KIND, entry)

    # --- for people ------------------------------------------------------------------------------------

    def list_remembered(self) -> list[Approval]:
        """Return all remembered questions, ended questions included."""
        return list(self._register.index)

    def list_open(self) -> list[Approval]:
        """Return the open questions and approvals, the oldest first."""
        return sorted((one for one in self._register.index if one.state in OPEN), key=lambda one: one.question.asked)

    def waits_in_line(self, approval: Approval) -> bool:
        """Return whether a question waits until people have answered earlier questions of its task."""
        return self._register.index.waits_in_line(approval, self.times.per_task)

    def get(self, identifier: str) -> Approval | None:
        """Return an approval by its id."""
        return self._register.index.get(identifier)

    async def describe(self, identifier: str) -> dict[str, Any] | None:
        """Return the description of a waiting call. Raises `StoreError`."""
        return await self._store.describe(identifier)

    async def vote(self, identifier: str, vote: Vote, shown: str) -> Approval | Reason:
        """Count a person's answer, also if the person's connection ends meanwhile. Raises `JournalError`.

        `shown` is the digest of the question as shown to the person.
        """
        return await to_the_end(self._vote(identifier, vote, shown))

    async def _vote(self, identifier: str, vote: Vote, shown: str) -> Approval | Reason:
        def make(approval: Approval) -> Step | Reason:
            now = self.now()
            if approval.state == "pending" and self._has_ended_task(approval, now):
                return Step(state.end(approval, "withdrawn", now), cause="task-ended")
            remember = approval.question.rule.seconds
            counted = state.count_vote(approval, vote, shown, grant=self.times.grant, remember=remember)
            return counted if isinstance(counted, Reason) else Step(counted, vote=vote)

        changed = await self._register.change(identifier, make)
        if isinstance(changed, Approval) and changed.state == "withdrawn":
            return reasons.VOTE_CLOSED_TASK.reason()
        return reasons.VOTE_UNKNOWN.reason() if changed is None else changed

    def watch(self, tell: Callable[[Approval], None]) -> Callable[[], None]:
        """Have `tell` called with each changed approval. Returns a function to end the watch."""
        self._watchers.add(tell)
        return partial(self._watchers.discard, tell)

    # --- time and restart ------------------------------------------------------------------------------

    async def sweep(self, position: tuple[str, int] | None = None) -> None:
        """End the approvals whose time or task is over, and forget old ones.

        `position` is the journal's id and the number of its last entry. The next start reads the entries after it.
        """
        for number, approval in enumerate(self._register.index):
            if self._is_over(approval, self.now()):
                await self._end_over(approval.id)
            elif number % _LOOKED_AT == 0:
                # Calls go on meanwhile.
                await asyncio.sleep(0)
        old = self._register.index.over(self.now(), self.times.pending)
        for approval in old:
            self._register.forget(approval)
        if old:
            await self._store.remove([approval.id for approval in old])
            await self._store.expire()
        await self._register.pay_all()
        if position is not None and self._register.is_settled:
            await self._store.save_position(*position)

    async def follow(self) -> None:
        """Take over what other gateways asked, answered and used. Raises `StoreError`."""
        self._register.take(await self._store.look())

    async def settle_lost_claims(self) -> None:
        """Settle the claims of gateways that have ended. Raises `GatewayError`."""
        await self._register.settle_lost_claims()

    async def restore(self) -> StoredApprovals:
        """Take over the approvals of the gateway before this one. Raises `StoreError`."""
        stored = await self._store.load()
        # The order of a line is that of the questions, and not that of the store.
        for approval in sorted(stored.approvals, key=lambda one: one.question.asked):
            self._register.index.put(approval)
            self._note_time(approval.question.asked, approval.granted, *(vote.at for vote in approval.votes))
        self._stored = {approval.id: approval for approval in stored.approvals}
        return stored

    def replay(self, entry: JsonObject) -> None:
        """Bring the restored approvals up to date with an entry of the journal. Raises `ValueError` for a damaged entry."""
        kind = entry.get("kind")
        if kind == state.KIND:
            self._note_time(entry.get("at"))
        identifier = entry.get("id") if kind == state.KIND else entry.get("approval")
        approval = self._register.index.get(identifier) if isinstance(identifier, str) else None
        fold = _FOLDS.get(kind) if isinstance(kind, str) else None
        if approval is not None and fold is not None:
            self._register.index.put(fold(approval, entry))

    async def resume(self) -> None:
        """Write down the approvals with different states in journal and store, after all entries were replayed. A claim without
        a use in the journal is over: a gateway alone is the only one with calls."""
        for one in self._register.index:
            settled = self._register.end_own_claim(one)
            if settled != self._stored.get(one.id):
                self._register.index.put(settled)
                await self._store.save(settled)
        self._stored = {}

    async def withdraw_all(self, cause: str) -> None:
        """End all open approvals. The journal may lack the use of any."""
        for approval in self.list_open():
            await self.end(approval.id, "withdrawn", cause)

    # --- small parts -----------------------------------------------------------------------------------

    async def _end_over(self, identifier: str) -> None:
        """End an approval whose time or task is over."""

        def make(approval: Approval) -> Step | None:
            now = self.now()
            if approval.state not in OPEN or approval.claim is not None:
                return None
            if now >= approval.until:
                return Step(state.end_of_time(approval, now))
            return (
                Step(state.end(approval, "withdrawn", now), cause="task-ended")
                if self._is_over(approval, now)
                else None
            )

        await self._register.change(identifier, make)

    def _note_time(self, *times: object) -> None:
        """Note times of the journal: the clock may have been set back since."""
        self._clock.note(0.0, *(at for at in times if isinstance(at, int | float)))

    def _is_over(self, approval: Approval, now: float) -> bool:
        """Return whether the time or the task of an open approval is over."""
        return approval.state in OPEN and (now >= approval.until or self._has_ended_task(approval, now))

    def _has_ended_task(self, approval: Approval, now: float) -> bool:
        """Return whether the task of a call is over. A question about a future task has none."""
        return approval.question.task != "" and self._has_ended(approval.question, now)

    def _tell(self, approval: Approval) -> None:
        if approval.state != "pending":
            self._wake(approval.id)
        for tell in tuple(self._watchers):
            tell(approval)

    def _wake(self, identifier: str) -> None:
        for waiting in self._waiting.pop(identifier, []):
            if not waiting.done():
                waiting.set_result(None)


def _is_free(approval: Approval) -> bool:
    """Return whether an approval waits for its call."""
    return approval.state == "granted" and approval.claim is None


_YIELD: Final = 0.02
"""Seconds between two questions of one gateway beside others."""
_LOOKED_AT: Final = 256
"""Approvals that a sweep looks at before other work has its turn."""
_FOLDS: Final = {state.KIND: state.fold_entry, "call": state.fold_call, "task": state.fold_task}
