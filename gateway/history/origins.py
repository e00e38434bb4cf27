"""Credentials by the systems that showed them and the tasks of their recipients, for searches beside arguments. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.history.state import TaskState
    from gateway.history.task_history import TaskHistory


class Origins(Protocol):
    """A listener for origins. `owner` is a principal's key, `task` an id."""

    def note(self, owner: str, task: str, audience: str, fingerprint: str, shingles: frozenset[int], /) -> object:
        """Keep that a result of the system `audience` has shown this credential to the task."""

    def lose(self, owner: str, task: str, audience: str, /) -> None:
        """Note that `audience` has shown the task credentials that are not kept individually."""

    def drop(self, owner: str, task: str, /) -> None:
        """Forget a task that is no longer kept."""


class Teller:
    """Tells `origins` of the tasks that are kept, if anybody wants to know."""

    __slots__ = ("_origins",)

    def __init__(self, origins: Origins | None) -> None:
        self._origins = origins

    def tell(self, owner: str, task: str, state: TaskState, fingerprints: Iterable[str]) -> None:
        """Tell of new credentials of a task. A credential from the user belongs to no system, and an ordinary word would be
        found everywhere."""
        if self._origins is None:
            return
        for audience in state.lost:
            self._origins.lose(owner, task, audience)
        for fingerprint in fingerprints:
            known = state.credentials.get(fingerprint)
            if known is not None and known.audience is not None and not known.ordinary:
                self._origins.note(owner, task, known.audience, fingerprint, state.shingles[fingerprint])

    def drop(self, kept: TaskHistory) -> None:
        if self._origins is not None:
            self._origins.drop(kept.owner, kept.task.id)
