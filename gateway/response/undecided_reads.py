"""Folding of messages without a decision into the task's history and the journal, before they reach the caller. These
are answers to requests passed through, and messages of servers on streams. A late result comes from a protocol task or
on a resumed stream. It is folded into the task of its call and into the reading task. `observation` folds the results
of decided calls."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from gateway.errors import HistoryError, JournalError, UpstreamBroken
from gateway.inspection.results import ResultInspector
from gateway.model.call import PastCall, Source
from gateway.model.content import ResultContent, Sighting
from gateway.model.decision import Refusal
from gateway.model.target import Effect, Sensitivity
from gateway.model.task import Task
from gateway.model.wire import RequestId, UpstreamRequest
from gateway.pipeline.context import RequestContext
from gateway.response import server_messages as passing
from gateway.response.observe import found
from gateway.response.parts import AnswerParts
from gateway.response.server_messages import Told

_NOTHING: Final = ResultContent()


@dataclass(slots=True)
class _Reading:
    """A message, or the results in it. `numbers` are its numbers in each task."""

    source: Source
    label: str
    inspector: ResultInspector
    numbers: dict[str, int] = field(default_factory=dict[str, int])


class Readings:
    """An observer of one answer (see `messages.Observer`). `concealed` returns the credentials rewritten since the last
    question: the task knows each credential with a handle. Raises `UpstreamBroken` for content that cannot be recorded.
    """

    __slots__ = ("_asked", "_concealed", "_context", "_last", "_open", "_parts", "_request", "_turn", "_upstream")

    def __init__(
        self,
        parts: AnswerParts,
        context: RequestContext,
        request: UpstreamRequest,
        concealed: Callable[[], tuple[Sighting, ...]] = tuple,
    ) -> None:
        self._parts = parts
        self._context = context
        self._request = request
        self._concealed = concealed
        self._turn = partial(parts.turns.take, request.principal.key)
        self._upstream = context.exchange.upstream
        self._asked = request.message.method if request.message is not None else None
        self._open: _Reading | None = None
        self._last: _Reading | None = None

    async def message(self, raw: bytes, data: bytes) -> None:
        if passing.empty(raw):
            return
        told = passing.told(data, self._asked)
        self._last = reading = self._begun(told)
        self._note_tasks(told, reading.source.past_call)
        # Data that stands in several lines reads otherwise once they are joined.
        whole = raw if data in raw else raw + b"\n" + data
        content = await found(reading.inspector, whole, last=True, turn=self._turn)
        if content is not None or told.reading:
            await self._take(reading, content or _NOTHING)

    async def part(self, chunk: bytes) -> None:
        reading = self._open
        if reading is None:
            told = passing.quiet(self._asked)
            self._open = self._last = reading = self._begun(told)
            if told.reading:
                await self._take(reading, _NOTHING)
        content = await found(reading.inspector, chunk, turn=self._turn)
        if content is not None:
            await self._take(reading, content)

    async def end(self) -> None:
        reading, self._open = self._open, None
        if reading is not None and (content := reading.inspector.finish()) is not None:
            await self._take(reading, content)

    async def rewritten(self) -> None:
        fresh = self._concealed()
        if fresh and self._last is not None:
            await self._take(self._last, ResultContent(fresh))

    # --- what it is ----------------------------------------------------------------------------------

    def _begun(self, told: Told) -> _Reading:
        source, parts = self._source(told), self._parts
        quiet = parts.inspector.suppressions.of(source.target, parts.clock())
        with _withheld():
            seen = parts.history.seen(self._task(parts.clock())) if quiet else ()
        trusted = source.target.trust == "trusted"
        inspector = parts.inspector.passing(trusted=trusted, words=told.reading, quiet=quiet, seen=seen)
        return _Reading(source, self._label(told), inspector)

    def _source(self, told: Told) -> Source:
        """Return the source of a reading.

        The request of the caller counts. The words of a server can only raise the sensitivity of its messages.
        """
        parts, upstream = self._parts, self._upstream
        plain = parts.catalogue.target(upstream, "resource", "")
        untrusted, least = plain.trust == "untrusted", plain.labels.sensitivity
        if not told.reading:
            return Source(plain, untrusted=False, sensitivity=Sensitivity.PUBLIC)
        calls = self._calls(told)
        known = [past_call for past_call in calls if past_call is not None]
        if len(known) < len(calls):
            return Source(plain, untrusted, parts.catalogue.highest(upstream), unknown=True)
        theirs = [past_call.sensitivity for past_call in known]
        sensitivity = _highest(*theirs) if theirs and self._asked_for_task else _highest(least, *theirs)
        if len(known) == 1:
            return Source(known[0].target, untrusted, sensitivity, known[0])
        mints = any(past_call.target.labels.effect is Effect.MINT for past_call in known)
        return Source(plain, untrusted, sensitivity, unknown=mints)

    def _calls(self, told: Told) -> list[PastCall | None]:
        """Return the calls of which this message holds or announces a late result; `None` for each forgotten call."""
        parts, request, message = self._parts, self._request, self._request.message
        if message is None and told.answers is not None:
            key = unanswered(request.session, told.answers)
            return [parts.unanswered.past_call(self._upstream, key, request.principal)]
        if told.unread and self._asked in {None, "subscriptions/listen"}:
            return [None]
        named = told.tasks
        if self._asked_for_task and message is not None and message.name is not None:
            named = frozenset({message.name})
        return [parts.ownership.past_call(self._upstream, name, request.principal) for name in named]

    def _note_tasks(self, told: Told, past_call: PastCall | None) -> None:
        """The tasks that a late answer gives the caller are made by its call."""
        if past_call is None or told.answers is None or self._request.message is not None:
            return
        ownership, principal = self._parts.ownership, self._request.principal
        for name in told.tasks:
            if ownership.renew_if_owner(self._upstream, name, principal):
                ownership.deliver(self._upstream, name, principal, past_call)

    @property
    def _asked_for_task(self) -> bool:
        return self._asked is not None and self._asked.startswith("tasks/")

    def _label(self, told: Told) -> str:
        """Return the name of a reading for the record."""
        asked = self._asked or ("a stream" if self._request.method == "GET" else self._request.method)
        if told.method is not None:
            return f"{self._upstream} {told.method} on {asked}"
        return f"{self._upstream} {asked}"

    # --- where it goes -------------------------------------------------------------------------------

    async def _take(self, reading: _Reading, content: ResultContent) -> None:
        parts, now = self._parts, self._parts.clock()
        content = await parts.credential_chain.with_repeated_marked(self._request, content)
        with _withheld():
            for task in self._tasks(reading.source.past_call, now):
                number = reading.numbers.get(task.id)
                fields = parts.history.read(task, self._context.id, reading.source, content, now, number=number)
                if fields is not None:
                    reading.numbers[task.id] = int(str(fields["number"]))
                    await parts.journal.append("observed", {**fields, "source": reading.label})

    def _tasks(self, past_call: PastCall | None, now: float) -> Iterator[Task]:
        mine = self._task(now)
        yield mine
        if (
            past_call is not None
            and past_call.task.id != mine.id
            and self._parts.history.find(past_call.task.id) is not None
        ):
            yield past_call.task

    def _task(self, now: float) -> Task:
        """Return the caller's task: the declared task, or after its end the implicit task."""
        task = self._parts.tasks.find_task(self._context, self._request, self._request.message, now)
        if isinstance(task, Refusal):
            return self._parts.history.task(self._request.principal, now)
        return task


@contextmanager
def _withheld() -> Generator[None]:
    """Turns what keeps a reading out of the history or the record into an answer that is not given."""
    try:
        yield
    except (HistoryError, JournalError) as error:
        raise UpstreamBroken(
            f"the answer was withheld, because what it holds cannot be recorded: {error.message}", error.remedy
        ) from None


def unanswered(session: str | None, request: RequestId) -> str:
    """Return the key of a request whose answer may come on another stream of its session."""
    return f"{session}\0{request!r}"


def _highest(*found: Sensitivity) -> Sensitivity:
    return max(found, key=list(Sensitivity).index)
