"""An index of the kept tasks, by id and by caller, and their end.

A declared task ends when it expires, and is remembered for an hour more. An implicit task ends after it was unused for the
idle limit, unless a call of it is open. The implicit tasks of a caller follow one another. The latest is the present task
for its lifetime; the earlier tasks are kept for their readings.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from gateway.errors import HistoryFull
from gateway.history.room import Room

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config import HistorySettings
    from gateway.history.states import TaskStates
    from gateway.history.task_history import TaskHistory
    from gateway.model.caller import Principal

MAX_IMPLICIT: Final = 4
"""Implicit tasks of a caller at once. Earlier ones are many only while calls of each are open; then the latest goes on."""
REMEMBERED: Final = 3600.0
"""Seconds for which a declared task can be asked about after it has expired."""


class KeptTasks:
    """An index of tasks, and the room for them."""

    def __init__(self, settings: HistorySettings, states: TaskStates) -> None:
        self.idle = settings.idle.total_seconds()
        self._lifetime = max(settings.lifetime, settings.idle).total_seconds()
        self._places = Room(settings.tasks, settings.tasks_per_caller)
        self._bytes = Room(settings.declarations, settings.declarations_per_caller)
        self._states = states
        self.by_id = states.by_id
        self._implicit: dict[str, list[str]] = {}  # owner → its implicit tasks, in the order in which they began
        self._unused: OrderedDict[str, None] = OrderedDict()  # implicit tasks, the longest unused first
        self._expiries: list[tuple[float, str]] = []  # declared tasks, a heap

    def __len__(self) -> int:
        return len(self.by_id)

    def all(self) -> Sequence[TaskHistory]:
        """Return all tasks, as they are now."""
        return tuple(self.by_id.values())

    def present(self, principal: Principal, now: float) -> TaskHistory | None:
        """Return the implicit task of a caller for a request at `now`; `None` if the request begins a new task. Without room
        for another, or with many that cannot end, the latest task goes on."""
        ids = self._implicit.get(principal.key)
        if ids is None:
            return None
        latest = self.by_id[ids[-1]]
        is_over = now - latest.task.opened >= self._lifetime and len(ids) < MAX_IMPLICIT
        return None if is_over and self._full(principal) is None else latest

    def add(self, kept: TaskHistory) -> None:
        """Keep a task, whatever room there is."""
        task = kept.task
        self._states.add(kept)
        self._places.give(kept.owner, kept.parties, 1)
        self._bytes.give(kept.owner, kept.parties, kept.size)
        if kept.is_implicit:
            ids = self._implicit.setdefault(kept.owner, [])
            # A journal may have thousands of tasks of one caller, so no other task is looked at.
            at = bisect_right(ids, task.opened, key=lambda task_id: self.by_id[task_id].task.opened)
            ids.insert(at, task.id)
            kept.before = self.by_id[ids[at - 1]] if at else None
            if at + 1 < len(ids):
                self.by_id[ids[at + 1]].before = kept
            self._unused[task.id] = None
        elif task.expires is not None:
            heappush(self._expiries, (task.expires + REMEMBERED, task.id))

    def remove(self, kept: TaskHistory) -> None:
        """Keep a task no longer."""
        task_id, owner = kept.task.id, kept.owner
        self._states.remove(kept)
        if kept.is_implicit:
            self._unused.pop(task_id)
            ids = self._implicit[owner]
            at = ids.index(task_id)
            del ids[at]
            if at < len(ids):
                self.by_id[ids[at]].before = kept.before
            kept.before = None
            if not ids:
                del self._implicit[owner]
        self._places.give(owner, kept.parties, -1)
        self._bytes.give(owner, kept.parties, -kept.size)

    def use(self, kept: TaskHistory, now: float) -> None:
        """Note that a task was used."""
        kept.used = max(kept.used, now)
        if kept.is_implicit:
            self._unused.move_to_end(kept.task.id)

    def over(self, now: float) -> TaskHistory | None:
        """Return a task after its end, for the caller to remove; `None` if there is none."""
        while self._unused:
            kept = self.by_id[next(iter(self._unused))]
            if now - kept.used <= self.idle:
                break
            if not kept.busy:
                return kept
            self.use(kept, now)
        while self._expiries and self._expiries[0][0] <= now:
            _, task_id = heappop(self._expiries)
            kept = self.by_id[task_id]
            if not kept.busy:
                return kept
            heappush(self._expiries, (now + REMEMBERED, task_id))
        return None

    def require_room(self, principal: Principal, size: int = 0) -> None:
        """Raise `HistoryFull` if there is no room for another task of the caller; `size` is that of its declaration."""
        full = self._full(principal, size)
        if full is not None:
            raise full

    def _full(self, principal: Principal, size: int = 0) -> HistoryFull | None:
        owner, parties = principal.key, principal.parties
        match self._places.full(owner, parties, 1):
            case "caller":
                return _caller_full(f"{self._places.held(owner)} tasks", "tasks_per_caller")
            case "shared":
                return _shared_full(f"{self._places.used:,} tasks", "tasks")
            case None:
                pass
        match self._bytes.full(owner, parties, size) if size else None:
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
