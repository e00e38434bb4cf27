"""The tasks of this process: in memory, those long unused in the store, and all of them in the journal.

Nothing here waits, so that calls on one event loop see one another whole. A task ends when its time is over (see
`kept_tasks`). Nothing else makes the gateway forget one: who could push tasks out could start over with fresh limits. When
there is no room left, new tasks are refused instead.
"""

from __future__ import annotations

import secrets
from collections import ChainMap
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from gateway import reasons
from gateway.errors import TaskExpired
from gateway.history import fold, relevance
from gateway.history.carried import NOTHING, carried
from gateway.history.codec import task_fields
from gateway.history.events import Ended, Endorsed, Event, Observed, Read, Released, opened, pack, shown, to_fields
from gateway.history.exposure import Exposures
from gateway.history.facts import facts
from gateway.history.kept_tasks import KeptTasks
from gateway.history.new_events import changes_nothing, observed, read, reserved
from gateway.history.origins import Teller
from gateway.history.state import CONFIDENTIAL
from gateway.history.states import TaskStates
from gateway.history.task_history import TaskHistory, declared_size
from gateway.model.call import PastCall
from gateway.model.content import ResultContent
from gateway.model.decision import Reason
from gateway.model.facts import TaskReport
from gateway.model.target import Sensitivity
from gateway.model.task import Task, TaskEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config import HistorySettings
    from gateway.history.carried import Carried
    from gateway.history.origins import Origins
    from gateway.history.state import TaskState
    from gateway.model.call import Call, Source
    from gateway.model.caller import Principal
    from gateway.model.content import CallContent, Relevance
    from gateway.model.facts import SessionFacts
    from gateway.model.target import Target
    from gateway.model.wire import JsonObject

_NOTHING_SHOWN: Final = ResultContent()


class Reservation(Struct, frozen=True):
    """A call that was counted: the facts for its decision, and the field `history` of its `call` entry."""

    facts: SessionFacts
    fields: JsonObject


class History:
    """Tasks and their states, as many as the settings allow in all and for one principal.

    `conceal` takes the credentials out of a task's goal before it is written; by default no goal is written. `origins` hears
    which credentials systems have shown to the kept tasks. `on_end` hears of each task that has ended or is
    forgotten, and how.
    """

    def __init__(
        self,
        settings: HistorySettings,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str] = lambda: f"task-{secrets.token_hex(12)}",
        conceal: Callable[[str, TaskHistory], str] = lambda _goal, _kept: "",
        origins: Origins | None = None,
        on_end: Callable[[str, TaskEnd], None] = lambda _task_id, _how: None,
    ) -> None:
        self._clock = clock
        self._new_id = new_id
        self._on_end = on_end
        self._origins = Teller(origins)
        self.exposures: Final = Exposures()
        self.states: Final = TaskStates(conceal)
        self._kept = KeptTasks(settings, self.states)
        # A method for each look-up would cost a call of each kind more than its fold does.
        self._by_id = self.states.by_id

    def __len__(self) -> int:
        return len(self._kept)

    # --- tasks ---------------------------------------------------------------------------------------

    def task(self, principal: Principal, now: float) -> Task:
        """Return the implicit task of a request: the present task of its caller, or a new task.

        Tokens, sessions and certificates make no difference: clients renew them as often as they like. Raises `HistoryFull`.
        """
        if (ended := self._kept.over(now)) is not None:
            self._drop(ended)
            self.forget(now)
        present = self._kept.present(principal, now)
        if present is not None:
            self._kept.use(present, now)
            return present.task
        self._kept.require_room(principal)
        task = Task(id=self._new_id(), kind="implicit", opened=round(now, 3))
        self.admit(TaskHistory(task, principal.key, principal.parties, now))
        return task

    def require_room(self, principal: Principal, now: float) -> None:
        """Raise `HistoryFull` if the caller cannot open another task, however small."""
        self.forget(now)
        self._kept.require_room(principal)

    def present(self, principal: Principal, now: float) -> Task | None:
        """Return the present implicit task of a caller, if there is one."""
        present = self._kept.present(principal, now)
        return None if present is None else present.task

    def open(self, principal: Principal, task: Task, content: ResultContent) -> JsonObject:
        """Keep a declared task. `content` is of its goal and its contract's destinations.

        Returns the fields of a `task` entry; the task is not safe from a crash before that is written. Raises
        `HistoryFull`, and `ValueError` for a task without expiry or with an id that is taken.
        """
        if task.kind != "declared" or task.expires is None or self._by_id.get(task.id) is not None:
            raise ValueError("a declared task has an expiry and an id of its own")
        self.forget(task.opened)
        event = opened(content.tokens, shown(content.sightings))
        size = declared_size(task, event)
        self._kept.require_room(principal, size)
        kept = TaskHistory(task, principal.key, principal.parties, task.opened, size=size)
        self._apply(kept, event)
        self.admit(kept)
        described = task_fields(task, partial(self.states.conceal_goal, kept))
        return {
            "task": task.id,
            "owner": kept.owner,
            "parties": kept.parties,
            "declared": described,
            **to_fields(event),
        }

    def select(self, principal: Principal, task_id: str, now: float) -> Task | Reason:
        """Return the open declared task of this principal with this id, or `task/unknown`, `task/ended` or
        `task/expired`. Tasks of other principals are unknown."""
        self.forget(now)
        kept = self._owned_by(principal, task_id)
        if kept is None:
            return reasons.TASK_UNKNOWN.reason()
        match kept.status(now):
            case "open":
                self._kept.use(kept, now)
                return kept.task
            case "expired":
                return reasons.TASK_EXPIRED.reason()
            case _:
                return reasons.TASK_ENDED.reason()

    def report(self, principal: Principal, task_id: str, now: float) -> TaskReport | Reason:
        """Return a declared task as its owner may see it, or refuse with `task/unknown`."""
        self.forget(now)
        kept = self._owned_by(principal, task_id)
        if kept is None:
            return reasons.TASK_UNKNOWN.reason()
        return TaskReport(kept.task, kept.status(now), facts(self.states.load(kept), now))

    def end(self, task: Task, how: Literal["completed", "cancelled"]) -> JsonObject:
        """End a declared task. Calls that are open go on to their end. Returns the fields of a `task` entry."""
        event, kept = Ended(how), self._known(task)
        self._apply(kept, event)
        kept.ended = how
        self._on_end(task.id, how)
        return {"task": task.id, **to_fields(event)}

    # --- calls ---------------------------------------------------------------------------------------

    def reserve(
        self, task: Task, call_id: str, call: Call, content: CallContent | None, now: float, *, depth: int | None = None
    ) -> Reservation:
        """Count a call that is about to be decided, and give the facts for the decision.

        `call_id` is the decision id. `depth` is the delegation depth plus aggregator hops. Each call that was reserved
        is ended once, by `release` or `settle`. Raises `TaskExpired`, and `ValueError` for an id that is open.
        """
        kept = self._by_id.get(task.id) or self._known(task)
        if (kept.ended is not None or kept.task.expires is not None) and kept.status(now) != "open":
            raise TaskExpired(f"the task {task.id} is over", "open a new one with POST /tasks")
        state, before = (
            kept.state or self.states.load(kept),
            self._carried(kept) if kept.before is not None else NOTHING,
        )
        if content is not None and content.pieces:
            content = self.exposures.complete(kept, state, call.target, content, before)
        event = reserved(state, call_id, call, content, now, depth=depth, carried=before)
        fold.reserve(state, event)
        kept.changed = True
        if event.exposed:
            self.exposures.follow(kept.owner, task.id, state, event)
        # The request of the call has used its task at the same time already, nearly always.
        if kept.used < now:
            self._kept.use(kept, now)
        known = facts(state, now, call=call_id, content=content, depth=depth, carried=before)
        fields = {**kept.origin, **to_fields(event)}
        if kept.before is not None:
            fields["carried"] = [earlier.task.id for earlier in kept.earlier]
        return Reservation(known, fields)

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
        kept = self._known(task)
        return facts(self.states.load(kept), now, call=call, content=content, depth=depth, carried=self._carried(kept))

    def readings_of(self, task: Task) -> tuple[str, ...]:
        """Return the ids of the task and of the earlier tasks with readings that count in it. Raises `TaskExpired`."""
        kept = self._by_id.get(task.id) or self._known(task)
        return (task.id, *[before.task.id for before in kept.earlier]) if kept.before is not None else (task.id,)

    def seen(self, task: Task) -> Mapping[str, frozenset[int]]:
        """Return the credentials that the task was shown: fingerprint → shingles. For finding them again in arguments; the
        mapping goes on changing. Raises `TaskExpired`."""
        kept = self._by_id.get(task.id) or self._known(task)
        shingles = (kept.state or self.states.load(kept)).shingles
        earlier = self._carried(kept).shingles if kept.before is not None else None
        return ChainMap(shingles, dict(earlier)) if earlier else shingles

    def relevance(self, task: Task, target: Target) -> Relevance:
        """Return what matters of the words of a call. Raises `TaskExpired`."""
        kept = self._by_id.get(task.id) or self._known(task)
        before = self._carried(kept) if kept.before is not None else NOTHING
        return relevance.of_call(kept.state or self.states.load(kept), target, before)

    def keeps_words(self, task: Task, target: Target) -> bool:
        """Return whether the words of a call's result matter. Raises `TaskExpired`."""
        kept = self._by_id.get(task.id) or self._known(task)
        return relevance.of_result(kept.state or self.states.load(kept), target)

    def observe(
        self, task: Task, call_id: str, content: ResultContent, *, label: Sensitivity = Sensitivity.PUBLIC
    ) -> JsonObject | None:
        """Take in a part of a call's result, before that part reaches the caller. `label` can raise its sensitivity.

        Returns the fields of an `observed` entry, `None` if it says nothing new. Raises `ValueError` for a call that
        is not open.
        """
        kept = self._by_id.get(task.id) or self._known(task)
        state = kept.state or self.states.load(kept)
        call = state.open.get(call_id)
        # Most parts show nothing. This is `changes_nothing` for the event of such a part, which then need not be made.
        if (
            content == _NOTHING_SHOWN
            and label is Sensitivity.PUBLIC
            and call is not None
            and call.sensitivity is state.confidentiality
            and call.sensitivity not in CONFIDENTIAL
            and (state.untrusted or call.trusted)
        ):
            return None
        event = observed(state, call_id, content, label, self._carried(kept) if kept.before is not None else NOTHING)
        if changes_nothing(state, event):
            return None
        fold.observe(state, event)
        kept.changed = True
        self._tell_origins(kept, state, event)
        return {"id": call_id, "task": task.id, **to_fields(event)}

    def past_call(
        self, task: Task, call_id: str, target: Target, label: Sensitivity, max_bytes: int | None = None
    ) -> PastCall:
        """Return the memory of an open call whose result may come late. Raises `ValueError` for a closed call."""
        state = self.states.load(self._open(task))
        reservation = state.open.get(call_id)
        if reservation is None:
            raise ValueError(f"no open call {call_id}")
        sensitivity = max(label, reservation.sensitivity, key=list(Sensitivity).index)
        return PastCall(task, call_id, reservation.number, target, sensitivity, reservation.credentials, max_bytes)

    def read(
        self, task: Task, reading: str, source: Source, content: ResultContent, now: float, *, number: int | None = None
    ) -> JsonObject | None:
        """Take in a part of data read outside of an open call, before it reaches the caller. `reading` is the id of the
        answered request; `number` the field of earlier parts. Returns the fields of an `observed` entry, `None` without
        news. Raises `TaskExpired`."""
        kept = self._known(task)
        state = self.states.load(kept)
        late = source.past_call is not None and source.past_call.task.id == task.id
        event = read(state, source, content, now, late=late, number=number, carried=self._carried(kept))
        if changes_nothing(state, event):
            return None
        self._apply(kept, event)
        self._kept.use(kept, now)
        return {"id": reading, "task": task.id, "owner": kept.owner, **kept.origin, **to_fields(event)}

    def is_open(self, task_id: str, now: float) -> bool:
        """Return whether the task may still make calls, or has an open call."""
        kept = self._by_id.get(task_id)
        if kept is None:
            return False
        return kept.busy or (
            kept.status(now) == "open" and (not kept.is_implicit or now - kept.used <= self._kept.idle)
        )

    def was_ended(self, task_id: str) -> bool:
        """Return whether somebody ended the task. The end of an implicit task by its time does not count."""
        kept = self._by_id.get(task_id)
        return kept is not None and kept.ended is not None

    def endorse(
        self, task: Task, values: frozenset[int], limits: Mapping[str, int] = MappingProxyType({})
    ) -> JsonObject:
        """Note a used approval. `values` (digests, as in `CallContent.authority`) are good from now on, and so are numbers
        up to those in `limits` (`Reason.limits`), which the person was shown.

        Return the fields of a `task` entry. Raises `TaskExpired`.
        """
        event = Endorsed(pack(values), dict(limits))
        self._apply(self._known(task), event)
        return {"task": task.id, **to_fields(event)}

    def sources(self, task: Task, values: frozenset[int]) -> list[JsonObject]:
        """Return the untrusted results that values (digests, as in `CallContent.authority`) stand in: call number and system.

        Raises `TaskExpired`.
        """
        state = self.states.load(self._known(task))
        numbers = sorted({number for value in values if (number := state.tokens.get(value)) is not None})
        return [{"call": number, "audience": state.results[number]} for number in numbers if number in state.results]

    def let_pass(self, task: Task, call_id: str) -> None:
        """Let a reserved call go on, after its verdict was recorded. Raise `ValueError` for a call without a reservation."""
        kept = self._by_id.get(task.id) or self._open(task)
        fold.let_pass(kept.state or self.states.load(kept), call_id)
        kept.changed = True

    def release(self, task: Task, call_id: str, *, denied: bool) -> None:
        """Take back a reserved call that does not go on. Raises `ValueError` for a closed call."""
        kept = self._open(task)
        self._apply(kept, Released(call_id, denied))
        self._kept.use(kept, self._clock())

    def settle(self, task: Task, call_id: str) -> None:
        """End a reserved call after any outcome. Raises `ValueError` for a closed call."""
        kept = self._by_id.get(task.id) or self._open(task)
        fold.settle(kept.state or self.states.load(kept), call_id)
        kept.changed = True
        self._kept.use(kept, self._clock())

    # --- what is kept --------------------------------------------------------------------------------

    def find(self, task_id: str) -> TaskHistory | None:
        return self._by_id.get(task_id)

    def tasks(self) -> tuple[TaskHistory, ...]:
        return tuple(self._kept.all())

    def admit(self, kept: TaskHistory) -> None:
        """Keep a task, whatever room there is."""
        self._kept.add(kept)
        if kept.carries:
            state = self.states.load(kept)
            self._origins.tell(kept.owner, kept.task.id, state, state.credentials)
            self.exposures.note(kept.owner, kept.task.id, state.exposed)

    def fold(self, kept: TaskHistory, event: Event, now: float) -> None:
        """Fold an event of the journal. Raises `ValueError` for an impossible event, and `HistoryError`."""
        self._apply(kept, event)
        self._kept.use(kept, now)

    def forget(self, now: float) -> None:
        """Let go of the tasks whose time is over."""
        while (kept := self._kept.over(now)) is not None:
            self._drop(kept)

    # --- small parts ---------------------------------------------------------------------------------

    def _apply(self, kept: TaskHistory, event: Event) -> None:
        state = self.states.load(kept)
        fold.apply(state, event)
        kept.changed = True
        self.exposures.follow(kept.owner, kept.task.id, state, event)
        if isinstance(event, Observed | Read):
            self._tell_origins(kept, state, event)

    def _tell_origins(self, kept: TaskHistory, state: TaskState, event: Observed | Read) -> None:
        """Tell of the credentials that a part of a result has shown to the task."""
        if event.credentials or event.lost:
            self._origins.tell(kept.owner, kept.task.id, state, event.credentials)

    def _known(self, task: Task) -> TaskHistory:
        kept = self._by_id.get(task.id)
        if kept is None:
            raise TaskExpired(f"the task {task.id} is no longer kept", "send the request again; it begins a new task")
        return kept

    def _open(self, task: Task) -> TaskHistory:
        kept = self._by_id.get(task.id)
        if kept is None:
            raise ValueError(f"the task {task.id} has no open call")
        return kept

    def _owned_by(self, principal: Principal, task_id: str) -> TaskHistory | None:
        kept = self._by_id.get(task_id)
        return kept if kept is not None and not kept.is_implicit and kept.owner == principal.key else None

    def _carried(self, kept: TaskHistory) -> Carried:
        return carried([self.states.load(before) for before in kept.earlier])

    def _drop(self, kept: TaskHistory) -> None:
        self._kept.remove(kept)
        self._origins.drop(kept)
        self.exposures.drop(kept.owner, kept.task.id)
        self._on_end(kept.task.id, kept.ended or "expired")
