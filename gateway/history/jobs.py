"""Jobs: what the tasks of one subject have read, through whichever agents. Pure: no I/O, no clock, no randomness.

Agents of one user hand text to each other, and the gateway does not see it. So each task takes over the labels that its job has
read within `history.warm`. The task keeps these labels until its end. Only a reading renews a mark, so a job becomes clean
again. A mark outlives the task of the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import msgspec
from msgspec import Struct, field, structs

from gateway.history.events import NO_DIGESTS, UNTRUSTED, JobMark, Reading, Settled, Touch, pack, unpack
from gateway.history.kept_rows import Kept, KeptRows
from gateway.history.state import CONFIDENTIAL, MAX_TOKENS, is_marked, smallest
from gateway.inspection.data_taint import DATA_TAINT, is_untrusted
from gateway.model.target import Sensitivity, System

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from gateway.history.events import Observed, Relabelled
    from gateway.history.state import TaskState
    from gateway.history.store import StoredTask
    from gateway.history.task_history import TaskHistory

WARM: Final = 4 * 3600.0
"""Seconds by default for which a reading marks the job."""
_RENEWED: Final = 60.0
"""Seconds within which further readings renew no mark. So a mark stays warm for so much longer, and never for less."""
MAX_WORDS: Final = 2_000_000
"""Words of all jobs in memory, each some 100 bytes. Beyond these the jobs that were marked longest ago forget theirs."""
_VERSION: Final = 2
"""The version of the form in snapshots. Raise it with each change of `JobRecord` or `JobMark`."""


class JobRecord(Struct, frozen=True):
    """A job as it is stored: its marks, the digests of untrusted words, and when a result had more words than are kept."""

    version: int
    marks: tuple[JobMark, ...]
    words: bytes = b""
    partial_at: float | None = None
    confidential: bytes = b""


class UntrustedWords(NamedTuple):
    """The known words of the untrusted results of a job, and whether these are all."""

    words: AbstractSet[int]
    are_whole: bool


class ForeignWords(NamedTuple):
    """The known words of the untrusted and of the confidential results of a job, and its warm marks. `are_whole`: these are all
    words of the untrusted results."""

    untrusted: AbstractSet[int] = NO_DIGESTS
    confidential: AbstractSet[int] = NO_DIGESTS
    marks: tuple[JobMark, ...] = ()
    are_whole: bool = True


_ELSEWHERE: Final = "another agent"
"""The system of such text."""


def read_data_taint(told: object, kept: TaskHistory, state: TaskState, now: float) -> tuple[JobMark, ...]:
    """Return the labels of a caller for its own context, if they are new to the task. An unreadable one counts as untrusted."""
    labels = cast("Mapping[str, object]", told).get("labels") if isinstance(told, Mapping) else None
    names = list(map(str, cast("list[object]", labels))) if isinstance(labels, list) else [UNTRUSTED]
    kinds = {UNTRUSTED if is_untrusted(name) else Sensitivity.CONFIDENTIAL.value for name in names}
    task, agent, at = kept.task.id, kept.agent, round(now, 3)
    marks = [JobMark(kind, _ELSEWHERE, None, None, task, agent, 0, None, DATA_TAINT, at) for kind in sorted(kinds)]
    return tuple(mark for mark in marks if not is_marked(state, mark))


class _Job(Kept):
    """The marks of one job by label and system. `changes` counts new marks. `fresh` has the time of the latest mark for each kind of
    reading, in memory alone."""

    marks: dict[tuple[str, System], JobMark] = field(default_factory=dict[tuple[str, System], JobMark])
    fresh: dict[tuple[Touch, tuple[str, ...]], float] = field(
        default_factory=dict[tuple[Touch, tuple[str, ...]], float]
    )
    words: set[int] = field(default_factory=set[int])
    """Digests of the words of untrusted results, as in `TaskState.tokens`."""
    confidential: set[int] = field(default_factory=set[int])
    """Digests of the distinctive words of confidential results: of more than `MAX_TOKENS` an even sample."""
    partial_at: float | None = None
    """When an untrusted result had words that are not kept, the latest time."""
    changes: int = 0

    def add(self, mark: JobMark, warm: float) -> None:
        """Keep the latest mark of a label and a system."""
        name = (mark.label, mark.system)
        before = self.marks.get(name)
        if before is not None and before.at > mark.at:
            return
        self.marks[name] = mark
        self.changed = True
        self.changes += before is None or mark.at - before.at > warm

    def keep_words(self, event: Observed | Reading, at: float) -> None:
        """Keep the words of a part of an untrusted result. Beyond the bound the words of the warm time are unknown."""
        self.words.update(unpack(event.tokens))
        if event.incomplete or event.sampled:
            self.partial_at = at
        if len(self.words) > MAX_TOKENS:
            self.forget_words(at)
        self.changed = True

    def keep_confidential(self, words: bytes) -> None:
        """Keep the words of a part of a confidential result."""
        self.confidential.update(unpack(words))
        if len(self.confidential) > MAX_TOKENS:
            self.confidential = set(smallest(frozenset(self.confidential), MAX_TOKENS))
        self.changed = True

    def forget_words(self, at: float) -> None:
        """Forget all words. At this time the job had some that are not kept."""
        self.words.clear()
        self.partial_at = max(self.partial_at or 0.0, at)
        self.changed = True

    @property
    def size(self) -> int:
        """Return the number of words that are kept."""
        return len(self.words) + len(self.confidential)

    @property
    def marked_at(self) -> float:
        """Return the time of the latest mark."""
        return max((mark.at for mark in self.marks.values()), default=0.0)


def _record(job: _Job) -> JobRecord:
    return JobRecord(_VERSION, tuple(job.marks.values()), pack(job.words), job.partial_at, pack(job.confidential))


_LABELS: Final = {
    (is_trusted, sensitivity): (
        *(() if is_trusted else (UNTRUSTED,)),
        *(() if sensitivity is Sensitivity.PUBLIC else (sensitivity.value,)),
    )
    for is_trusted in (True, False)
    for sensitivity in Sensitivity
}
"""Whether a reading is trusted, and its sensitivity → the labels that mark a job."""


class Jobs(KeptRows[_Job]):
    """The marks of all jobs by name. `warm` is the time in seconds for which a reading marks its job."""

    prefix = "job:"

    def __init__(self, warm: float = WARM) -> None:
        super().__init__()
        self._warm = warm + _RENEWED
        self._changes = 0
        """The highest number of marks of a job that is in memory no longer. A later job of the name counts on from there."""
        self._words = 0
        """The words of all jobs in memory, or more: jobs that left memory count until the next look."""

    def encode(self, record: _Job, /) -> tuple[bytes, bytes]:
        """Return a job as it is stored, without a state."""
        return msgspec.msgpack.encode(_record(record)), b""

    def find_new(self, kept: TaskHistory, state: TaskState, now: float) -> tuple[JobMark, ...]:
        """Return the warm marks of the job that a task does not have yet. A cold mark may become warm again."""
        job = self._by_name.get(kept.job)
        if job is None or kept.marked_at == job.changes:
            return ()
        missing = [mark for mark in job.marks.values() if not is_marked(state, mark)]
        if not missing:
            kept.marked_at = job.changes
        return tuple(mark for mark in missing if now - mark.at <= self._warm)

    def list_marks(self, name: str) -> tuple[JobMark, ...]:
        """Return the marks of a job."""
        job = self._by_name.get(name)
        return () if job is None else tuple(job.marks.values())

    def find_words(self, name: str, now: float) -> UntrustedWords | None:
        """Return the words of untrusted results that a job has read within the warm time; `None` for a job without."""
        job = self._by_name.get(name)
        if job is None or not any(
            label == UNTRUSTED and now - mark.at <= self._warm for (label, _), mark in job.marks.items()
        ):
            return None
        return UntrustedWords(job.words, job.partial_at is None or now - job.partial_at > self._warm)

    def find_foreign(self, name: str, now: float) -> ForeignWords:
        """Return the words of untrusted and confidential results that a job has read within the warm time."""
        job = self._by_name.get(name)
        marks = () if job is None else tuple(mark for mark in job.marks.values() if now - mark.at <= self._warm)
        if job is None or not marks:
            return ForeignWords()
        is_whole = job.partial_at is None or now - job.partial_at > self._warm
        return ForeignWords(job.words, job.confidential, marks, is_whole)

    def record(self, name: str) -> JobRecord | None:
        """Return a job as it is stored."""
        job = self._by_name.get(name)
        return None if job is None else _record(job)

    def replace(self, name: str, record: JobRecord | None) -> None:
        """Put a stored job in the place of one."""
        self.drop(name)
        if record is None:
            return
        job = self._job(name)
        for mark in record.marks:
            job.add(mark, self._warm)
        job.words, job.partial_at = set(unpack(record.words)), record.partial_at
        job.confidential = set(unpack(record.confidential))
        self._make_room(job.size)

    def follow(self, kept: TaskHistory, state: TaskState, event: Observed | Reading | Settled, at: float) -> None:
        """Mark the job by a reading of a task, before the event is folded. `at` is the time of the event. Ignore a call that is not
        open: the fold refuses it."""
        source = event if isinstance(event, Reading) else state.open.get(event.call)
        if source is None:
            return
        sensitivity = source.sensitivity if isinstance(event, Settled) else event.sensitivity
        if not isinstance(event, Settled) and (event.returned or event.foreign):
            self._take_returned(kept, event, max(at, source.at))
        if source.trusted and sensitivity is Sensitivity.PUBLIC:
            return
        labels = _LABELS[source.trusted, sensitivity]
        job, touch, at = self._by_name.get(kept.job), source.touch, max(at, source.at)
        if job is None or self._is_due(job, touch, labels, at):
            job = self._mark(kept, touch, labels, (source.number, source.call, source.tool), at)
        if not isinstance(event, Settled) and sensitivity in CONFIDENTIAL and (event.words or event.tokens):
            before = job.size
            job.keep_confidential(event.words if source.trusted else event.tokens)
            self._make_room(job.size - before)
        if source.trusted:
            return
        if not isinstance(event, Settled):
            if event.tokens or event.incomplete or event.sampled:
                before = job.size
                job.keep_words(event, at)
                self._make_room(job.size - before)
        elif state.partial_sources:
            job.partial_at = at

    def _take_returned(self, kept: TaskHistory, event: Observed | Reading, at: float) -> None:
        """Mark the job by returning text. The marks name the writing calls, and are as warm as the reading."""
        job = self._job(kept.job)
        for mark in event.returned:
            job.add(structs.replace(mark, at=round(at, 3)), self._warm)
        if event.foreign and event.tokens:
            before = job.size
            job.keep_words(event, at)
            self._make_room(job.size - before)

    def _make_room(self, added: int) -> None:
        """Forget the words of the jobs that were marked longest ago, if all jobs have too many."""
        self._words += added
        if self._words <= MAX_WORDS:
            return
        self._words = sum(job.size for job in self._by_name.values())
        for job in sorted(self._by_name.values(), key=lambda job: job.marked_at):
            if self._words <= MAX_WORDS // 2:
                return
            self._words -= job.size
            if job.size:
                job.forget_words(job.marked_at)
                job.confidential.clear()

    def renews(self, kept: TaskHistory, event: Reading) -> bool:
        """Return whether a reading renews a mark of the job, also one that tells its own task nothing new."""
        labels, job = _LABELS[event.trusted, event.sensitivity], self._by_name.get(kept.job)
        return bool(labels) and (job is None or self._is_due(job, event.touch, labels, event.at))

    @staticmethod
    def _is_due(job: _Job, touch: Touch, labels: tuple[str, ...], at: float) -> bool:
        return at - job.fresh.get((touch, labels), 0.0) >= _RENEWED

    def follow_labels(self, kept: TaskHistory, state: TaskState, event: Relabelled) -> None:
        """Mark the job by earlier readings from targets with new labels. The time is the last use of the task.

        The words of results that are untrusted from now on were not kept.
        """
        for tool, labels in event.tools.items():
            for touch in state.used.get(tool, ()):
                found = _LABELS[not labels.untrusted, labels.sensitivity]
                job = self._mark(kept, touch, found, (0, None, tool), kept.used)
                if labels.untrusted:
                    job.partial_at = max(job.partial_at or 0.0, kept.used)
                    job.changed = True

    def _mark(
        self, kept: TaskHistory, touch: Touch, labels: tuple[str, ...], read: tuple[int, str | None, str], at: float
    ) -> _Job:
        """Mark the job, and return it. `read` is the number of the call in its task, its id and its tool."""
        job = self._job(kept.job)
        job.fresh[touch, labels] = at
        for label in labels:
            for system in touch.systems:
                job.add(JobMark(label, *system, kept.task.id, kept.agent, *read, round(at, 3)), self._warm)
        return job

    def _job(self, name: str) -> _Job:
        job = self._by_name.get(name)
        return self.add(_Job(name, changes=self._changes)) if job is None else job

    def sweep(self, now: float) -> None:
        """Forget the marks that are cold."""
        for job in tuple(self._by_name.values()):
            job.fresh.clear()
            cold = [name for name, mark in job.marks.items() if now - mark.at > self._warm]
            for name in cold:
                del job.marks[name]
            job.changed |= bool(cold)
            if not job.marks:
                self.drop(job.name)

    def drop(self, name: str) -> None:
        """Keep a job in memory no longer. A later job of the name counts its marks on from there."""
        job = self._by_name.get(name)
        if job is not None:
            self._changes = max(self._changes, job.changes)
        super().drop(name)

    # --- the snapshots -------------------------------------------------------------------------------

    def restore(self, stored: StoredTask) -> bool:
        """Take over a row of the snapshots. Return whether it is one of a job. Raises `ValueError` for a damaged row."""
        name = self.find_name(stored.id)
        if name is None:
            return False
        try:
            row = msgspec.msgpack.decode(stored.meta, type=JobRecord)
        except msgspec.MsgspecError as error:
            raise ValueError(f"no job: {error}") from error
        if row.version != _VERSION:
            raise ValueError("the jobs have another version")
        self.replace(name, row)
        job = self._job(name)
        job.seq, job.stored, job.changed = stored.seq, True, False
        return True
