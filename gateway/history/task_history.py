"""A task with its history, as the gateway keeps it: in memory, or as a row of a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

from gateway.model.task import Contract, Task
from gateway.model.wire import JsonObject

if TYPE_CHECKING:
    from gateway.history.events import TaskOpened
    from gateway.history.sources import Subject
    from gateway.history.state import TaskState

Status = Literal["open", "completed", "cancelled", "expired"]


@dataclass(slots=True)
class TaskHistory:
    """`owner` is the key of the principal that the task is bound to, `parties` are those of the principal. `job` is the name of
    its job, and `agent` the id of its agent for people.

    `state` is `None` while only the store has it, and `digest` is that of what the store has; without a digest nothing
    has happened yet. `changed` is whether the
    store has it otherwise. Journal entries up to `seq` are in the state; zero for a task that began in this process.
    """

    task: Task
    owner: str
    parties: tuple[str, ...]
    used: float
    state: TaskState | None = None
    ended: Literal["completed", "cancelled"] | None = None
    changed: bool = False
    seq: int = 0
    digest: bytes = b""
    stored: bool = False
    """Whether the store has a row of it, of whatever state."""
    open_calls: bool = False
    """Whether the state had open calls when it was stored."""
    carries: bool = False
    """Whether a system had shown the task a credential when it was stored."""
    size: int = 0
    """Bytes of memory that the declaration takes at most; zero for an implicit task."""
    job: str = ""
    agent: str = ""
    marked_at: int = -1
    """The number of the job's marks when the task last took them over. Memory alone has it."""
    subjects: dict[int, Subject] = field(default_factory=dict[int, "Subject"], init=False, repr=False, compare=False)
    """Number of a call with an untrusted result → the argument that names what it reads. Memory alone has it."""
    before: TaskHistory | None = field(default=None, init=False, repr=False, compare=False)
    """The kept implicit task of the caller before this one. `KeptTasks` keeps it up to date."""
    is_implicit: bool = field(init=False)
    origin: JsonObject = field(init=False, repr=False, compare=False)
    """Fields by which the record can begin an implicit task again; a declared task has an entry of its own."""

    def __post_init__(self) -> None:
        self.is_implicit = self.task.kind == "implicit"
        self.job = self.job or self.owner
        self.origin = {"opened": self.task.opened, "parties": self.parties} if self.is_implicit else {}

    @property
    def kept_until(self) -> float | None:
        """Return the expiry of the task, and of a child that of its root: the tree counts what its tasks did."""
        parent = self.task.parent
        return self.task.expires if parent is None else parent.until

    @property
    def names(self) -> JsonObject:
        """Return the names of the caller for an entry of the record that has no principal."""
        return {"owner": self.owner, "job": self.job, "agent": self.agent}

    @property
    def earlier(self) -> tuple[TaskHistory, ...]:
        """Return the kept implicit tasks of the caller before this one, the latest first."""
        found: list[TaskHistory] = []
        before = self.before
        while before is not None:
            found.append(before)
            before = before.before
        return tuple(found)

    @property
    def is_busy(self) -> bool:
        return self.state is not None and bool(self.state.open)

    @property
    def weight(self) -> int:
        """Return roughly how much memory the state takes, in digests."""
        state = self.state
        if state is None:
            return 0
        shingles = sum(map(len, state.shingles.values()))
        return (
            len(state.tokens)
            + len(state.trusted)
            + len(state.told_to_trusted)
            + len(state.unread_words)
            + len(state.credentials)
            + len(state.reads)
            + _KEY * sum(len(table.cells) for table in state.declared.values())
            + shingles
            + 10
        )

    def status(self, now: float) -> Status:
        if self.ended is not None:
            return self.ended
        return "expired" if self.task.expires is not None and now >= self.task.expires else "open"


_KEY: Final = 8
"""Weight of a key of a declared fact."""
_TEXT: Final = 112
"""Bytes of an empty text in a collection."""
_DIGEST: Final = 192
"""Bytes of a digest in a set that has just grown."""
_CREDENTIAL: Final = 1_024
"""Bytes of a credential without its shingles."""


def declared_size(task: Task, opened: TaskOpened) -> int:
    """Return the bytes of memory that a declaration takes at most, beside the bytes of any task."""
    contract = task.contract or Contract()
    texts = [
        task.goal,
        task.declared_kind,
        task.tenant,
        task.environment,
        *((task.parent.id, task.parent.root) if task.parent is not None else ()),
        *(contract.audiences or ()),
        *(contract.tools or ()),
    ]
    texts += [*(contract.destinations or ()), *chain.from_iterable(contract.credential_flows)]
    digests = (len(opened.known) + sum(map(len, opened.credentials.values()))) // 8
    texts += chain.from_iterable(contract.effects.values())
    limits = len(contract.limits) * _TEXT
    return sum(map(_size, texts)) + digests * _DIGEST + len(opened.credentials) * _CREDENTIAL + limits


def _size(text: str | None) -> int:
    """Return the bytes of a text: one of its letters beyond ASCII makes all of them wide."""
    return 0 if text is None else _TEXT + len(text) * (1 if text.isascii() else 4)
