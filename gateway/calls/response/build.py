"""The answer of an upstream and its stream, built for the caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct

from gateway.authority.approvals.digest import digest_session
from gateway.base.json.strict import SUBSCRIPTION_KEY
from gateway.calls.binding.ownership import Session, Sessions, name_round
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.record import append_or_log
from gateway.calls.response.checks import LateContentsCheck, LateResultCheck, PinnedContentsCheck, ResultSchemaCheck
from gateway.calls.response.conceal import Concealer, LiveConcealer, without_live_values
from gateway.calls.response.filter import MessageFilter, ReservedNameFilter
from gateway.calls.response.frames import HOLD, HOLD_LISTS, Framing, begin_frames
from gateway.calls.response.observe import ResultObserver, UndecidedReadObserver, unanswered_key
from gateway.calls.response.outcomes import Response
from gateway.calls.response.recent_lists import RecentLists
from gateway.calls.response.stream import NO_BOUNDS, Bounds, Hasher, ResponseStream, Stage, Stages, StreamEnd
from gateway.model.call import PastCall
from gateway.model.errors import StoreError, UpstreamBroken, UpstreamError
from gateway.model.reasons import sentence
from gateway.model.target import Pin
from gateway.model.wire import Disposition, Headers, Json, Message, RequestId, UpstreamReply, UpstreamRequest
from gateway.record.journal.entry import reserved_entry
from gateway.wire.protocol import sse
from gateway.wire.protocol.classify import opens_urls
from gateway.wire.protocol.headers import ResponseHead, read_response_head
from gateway.wire.protocol.listing import Listing

if TYPE_CHECKING:
    from gateway.base.concurrency.loop_turns import LoopTurns
    from gateway.base.concurrency.worker_thread import WorkerThread
    from gateway.calls.binding.ownership import Ownership, SessionlessExchanges
    from gateway.calls.binding.shared_values import SharedValues
    from gateway.calls.binding.vault import Vault
    from gateway.calls.pipeline.credentials import CredentialChain
    from gateway.calls.pipeline.effects import EffectStage
    from gateway.calls.pipeline.people import CompletionNotices
    from gateway.calls.pipeline.prepare import CurrentTasks
    from gateway.calls.pipeline.visibility import Visibility
    from gateway.history import TaskLedger
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.inspection.inspector import Inspector
    from gateway.model.caller import Principal
    from gateway.record.journal.writer import Journal
    from gateway.record.telemetry.metrics import Metrics
    from gateway.upstreams.catalogue.catalogue import Catalogue


class AnswerParts(Struct, frozen=True):
    """The parts that answers need, whether policy decided on their requests or not. `unanswered` has the calls of sessions: their
    answers may come on another stream. `notices` is `None` if no call waits for people or for its user."""

    visibility: Visibility
    catalogue: Catalogue
    tasks: CurrentTasks
    ledger: TaskLedger
    inspector: Inspector
    credential_chain: CredentialChain
    live: LiveValues
    vault: Vault
    sessions: Sessions
    ownership: Ownership
    unanswered: Ownership
    sessionless_exchanges: SessionlessExchanges
    notices: CompletionNotices | None
    lists: RecentLists
    journal: Journal
    metrics: Metrics
    worker: WorkerThread
    turns: LoopTurns
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    effects: EffectStage | None = None
    shared_values: SharedValues | None = None

    async def note_value(
        self, upstream: str, value: str, principal: Principal, past_call: PastCall | None = None
    ) -> None:
        """Note that an upstream gives a value to a caller, at all gateways. Raises `UpstreamBroken` for records out of reach."""
        self.ownership.deliver(upstream, value, principal, past_call)
        if self.shared_values is not None:
            try:
                await self.shared_values.note(upstream, value, principal, past_call)
            except StoreError as error:
                raise UpstreamBroken(
                    f"the answer was withheld, because its task or state cannot be noted: {error.message}", error.remedy
                ) from None


# --- notices of changed lists ----------------------------------------------------------------------------


_ASKED_FOR: Final = {
    "tools": "toolsListChanged",
    "prompts": "promptsListChanged",
    "resources": "resourcesListChanged",
}
"""Sort of list → the member of `params.notifications` with which a subscription asks for its changes."""


SORTS: Final = frozenset(_ASKED_FOR)


def changed_lists(method: str, message: Message | None, announced: Collection[str], *, begun: bool) -> bytes:
    """Return the list-change events for the stream that answers a request: one event for each sort of list in
    `announced`. A subscription begins with a message of the server; before it (`begun`) there are no events."""
    if message is None:
        sorts = [sort for sort in _ASKED_FOR if sort in announced] if method == "GET" else []
        return b"".join([_event(sort, {}) for sort in sorts])
    if not begun or message.method != "subscriptions/listen":
        return b""
    meta = {"_meta": {SUBSCRIPTION_KEY: message.id}}
    return b"".join([_event(sort, meta) for sort in _asked_for(message) if sort in announced])


def _asked_for(message: Message) -> list[str]:
    asked = message.params.get("notifications")
    return [sort for sort, member in _ASKED_FOR.items() if isinstance(asked, Mapping) and asked.get(member) is True]


def _event(sort: str, params: Mapping[str, object]) -> bytes:
    notification = {"jsonrpc": "2.0", "method": f"notifications/{sort}/list_changed", "params": params}
    return sse.encode(json.dumps(notification).encode())


# --- the answer ------------------------------------------------------------------------------------------


_EVENTS: Final = b"text/event-stream"
_JSON: Final = b"application/json"
_ERRORS: Final = 400
"""HTTP statuses from here on are errors."""

log = structlog.get_logger("gateway.answer")


class UpstreamAnswer(Struct):
    """The answer to a request without a decision: its stages, its bounds, and its settlement. The answer to a call is a
    subclass (`gateway.calls.pipeline.forward`).

    `observer` looks at the result of a call, `reads` at any other answer. `concealer` conceals the credentials of an
    answer, if that is to be. `record` keeps the bytes that are passed on.
    """

    parts: AnswerParts
    context: RequestContext
    request: UpstreamRequest
    concealer: Concealer | None = None
    bounds: Bounds = NO_BOUNDS
    record: Hasher | None = None
    observer: ResultObserver | None = None
    reads: UndecidedReadObserver | None = None
    check: ResultSchemaCheck | PinnedContentsCheck | None = None
    """The comparison of a result with the definition of its tool, or of contents with their pin."""
    late: LateResultCheck | None = None
    """The comparison of results of earlier calls, on a stream of news."""
    is_pinned: bool = False
    """The answer is a list from the lock file: nothing of it is news of the upstream."""
    is_idle: bool = False
    """The answer waits for news rather than for the result of a call."""
    reserved_names: int = 0
    """Names of the gateway's own that the upstream has used."""
    reply: UpstreamReply | None = None
    """What the upstream sends, once it has begun."""
    response: Response | None = None
    """The response to the request, once all of it has come."""

    def past_call(self) -> PastCall | None:
        """Return the facts of a call for a late result; `None` for no call."""
        return None

    def note_response(self, response: Response, _result: bytes) -> None:
        """Note a whole response to the request."""
        self.response = response

    def on_sent(self) -> None:
        """Do nothing: all of the answer was looked at."""

    async def settle(self, end: StreamEnd) -> None:
        """Count how the answer ended, and end its span."""
        concealed = 0 if self.concealer is None else self.concealer.count
        self.parts.metrics.handles(self.context.exchange.upstream, concealed=concealed, put_back=0)
        self.measure(end, end.ended)
        if self.reserved_names:
            await self.record_reserved_names()

    def measure(self, end: StreamEnd, outcome: str) -> None:
        """Count how an answer ended, and end its span."""
        parts, context = self.parts, self.context
        parts.metrics.count_settlement(context.exchange.upstream, outcome, parts.monotonic() - context.began, end.size)
        if context.trace.recording is not None:
            told = {"opagate.decision.id": context.id, "opagate.outcome": outcome}
            context.trace.end(told, error=_name_error(end, outcome))

    async def record_reserved_names(self) -> None:
        """Record that the upstream spoke as the gateway."""
        context, count = self.context, self.reserved_names
        log.warning("upstream.reserved-names", id=context.id, upstream=context.upstream, count=count)
        await append_or_log(self.parts, "reserved", reserved_entry(context.id, context.exchange.upstream, count))


_FAILED: Final = frozenset({"failed", "limited", "unknown", "upstream-failed"})


def _name_error(end: StreamEnd, outcome: str) -> str | None:
    """Return the class of an answer's failure: its outcome, the HTTP status of its server, or an error of the tool."""
    if outcome in _FAILED:
        return outcome
    if end.status is not None and end.status >= _ERRORS:
        return str(end.status)
    return "tool_error" if outcome == "error" else None


class CallerRecipient(Struct, frozen=True):
    """The caller of one answer (see `filter.Recipient`)."""

    answer: UpstreamAnswer

    async def visible_names(self, method: str, page: Listing) -> frozenset[str]:
        """Return the visible names in a list."""
        answer = self.answer
        return await answer.parts.visibility.visible_names(
            answer.context, answer.request, method, page, is_pinned=answer.is_pinned
        )

    async def trusts_instructions(self, said: bytes) -> bool:
        """Return whether instructions may be shown."""
        return await self.answer.parts.visibility.has_pinned_instructions(self.answer.context, said)

    async def notice(self) -> str | None:
        """Return instructions of the gateway's own for a caller without visible tools."""
        return await self.answer.parts.visibility.notice_for_caller(self.answer.context, self.answer.request)

    async def note_handle(self, handle: str) -> None:
        """Note that the caller is given an opaque value of the upstream."""
        answer = self.answer
        upstream, principal = answer.context.exchange.upstream, answer.request.principal
        await answer.parts.note_value(upstream, handle, principal, answer.past_call())

    def note_response(self, response: Response, result: bytes) -> None:
        """Note a whole response to the request."""
        self.answer.note_response(response, result)

    def note_question(self, question: RequestId) -> None:
        """Note a question of the server to a caller without a session."""
        answer, request = self.answer, self.answer.request
        if request.session is None:
            identifier = None if request.message is None else request.message.id
            upstream = answer.context.exchange.upstream
            answer.parts.sessionless_exchanges.note_question(upstream, request.principal.key, identifier, question)

    def note_wait(self) -> None:
        """Let the upstream take its time: it waits for its client."""
        if self.answer.reply is not None:
            self.answer.reply.be_patient()

    async def note_input_requests(self, keys: Iterable[str]) -> None:
        """Note that an upstream asked for input without a state. Only a call can go on."""
        answer, message = self.answer, self.answer.request.message
        past_call = answer.past_call()
        if past_call is not None and message is not None:
            named = name_round(past_call.target.upstream, message, keys)
            if named is not None:
                await answer.parts.note_value(*named, answer.request.principal, past_call)

    def note_list_change(self) -> None:
        """Have the lists of the upstream read again."""
        self.answer.parts.catalogue.relist(self.answer.context.exchange.upstream)

    def note_reserved_names(self, count: int) -> None:
        """Count reserved names in the words of the upstream."""
        self.answer.reserved_names += count
        self.answer.parts.metrics.count_reserved_names(self.answer.context.exchange.upstream, count)


class CallerNotices(Struct, frozen=True):
    """The gateway's own events for the reader of one idle stream."""

    parts: AnswerParts
    upstream: str
    request: UpstreamRequest

    def announce(self, *, begun: bool) -> bytes:
        """Return the events about changed lists."""
        announced = self.parts.catalogue.announces(self.upstream)
        return changed_lists(self.request.method, self.request.message, announced, begun=begun)

    def listen(self, say: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `say` called with each notice for the session of the reader. Return the end of it."""
        request, notices = self.request, self.parts.notices
        if notices is None or request.session is None or not request.opens_urls:
            return _do_nothing
        return notices.listen(digest_session(self.upstream, request.principal.key, request.session), say)


def build_stream(reply: UpstreamReply, answer: UpstreamAnswer) -> ResponseStream:
    """Return the stream of an upstream's answer to the caller."""
    answer.reply = reply
    parts, context, request = answer.parts, answer.context, answer.request
    upstream = context.exchange.upstream
    head = read_response_head(reply.headers)
    return ResponseStream(
        reply,
        without_live_values(_answer_headers(parts.sessions, upstream, request, head), parts.live),
        _build_stages(reply.status, head.type, answer),
        answer,
        bounds=answer.bounds,
        record=answer.record,
        idle=answer.is_idle,
        is_events=head.is_events,
        notices=CallerNotices(parts, upstream, request) if answer.is_idle else None,
    )


def _build_stages(status: int, written_as: bytes | None, answer: UpstreamAnswer) -> Stages:
    parts, request = answer.parts, answer.request
    recipient = CallerRecipient(answer)
    lists = parts.lists if request.message is not None and request.message.disposition is Disposition.FILTER else None
    upstream = answer.context.exchange.upstream
    messages = MessageFilter(request.message, upstream, recipient, parts.worker, lists=parts.lists)
    may_pass_unseen = messages.may_pass_unseen and answer.check is None
    messages.framing = framing = _framing(status, written_as, may_pass_unseen=may_pass_unseen)
    stages: list[Stage] = [ReservedNameFilter(recipient, parts.worker, lists), messages]
    if answer.check is not None:
        stages.append(answer.check)
    elif request.message is None and request.session is not None:
        stages.append(_check_late_contents(parts, upstream, request))
    if answer.late is not None:
        stages.append(answer.late)
    if answer.reads is not None:
        stages.append(answer.reads)
    stages.append(LiveConcealer(parts.live, parts.inspector.detector, parts.worker, lists))
    if answer.concealer is not None:
        answer.concealer.observer = answer.observer or answer.reads
        stages.append(answer.concealer)
    return Stages(
        begin_frames(framing, HOLD if may_pass_unseen else HOLD_LISTS, may_pass_unseen=may_pass_unseen),
        stages,
        observer=answer.observer,
        turn=partial(parts.turns.take, request.principal.key),
        fail=partial(_fail, answer.context, messages),
    )


def _check_late_contents(parts: AnswerParts, upstream: str, request: UpstreamRequest) -> LateContentsCheck:
    """Return the comparison of contents on the stream of a session with their pins."""

    def find_call(identifier: RequestId) -> PastCall | None:
        return parts.unanswered.past_call(upstream, unanswered_key(request.session, identifier), request.principal)

    async def judge(uri: str, contents: Json) -> Pin | None:
        is_pinned = parts.catalogue.is_pinned_resource(upstream, uri)
        return await parts.catalogue.judge_contents(upstream, uri, contents) if is_pinned else None

    return LateContentsCheck(find_call, judge, parts.worker)


def _framing(status: int, written_as: bytes | None, *, may_pass_unseen: bool) -> Framing:
    """Return the form of an answer. Some clients read a list of any type, so an answer to a request for a list is JSON
    unless it is an error."""
    if written_as == _EVENTS:
        return "events"
    return "json" if written_as == _JSON or (not may_pass_unseen and status < 300) else "text"


def _fail(context: RequestContext, messages: MessageFilter, error: UpstreamError, *, begun: bool) -> bytes | None:
    """Return the last words of an answer that has failed, if words still fit; the log has them in any case."""
    log.warning("answer.broken-off", id=context.id, upstream=context.upstream, problem=error.message)
    return messages.fail(sentence(error.message), begun=begun)


def _answer_headers(sessions: Sessions, upstream: str, request: UpstreamRequest, head: ResponseHead) -> Headers:
    """Return the headers for the client, with the upstream's session id replaced by the caller's own."""
    if head.session is None:
        return head.forwardable
    session = Session(head.session, _has_client_that_opens_urls(request))
    sealed = sessions.seal(session, upstream=upstream, principal=request.principal)
    return (*head.forwardable, (b"mcp-session-id", sealed.encode("latin-1")))


def _has_client_that_opens_urls(request: UpstreamRequest) -> bool:
    """Return whether the client of a session declares URL elicitation, or declared it when it opened the session."""
    message = request.message
    return opens_urls(message) if message is not None and message.method == "initialize" else request.opens_urls


def _do_nothing() -> None:
    """Do nothing."""
