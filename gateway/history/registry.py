"""The kept tasks: their owners, their room, and their ends.

The gateway forgets a task at the end of its time, and never to make room. Otherwise a caller could push its tasks out, and
start over with fresh limits. Without room, new tasks are refused.

A declared task ends when it expires, and is remembered for an hour more. An implicit task ends after it was unused for the
idle limit, unless a call of it is open. The implicit tasks of a caller follow one another. The latest is the present task
for its lifetime; the earlier tasks are kept for their readings.
"""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections import OrderedDict
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, Literal

from gateway.history.events import TaskEnded, list_shown, make_opening, to_fields
from gateway.history.facts import facts
from gateway.history.fold import apply
from gateway.history.states import task_fields
from gateway.history.task_history import TaskHistory, declared_size
from gateway.history.trees import Trees
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import HistoryFull, TaskExpired
from gateway.model.facts import TaskReport
from gateway.model.task import Task, TaskEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config import HistorySettings
    from gateway.history.exposure import Exposures, OriginReporter
    from gateway.history.log import HistoryLog
    from gateway.history.states import TaskStates
    from gateway.inspection.words.words import IsForeign
    from gateway.model.caller import Principal
    from gateway.model.content import ResultContent
    from gateway.model.wire import JsonObject

ReachedLimit = Literal["caller", "shared"]
"""The limit that was reached: of the caller, or of all."""

NEWCOMERS: Final = 4
"""One part in so many is kept for callers that have nothing."""
ISSUERS: Final = 16
"""One part in so many is kept for issuers that hold less than half."""
PARTY: Final = 64
"""A party that holds more than one in so many parts of the free amount takes nothing of the newcomers' part."""


class Quota:
    """A limited amount of places or bytes, and the parts that callers hold. `parties` are as in `Principal`."""

    def __init__(self, limit: int, per_caller: int) -> None:
        self.limit = limit
        self.per_caller = per_caller
        self.used = 0
        self._by_caller: dict[str, int] = {}
        self._by_party: dict[str, int] = {}

    def held(self, owner: str) -> int:
        """Return the amount that a caller holds."""
        return self._by_caller.get(owner, 0)

    def find_reached_limit(self, owner: str, parties: tuple[str, ...], amount: int) -> ReachedLimit | None:
        """Return the limit that forbids a caller another amount, `None` if there is room."""
        if self.held(owner) + amount > self.per_caller:
            return "caller"
        free = self.limit - self.used
        if amount > free:
            return "shared"
        left = free - amount
        if left >= self.limit // NEWCOMERS:
            return None
        if self.held(owner) or any(self._party(party) * PARTY > free for party in parties[1:]):
            return "shared"
        if left < self.limit // ISSUERS and self._party(parties[0]) * 2 > self.limit:
            return "shared"
        return None

    def add(self, owner: str, parties: tuple[str, ...], amount: int) -> None:
        """Give a caller an amount of room, even beyond the limit. A negative amount takes room back."""
        self.used += amount
        _add(self._by_caller, owner, amount)
        for party in parties:
            _add(self._by_party, party, amount)

    def _party(self, party: str) -> int:
        return self._by_party.get(party, 0)


def _add(amounts: dict[str, int], name: str, amount: int) -> None:
    left = amounts.get(name, 0) + amount
    if left:
        amounts[name] = left
    else:
        amounts.pop(name, None)


MAX_IMPLICIT: Final = 4
"""Implicit tasks of a caller at once. Earlier ones are many only while calls of each are open; then the latest goes on."""
REMEMBERED: Final = 3600.0
"""Seconds for which a declared task can be asked about after it has expired."""


def new_task_id() -> str:
    """Return an id for an implicit task."""
    return f"task-{secrets.token_hex(12)}"


class TaskRegistry:
    """The kept tasks, as many as the settings allow in all and for one caller.

    `states` has their states. `origins` and `exposures` hear of each task that is kept with credentials, and of each
    task that is forgotten.
    """

    def __init__(
        self,
        settings: HistorySettings,
        states: TaskStates,
        origins: OriginReporter,
        exposures: Exposures,
        log: HistoryLog,
        *,
        new_id: Callable[[], str] = new_task_id,
    ) -> None:
        self._idle = settings.idle.total_seconds()
        self._lifetime = max(settings.lifetime, settings.idle).total_seconds()
        self._places = Quota(settings.tasks, settings.tasks_per_caller)
        self._bytes = Quota(settings.declarations, settings.declarations_per_caller)
        self._new_id = new_id
        self._origins = origins
        self._exposures = exposures
        self._states = states
        self.log = log
        self._by_id = states.by_id
        self._implicit: dict[str, list[str]] = {}  # owner → its implicit tasks, in the order in which they began
        self._unused: OrderedDict[str, None] = OrderedDict()  # implicit tasks, the longest unused first
        self._expiries: list[tuple[float, str]] = []  # declared tasks, a heap
        self._listeners: list[Callable[[str, TaskEnd], None]] = []
        self.trees = Trees(self._by_id)
        """The children of declared tasks. `admit` and `remove` keep it up to date."""

    def subscribe(self, listener: Callable[[str, TaskEnd], None]) -> None:
        """Tell a function of each task that has ended or is forgotten, and how."""
        self._listeners.append(listener)

    # --- open a task ---------------------------------------------------------------------------------

    def open_implicit(self, principal: Principal, now: float) -> Task:
        """Return the implicit task of a request: the present task of its caller, or a new task.

        Tokens, sessions and certificates make no difference: clients renew them as often as they like. Raises `HistoryFull`.
        """
        if (ended := self._over(now)) is not None:
            self.drop(ended)
            self.forget(now)
        present = self._present(principal, now)
        if present is not None:
            present.used = max(present.used, now)
            self._unused.move_to_end(present.task.id)
            return present.task
        self._require_room(principal)
        task = Task(id=self._new_id(), kind="implicit", opened=round(now, 3))
        kept = TaskHistory(task, principal.key, principal.parties, now, job=principal.job, agent=principal.id)
        self.admit(kept)
        self.log.note(kept, None, now)
        return task

    def open(self, principal: Principal, task: Task, content: ResultContent) -> JsonObject:
        """Keep a declared task. `content` is of its goal and its contract's destinations.

        Returns the fields of a `task` entry; the task is not safe from a crash before that is written. Raises
        `HistoryFull`, and `ValueError` for a task without expiry or with an id that is taken.
        """
        if task.kind != "declared" or task.expires is None or task.id in self._by_id:
            raise ValueError("a declared task has an expiry and an id of its own")
        self.forget(task.opened)
        event = make_opening(content.tokens, list_shown(content.sightings))
        size = declared_size(task, event)
        self._require_room(principal, size)
        kept = TaskHistory(
            task, principal.key, principal.parties, task.opened, size=size, job=principal.job, agent=principal.id
        )
        apply(self._states.load(kept), event)
        kept.changed = True
        self.admit(kept)
        self.log.note(kept, event, task.opened)
        described = task_fields(task, partial(self._states.conceal_goal, kept))
        return {
            "task": task.id,
            **kept.names,
            "parties": kept.parties,
            "declared": described,
            **to_fields(event),
        }

    def find_foreign(self, principal: Principal, now: float) -> IsForeign | None:
        """Return a function to tell whether words of a new declaration are not the user's; `None` if all of them are.

        In a marked job foreign words are those of its untrusted results. Words of trusted results and earlier goals are not, and neither is a
        word of the user in person. Where not all words of the results are kept, only such words are known to be the user's.
        """
        found = None if principal.is_in_person else self._states.jobs.find_words(principal.job, now)
        if found is None:
            return None
        # A state that has left memory gives no ground: people are asked once more.
        tasks = [kept.state for kept in self._by_id.values() if kept.job == principal.job and kept.state is not None]

        def is_foreign(words: frozenset[int], values: frozenset[int]) -> bool:
            if found.are_whole and words.isdisjoint(found.words):
                return False
            return not values or not all(any(value in state.trusted for state in tasks) for value in values)

        return is_foreign

    def end(self, task: Task, how: Literal["completed", "cancelled"]) -> list[JsonObject]:
        """End a declared task with all tasks below it. Calls that are open go on to their end. Returns the fields of a `task`
        entry for each."""
        event, found = TaskEnded(how), self.require(task)
        ended = [found, *(kept for kept in self.trees.list_below(task.id) if kept.ended is None)]
        for kept in ended:
            apply(self._states.load(kept), event)
            kept.ended, kept.changed = how, True
            self.log.note(kept, event, None)
            self.tell_end(kept.task.id, how)
        return [{"task": kept.task.id, **to_fields(event)} for kept in ended]

    # --- find a task ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> Sequence[TaskHistory]:
        """Return all tasks, as they are now."""
        return tuple(self._by_id.values())

    def find(self, task_id: str) -> TaskHistory | None:
        """Return a kept task."""
        return self._by_id.get(task_id)

    def require(self, task: Task) -> TaskHistory:
        """Return a kept task. Raises `TaskExpired` for any other."""
        kept = self._by_id.get(task.id)
        if kept is None:
            raise TaskExpired(f"the task {task.id} is no longer kept", "send the request again; it begins a new task")
        return kept

    def find_present(self, principal: Principal, now: float) -> Task | None:
        """Return the present implicit task of a caller, if there is one."""
        present = self._present(principal, now)
        return None if present is None else present.task

    def select(self, principal: Principal, task_id: str, now: float) -> Task | Reason:
        """Return the open declared task of this principal with this id, or `task/unknown`, `task/ended` or
        `task/expired`. Tasks of other principals are unknown."""
        self.forget(now)
        kept = self._owned_by(principal, task_id)
        if kept is None:
            return reasons.TASK_UNKNOWN.reason()
        over = self.trees.find_end(kept, now)
        if over is not None:
            return over
        self.use(kept, now)
        return kept.task

    def report(self, principal: Principal, task_id: str, now: float) -> TaskReport | Reason:
        """Return a declared task as its owner may see it, or refuse with `task/unknown`."""
        self.forget(now)
        kept = self._owned_by(principal, task_id)
        if kept is None:
            return reasons.TASK_UNKNOWN.reason()
        return TaskReport(kept.task, self.trees.status(kept, now), facts(self._states.load(kept), now))

    def is_open(self, task_id: str, now: float) -> bool:
        """Return whether the task may still make calls, or has an open call."""
        kept = self._by_id.get(task_id)
        if kept is None:
            return False
        return kept.is_busy or (
            self.trees.status(kept, now) == "open" and (not kept.is_implicit or now - kept.used <= self._idle)
        )

    def was_ended(self, task_id: str) -> bool:
        """Return whether an agent or a person ended the task or a task above it. The end of an implicit task by its time does not count."""
        kept = self._by_id.get(task_id)
        return kept is not None and self.trees.was_ended(kept)

    def readings_of(self, task: Task) -> tuple[str, ...]:
        """Return the ids of the task and of the earlier tasks with readings that count in it. Raises `TaskExpired`."""
        kept = self.require(task)
        return (task.id, *[before.task.id for before in kept.earlier])

    def _owned_by(self, principal: Principal, task_id: str) -> TaskHistory | None:
        kept = self._by_id.get(task_id)
        return kept if kept is not None and not kept.is_implicit and kept.owner == principal.key else None

    def _present(self, principal: Principal, now: float) -> TaskHistory | None:
        """Return the implicit task of a caller for a request at `now`; `None` if the request begins a new task. Without room
        for another, or with many that cannot end, the latest task goes on."""
        ids = self._implicit.get(principal.key)
        if ids is None:
            return None
        latest = self._by_id[ids[-1]]
        is_over = now - latest.task.opened >= self._lifetime and len(ids) < MAX_IMPLICIT
        return None if is_over and self._find_full(principal) is None else latest

    # --- keep and forget -----------------------------------------------------------------------------

    def admit(self, kept: TaskHistory) -> None:
        """Keep a task, whatever room there is."""
        self._states.add(kept)
        self.trees.add(kept)
        self._places.add(kept.owner, kept.parties, 1)
        self._bytes.add(kept.owner, kept.parties, kept.size)
        if kept.is_implicit:
            self._link(kept)
        elif kept.kept_until is not None:
            heappush(self._expiries, (kept.kept_until + REMEMBERED, kept.task.id))
        if kept.carries:
            state = self._states.load(kept)
            self._origins.tell(kept.job, kept.task.id, state, state.credentials)
            self._exposures.note(kept.job, kept.task.id, state.exposed)

    def use(self, kept: TaskHistory, now: float) -> None:
        """Note that a task was used."""
        kept.used = max(kept.used, now)
        if kept.is_implicit:
            self._unused.move_to_end(kept.task.id)

    def forget(self, now: float) -> None:
        """Let go of the tasks whose time is over."""
        while (kept := self._over(now)) is not None:
            self.drop(kept)

    def _over(self, now: float) -> TaskHistory | None:
        """Return a task after its end, for the caller to drop; `None` if there is none."""
        while self._unused:
            kept = self._by_id[next(iter(self._unused))]
            if not self._is_past(kept, now):
                break
            if not kept.is_busy:
                return kept
            self.use(kept, now)
        while self._expiries and self._expiries[0][0] <= now:
            _, task_id = heappop(self._expiries)
            kept = self._by_id.get(task_id)
            if kept is not None and not kept.is_busy:
                return kept
            if kept is not None:
                heappush(self._expiries, (now + REMEMBERED, task_id))
        return None

    def is_over(self, kept: TaskHistory, now: float) -> bool:
        """Return whether the time of a task is over, so that it is forgotten."""
        return not kept.is_busy and self._is_past(kept, now)

    def _is_past(self, kept: TaskHistory, now: float) -> bool:
        if kept.is_implicit:
            return now - kept.used > self._idle
        return kept.kept_until is not None and kept.kept_until + REMEMBERED <= now

    def drop(self, kept: TaskHistory) -> None:
        """Keep a task no longer, since its time is over."""
        self.remove(kept)
        self.tell_end(kept.task.id, kept.ended or "expired")

    def remove(self, kept: TaskHistory) -> None:
        """Take a task out of memory. It may go on elsewhere."""
        task_id = kept.task.id
        self._states.remove(kept)
        self.trees.remove(kept)
        if kept.is_implicit:
            self._unlink(kept)
        self._places.add(kept.owner, kept.parties, -1)
        self._bytes.add(kept.owner, kept.parties, -kept.size)
        self._origins.drop(kept)
        self._exposures.drop(kept.job, task_id)

    def tell_end(self, task_id: str, how: TaskEnd) -> None:
        """Tell the listeners of the end of a task."""
        for listener in self._listeners:
            listener(task_id, how)

    def _link(self, kept: TaskHistory) -> None:
        """Give an implicit task its place among those of its caller."""
        ids = self._implicit.setdefault(kept.owner, [])
        # A journal may have thousands of tasks of one caller, so no other task is looked at.
        at = bisect_right(ids, kept.task.opened, key=lambda task_id: self._by_id[task_id].task.opened)
        ids.insert(at, kept.task.id)
        kept.before = self._by_id[ids[at - 1]] if at else None
        if at + 1 < len(ids):
            self._by_id[ids[at + 1]].before = kept
        self._unused[kept.task.id] = None

    def _unlink(self, kept: TaskHistory) -> None:
        self._unused.pop(kept.task.id)
        ids = self._implicit[kept.owner]
        at = ids.index(kept.task.id)
        del ids[at]
        if at < len(ids):
            self._by_id[ids[at]].before = kept.before
        kept.before = None
        if not ids:
            del self._implicit[kept.owner]

    # --- room ----------------------------------------------------------------------------------------

    def require_room(self, principal: Principal, now: float) -> None:
        """Raise `HistoryFull` if the caller cannot open another task, however small."""
        self.forget(now)
        self._require_room(principal)

    def _require_room(self, principal: Principal, size: int = 0) -> None:
        """Raise `HistoryFull` if there is no room for another task of the caller; `size` is that of its declaration."""
        full = self._find_full(principal, size)
        if full is not None:
            raise full

    def _find_full(self, principal: Principal, size: int = 0) -> HistoryFull | None:
        owner, parties = principal.key, principal.parties
        match self._places.find_reached_limit(owner, parties, 1):
            case "caller":
                return _caller_full(f"{self._places.held(owner)} tasks", "tasks_per_caller")
            case "shared":
                return _shared_full(f"{self._places.used:,} tasks", "tasks")
            case None:
                pass
        match self._bytes.find_reached_limit(owner, parties, size) if size else None:
            case "caller":
                return _caller_full(f"declarations of {self._bytes.held(owner):,} bytes", "declarations_per_caller")
            case "shared":
                return _shared_full(f"declarations of {self._bytes.used:,} bytes", "declarations")
            case None:
                return None


def _caller_full(held: str, setting: str) -> HistoryFull:
    return HistoryFull(
        f"the caller has {held}, as many as one may have",
        "open tasks with shorter expiries, since a declared task counts until an hour after its own; or have the"
        f" operator raise history.{setting}",
    )


def _shared_full(held: str, setting: str) -> HistoryFull:
    return HistoryFull(
        f"the gateway keeps {held}, and the rest of its room is for callers that have none",
        f"try again when some tasks have ended, or have the operator raise history.{setting}",
    )
