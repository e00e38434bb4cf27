"""The events of a task: each is made from the state before it, folded into the state, and given to the journal.

Nothing here waits, so that calls on one event loop see one another whole. A call counts from its reservation on, and each
reservation is ended once, by `release` or `settle`."""

from __future__ import annotations

import asyncio
from collections import ChainMap
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from msgspec import Struct, structs

from gateway.history.carried import NOTHING, add_job_words, carried
from gateway.history.declared.marks import AccountReading, FactReader, Subject
from gateway.history.events import (
    CallEnd,
    Confirmed,
    Endorsed,
    Event,
    Exposed,
    NewLabels,
    Observed,
    Passed,
    Reading,
    Relabelled,
    Released,
    Settled,
    pack,
    to_fields,
)
from gateway.history.exposure import Exposures, OriginReporter
from gateway.history.facts import facts, keeps_words, relevance_of
from gateway.history.fold import apply
from gateway.history.jobs import read_data_taint
from gateway.history.log import HistoryLog
from gateway.history.new_events import build_observation, build_reading, build_reservation, changes_nothing, touch_of
from gateway.history.registry import TaskRegistry
from gateway.history.returning import NONE_RETURNED, ResultPlace, find_written
from gateway.history.sources import ReadTask, find_latest, find_sources, note_subject
from gateway.history.state import higher, open_call
from gateway.history.states import TaskStates
from gateway.history.tree_reach import find_tree_fact
from gateway.model.call import PastCall
from gateway.model.content import CallContent, CredentialPiece, ResultContent
from gateway.model.errors import HistoryError, TaskExpired
from gateway.model.facts import NO_DECLARED_FACTS, DeclaredFacts, SessionFacts, join_facts
from gateway.model.target import Effect, Sensitivity
from gateway.model.wire import JsonObject
from gateway.policy.facts import NO_FACTS, FactBook, split_shadow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from gateway.history.carried import Carried
    from gateway.history.returning import ReturnedText, ReturningText
    from gateway.history.sources import ReadSource
    from gateway.history.state import TaskState
    from gateway.history.task_history import TaskHistory
    from gateway.history.written_texts import WrittenTexts
    from gateway.model.call import Call, Source
    from gateway.model.caller import Principal
    from gateway.model.content import Relevance
    from gateway.model.target import Target
    from gateway.model.task import Task

Made = TypeVar("Made")

_RELABELLED_AT_ONCE: Final = 32
"""Tasks that are judged anew in one turn of the event loop."""
_ATTEMPTS: Final = 32
"""Attempts to be the first gateway with an event."""


class Reservation(Struct, frozen=True):
    """A call that was counted: the facts for its decision, and the field `history` of its `call` entry. `declared` are the
    facts of the policy's author as in `book`, and `shadowed` those of the shadow policy. `reading` has those in accounts that
    other gateways use, too."""

    facts: SessionFacts
    fields: JsonObject
    declared: DeclaredFacts = NO_DECLARED_FACTS
    reading: AccountReading | None = None
    book: FactBook = NO_FACTS
    shadowed: DeclaredFacts | None = None


class TaskLedger:
    """The events and facts of each kept task.

    `tasks` keeps the tasks, `states` their states, and `log` their events. `origins` hears which credentials systems have
    shown to a task, and `exposures` which pieces of credentials its calls carried.
    """

    def __init__(
        self,
        tasks: TaskRegistry,
        states: TaskStates,
        origins: OriginReporter,
        exposures: Exposures,
        log: HistoryLog,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.log = log
        self._tasks = tasks
        self._states = states
        self._origins = origins
        self._exposures = exposures
        self._clock = clock
        self.written: WrittenTexts | None = None
        self.returning: ReturningText | None = None
        """The texts of `written` in memory, which later results may have; `None` without a search for these."""
        self.declared: FactReader | None = None
        """The facts that the policy in force declares. `app` sets it once the policy has started."""
        self.on_denied: Callable[[str, tuple[str, ...]], None] = lambda _task, _codes: None
        """Hears of each denial in a task with the codes of its reasons, also of those at other gateways."""

    # --- the log ---------------------------------------------------------------------------------------

    async def enter(self, principal: Principal, now: float, *, names_task: bool) -> None:
        """Bring the tasks of a caller up to date with other gateways, before a request is read.

        All gateways have one implicit task for requests that name no task. Raises `HistoryError`.
        """
        await self.log.catch_up(principal.job)
        if self.written is not None:
            await self.written.look()
        if names_task:
            return
        for _ in range(_ATTEMPTS):
            self._tasks.forget(now)
            present = self._tasks.find_present(principal, now)
            if present is not None and self.log.has_begun(principal.job, present.id):
                return
            self._tasks.open_implicit(principal, now)
            await self.log.confirm(principal.job)
        raise _make_race_error()

    async def commit(self, owner: str, make: Callable[[], Made]) -> Made:
        """Make an event, and return what `make` returned once the log has the event. `None` stands for no event. Make it again
        on the state that another gateway left. Raises `HistoryError`."""
        for _ in range(_ATTEMPTS):
            made = make()
            if made is None or await self.log.confirm(owner):
                return made
        raise _make_race_error()

    # --- before the decision -------------------------------------------------------------------------

    def seen(self, task: Task) -> Mapping[str, frozenset[int]]:
        """Return the credentials that the task was shown: fingerprint → shingles. For finding them again in arguments; the
        mapping goes on changing. Raises `TaskExpired`."""
        kept = self._tasks.require(task)
        shingles = (self._states.load(kept)).shingles
        earlier = self._carried(kept).shingles
        return ChainMap(shingles, dict(earlier)) if earlier else shingles

    def relevance(self, task: Task, target: Target) -> Relevance:
        """Return the words of a call that matter. Raises `TaskExpired`."""
        kept = self._tasks.require(task)
        before = self._carried(kept)
        found, is_read = relevance_of(self._states.load(kept), target, before), target.labels.effect is Effect.READ
        if self.returning is None or found.words == "all" or is_read:
            return found
        # What the call writes may come from results of its own system, or of another task of the job.
        return found._replace(words="all") if before.untrusted or self._states.jobs.list_marks(kept.job) else found

    def reserve(
        self,
        task: Task,
        call_id: str,
        call: Call,
        content: CallContent | None,
        now: float,
        *,
        depth: int | None = None,
        principal: Principal | None = None,
        taint: object = None,
    ) -> Reservation:
        """Count a call that is about to be decided, and give the facts for the decision.

        `call_id` is the decision id. `depth` is the delegation depth plus aggregator hops. `principal` is the caller, for the
        facts that a policy declares. `taint` is the `dataTaint` of its message. Each reserved call is ended once, by `release` or `settle`. Raises `TaskExpired`, and `ValueError` for an id that is open.
        """
        kept = self._tasks.require(task)
        if (kept.ended is not None or kept.task.expires is not None) and self._tasks.trees.status(kept, now) != "open":
            raise TaskExpired(f"the task {task.id} is over", "open a new one with POST /tasks")
        state = self._states.load(kept)
        before = self._carried(kept, content, now)
        if content is not None and content.pieces:
            content = self._exposures.complete(kept, state, call.target, content, before)
        event = build_reservation(state, call_id, call, content, now, depth=depth, carried=before)
        counted = [] if kept.is_implicit else self._tasks.trees.list_counted(kept)
        trees = (
            [find_tree_fact(above.task, self._load_all(tasks), event) for above, tasks in counted] if counted else []
        )
        marks = self._states.jobs.find_new(kept, state, now)
        marks = () if marks and principal is not None and principal.is_in_person else marks
        marks += () if taint is None else read_data_taint(taint, kept, state, now)
        if marks:
            event = structs.replace(event, inherited=marks)
        declared, reading, book = NO_DECLARED_FACTS, None, NO_FACTS if self.declared is None else self.declared.book
        if principal is not None and self.declared is not None and book.all:
            root = "" if kept.task.parent is None else kept.task.parent.root
            looked = self.declared.look(Subject(principal, call, task.id, content, root))
            event = looked.mark(event)
            if self.log.is_shared:
                reading = looked.begin_reading(event, now)
                self.log.expect_facts(reading)
            self.append(kept, event, now)
            declared = looked.read(state.declared, self._states.accounts, call_id, now)
        else:
            self.append(kept, event, now)
        if not event.trusted:
            note_subject(kept.subjects, event.number, call)
        known = facts(state, now, call=call_id, content=content, depth=depth, carried=before)
        if trees:
            # The root is the last one: a question of any task is one of the whole tree.
            approvals = sum(each.approvals for each in self._load_all(counted[-1][1]))
            known = structs.replace(known, trees=tuple(trees), approvals_used=approvals)
        fields = {**kept.origin, **to_fields(event)}
        if kept.before is not None:
            fields["carried"] = [earlier.task.id for earlier in kept.earlier]
        return Reservation(known, fields, declared, reading, book)

    def _load_all(self, tasks: Iterable[TaskHistory]) -> list[TaskState]:
        return [self._states.load(kept) for kept in tasks]

    async def count(
        self,
        task: Task,
        call_id: str,
        call: Call,
        content: CallContent | None,
        now: float,
        *,
        depth: int | None = None,
        principal: Principal | None = None,
        taint: object = None,
    ) -> Reservation:
        """Reserve a call on exactly the state before it in the log. Raises as `reserve` does, and `HistoryError`."""
        make = partial(self.reserve, task, call_id, call, content, now, depth=depth, principal=principal, taint=taint)
        try:
            counted = await self.commit(self._tasks.require(task).job, make)
            if counted.reading is not None:
                found = await self.log.read_facts(counted.reading)
                counted = structs.replace(counted, declared=join_facts((counted.declared, found)), reading=None)
            if counted.book.shadow is None:
                return counted
            declared, shadowed = split_shadow(counted.book, counted.declared)
            return structs.replace(counted, declared=declared, shadowed=shadowed)
        except HistoryError:
            # The log may have the reservation even so, or get it later.
            with suppress(ValueError):
                self.release(task, call_id, denied=False)
            raise

    def facts(
        self,
        task: Task,
        now: float,
        *,
        call: str | None = None,
        content: CallContent | None = None,
        depth: int | None = None,
    ) -> SessionFacts:
        """Return the facts again for an open call, or the facts for a question about no call. Raises `TaskExpired`."""
        kept = self._tasks.require(task)
        before = self._carried(kept, content, now)
        return facts(self._states.load(kept), now, call=call, content=content, depth=depth, carried=before)

    def find_sources(self, task: Task, values: Collection[int]) -> list[ReadSource]:
        """Return the untrusted results that values (digests, as in `CallContent.authority`) stand in. Raises `TaskExpired`."""
        return find_sources(self._list_read_tasks(task), values)

    def find_latest_reads(self, task: Task, count: int) -> list[ReadSource]:
        """Return the latest untrusted results of a task, the last one first. Raises `TaskExpired`."""
        return find_latest(self._list_read_tasks(task), count)

    def _list_read_tasks(self, task: Task) -> Iterator[ReadTask]:
        """Yield a task, and then the earlier tasks whose readings count in it, the latest first."""
        kept = self._tasks.require(task)
        yield ReadTask(self._states.load(kept), kept.subjects)
        for earlier in kept.earlier:
            yield ReadTask(self._states.load(earlier), earlier.subjects, is_earlier=True)

    async def note_written(self, task: Task, call_id: str, content: CallContent, now: float) -> None:
        """Keep the text of an allowed call that writes foreign words, before the call goes on. Raises `HistoryError`."""
        kept = self._tasks.require(task)
        state, foreign = self._states.load(kept), self._states.jobs.find_foreign(kept.job, now)
        event, before = open_call(state, call_id), self._carried(kept)
        text = find_written(kept, state, event, content, before=before, foreign=foreign)
        if text is not None and self.written is not None:
            await self.written.write(call_id, text)

    # --- after the decision --------------------------------------------------------------------------

    def let_pass(self, task: Task, call_id: str) -> None:
        """Let a reserved call go on, after its verdict was recorded. Raise `ValueError` for a call without a reservation."""
        self.append(self._require_open(task), Passed(call_id))

    def release(
        self, task: Task, call_id: str, *, denied: bool, asked: bool = False, codes: tuple[str, ...] = ()
    ) -> None:
        """Take back a reserved call that does not go on. `asked` and `codes` are as in `Released`. Raises `ValueError` for a
        closed call."""
        kept, event = self._require_open(task), Released(call_id, denied, asked, codes)
        self.append(kept, event, self._clock())
        if denied:
            self.on_denied(task.id, codes)

    def endorse(
        self, task: Task, values: frozenset[int], limits: Mapping[str, int] = MappingProxyType({})
    ) -> JsonObject:
        """Note a used approval. `values` (digests, as in `CallContent.authority`) are good from now on, and so are numbers
        up to those in `limits` (`Reason.limits`), which the person was shown.

        Return the fields of a `task` entry. Raises `TaskExpired`.
        """
        event = Endorsed(pack(values), dict(limits))
        self.append(self._tasks.require(task), event)
        return {"task": task.id, **to_fields(event)}

    # --- the answer ----------------------------------------------------------------------------------

    def keeps_words(self, task: Task, target: Target) -> bool:
        """Return whether the words of a call's result matter. Raises `TaskExpired`."""
        kept = self._tasks.require(task)
        return keeps_words(self._states.load(kept), target)

    def _find_returned(self, kept: TaskHistory, place: ResultPlace, content: ResultContent, now: float) -> ReturnedText:
        """Return the text that returns in a part of a result."""
        if self.returning is None or not content.words:
            return NONE_RETURNED
        known = self._states.jobs.find_foreign(kept.job, now).confidential
        return self.returning.read(self._states.load(kept), known, place, content.words, now)

    def observe(
        self, task: Task, call_id: str, content: ResultContent, *, label: Sensitivity = Sensitivity.PUBLIC
    ) -> JsonObject | None:
        """Take in a part of a call's result, before that part reaches the caller. `label` can raise its sensitivity.

        Returns the fields of an `observed` entry, `None` if it says nothing new. Raises `ValueError` for a call that
        is not open.
        """
        kept = self._tasks.require(task)
        state = self._states.load(kept)
        label = higher(label, Sensitivity.CONFIDENTIAL) if content.confidential else label
        returned = NONE_RETURNED
        if content.words:
            source = open_call(state, call_id)
            place = ResultPlace(source.tenant, source.trusted, higher(source.sensitivity, label))
            returned = self._find_returned(kept, place, content, self._clock())
        event = build_observation(state, call_id, content, label, self._carried(kept), returned=returned)
        if changes_nothing(state, event):
            return None
        self.append(kept, event)
        return {"id": call_id, "task": task.id, **to_fields(event)}

    def past_call(
        self, task: Task, call_id: str, target: Target, label: Sensitivity, max_bytes: int | None = None
    ) -> PastCall:
        """Return the memory of an open call whose result may come late. Raises `ValueError` for a closed call."""
        call = open_call(self._states.load(self._require_open(task)), call_id)
        sensitivity = max(label, call.sensitivity, key=list(Sensitivity).index)
        return PastCall(task, call_id, call.number, target, sensitivity, call.credentials, max_bytes)

    def settle(self, task: Task, call_id: str, end: CallEnd = "done") -> None:
        """End a reserved call. Raises `ValueError` for a closed call."""
        event = Settled(call_id, end)
        self.append(self._require_open(task), event, self._clock())

    def confirm(self, task: str, call_id: str, end: Literal["done", "failed"]) -> JsonObject | None:
        """Fold how a call with an unknown outcome ended after all. Return the fields of a `confirmed` entry beside its own;
        `None` if the task knew of no such call."""
        kept = self._tasks.find(task)
        call = None if kept is None else self._states.load(kept).unknown.get(call_id)
        if kept is None or call is None:
            return None
        event = Confirmed(call_id, end, call.at, call.facts)
        self.append(kept, event)
        return {"history": to_fields(event)} if call.facts else {}

    async def find_unknown(self, call_id: str) -> str | None:
        """Return the task of a call with an unknown outcome. Other work goes on between the tasks."""
        for number, kept in enumerate(self._tasks.all()):
            if call_id in self._states.load(kept).unknown:
                return kept.task.id
            if number % _RELABELLED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return None

    # --- messages without a decision -----------------------------------------------------------------

    def add_reading(
        self, task: Task, reading: str, source: Source, content: ResultContent, now: float, *, number: int | None = None
    ) -> JsonObject | None:
        """Take in a part of data read outside of an open call, before it reaches the caller. `reading` is the id of the
        answered request; `number` the field of earlier parts. Returns the fields of an `observed` entry, `None` without
        news. Raises `TaskExpired`."""
        kept = self._tasks.require(task)
        state = self._states.load(kept)
        late = source.past_call is not None and source.past_call.task.id == task.id
        if content.confidential:
            source = replace(source, sensitivity=higher(source.sensitivity, Sensitivity.CONFIDENTIAL))
        place, before = ResultPlace(source.target.tenant, not source.untrusted, source.sensitivity), self._carried(kept)
        returned = self._find_returned(kept, place, content, now)
        event = build_reading(state, source, content, now, late=late, number=number, carried=before, returned=returned)
        if changes_nothing(state, event) and not self._states.jobs.renews(kept, event):
            return None
        self.append(kept, event, now)
        return {"id": reading, "task": task.id, **kept.names, **kept.origin, **to_fields(event)}

    def expose(
        self, task: Task, target: Target, pieces: tuple[CredentialPiece, ...], *, request: str, now: float
    ) -> JsonObject | frozenset[str]:
        """Count the pieces of credentials in a message without a decision, or beside the arguments of a call.

        `request` is its id. Returns the fields of an `exposed` entry, to be written before the message is sent. If a system
        would have half of a credential, returns the fingerprint: the message must not be sent. Raises `TaskExpired`.
        """
        kept = self._tasks.require(task)
        found = self._exposures.complete(kept, self._states.load(kept), target, CallContent(pieces=pieces))
        if found.sightings:
            return frozenset(item.fingerprint for item in found.sightings)
        event = Exposed(**touch_of(target)._asdict(), exposed=pack(found.exposed))
        self.append(kept, event, now)
        fields = {"id": request, "task": task.id, **kept.names, "at": round(now, 3), **kept.origin}
        return {**fields, **to_fields(event)}

    # --- labels that change --------------------------------------------------------------------------

    async def relabel(self, labels: dict[str, NewLabels]) -> None:
        """Judge anew what open tasks did with relabelled targets (`name_target`). Other work goes on between the tasks."""
        event = Relabelled(labels)
        for number, kept in enumerate(self._tasks.all()):
            if kept.ended is None:
                self.append(kept, event)
            if number % _RELABELLED_AT_ONCE == 0:
                await asyncio.sleep(0)

    # --- every event ---------------------------------------------------------------------------------

    def append(self, kept: TaskHistory, event: Event, used: float | None = None) -> None:
        """Fold an event, and give it to the log. `used` is the time at which the event used the task, if it did. Raises
        `ValueError` for an impossible event, and `HistoryError`."""
        self.fold(kept, event, used)
        self.log.note(kept, event, used)

    def fold(self, kept: TaskHistory, event: Event, used: float | None = None) -> None:
        """Fold an event that the log has into the state of a task. Raises as `append` does."""
        state = self._states.load(kept)
        if isinstance(event, Observed | Reading | Settled):
            self._states.jobs.follow(kept, state, event, kept.used if used is None else used)
        elif isinstance(event, Relabelled):
            self._states.jobs.follow_labels(kept, state, event)
        apply(state, event)
        kept.changed = True
        self._exposures.follow(kept.job, kept.task.id, state, event)
        if isinstance(event, Observed | Reading):
            self._tell_origins(kept, state, event)
        if used is not None:
            self._tasks.use(kept, used)

    def _tell_origins(self, kept: TaskHistory, state: TaskState, event: Observed | Reading) -> None:
        """Tell of the credentials that a part of a result has shown to the task."""
        if event.credentials or event.lost:
            self._origins.tell(kept.job, kept.task.id, state, event.credentials)

    def _require_open(self, task: Task) -> TaskHistory:
        kept = self._tasks.find(task.id)
        if kept is None:
            raise ValueError(f"the task {task.id} has no open call")
        return kept

    def _carried(self, kept: TaskHistory, content: CallContent | None = None, now: float = 0.0) -> Carried:
        """Return the readings of earlier tasks, for a call with values that may be unread with the words of the job."""
        found = NOTHING if kept.before is None else carried([self._states.load(before) for before in kept.earlier])
        if content is None or not (content.pieces_of or content.told):
            return found
        return add_job_words(found, self._states.jobs.find_words(kept.job, now))


def _make_race_error() -> HistoryError:
    return HistoryError(
        f"other gateways were first with {_ATTEMPTS} events of this caller",
        "send the request again; have a balancer keep a caller at one gateway",
    )
