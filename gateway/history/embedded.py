"""The tasks of this process, in memory.

Nothing here waits, so that calls on one event loop see one another whole. A task is forgotten when it was unused for the
idle limit and has no open call, and for no other reason: who could push tasks out could start over with fresh limits.
When there is no room left, new tasks are refused instead.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import HistoryFull, TaskExpired
from gateway.history.events import Released, Reserved, Settled, TaskState, apply, touch
from gateway.history.facts import facts
from gateway.model import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import HistorySettings
    from gateway.model import Call, Principal, SessionFacts

_FRESH = TaskState()


@dataclass(slots=True)
class _Kept:
    """A task and what it has done. `key` is what it is found by, `owner` the principal it is bound to."""

    task: Task
    key: bytes
    owner: str
    used: float
    state: TaskState = _FRESH


class History:
    """Tasks and their states. `limit` and `owner_limit` bound how many are kept in all and for one principal."""

    def __init__(
        self,
        settings: HistorySettings,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str] = lambda: f"task-{secrets.token_hex(12)}",
        limit: int = 20_000,
        owner_limit: int = 1_000,
    ) -> None:
        self._idle = settings.idle.total_seconds()
        self._clock = clock
        self._new_id = new_id
        self._limit = limit
        self._owner_limit = owner_limit
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # by task id, the longest unused first
        self._ids: dict[bytes, str] = {}
        self._owned: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def task(self, principal: Principal, session: str | None, now: float) -> Task:
        """The task that a request belongs to: the one of its session, else of its token; a new one if there is none.

        `session` is a legacy session id. It names a task of this principal only. Raises `HistoryFull`.
        """
        self._forget_idle(now)
        key = _key(principal, session)
        if (known := self._ids.get(key)) is not None:
            kept = self._kept[known]
            self._use(kept, now)
            return kept.task
        return self._admit(key, principal.key, now)

    def reserve(self, task: Task, call: Call, now: float) -> SessionFacts:
        """Count a call that is about to be decided, and the facts for the decision. Raises `TaskExpired`.

        Each call that was reserved is ended once, by `release` or `settle`.
        """
        kept = self._known(task)
        self._use(kept, now)
        candidate = touch(call)
        known = facts(kept.state, candidate)
        kept.state = apply(kept.state, Reserved(candidate))
        return known

    def facts(self, task: Task) -> SessionFacts:
        """What the task has done, for a question about no call in particular. Raises `TaskExpired`."""
        return facts(self._known(task).state)

    def release(self, task: Task, call: Call, *, denied: bool) -> None:
        """Take back a reserved call that does not go on. Raises `ValueError` for one that is not open."""
        kept = self._open(task)
        kept.state = apply(kept.state, Released(touch(call), denied))
        self._use(kept, self._clock())

    def settle(self, task: Task, call: Call) -> None:
        """End a reserved call that went on, in whatever way it ended. Raises `ValueError` for one that is not open."""
        kept = self._open(task)
        kept.state = apply(kept.state, Settled(touch(call)))
        self._use(kept, self._clock())

    def _known(self, task: Task) -> _Kept:
        kept = self._kept.get(task.id)
        if kept is None:
            raise TaskExpired(f"the task {task.id} is no longer kept", "send the request again; it begins a new task")
        return kept

    def _open(self, task: Task) -> _Kept:
        kept = self._kept.get(task.id)
        if kept is None:
            raise ValueError(f"the task {task.id} has no open call")
        return kept

    def _admit(self, key: bytes, owner: str, now: float) -> Task:
        owned = self._owned.get(owner, 0)
        if owned >= self._owner_limit:
            raise HistoryFull(
                f"the caller has {owned} tasks, as many as one may have", "end sessions, or wait until some are idle"
            )
        if len(self._kept) >= self._limit:
            raise HistoryFull(
                f"the gateway keeps {len(self._kept)} tasks, as many as it can", "try again when some are idle"
            )
        task = Task(id=self._new_id(), kind="implicit", opened=now)
        self._kept[task.id] = _Kept(task, key, owner, now)
        self._ids[key] = task.id
        self._owned[owner] = owned + 1
        return task

    def _use(self, kept: _Kept, now: float) -> None:
        kept.used = max(kept.used, now)
        self._kept.move_to_end(kept.task.id)

    def _forget_idle(self, now: float) -> None:
        while self._kept:
            kept = next(iter(self._kept.values()))
            if now - kept.used <= self._idle:
                return
            if kept.state.open:
                self._use(kept, now)
            else:
                self._forget(kept)

    def _forget(self, kept: _Kept) -> None:
        del self._kept[kept.task.id], self._ids[kept.key]
        left = self._owned[kept.owner] - 1
        if left:
            self._owned[kept.owner] = left
        else:
            del self._owned[kept.owner]


def _key(principal: Principal, session: str | None) -> bytes:
    """16 bytes, whatever length of session id a client sends; a session id is never mistaken for a token id."""
    kind, value = ("token", principal.token_id) if session is None else ("session", session)
    framed = f"{principal.key}:{kind}:{value}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(framed).digest()[:16]
