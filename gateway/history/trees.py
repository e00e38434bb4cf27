"""Trees of declared tasks: parents, children, and the ends of both. No I/O, no clock.

All tasks of a tree are of one job, so of one log. The end of a parent is the end of each child, also where the log has no end of the
child. Another gateway may open a child while the parent ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.model import reasons

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.history.task_history import Status, TaskHistory
    from gateway.model.caller import Principal
    from gateway.model.decision import Reason

MAX_DEPTH: Final = 4
"""Tasks between the root and the lowest task of a tree, with the latter."""
MAX_TASKS: Final = 64
"""Tasks of a tree, also those that have ended: the tree still counts what they did."""


class Trees:
    """The children of the kept tasks. `by_id` has all kept tasks."""

    def __init__(self, by_id: Mapping[str, TaskHistory]) -> None:
        self._by_id = by_id
        self._children: dict[str, list[str]] = {}

    def add(self, kept: TaskHistory) -> None:
        """Enter a child task under its parent. The parent may be kept later."""
        if kept.task.parent is not None:
            self._children.setdefault(kept.task.parent.id, []).append(kept.task.id)

    def remove(self, kept: TaskHistory) -> None:
        """Forget a task below its parent."""
        if kept.task.parent is None:
            return
        siblings = self._children[kept.task.parent.id]
        siblings.remove(kept.task.id)
        if not siblings:
            del self._children[kept.task.parent.id]

    def list_below(self, task_id: str) -> list[TaskHistory]:
        """Return the kept tasks below a task, each after its parent."""
        found = [task_id]
        for each in found:
            found.extend(self._children.get(each, ()))
        return [self._by_id[each] for each in found[1:]]

    def status(self, kept: TaskHistory, now: float) -> Status:
        """Return the status of a task, and for an open task the status of the nearest ended ancestor."""
        for each in self._walk_up(kept):
            status = "expired" if each is None else each.status(now)
            if status != "open":
                return status
        return "open"

    def was_ended(self, kept: TaskHistory) -> bool:
        """Return whether an agent or a person ended the task or a task above it."""
        return any(each is not None and each.ended is not None for each in self._walk_up(kept))

    def find_end(self, kept: TaskHistory, now: float) -> Reason | None:
        """Return why a task is over: `task/ended` or `task/expired`. `None` for an open task."""
        status = self.status(kept, now)
        if status == "open":
            return None
        return (reasons.TASK_EXPIRED if status == "expired" else reasons.TASK_ENDED).reason()

    def list_counted(self, kept: TaskHistory) -> list[tuple[TaskHistory, list[TaskHistory]]]:
        """Return the tasks whose limits hold for a task and others, each with the latter: the root, and others with limits."""
        if kept.task.parent is None and kept.task.id not in self._children:
            return []
        return [
            (above, [above, *self.list_below(above.task.id)])
            for above in self._walk_up(kept)
            if above is not None and self._is_counted(above)
        ]

    def _is_counted(self, kept: TaskHistory) -> bool:
        if kept.task.parent is None:
            return True
        has_limits = kept.task.contract is not None and bool(kept.task.contract.limits)
        return has_limits and kept.task.id in self._children

    def find_parent(
        self, principal: Principal, task_id: str, now: float, *, is_handed_over: bool = False
    ) -> TaskHistory | Reason:
        """Return a task in which a caller may open a child, or the reason against it. `is_handed_over`: the caller has a hand-over
        token of the task."""
        kept = self._by_id.get(task_id)
        if kept is None or kept.is_implicit or not (is_handed_over or _may_open_child(principal, kept)):
            return reasons.TASK_UNKNOWN.reason()
        return self.find_end(kept, now) or self._find_full(kept) or kept

    def _find_full(self, kept: TaskHistory) -> Reason | None:
        parent = kept.task.parent
        if parent is not None and parent.depth >= MAX_DEPTH:
            return reasons.TASK_TREE_FULL.reason(full=f"{MAX_DEPTH} tasks below one another")
        return self.find_overrun(kept.task.id if parent is None else parent.root, more=1)

    def find_overrun(self, root: str, *, more: int = 0) -> Reason | None:
        """Return the reason against so many more tasks in a tree. Without more: other gateways may have opened some meanwhile."""
        size = len(self.list_below(root)) + 1 + more
        return None if size <= MAX_TASKS else reasons.TASK_TREE_FULL.reason(full=f"{MAX_TASKS} tasks")

    def _walk_up(self, kept: TaskHistory) -> Iterator[TaskHistory | None]:
        """Yield a task and its ancestors. `None` stands for an ancestor that the gateway has forgotten."""
        yield kept
        while kept.task.parent is not None:
            above = self._by_id.get(kept.task.parent.id)
            yield above
            if above is None:
                return
            kept = above


def _may_open_child(principal: Principal, parent: TaskHistory) -> bool:
    """Return whether a caller may open a child.

    The principal of the parent may. So may an agent of the same user with the parent's agent in its chain (RFC 8693 section 4.1).
    """
    if principal.key == parent.owner:
        return True
    delegates = principal.delegation[1:] if principal.user is not None else ()
    return principal.job == parent.job and any(
        actor.id == parent.agent and actor.issuer in {None, principal.issuer} for actor in delegates
    )
