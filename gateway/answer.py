"""The way back: what the caller gets. An upstream's answer, relayed; a list, filtered; or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, Literal, Protocol

import structlog
from msgspec import Struct

from gateway.binding.sessions import Session
from gateway.errors import GatewayError, HistoryError, JournalError, UpstreamError, UpstreamTimeout
from gateway.inspection.answers import Answers, failure_response
from gateway.inspection.envelope import Envelope, EventEnvelope
from gateway.inspection.messages import HOLD, HOLD_LISTS, EventMessages, JsonMessages, Looks, Rewrites, Texts
from gateway.journal.entry import refused_entry
from gateway.journal.writer import Journal
from gateway.model.call import Context, Made
from gateway.model.caller import Principal
from gateway.model.decision import Reason, Refusal
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.model.wire import Headers, Json, JsonObject, Message, RequestId, UpstreamReply, UpstreamRequest
from gateway.policy import document
from gateway.protocol import sse
from gateway.protocol.classify import cursor_of
from gateway.protocol.error_codes import UNAVAILABLE, UPSTREAM_FAILED
from gateway.protocol.headers import forwardable_response, message_type, values_of
from gateway.protocol.listing import Listing
from gateway.protocol.replies import Reply, render
from gateway.relay import NO_BOUNDS, Bounds, Ending, Hasher, Relay, Transform
from gateway.shielding import shielded
from gateway.telemetry.metrics import Metrics
from gateway.visit import SUPPORTED_OBLIGATIONS, Gateway, Visit

log = structlog.get_logger("gateway.answer")


class Settlement(Struct, frozen=True):
    """What happens when an answer has ended, and what bounds it until then."""

    settle: Callable[[Ending], Awaitable[None]]
    bounds: Bounds = NO_BOUNDS
    hasher: Hasher | None = None
    observe: Callable[[Transform | None], Transform | None] = lambda transform: transform
    rewrite: Rewrites | None = None
    """What conceals the credentials of the answer, if that is to be."""
    look: Looks | None = None
    """What looks at an answer that no call is settled with."""
    made: Callable[[], Made] | None = None
    """Of a call: what is to be remembered of it, if something may come of it later."""


def relay(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, reply: UpstreamReply, settlement: Settlement
) -> Relay:
    """An upstream's answer, made ready for this caller."""
    upstream, principal, message = visit.exchange.upstream, request.principal, request.message
    answers = Answers(
        message,
        upstream,
        visible=partial(visible, gateway, visit, request),
        remember=lambda handle: gateway.handles.deliver(
            upstream, handle, principal, None if settlement.made is None else settlement.made()
        ),
        asked=partial(_asked, gateway, upstream, request),
        aside=gateway.aside,
    )
    return Relay(
        reply,
        headers=_answer_headers(gateway, upstream, request, reply),
        on_end=settlement.settle,
        on_broken=lambda error, begun: _last_words(reply, answers.expected, error, begun=begun),
        transform=settlement.observe(_transform(answers, reply, settlement)),
        bounds=settlement.bounds,
        hasher=settlement.hasher,
        idle=message is None or message.method == "subscriptions/listen",
    )


def _asked(gateway: Gateway, upstream: str, request: UpstreamRequest, question: RequestId) -> None:
    """A server asks the caller something. In a session it is the session's."""
    if request.session is None:
        identifier = None if request.message is None else request.message.id
        gateway.conversations.ask(upstream, request.principal.key, identifier, question)


async def visible(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, method: str, page: Listing
) -> frozenset[str]:
    """The names in a list that policy lets this caller see. A list of tools is also news for the catalogue."""
    upstream, principal = visit.exchange.upstream, request.principal
    if method == "tasks/list":
        return frozenset(i.name for i in page.items if gateway.handles.belongs(upstream, i.name, principal))
    if method == "tools/list":
        items = [item.raw for item in page.items]
        await gateway.catalogue.observe(upstream, items, complete=_is_complete(request, page))
    kind = _LISTED[method]
    targets = {item.name: gateway.catalogue.target(upstream, kind, item.name) for item in page.items}
    ids = await shown(gateway, visit, request, tuple(targets.values()))
    return frozenset(name for name, target in targets.items() if target.id in ids)


async def shown(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, targets: tuple[Target, ...]
) -> frozenset[str]:
    """The ids of those that policy lets this caller see."""
    principal, visible = request.principal, set[str]()
    try:
        task = gateway.history.task(principal, request.began, visit.arrived)
        facts = gateway.history.facts(task, visit.arrived)
    except HistoryError as error:
        log.warning("list.hidden", id=visit.id, upstream=visit.upstream, code=error.code, problem=error.message)
        return frozenset()
    context = context_of(visit, request.message, task)
    for first in range(0, len(targets), _ASKED_AT_ONCE):
        if first:
            await asyncio.sleep(0)
        portion = targets[first : first + _ASKED_AT_ONCE]
        question = document.visibility(principal, portion, context, facts)
        visible |= await gateway.policy.visible(question, frozenset(target.id for target in portion))
    return frozenset(visible)


async def refuse(
    gateway: Gateway,
    visit: Visit,
    refusal: Refusal,
    principal: Principal | None = None,
    message: Message | None = None,
) -> Reply:
    """Answer with a refusal, and record it. A refusal that cannot be recorded is a refusal all the same."""
    await note_refusal(gateway, visit, refusal, principal, message)
    return render(refusal, message, decision_id=visit.id, style=gateway.style)


async def note_refusal(
    gateway: Gateway,
    visit: Visit,
    refusal: Refusal,
    principal: Principal | None = None,
    message: Message | None = None,
) -> None:
    """Record a refusal, and tell of it. That of a decision is recorded already."""
    if refusal.decision is None:
        gateway.metrics.refused(refusal.reason.code)
        entry = refused_entry(
            visit.id,
            refusal,
            trace_id=visit.trace.trace_id,
            client_ip=visit.exchange.client_ip,
            principal=principal,
            message=message,
        )
        await record_refusal(gateway, entry, refusal, known=principal is not None, upstream=visit.upstream)
    else:
        _tell(visit.id, refusal, visit.upstream)
    visit.trace.end({"opagate.decision.id": visit.id, "opagate.reason": refusal.reason.code}, failed=True)


def failure(error: GatewayError) -> Refusal:
    """The refusal that an outside failure becomes."""
    reason = Reason(error.code, _sentence(error.message), _sentence(error.remedy))
    if isinstance(error, UpstreamTimeout):
        return Refusal(504, reason, UPSTREAM_FAILED)
    if isinstance(error, UpstreamError):
        return Refusal(502, reason, UPSTREAM_FAILED)
    return Refusal(503, reason, UNAVAILABLE)


# --- small parts -------------------------------------------------------------------------------------


def _sentence(clause: str) -> str:
    """What an error says, as a refusal says it."""
    return clause and f"{clause[0].upper()}{clause[1:]}."


_ASKED_AT_ONCE: Final = 64
"""Targets that policy is asked about in one question: some six milliseconds, in which the event loop stands still."""

_FAILED: Final = 500
"""HTTP statuses from here on say that the fault is not the caller's."""

_LISTED: Final[Mapping[str, Literal["tool", "resource", "prompt"]]] = {
    "tools/list": "tool",
    "resources/list": "resource",
    "resources/templates/list": "resource",
    "prompts/list": "prompt",
}


class Recording(Protocol):
    """Where things are recorded, and counted if they cannot be."""

    @property
    def journal(self) -> Journal: ...
    @property
    def metrics(self) -> Metrics: ...


async def record_refusal(
    gateway: Gateway, entry: JsonObject, refusal: Refusal, *, known: bool, upstream: str | None = None
) -> None:
    """Record a request that policy never saw, and log it, also when its caller leaves. Of callers that nobody knows so many
    a minute; the rest is counted."""
    await shielded(_record_refusal(gateway, entry, refusal, known=known, upstream=upstream))


async def _record_refusal(
    gateway: Gateway, entry: JsonObject, refusal: Refusal, *, known: bool, upstream: str | None
) -> None:
    if (rest := gateway.flood.rest()) is not None:
        tell_rest(rest)
        await append_or_say(gateway, "flood", rest)
    if known or gateway.flood.admits(refusal.reason.code):
        await append_or_say(gateway, "refused", entry)
        _tell(entry["id"], refusal, upstream)


def tell_rest(rest: JsonObject) -> None:
    """Log what was only counted (`Flood.rest`)."""
    log.warning("refused.rest", **rest)


def _tell(decision_id: Json, refusal: Refusal, upstream: str | None) -> None:
    told = {"id": decision_id, "code": refusal.reason.code, "upstream": upstream, "status": refusal.status}
    if refusal.status >= _FAILED:
        log.warning("refused", **told, problem=refusal.reason.message)
    else:
        log.info("refused", **told)


async def append_or_say(recording: Recording, kind: str, entry: JsonObject) -> None:
    """Record what has happened already: it cannot be undone if the record fails, only said."""
    try:
        await recording.journal.append(kind, entry)
    except JournalError as error:
        recording.metrics.journal_failures.inc()
        log.critical("journal.lost", kind=kind, id=entry.get("id"), problem=error.message)


def measured(gateway: Gateway, visit: Visit, ending: Ending) -> None:
    gateway.metrics.settled(visit.exchange.upstream, ending.ended, gateway.clock() - visit.arrived, ending.size)
    visit.trace.end(
        {"opagate.decision.id": visit.id, "opagate.outcome": ending.ended}, failed=ending.ended in {"failed", "limited"}
    )


def _transform(answers: Answers, reply: UpstreamReply, settlement: Settlement) -> Transform | None:
    unseen = answers.may_pass_unseen
    rewrite, look = settlement.rewrite, settlement.look
    # Some clients read a list whatever its type says, so a good answer of another type is read as what it should be.
    if is_event_stream(reply.headers):
        messages: type[EventMessages | JsonMessages] = EventMessages
    elif _message_type(reply.headers) == b"application/json" or (not unseen and reply.status < 300):
        messages = JsonMessages
    else:
        return None if rewrite is None and look is None else Texts(rewrite, look)
    return messages(
        answers.see,
        hold=HOLD if unseen else HOLD_LISTS,
        unseen=unseen,
        last_words=answers.last_words,
        rewrite=rewrite,
        look=look,
        watch=partial(EventEnvelope if messages is EventMessages else Envelope, answers.expected),
    )


def is_event_stream(headers: Headers) -> bool:
    return _message_type(headers) == b"text/event-stream"


def _message_type(headers: Headers) -> bytes | None:
    return next((message_type(value) for name, value in headers if name == b"content-type"), None)


def _last_words(
    reply: UpstreamReply, identifier: RequestId | None, error: UpstreamError, *, begun: bool
) -> bytes | None:
    if identifier is None:
        return None
    words = failure_response(identifier, _sentence(error.message))
    if is_event_stream(reply.headers):
        return (sse.NEW_EVENT if begun else b"") + sse.encode(words)
    return words if _message_type(reply.headers) == b"application/json" and not begun else None


def _answer_headers(gateway: Gateway, upstream: str, request: UpstreamRequest, reply: UpstreamReply) -> Headers:
    """What travels back, with the upstream's session id made the caller's own."""
    given = values_of(reply.headers, b"mcp-session-id")
    headers = forwardable_response(reply.headers)
    if not given:
        return headers
    # A session that goes on is of the token with which it began, whichever token its caller has by now.
    session = Session(given[0], request.began or request.principal.token_mark)
    sealed = gateway.sessions.seal(session, upstream=upstream, principal=request.principal)
    return (*headers, (b"mcp-session-id", sealed.encode("latin-1")))


def context_of(visit: Visit, message: Message | None, task: Task) -> Context:
    return Context(
        time=visit.arrived,
        trace_id=visit.trace.trace_id,
        client_ip=visit.exchange.client_ip,
        client_name=message.client_name if message else None,
        task=task,
        supported_obligations=SUPPORTED_OBLIGATIONS,
    )


def _is_complete(request: UpstreamRequest, page: Listing) -> bool:
    first = request.message is not None and cursor_of(request.message) is None
    return first and page.cursor is None
