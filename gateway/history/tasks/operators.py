"""Tasks as operations of the control interface, for operators: `opagate tasks`.

A gateway knows the tasks in its memory. With a database, a look at a task and its end count for all gateways.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct, structs

from gateway.base.control.operations import Operation
from gateway.history.events import JobMark
from gateway.history.facts import facts
from gateway.history.task_history import Status
from gateway.model import reasons
from gateway.model.caller import name_job, name_party
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gateway.base.control.operations import Control, OperatorName
    from gateway.history import History
    from gateway.history.task_history import TaskHistory
    from gateway.model.task import Task
    from gateway.model.wire import JsonObject

Kind = Literal["declared", "implicit"]
GoalOf = Literal["user", "approved", "partly", "others"]
"""The author of a goal's words: the user, the user after a person's approval, in part untrusted results, or these alone."""
Append: TypeAlias = "Callable[[str, JsonObject], Awaitable[None]]"

_MOST: Final = 500
"""Tasks of one list."""
_LONGEST_REASON: Final = 500


class TaskFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """A filter of a list. `all`: also tasks that are over. Without an issuer, a user or an agent counts at each configured one."""

    agent: str | None = None
    user: str | None = None
    issuer: str | None = None
    all: bool = False


class ListedTask(Struct, frozen=True):
    """A task in a list. Equal `job`: tasks for one user, or of an agent without a user. Times in seconds since the epoch."""

    id: str
    kind: Kind
    status: Status
    agent: str
    job: str
    parent: str | None
    opened: float
    used: float
    expires: float | None
    goal: str | None


class ListedTasks(Struct, frozen=True):
    """The tasks used last, the latest first, and the number of further ones."""

    tasks: list[ListedTask]
    left_off: int


class ShownMark(JobMark, frozen=True, omit_defaults=False):
    """A label of the task with the call that read the text. `own`: a call of the task itself."""

    own: bool = False


class ShownTask(ListedTask, frozen=True):
    """A task of a tree. `depth` is zero for the root. `ground` is the part of the goal that gives ground, where this is not the
    whole goal. `untrusted` and `confidentiality` are of all that the task has read."""

    depth: int
    goal_of: GoalOf | None
    ground: str | None
    calls: int
    in_flight: int
    denials: int
    approvals_used: int
    untrusted: bool
    confidentiality: str
    marks: list[ShownMark]


class TaskTree(Struct, frozen=True):
    """The tree of a task, the root first and each child after its parent. A task without a tree stands alone."""

    asked: str
    tasks: list[ShownTask]


class TaskName(Struct, frozen=True, forbid_unknown_fields=True):
    """The id of a task."""

    id: str


class EndTask(Struct, frozen=True, forbid_unknown_fields=True):
    """The end of a task by an operator, with the reason for the journal."""

    id: str
    reason: str = ""


class EndedTasks(Struct, frozen=True):
    """The ids of the ended tasks, the root of the end first."""

    ended: list[str]


LIST: Final = Operation("tasks/list", "operator", "List the tasks.", ListedTasks, "", TaskFilter, ("GET", "/api/tasks"))
SHOW: Final = Operation(
    "tasks/show", "operator", "Show the tree of a task.", TaskTree, "", TaskName, ("GET", "/api/tasks/{id}")
)
END: Final = Operation(
    "tasks/end",
    "operator",
    "End a declared task with all tasks below it.",
    EndedTasks,
    "",
    EndTask,
    ("POST", "/api/tasks/{id}/end"),
    is_recorded=True,
)
OPERATIONS: Final = (LIST, SHOW, END)


class TaskOperations:
    """The answers of a gateway about its tasks. `issuers` vouch for the names of callers, and `append` writes to the journal."""

    def __init__(self, history: History, issuers: tuple[str, ...], append: Append, clock: Callable[[], float]) -> None:
        self._history = history
        self._issuers = issuers
        self._append = append
        self._clock = clock

    def add_to(self, control: Control) -> None:
        """Add the operations of tasks."""
        control.add({LIST: self.list_tasks, SHOW: self.show, END: self.end})

    async def list_tasks(self, asked: TaskFilter, _by: OperatorName) -> ListedTasks:
        """Return the tasks that a filter lets pass. Other work goes on between them: a goal is searched for credentials."""
        now = self._clock()
        self._history.tasks.forget(now)
        found = sorted(
            (kept for kept in self._history.tasks.all() if self._fits(asked, kept, now)),
            key=lambda kept: kept.used,
            reverse=True,
        )
        listed: list[ListedTask] = []
        for kept in found[:_MOST]:
            listed.append(self._describe(kept, now))
            await asyncio.sleep(0)
        return ListedTasks(listed, len(found) - len(listed))

    async def show(self, asked: TaskName, _by: OperatorName) -> TaskTree | Reason:
        """Return the tree of a task. Raises `HistoryError`."""
        kept = await self._find(asked.id)
        if isinstance(kept, Reason):
            return kept
        trees, now, parent = self._history.tasks.trees, self._clock(), kept.task.parent
        root = kept if parent is None else self._history.tasks.find(parent.root)
        # The gateway keeps a root as long as its children; one that it has lost leaves the task alone.
        tree = [kept] if root is None else [root, *trees.list_below(root.task.id)]
        return TaskTree(kept.task.id, [self._describe_whole(one, now) for one in tree])

    async def end(self, asked: EndTask, _by: OperatorName) -> EndedTasks | Reason:
        """End a task as its agent could. Raises `HistoryError` and `JournalError`."""
        reason = asked.reason.strip()
        if not reason or len(reason) > _LONGEST_REASON:
            return reasons.CONTROL_INVALID.reason(problem=f"`reason` has 1 to {_LONGEST_REASON} letters")
        kept = await self._find(asked.id)
        if isinstance(kept, Reason):
            return kept
        if kept.is_implicit:
            return reasons.TASK_WITHOUT_END.reason()
        ended = await self._history.ledger.commit(kept.job, partial(self._end, kept.task))
        if ended is None:
            return reasons.TASK_OVER.reason()
        for fields in ended:
            await self._append("task", fields)
        return EndedTasks([str(fields["task"]) for fields in ended])

    def _end(self, task: Task) -> list[JsonObject] | None:
        """End an open task; `None` for any other. The journal has the operator in the entry before."""
        kept = self._history.tasks.find(task.id)
        if kept is None or self._history.tasks.trees.status(kept, self._clock()) != "open":
            return None
        return self._history.tasks.end(task, "cancelled")

    async def _find(self, task_id: str) -> TaskHistory | Reason:
        """Return a task after all that other gateways know of it."""
        kept = self._history.tasks.find(task_id)
        if kept is not None:
            await self._history.ledger.log.catch_up(kept.job)
            kept = self._history.tasks.find(task_id)
        return reasons.TASK_NOT_KEPT.reason() if kept is None else kept

    # --- descriptions --------------------------------------------------------------------------------

    def _fits(self, asked: TaskFilter, kept: TaskHistory, now: float) -> bool:
        if asked.agent is not None and kept.agent != asked.agent:
            return False
        if asked.issuer is not None and name_party("issuer", asked.issuer, "") not in kept.parties:
            return False
        if asked.user is not None:
            vouching = self._issuers if asked.issuer is None else (asked.issuer,)
            if kept.job not in {name_job(issuer, asked.user) for issuer in vouching}:
                return False
        return asked.all or self._history.tasks.is_open(kept.task.id, now)

    def _describe(self, kept: TaskHistory, now: float) -> ListedTask:
        task, parent = kept.task, kept.task.parent
        return ListedTask(
            task.id,
            task.kind,
            self._history.tasks.trees.status(kept, now),
            kept.agent,
            kept.job,
            None if parent is None else parent.id,
            task.opened,
            kept.used,
            task.expires,
            self._conceal(kept, task.goal),
        )

    def _describe_whole(self, kept: TaskHistory, now: float) -> ShownTask:
        task, state = kept.task, self._history.states.load(kept)
        known = facts(state, now)
        return ShownTask(
            *structs.astuple(self._describe(kept, now)),
            depth=0 if task.parent is None else task.parent.depth,
            goal_of=_find_author(task),
            ground=None if task.ground is None else self._conceal(kept, task.ground.goal),
            calls=known.calls,
            in_flight=known.in_flight,
            denials=known.denials,
            approvals_used=known.approvals_used or 0,
            untrusted=known.labels is not None and known.labels.untrusted,
            confidentiality="public" if known.labels is None else known.labels.confidentiality.value,
            marks=sorted(self._list_marks(kept, state.inherited), key=lambda mark: (mark.at, mark.label, mark.tool)),
        )

    def _list_marks(self, kept: TaskHistory, inherited: list[JobMark]) -> Iterator[ShownMark]:
        """Yield the marks by calls of the task, and the marks taken over from its job."""
        own = [mark for mark in self._history.states.jobs.list_marks(kept.job) if mark.task == kept.task.id]
        for mark in (*own, *(mark for mark in inherited if mark not in own)):
            yield ShownMark(*structs.astuple(mark), own=mark.task == kept.task.id)

    def _conceal(self, kept: TaskHistory, goal: str | None) -> str | None:
        return None if goal is None else self._history.states.conceal_goal(kept, goal)


def _find_author(task: Task) -> GoalOf | None:
    if task.goal is None:
        return None
    if task.ground is not None:
        return "partly" if (task.ground.goal or "").strip() else "others"
    return "approved" if task.approved_by else "user"
