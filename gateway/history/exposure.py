"""Credentials of the kept tasks by the systems of origin, and pieces of credentials in calls to other systems. Pure.

    content = exposures.complete(kept, state, target, content)         # before the call is reserved
    exposures.follow(job, task, state, event)                          # after an event of the task was folded
    exposures.drop(job, task)                                          # when the task is no longer kept

A call that carries less than half of a credential passes. What it carried counts for each later call to the same system, of
all tasks of the job that are kept: agents of one user hand text to each other. Kept are grams, which are keyed digests. A piece that cannot be counted stands for
the whole credential, so that nothing uncounted is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import structs

from gateway.history.carried import NOTHING, Carried
from gateway.history.events import Exposed, Released, Reserved
from gateway.history.new_events import touch_of
from gateway.history.state import MAX_EXPOSED, TaskState
from gateway.model.content import CallContent, CredentialPiece, Sighting
from gateway.model.shingles import gram, is_exposed

if TYPE_CHECKING:
    from gateway.history.events import Event, Touch
    from gateway.history.task_history import TaskHistory
    from gateway.model.target import Target
    from gateway.model.task import Task


class OriginListener(Protocol):
    """A listener for origins. `job` is the name of a job, `task` an id."""

    def note(self, job: str, task: str, audience: str, fingerprint: str, shingles: frozenset[int], /) -> object:
        """Keep that a result of the system `audience` has shown this credential to the task."""

    def note_lost(self, job: str, task: str, audience: str, /) -> None:
        """Note that `audience` has shown the task more credentials than history keeps."""

    def drop(self, job: str, task: str, /) -> None:
        """Forget a task that is no longer kept."""


class OriginReporter:
    """The way from the kept tasks to a listener for origins, if there is a listener."""

    __slots__ = ("_origins",)

    def __init__(self, origins: OriginListener | None) -> None:
        self._origins = origins

    def tell(self, job: str, task: str, state: TaskState, fingerprints: Iterable[str]) -> None:
        """Tell of new credentials of a task. A credential from the user belongs to no system, and an ordinary word would be
        found everywhere."""
        if self._origins is None:
            return
        for audience in state.lost:
            self._origins.note_lost(job, task, audience)
        for fingerprint in fingerprints:
            known = state.credentials.get(fingerprint)
            if known is not None and known.audience is not None and not known.ordinary:
                self._origins.note(job, task, known.audience, fingerprint, state.shingles[fingerprint])

    def drop(self, kept: TaskHistory) -> None:
        if self._origins is not None:
            self._origins.drop(kept.job, kept.task.id)


MAX_OF_JOB: Final = 16_384
MAX_OF_ALL: Final = 262_144
"""Grams in all tasks that are kept: some 30 MB."""
FORM: Final = "pieces"
"""The form of a credential of which earlier calls carried the rest."""


class Owned(Protocol):
    """A task with the name of its job."""

    @property
    def task(self) -> Task: ...
    @property
    def job(self) -> str: ...


_Counts = Mapping[str, Mapping[int, int]]
"""Audience → gram → calls."""


class Exposures:
    """The grams that each task has carried to each system, job by job."""

    def __init__(self, *, of_job: int = MAX_OF_JOB, of_all: int = MAX_OF_ALL) -> None:
        self._jobs: dict[str, dict[str, _Counts]] = {}
        self._sizes: dict[str, int] = {}
        self._of_job = of_job
        self._of_all = of_all
        self._size = 0

    def note(self, job: str, task: str, exposed: _Counts) -> None:
        """Take in what a task has carried so far."""
        size = sum(map(len, exposed.values()))
        if not size:
            self.drop(job, task)
            return
        self._jobs.setdefault(job, {})[task] = exposed
        self._size += size - self._sizes.get(task, 0)
        self._sizes[task] = size

    def follow(self, job: str, task: str, state: TaskState, event: Event) -> None:
        """Take in an event of a task that was folded."""
        if isinstance(event, Reserved | Released | Exposed):
            self.note(job, task, state.exposed)

    def drop(self, job: str, task: str) -> None:
        """Forget what a task has carried."""
        of_job = self._jobs.get(job, {})
        if of_job.pop(task, None) is not None:
            self._size -= self._sizes.pop(task)
            if not of_job:
                del self._jobs[job]

    def complete(
        self, kept: Owned, state: TaskState, target: Target, content: CallContent, earlier: Carried = NOTHING
    ) -> CallContent:
        """Return the content with the credentials of other systems that it completes, and with the grams to be counted.
        `earlier` has the readings of earlier tasks."""
        touch, job, task = touch_of(target), kept.job, kept.task.id
        pieces = [piece for piece in content.pieces if _is_foreign(piece, state, earlier, touch.audience)]
        if not pieces:
            return content
        others = [exposed for name, exposed in self._jobs.get(job, {}).items() if name != task]
        room = self._room(job, state)
        counted: set[int] = set()
        found: list[Sighting] = []
        for piece in pieces:
            fresh = _fresh(piece, state, touch) - counted
            if len(fresh) > room or _completes(piece, [state.exposed, *others], touch):
                found.append(Sighting(piece.fingerprint, "seen", form=FORM, shown_by=piece.shown_by))
            if len(fresh) <= room:
                room -= len(fresh)
                counted |= piece.grams
        return structs.replace(content, sightings=(*content.sightings, *found), exposed=tuple(sorted(counted)))

    def _room(self, job: str, state: TaskState) -> int:
        """Return how many more grams there is room for."""
        of_task = MAX_EXPOSED - sum(map(len, state.exposed.values()))
        of_job = self._of_job - sum(self._sizes[task] for task in self._jobs.get(job, {}))
        return max(0, min(of_task, of_job, self._of_all - self._size))


def _is_foreign(piece: CredentialPiece, state: TaskState, earlier: Carried, audience: str) -> bool:
    """Return whether the credential is one of another system than this. Of a word that other text has too, pieces mean
    nothing."""
    if piece.shown_by is not None:
        return True
    known = earlier.credentials.get(piece.fingerprint) or state.credentials.get(piece.fingerprint)
    return known is not None and known.audience not in {None, audience} and not known.ordinary


def _fresh(piece: CredentialPiece, state: TaskState, touch: Touch) -> frozenset[int]:
    """Return the grams of the piece that the task has not carried to each of the systems."""
    return frozenset(
        digest for digest in piece.grams if any(digest not in state.exposed.get(name, ()) for name in touch.reached)
    )


def _completes(piece: CredentialPiece, exposed: list[_Counts], touch: Touch) -> bool:
    """Return whether a system would have half of the credential with this piece."""
    return any(is_exposed(piece.shingles, _at(piece, exposed, name)) for name in touch.reached)


def _at(piece: CredentialPiece, exposed: list[_Counts], audience: str) -> Iterator[int]:
    """Yield the grams of a credential that a system would have."""
    sent = [counts[audience] for counts in exposed if audience in counts]
    for shingle in piece.shingles:
        digest = gram(shingle)
        if digest in piece.grams or any(digest in counts for counts in sent):
            yield digest
