"""The open questions of this gateway: in memory for calls, in the journal for the record, on disk for a restart.

The journal learns of each change before memory does. A lock for each question orders votes, time and ends: one wins. A call claims
its granted approval before the policy decides again. So parallel equal calls cannot use one approval twice. The disk
gets one state after the other, and each time the newest. An older state would bring a used approval back at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from gateway.authority.approvals import state
from gateway.authority.approvals.digest import digest_subject
from gateway.authority.approvals.index import UNHEARD, QuestionIndex
from gateway.authority.approvals.model import OPEN, Approval, Question, Vote
from gateway.base.concurrency.background import to_the_end
from gateway.base.steady_clock import SteadyClock
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

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
    setbacks. `has_ended` tells whether the task of a question is over.
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
    ) -> None:
        self.times = times
        self._store = store
        self._append = append
        self._clock = SteadyClock(clock, monotonic)
        self._has_ended = has_ended
        self._index = QuestionIndex()
        self._claimed: set[str] = set()
        self._ending: set[str] = set()
        self._saving = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self._asking = asyncio.Lock()
        self._disk = asyncio.Lock()
        self._unreached: set[str] = set()
        self._stored: dict[str, Approval] = {}
        self._unsaved: set[str] = set()
        """Approvals that the disk did not take. No position passes the entries about these."""
        self._draining = False
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._watchers: set[Callable[[Approval], None]] = set()

    def now(self) -> float:
        """Return the time. A clock set back revives nothing, and lengthens nothing."""
        return self._clock.now()

    # --- for calls -------------------------------------------------------------------------------------

    def has_questions_about(self, caller: str, target: Target) -> bool:
        """Return whether a caller has a remembered question about a target. All other calls need no digest."""
        return self._index.has_questions(caller) and self._index.has_questions_about(caller, digest_subject(target))

    def find_round(self, operation: str, earlier: str) -> Approval | None:
        """Return the approval of an exchange for its next round. `earlier` is the decision id of the previous round."""
        return self._index.continued(operation, earlier, self.now())

    def has_granted_otherwise(self, act: str, call: str) -> bool:
        """Return whether people approved such a call with other parts beside its arguments, and it has not come yet."""
        found = self._index.granted_otherwise(act, call, self.now())
        return found is not None and found.id not in self._claimed

    def find(self, call: str) -> Approval | None:
        """Return the approval for a call."""
        found = self._index.answering(call, self.now())
        return None if found is None or found.id in self._claimed else found

    async def ask(self, question: Question, description: Mapping[str, Any]) -> Approval | Reason:
        """Put a question to people, or join the question about the same call with a no, or without an answer yet.
        Refuse too many questions.

        Raises `JournalError` and `StoreError`: then there is no question.
        """
        return await to_the_end(self._ask(question, description))

    async def _ask(self, question: Question, description: Mapping[str, Any]) -> Approval | Reason:
        async with self._asking:
            known = self._index.answering(question.call, self.now())
            if known is not None and known.state in {"pending", "denied"}:
                return known
            if (refusal := self._index.object_to_question(question)) is not None:
                return refusal
            approval = state.ask(question)
            with self._hold_position():
                await self._append(state.KIND, state.asked_entry(approval))
                await self._store.add(approval, description)
            self._index.put(approval)
        self._tell(approval)
        return approval

    async def wait(self, identifier: str, seconds: float, woken: asyncio.Future[None] | None = None) -> Approval | None:
        """Wait until an approval is pending no more, at most so many seconds, or until `woken` has a result.

        The wait also ends when the gateway stops, and when no channel reaches people. Returns `None` for a forgotten approval.
        """
        approval = self._index.get(identifier)
        if approval is None or approval.state != "pending" or self._draining or identifier in self._unreached:
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
        return self._index.get(identifier)

    def claim(self, identifier: str, earlier: str | None = None) -> bool:
        """Claim an approval for one call, and return whether the call may use it.

        A claim ends with `give_back`, `use` or `end`. `earlier` is the decision id of the previous round of an
        upstream's exchange; a round can have one next round.
        """
        approval = self._index.get(identifier)
        if approval is None or identifier in self._claimed | self._ending or self.now() >= approval.until:
            return False
        if approval.state == "granted":
            self._claimed.add(identifier)
            return True
        return approval.state == "used" and earlier is not None and self._index.take_round(earlier)

    def give_back(self, identifier: str, earlier: str | None = None) -> None:
        """Let another call have a claimed approval. `earlier` is as for `claim`."""
        self._claimed.discard(identifier)
        if earlier is not None:
            self._index.give_round_back(earlier, identifier)

    async def use(self, identifier: str, decision: str) -> None:
        """Note that a call used its claimed approval. The `call` entry in the journal has the use already.

        Raises `StoreError`. The next start then reads the use from the journal, which has to be on the disk before the call
        goes on.
        """
        approval = self._index.get(identifier)
        if approval is None:
            return
        used = state.use(approval, decision)
        self._index.put(used)
        with self._hold_position():
            self._claimed.discard(identifier)
            self._tell(used)
            await self._save(identifier)

    async def end(self, identifier: str, how: state.End, cause: str = "") -> None:
        """End an approval that its call did not use. Raises `JournalError`: then another call may have it."""
        await to_the_end(self._end(identifier, how, cause))

    async def withdraw(self, identifier: str, cause: str) -> bool:
        """End an open approval without a claim, and return whether the approval has ended. Raises `JournalError`."""
        return await to_the_end(self._withdraw(identifier, cause))

    async def _withdraw(self, identifier: str, cause: str) -> bool:
        async with self._lock_approval(identifier) as approval:
            if approval is None or approval.state not in OPEN or identifier in self._claimed:
                return False
            await self._change(state.end(approval, "withdrawn", self.now()), cause=cause)
            return True

    async def _end(self, identifier: str, how: state.End, cause: str) -> None:
        async with self._lock_approval(identifier) as approval:
            try:
                if approval is not None and approval.state in OPEN:
                    await self._change(state.end(approval, how, self.now()), cause=cause)
            finally:
                self._claimed.discard(identifier)

    def note_told(self, approval: Approval) -> None:
        """Note that the caller knows the answer. After an unanswered question its next call asks anew; a no stays a no."""
        if approval.state in UNHEARD:
            self._index.let_ask_anew(approval)

    def is_unreached(self, identifier: str) -> bool:
        """Return whether all channels have failed so far to tell people about an open question."""
        return identifier in self._unreached

    def end_waits(self) -> None:
        """End all waits of calls, now and from now on: the gateway stops. The questions stay open."""
        self._draining = True
        for identifier in tuple(self._waiting):
            self._wake(identifier)

    # --- for channels ----------------------------------------------------------------------------------

    def mark_unreached(self, identifier: str) -> None:
        """Have waiting calls told that all channels have failed so far."""
        approval = self._index.get(identifier)
        if approval is not None and approval.state == "pending":
            self._unreached.add(identifier)
            self._wake(identifier)

    async def note_sent(self, identifier: str, delivery: state.NoticeDelivery) -> None:
        """Note that a channel delivered news of a question. Raises `JournalError` and `StoreError`."""
        self._unreached.discard(identifier)
        await to_the_end(self._note_sent(identifier, delivery))

    async def _note_sent(self, identifier: str, delivery: state.NoticeDelivery) -> None:
        approval = self._index.get(identifier)
        if approval is None:
            return
        with self._hold_position():
            await self._append(state.KIND, state.delivery_entry(approval, self.now(), delivery))
            # The state may have changed meanwhile, by a vote or by a call that used the approval.
            if (current := self._index.get(identifier)) is not None:
                self._index.put(state.note_told(current, delivery.channel, delivery.notice))
                await self._save(identifier)

    async def note_unsent(self, identifier: str, delivery: state.NoticeDelivery, problem: str) -> None:
        """Note the channel's failure to deliver news of a question. Raises `JournalError`."""
        if (approval := self._index.get(identifier)) is not None:
            entry = state.delivery_entry(approval, self.now(), delivery, problem=problem)
            await to_the_end(self._note(entry))

    async def _note(self, entry: JsonObject) -> None:
        await self._append(state.KIND, entry)

    # --- for people ------------------------------------------------------------------------------------

    def list_remembered(self) -> list[Approval]:
        """Return all remembered questions, ended questions included."""
        return list(self._index)

    def list_open(self) -> list[Approval]:
        """Return the open questions and approvals, the oldest first."""
        return sorted((one for one in self._index if one.state in OPEN), key=lambda one: one.question.asked)

    def waits_in_line(self, approval: Approval) -> bool:
        """Return whether a question waits until people have answered earlier questions of its task."""
        return self._index.waits_in_line(approval, self.times.per_task)

    def get(self, identifier: str) -> Approval | None:
        """Return an approval by its id."""
        return self._index.get(identifier)

    async def describe(self, identifier: str) -> dict[str, Any] | None:
        """Return the description of a waiting call. Raises `StoreError`."""
        return await self._store.describe(identifier)

    async def vote(self, identifier: str, vote: Vote, shown: str) -> Approval | Reason:
        """Count a person's answer, also if the person's connection ends meanwhile. Raises `JournalError`.

        `shown` is the digest of the question as shown to the person.
        """
        return await to_the_end(self._vote(identifier, vote, shown))

    async def _vote(self, identifier: str, vote: Vote, shown: str) -> Approval | Reason:
        async with self._lock_approval(identifier) as approval:
            if approval is None:
                return reasons.VOTE_UNKNOWN.reason()
            now = self.now()
            if approval.state == "pending" and self._has_ended_task(approval, now):
                await self._change(state.end(approval, "withdrawn", now), cause="task-ended")
                return reasons.VOTE_CLOSED_TASK.reason()
            remember = approval.question.rule.seconds
            counted = state.count_vote(approval, vote, shown, grant=self.times.grant, remember=remember)
            if isinstance(counted, Approval):
                await self._change(counted, vote=vote)
            return counted

    def watch(self, tell: Callable[[Approval], None]) -> Callable[[], None]:
        """Have `tell` called with each changed approval. Returns a function to end the watch."""
        self._watchers.add(tell)
        return partial(self._watchers.discard, tell)

    # --- time and restart ------------------------------------------------------------------------------

    async def sweep(self, position: tuple[str, int] | None = None) -> None:
        """End the approvals whose time or task is over, and forget old ones.

        `position` is the journal's id and the number of its last entry. The next start reads the entries after it.
        """
        for number, approval in enumerate(self._index):
            if self._is_over(approval, self.now()):
                await self._end_over(approval.id)
            elif number % _LOOKED_AT == 0:
                # Calls go on meanwhile.
                await asyncio.sleep(0)
        old = self._index.over(self.now(), self.times.pending)
        for approval in old:
            self._index.remove(approval)
            self._locks.pop(approval.id, None)
        if old:
            await self._store.save((), [approval.id for approval in old])
        for identifier in tuple(self._unsaved):
            await self._save(identifier)
        if position is not None and not self._saving and not self._claimed:
            await self._store.save_position(*position)

    async def restore(self) -> StoredApprovals:
        """Take over the approvals of the gateway before this one. Raises `StoreError`."""
        stored = await self._store.load()
        # The order of a line is that of the questions, and not that of the store.
        for approval in sorted(stored.approvals, key=lambda one: one.question.asked):
            self._index.put(approval)
            self._note_time(approval.question.asked, approval.granted, *(vote.at for vote in approval.votes))
        self._stored = {approval.id: approval for approval in stored.approvals}
        return stored

    def replay(self, entry: JsonObject) -> None:
        """Bring the restored approvals up to date with an entry of the journal. Raises `ValueError` for a damaged entry."""
        kind = entry.get("kind")
        if kind == state.KIND:
            self._note_time(entry.get("at"))
        identifier = entry.get("id") if kind == state.KIND else entry.get("approval")
        approval = self._index.get(identifier) if isinstance(identifier, str) else None
        fold = _FOLDS.get(kind) if isinstance(kind, str) else None
        if approval is not None and fold is not None:
            self._index.put(fold(approval, entry))

    async def resume(self) -> None:
        """Write down the approvals with different states in journal and store, after all entries were replayed."""
        changed = tuple(one for one in self._index if one != self._stored.get(one.id))
        self._stored = {}
        if changed:
            await self._store.save(changed)

    async def withdraw_all(self, cause: str) -> None:
        """End all open approvals. The journal may lack the use of any."""
        for approval in self.list_open():
            await self.end(approval.id, "withdrawn", cause)

    # --- small parts -----------------------------------------------------------------------------------

    async def _end_over(self, identifier: str) -> None:
        """End an approval whose time or task is over."""
        now = self.now()
        async with self._lock_approval(identifier) as approval:
            if approval is None or approval.state not in OPEN or identifier in self._claimed:
                return
            if now >= approval.until:
                await self._change(state.end_of_time(approval, now))
            elif self._has_ended_task(approval, now):
                await self._change(state.end(approval, "withdrawn", now), cause="task-ended")

    def _note_time(self, *times: object) -> None:
        """Note times of the journal: the clock may have been set back since."""
        self._clock.note(0.0, *(at for at in times if isinstance(at, int | float)))

    def _is_over(self, approval: Approval, now: float) -> bool:
        """Return whether the time or the task of an open approval is over."""
        return approval.state in OPEN and (now >= approval.until or self._has_ended_task(approval, now))

    def _has_ended_task(self, approval: Approval, now: float) -> bool:
        """Return whether the task of a call is over. A question about a future task has none."""
        return approval.question.task != "" and self._has_ended(approval.question, now)

    async def _change(self, approval: Approval, *, vote: Vote | None = None, cause: str = "") -> None:
        """Record a changed approval, and then let calls see it."""
        with self._hold_position():
            # No call may claim an approval whose end is on its way to the journal.
            self._ending.add(approval.id)
            try:
                await self._append(state.KIND, state.changed_entry(approval, self.now(), vote=vote, cause=cause))
            finally:
                self._ending.discard(approval.id)
            # A channel may have delivered its message meanwhile.
            current = self._index.get(approval.id) or approval
            approval = structs.replace(approval, told=current.told, told_end=current.told_end)
            self._index.put(approval)
            self._tell(approval)
            await self._save(approval.id)

    async def _save(self, identifier: str) -> None:
        """Write the newest state of an approval to the disk."""
        async with self._disk:
            if (newest := self._index.get(identifier)) is not None:
                self._unsaved.add(identifier)
                await self._store.save((newest,))
            self._unsaved.discard(identifier)

    @contextmanager
    def _hold_position(self) -> Generator[None]:
        """Hold back the position while the journal knows more than the store."""
        self._saving += 1
        try:
            yield
        finally:
            self._saving -= 1

    @asynccontextmanager
    async def _lock_approval(self, identifier: str) -> AsyncGenerator[Approval | None]:
        """Hold the lock of an approval, and give the approval in its state under the lock."""
        if self._index.get(identifier) is None:
            yield None
            return
        async with self._locks.setdefault(identifier, asyncio.Lock()):
            yield self._index.get(identifier)

    def _tell(self, approval: Approval) -> None:
        if approval.state != "pending":
            self._unreached.discard(approval.id)
            self._wake(approval.id)
        for tell in tuple(self._watchers):
            tell(approval)

    def _wake(self, identifier: str) -> None:
        for waiting in self._waiting.pop(identifier, []):
            if not waiting.done():
                waiting.set_result(None)


_LOOKED_AT: Final = 256
"""Approvals that a sweep looks at before other work has its turn."""
_FOLDS: Final = {state.KIND: state.fold_entry, "call": state.fold_call, "task": state.fold_task}
