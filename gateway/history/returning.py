"""Returning text: foreign words in calls that write, and the labels of their sources. Pure: no I/O, no clock, no randomness.

An agent may write a stranger's text into a system with the label `trusted`: a memory, a ticket, a file. So the gateway keeps the
foreign words of each written text as keyed digests, for the tenant. A later result with these words gets the labels of their
first source, for each reader.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from gateway.history.events import NO_DIGESTS, UNTRUSTED, JobMark, pack, unpack
from gateway.history.state import CONFIDENTIAL, MAX_RESULT_TOKENS, is_marked, smallest
from gateway.model.target import System

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from gateway.history.carried import Carried
    from gateway.history.events import Reserved
    from gateway.history.jobs import ForeignWords
    from gateway.history.state import TaskState
    from gateway.history.task_history import TaskHistory
    from gateway.model.content import CallContent
    from gateway.model.target import Sensitivity, Target

MAX_OF_TEXT: Final = 128
"""Words of one text. Of more the smallest digests are kept: an even sample, which nobody without the key can choose."""
MAX_OF_JOB: Final = 16_384
"""Words of all texts of one job. Beyond these the job's own oldest text is forgotten, and no other job's."""
MAX_OF_ALL: Final = 262_144
"""Words of all texts. Each takes some 150 bytes."""
LEAST_OF_TEXT: Final = 8
"""Words for which a shorter text takes room: beside its words it has its marks, its id and its job."""
MAX_KEEP: Final = 30 * 86_400.0
"""Seconds by default for which a text is known."""
FEWEST: Final = 2
"""Words of one text by which a result is known to have it. One word in common is chance, unless the text has no other."""


class WrittenText(Struct, frozen=True, omit_defaults=True):
    """A text that a call wrote into a system of a tenant. `words` are the digests of its foreign words.

    `marks` are the labels of their sources, each with the call that wrote the text. `at` is the time of the call.
    """

    job: str
    tenant: str | None
    words: bytes
    marks: tuple[JobMark, ...]
    at: float


class ReturnedText(NamedTuple):
    """The text of a part of a result that returns. `marks` are its labels that are new to the task.

    `is_untrusted`: words of untrusted results return, so that the result gives no ground. `confidential` are words of a
    confidential result that are new to the job.
    """

    marks: tuple[JobMark, ...] = ()
    is_untrusted: bool = False
    confidential: frozenset[int] = NO_DIGESTS


NONE_RETURNED: Final = ReturnedText()


class ResultPlace(NamedTuple):
    """The tenant of a result, and the labels of its target."""

    tenant: str | None
    trusted: bool
    sensitivity: Sensitivity


class ReturningText:
    """The written texts in memory, by the id of the call. `keep` is the time in seconds for which a text is known."""

    def __init__(self, keep: float, *, of_job: int = MAX_OF_JOB, of_all: int = MAX_OF_ALL) -> None:
        self.keep = keep
        self.of_tenant: dict[str | None, dict[int, tuple[str, ...]]] = {}
        """Tenant → word → calls that wrote it."""
        self._texts: dict[str, WrittenText] = {}
        self._of_job: dict[str, dict[str, int]] = {}
        """Job → its calls, the oldest first → the room of their texts, in words."""
        self._rooms: dict[str, int] = {}
        """Job → the room of all its texts."""
        self._size = self._room = 0
        self._most_of_job = of_job
        self._most = of_all

    def __len__(self) -> int:
        return self._size

    def list_tenants(self) -> Mapping[str | None, int]:
        """Return the number of texts of each tenant."""
        return Counter(text.tenant for text in self._texts.values())

    def list_ids(self, tenant: str | None = None) -> list[str]:
        """Return the ids of the texts of a tenant, or of all texts."""
        return [name for name, text in self._texts.items() if tenant in {None, text.tenant}]

    def add(self, name: str, text: WrittenText) -> list[str]:
        """Keep a text. Return the ids of the texts without room from now on, which may include this one."""
        if name in self._texts:
            return []
        words = unpack(text.words)
        own = self._of_job.setdefault(text.job, {})
        self._texts[name] = text
        self._size += len(words)
        own[name] = self._take_room(text.job, max(len(words), LEAST_OF_TEXT))
        known = self.of_tenant.setdefault(text.tenant, {})
        for word in words:
            known[word] = (*known.get(word, ()), name)
        gone: list[str] = []
        while self._rooms.get(text.job, 0) > self._most_of_job:
            gone.append(self._drop_oldest(own))
        while self._room > self._most:
            # The job with the most texts makes room, so that no flood takes another job's.
            gone.append(self._drop_oldest(self._of_job[max(self._rooms, key=self._rooms.__getitem__)]))
        return gone

    def _take_room(self, job: str, more: int) -> int:
        """Count the room of a text, and return it. A negative number gives room back."""
        self._room += more
        self._rooms[job] = self._rooms.get(job, 0) + more
        return more

    def _drop_oldest(self, texts: Mapping[str, int]) -> str:
        oldest = next(iter(texts))
        self.remove(oldest)
        return oldest

    def remove(self, name: str) -> None:
        """Know a text no longer."""
        text = self._texts.pop(name, None)
        if text is None:
            return
        known = self.of_tenant[text.tenant]
        for word in unpack(text.words):
            left = tuple(call for call in known[word] if call != name)
            if left:
                known[word] = left
            else:
                del known[word]
        if not known:
            del self.of_tenant[text.tenant]
        own = self._of_job[text.job]
        self._size -= len(text.words) // 8
        self._take_room(text.job, -own.pop(name))
        if not own:
            del self._of_job[text.job], self._rooms[text.job]

    def sweep(self, now: float) -> None:
        """Forget the texts whose time is over."""
        for name in [name for name, text in self._texts.items() if now - text.at > self.keep]:
            self.remove(name)

    def find(self, tenant: str | None, words: AbstractSet[int], now: float) -> tuple[JobMark, ...]:
        """Return the labels of the texts of a tenant that a result has: one mark for each label and system, the earliest."""
        known = self.of_tenant.get(tenant)
        if not known or known.keys().isdisjoint(words):
            return ()
        met = Counter(name for word in words for name in known.get(word, ()))
        texts = [self._texts[name] for name, count in met.items() if count >= min(FEWEST, self._count(name))]
        marks: dict[tuple[str, object], JobMark] = {}
        for text in sorted(texts, key=lambda text: text.at):
            if now - text.at <= self.keep:
                for mark in text.marks:
                    marks.setdefault((mark.label, mark.system), mark)
        return tuple(marks.values())

    def may_return(self, target: Target) -> bool:
        """Return whether text may return in a result of a target, or whether the result is confidential, so that its words matter."""
        return target.tenant in self.of_tenant or target.labels.sensitivity in CONFIDENTIAL

    def read(
        self, state: TaskState, known: AbstractSet[int], place: ResultPlace, words: frozenset[int], now: float
    ) -> ReturnedText:
        """Return the text that returns in a result with these words. `known` are confidential words that the job has."""
        marks = self.find(place.tenant, words, now)
        is_secret = place.trusted and place.sensitivity in CONFIDENTIAL
        return ReturnedText(
            tuple(mark for mark in marks if not is_marked(state, mark)),
            any(mark.label == UNTRUSTED for mark in marks),
            smallest(words.difference(known), MAX_RESULT_TOKENS) if is_secret else NO_DIGESTS,
        )

    def _count(self, name: str) -> int:
        return len(self._texts[name].words) // 8


# --- what a call writes ------------------------------------------------------------------------------

_CONFIDENTIAL: Final = frozenset(sensitivity.value for sensitivity in CONFIDENTIAL)


def find_written(
    kept: TaskHistory,
    state: TaskState,
    event: Reserved,
    content: CallContent,
    *,
    before: Carried,
    foreign: ForeignWords,
) -> WrittenText | None:
    """Return the text of a call with its foreign words, `None` for a call that writes none. `foreign` has those of the job."""
    if not event.write or not content.tokens:
        return None
    sources, words = _find_untrusted(state, before, foreign, content.tokens.difference(state.trusted, before.trusted))
    marks = [_mark(kept, event, UNTRUSTED, System(name, None, None)) for name in sorted(sources)]
    confidential = content.tokens & foreign.confidential
    if confidential:
        marks += [_mark(kept, event, mark.label, mark.system) for mark in foreign.marks if mark.label in _CONFIDENTIAL]
    words |= confidential
    if not words:
        return None
    return WrittenText(kept.job, event.tenant, pack(smallest(words, MAX_OF_TEXT)), tuple(marks), event.at)


def _find_untrusted(
    state: TaskState, before: Carried, foreign: ForeignWords, words: frozenset[int]
) -> tuple[set[str], frozenset[int]]:
    """Return the untrusted systems behind words of a call, and these words. Words of the goal and of trusted results are not among `words`.

    Where not all words of a source are kept, each word may be one.
    """
    sources, found = set(state.partial_sources | before.partial_sources), set[int]()
    may_be_any = bool(sources) or not foreign.are_whole
    of_job = words & foreign.untrusted
    if of_job or not foreign.are_whole:
        sources |= {mark.audience for mark in foreign.marks if mark.label == UNTRUSTED}
    for known in (state, before):
        for word in words & known.tokens.keys():
            sources.add(known.results[known.tokens[word]])
            found.add(word)
    return sources, words if may_be_any else frozenset(found | of_job)


def _mark(kept: TaskHistory, event: Reserved, label: str, system: System) -> JobMark:
    """Return a label of a source, with the call that wrote its words."""
    return JobMark(label, *system, kept.task.id, kept.agent, event.number, event.call, event.tool, event.at)
