"""Which credentials systems have shown to whose tasks, told to whoever looks for them beside arguments. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.history.state import TaskState
    from gateway.history.task_history import TaskHistory


class Origins(Protocol):
    """What is told. `owner` is a principal's key, `task` an id."""

    def note(self, owner: str, task: str, audience: str, fingerprint: str, shingles: frozenset[int], /) -> None:
        """A result of the system `audience` has shown this credential to the task."""

    def lose(self, owner: str, task: str, /) -> None:
        """The task was shown credentials that are not told apart."""

    def drop(self, owner: str, task: str, /) -> None:
        """The task is no longer kept."""


class Teller:
    """Tells `origins` of the tasks that are kept, if anybody wants to know."""

    __slots__ = ("_origins",)

    def __init__(self, origins: Origins | None) -> None:
        self._origins = origins

    def tell(self, kept: TaskHistory, state: TaskState, fingerprints: Iterable[str]) -> None:
        """These credentials of the task are new, or the task is. One that the user gave is nobody else's, and one that
        ordinary text may have in it would be found everywhere."""
        if self._origins is None:
            return
        owner, task = kept.owner, kept.task.id
        if state.lost:
            self._origins.lose(owner, task)
        for fingerprint in fingerprints:
            known = state.credentials.get(fingerprint)
            if known is not None and known.audience is not None and not known.ordinary:
                self._origins.note(owner, task, known.audience, fingerprint, state.shingles[fingerprint])

    def drop(self, kept: TaskHistory) -> None:
        if self._origins is not None:
            self._origins.drop(kept.owner, kept.task.id)
