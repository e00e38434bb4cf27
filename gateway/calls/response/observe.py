"""Folding of answers into the history of a task and the journal, before they reach the caller. So policy knows what a task has
read from the moment of reading.

`ResultObserver` folds the result of a decided call, `UndecidedReadObserver` all other messages: answers to requests passed through, and messages of servers on
streams.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from gateway.base.concurrency.loop_turns import Turn, next_turn
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.response.frames import AnswerFrame
from gateway.calls.response.outcomes import name_late_end
from gateway.calls.response.server_messages import ServerMessage, is_empty_response, read_large_message, read_message
from gateway.inspection.results import ResultInspector, together
from gateway.model.call import PastCall, Source
from gateway.model.content import ResultContent, Sighting
from gateway.model.decision import Refusal
from gateway.model.errors import HistoryError, JournalError, UpstreamBroken
from gateway.model.target import Effect, Sensitivity
from gateway.model.task import Task
from gateway.model.wire import Disposition, JsonObject, RequestId, UpstreamRequest

if TYPE_CHECKING:
    from gateway.calls.response.build import AnswerParts

# --- results of calls ------------------------------------------------------------------------------------


_PIECE: Final = 16 * 2**10
"""Bytes that are looked at in one turn of the event loop: a millisecond, or some fifteen if they are full of credentials."""
_NOTHING: Final = ResultContent()


class ResultReads(Protocol):
    """The reads of one call."""

    async def fold(self, content: ResultContent, /) -> JsonObject | None:
        """Fold a part of the result into the task. Return the fields of its `observed` entry, if it says anything new."""
        ...

    def record(self, fields: JsonObject, /) -> Awaitable[None]:
        """Write an `observed` entry. Raises `JournalError`."""
        ...


async def inspect_pieces(
    inspector: ResultInspector, data: bytes, *, last: bool = False, turn: Turn = next_turn
) -> ResultContent | None:
    """Return the content of more of a result; `None` without any. Each piece after the first waits for a turn."""
    parts: list[ResultContent | None] = []
    done = 0
    while len(data) - done > _PIECE:
        parts.append(inspector.feed(data[done : done + _PIECE]))
        done += _PIECE
        await turn()
    rest = data[done:] if done else data
    parts.append(inspector.finish(rest) if last else inspector.feed(rest))
    return together(parts)


class ResultObserver(Struct, eq=False):
    """Stage that inspects, folds and records the result of a call, and changes nothing. It sees every frame before the
    filters do. The task knows every credential with a handle, even one recognised only by the `Concealer`."""

    inspector: ResultInspector
    reads: ResultReads
    turn: Turn = next_turn
    defers_words: bool = True
    """Whether the words of a small document are found when it is on its way. Another gateway may get the next request."""
    has_begun: bool = False
    unread: bytes = b""
    """A document whose words are found when it is on its way."""

    async def handle(self, frame: AnswerFrame) -> AnswerFrame:
        """Fold the content of a frame. Raises `UpstreamBroken` without a record of the content."""
        kind, data = frame.kind, frame.raw
        if kind == "document" and len(data) <= _PIECE and self.defers_words:
            self.unread = data
            content = self.inspector.finish_credentials(data)
        elif data or kind == "end":
            is_last = kind == "document" or kind == "end"  # noqa: PLR1714 - a set would cost a hash for each frame
            content = await inspect_pieces(self.inspector, data, last=is_last, turn=self.turn)
        else:
            return frame
        if content is not None or (data and not self.has_begun):
            # That something was read at all is news: of whom, and how sensitive it may be.
            self.has_begun = True
            await self._take(_NOTHING if content is None else content)
        return frame

    def words(self) -> ResultContent | None:
        """Return the words of an answer that has been sent already. Fold the words before any other work for the caller."""
        unread, self.unread = self.unread, b""
        return self.inspector.finish_words(unread) if unread else None

    async def note_concealed(self, sightings: tuple[Sighting, ...]) -> None:
        """Fold credentials after their replacement by handles."""
        await self._take(ResultContent(sightings))

    async def _take(self, content: ResultContent) -> None:
        with _withheld():
            fields = await self.reads.fold(content)
            if fields is not None:
                await self.reads.record(fields)


# --- messages without a decision -------------------------------------------------------------------------


@dataclass(slots=True)
class _Read:
    """A message, or the results in it. `numbers` are its numbers in each task."""

    source: Source
    label: str
    inspector: ResultInspector
    is_plain: bool
    """The inspector looks for credentials alone, and for all of them."""
    numbers: dict[str, int] = field(default_factory=dict[str, int])


class UndecidedReadObserver:
    """Stage that records an answer without a decision as data read by the task. Raises `UpstreamBroken` for messages
    without room in the record."""

    __slots__ = ("_asked", "_context", "_last", "_lists", "_open", "_parts", "_request", "_turn", "_upstream")

    def __init__(self, parts: AnswerParts, context: RequestContext, request: UpstreamRequest) -> None:
        self._parts = parts
        self._context = context
        self._request = request
        self._turn = partial(parts.turns.take, request.principal.key)
        self._upstream = context.exchange.upstream
        self._asked = request.message.method if request.message is not None else None
        self._lists = parts.lists if _asks_for_list(request) else None
        self._open: _Read | None = None
        self._last: _Read | None = None

    async def handle(self, frame: AnswerFrame) -> AnswerFrame:
        """Fold the content of a frame. Raises `UpstreamBroken` without a record of the content."""
        kind = frame.kind
        if kind in {"document", "event", "unfinished"}:
            await self._observe_message(frame.raw, frame.data)
        elif kind in {"part", "text"}:
            await self._observe_part(frame.raw)
        elif kind in {"part-end", "text-end"}:
            await self._observe_end()
        return frame

    async def note_concealed(self, sightings: tuple[Sighting, ...]) -> None:
        """Fold credentials of the last message after their replacement by handles."""
        if self._last is not None:
            await self._take(self._last, ResultContent(sightings))

    async def _observe_message(self, raw: bytes, data: bytes) -> None:
        """Fold a message with its original bytes, or bytes without a message."""
        if is_empty_response(raw):
            return
        message = read_message(data, self._asked)
        self._last = read = self._begin(message)
        await self._note_tasks(message, read.source.past_call)
        await self._confirm_late(read.source.past_call, data)
        # Data that stands in several lines reads otherwise once they are joined.
        whole = raw if data in raw else raw + b"\n" + data
        lists = self._lists if read.is_plain else None
        if lists is not None and lists.find("credentials", whole) is not None:
            return
        content = await inspect_pieces(read.inspector, whole, last=True, turn=self._turn)
        if content is None and lists is not None:
            lists.keep("credentials", whole)
        if content is not None or message.is_read:
            await self._take(read, content or _NOTHING)

    async def _observe_part(self, chunk: bytes) -> None:
        read = self._open
        if read is None:
            message = read_large_message(self._asked)
            self._open = self._last = read = self._begin(message)
            if message.is_read:
                await self._take(read, _NOTHING)
        content = await inspect_pieces(read.inspector, chunk, turn=self._turn)
        if content is not None:
            await self._take(read, content)

    async def _observe_end(self) -> None:
        read, self._open = self._open, None
        if read is not None and (content := read.inspector.finish()) is not None:
            await self._take(read, content)

    # --- what it is ----------------------------------------------------------------------------------

    def _begin(self, server: ServerMessage) -> _Read:
        source, parts = self._source(server), self._parts
        suppressions = parts.inspector.suppressions.of(source.target, parts.clock())
        with _withheld():
            seen = parts.ledger.seen(self._task(parts.clock())) if suppressions else ()
        trusted = source.target.trust == "trusted"
        texts, words = parts.ledger.returning, server.is_read
        looks = words and texts is not None and texts.may_return(source.target)
        inspector = parts.inspector.passing(
            trusted=trusted,
            words=words,
            looks=looks,
            is_agent=source.target.is_agent,
            suppressions=suppressions,
            seen=seen,
        )
        is_plain = suppressions is None and not server.is_read
        return _Read(source, self._label(server), inspector, is_plain)

    def _source(self, server: ServerMessage) -> Source:
        """Return the source of a reading.

        The request of the caller counts. The words of a server can only raise the sensitivity of its messages.
        """
        parts, upstream = self._parts, self._upstream
        plain = parts.catalogue.target(upstream, "resource", "")
        untrusted, least = plain.trust == "untrusted", plain.labels.sensitivity
        if not server.is_read:
            return Source(plain, untrusted=False, sensitivity=Sensitivity.PUBLIC)
        calls = self._calls(server)
        known = [past_call for past_call in calls if past_call is not None]
        if len(known) < len(calls):
            return Source(plain, untrusted, parts.catalogue.highest(upstream), unknown=True)
        theirs = [past_call.sensitivity for past_call in known]
        sensitivity = _highest(*theirs) if theirs and self._asked_for_task else _highest(least, *theirs)
        if len(known) == 1:
            return Source(known[0].target, untrusted, sensitivity, known[0])
        mints = any(past_call.target.labels.effect is Effect.MINT for past_call in known)
        return Source(plain, untrusted, sensitivity, unknown=mints)

    def _calls(self, server: ServerMessage) -> list[PastCall | None]:
        """Return the calls of which this message holds or announces a late result; `None` for each forgotten call."""
        parts, request, message = self._parts, self._request, self._request.message
        if message is None and server.answers is not None:
            key = unanswered_key(request.session, server.answers)
            return [parts.unanswered.past_call(self._upstream, key, request.principal)]
        if server.unread and self._asked in {None, "subscriptions/listen"}:
            return [None]
        named = server.tasks
        if self._asked_for_task and message is not None and message.name is not None:
            named = frozenset({message.name})
        return [parts.ownership.past_call(self._upstream, name, request.principal) for name in named]

    async def _note_tasks(self, server: ServerMessage, past_call: PastCall | None) -> None:
        """Note the call of a late answer as the origin of the tasks in the answer."""
        if past_call is None or server.answers is None or self._request.message is not None:
            return
        ownership, principal = self._parts.ownership, self._request.principal
        for name in server.tasks:
            if ownership.renew_if_owner(self._upstream, name, principal):
                await self._parts.note_value(self._upstream, name, principal, past_call)

    async def _confirm_late(self, past_call: PastCall | None, data: bytes) -> None:
        """Note what a call of unknown outcome did, by its late response."""
        effects = self._parts.effects
        end = None if past_call is None or effects is None else name_late_end(self._asked, data)
        if past_call is not None and effects is not None and end is not None:
            await effects.confirm(past_call.call, past_call.task.id, end, {"call": self._context.id})

    @property
    def _asked_for_task(self) -> bool:
        return self._asked is not None and self._asked.startswith("tasks/")

    def _label(self, server: ServerMessage) -> str:
        """Return the name of a reading for the record."""
        asked = self._asked or ("a stream" if self._request.method == "GET" else self._request.method)
        if server.method is not None:
            return f"{self._upstream} {server.method} on {asked}"
        return f"{self._upstream} {asked}"

    # --- where it goes -------------------------------------------------------------------------------

    async def _take(self, read: _Read, content: ResultContent) -> None:
        parts, now = self._parts, self._parts.clock()
        content = await parts.credential_chain.mark_repeated(self._request, content)
        with _withheld():
            for task in self._tasks(read.source.past_call, now):
                number = read.numbers.get(task.id)
                add = partial(
                    parts.ledger.add_reading, task, self._context.id, read.source, content, now, number=number
                )
                fields = await parts.ledger.commit(self._request.principal.job, add)
                if fields is not None:
                    read.numbers[task.id] = int(str(fields["number"]))
                    await parts.journal.append("observed", {**fields, "source": read.label})

    def _tasks(self, past_call: PastCall | None, now: float) -> Iterator[Task]:
        mine = self._task(now)
        yield mine
        if (
            past_call is not None
            and past_call.task.id != mine.id
            and self._parts.tasks.registry.find(past_call.task.id) is not None
        ):
            yield past_call.task

    def _task(self, now: float) -> Task:
        """Return the caller's task: the declared task, or after its end the implicit task."""
        task = self._parts.tasks.find_task(self._context, self._request, self._request.message, now)
        if isinstance(task, Refusal):
            return self._parts.tasks.registry.open_implicit(self._request.principal, now)
        return task


@contextmanager
def _withheld() -> Generator[None]:
    """Turn a failure of the history or of the record into a withheld answer."""
    try:
        yield
    except (HistoryError, JournalError) as error:
        raise UpstreamBroken(
            f"the answer was withheld, because what it holds cannot be recorded: {error.message}", error.remedy
        ) from None


def find_late_call(
    parts: AnswerParts, upstream: str, request: UpstreamRequest, document: JsonObject
) -> PastCall | None:
    """Return the call of a message on a stream: of the answered request, or of the task that a notification names."""
    identifier, params = document.get("id"), document.get("params")
    if isinstance(identifier, int | str) and "method" not in document:
        return parts.unanswered.past_call(upstream, unanswered_key(request.session, identifier), request.principal)
    task = params.get("taskId") if isinstance(params, dict) else None
    return parts.ownership.past_call(upstream, task, request.principal) if isinstance(task, str) else None


def _asks_for_list(request: UpstreamRequest) -> bool:
    return request.message is not None and request.message.disposition is Disposition.FILTER


def unanswered_key(session: str | None, request: RequestId) -> str:
    """Return the key of a request with a possible answer on another stream of its session."""
    return f"{session}\0{request!r}"


def _highest(*found: Sensitivity) -> Sensitivity:
    return max(found, key=list(Sensitivity).index)
