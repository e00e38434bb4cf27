"""The way back: an upstream's answer made ready for the caller, with its lists filtered (`visibility`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import structlog
from msgspec import Struct

from gateway.binding.ownership import Ownership
from gateway.binding.sessionless_exchanges import SessionlessExchanges
from gateway.binding.sessions import Session, Sessions
from gateway.errors import UpstreamError
from gateway.journal.entry import reserved_entry
from gateway.loop_turns import Turn
from gateway.model.call import PastCall
from gateway.model.caller import Principal
from gateway.model.wire import Headers, RequestId, UpstreamReply, UpstreamRequest
from gateway.pipeline.admit import waits_for_news
from gateway.pipeline.context import RequestContext
from gateway.pipeline.record import append_or_log
from gateway.pipeline.stateless_rounds import note_round
from gateway.protocol import sse
from gateway.protocol.classify import opens_urls
from gateway.protocol.headers import forwardable_response, message_type, value_of
from gateway.reasons import sentence
from gateway.response.changed_lists import changed_lists
from gateway.response.completion_notices import listener
from gateway.response.envelope import Envelope, EventEnvelope
from gateway.response.filter import Answers, failure_response
from gateway.response.frames import HOLD, HOLD_LISTS, EventMessages, JsonMessages, Observer, OpaqueBody, Rewriter
from gateway.response.parts import AnswerParts
from gateway.response.reserved_names import ReservedNames
from gateway.response.stream import NO_BOUNDS, Bounds, Ending, Hasher, Relay, Transform

_EVENTS: Final = b"text/event-stream"
_JSON: Final = b"application/json"

log = structlog.get_logger("gateway.answer")


class Settlement(Struct, frozen=True):
    """The work at the end of an answer, and the bounds of the answer until then."""

    settle: Callable[[Ending], Awaitable[None]]
    bounds: Bounds = NO_BOUNDS
    hasher: Hasher | None = None
    read: Callable[[], object] = lambda: None
    """What is done as soon as the answer is on its way, and does not wait."""
    observe: Callable[[Transform | None], Transform | None] = lambda transform: transform
    rewriter: Rewriter | None = None
    """What conceals the credentials of the answer, if that is to be."""
    observer: Observer | None = None
    """What looks at an answer that no call is settled with."""
    past_call: Callable[[], PastCall] | None = None
    """Of a call: what is to be remembered of it, if something may come of it later."""


def relay(
    parts: AnswerParts, context: RequestContext, request: UpstreamRequest, reply: UpstreamReply, settlement: Settlement
) -> Relay:
    """Return an upstream's answer, made ready for this caller."""
    upstream, principal, message = context.exchange.upstream, request.principal, request.message
    written_as = message_type(reply.headers)
    idle = waits_for_news(context.exchange.method, message)
    names = ReservedNames(parts.worker, partial(parts.metrics.reserved, upstream))
    answers = Answers(
        message,
        upstream,
        visible=partial(parts.visibility.visible_names, context, request),
        trusted=partial(parts.visibility.has_pinned_instructions, context),
        notice=partial(parts.visibility.notice_for_caller, context, request),
        remember=partial(_remember, parts.ownership, upstream, principal, settlement.past_call),
        asked=partial(_asked, parts.sessionless_exchanges, upstream, request),
        input_asked=partial(_note_round, parts.ownership, request, settlement.past_call),
        announced=partial(parts.catalogue.relist, upstream),
        worker=parts.worker,
    )
    return Relay(
        reply,
        headers=_answer_headers(parts.sessions, upstream, request, reply),
        on_end=partial(_end, parts, context, names, settlement.settle),
        on_broken=partial(_broken_off, context, written_as, answers),
        transform=settlement.observe(
            _transform(
                answers,
                names,
                reply.status,
                written_as,
                settlement,
                turn=partial(parts.turns.take, principal.key),
            )
        ),
        bounds=settlement.bounds,
        hasher=settlement.hasher,
        on_sent=settlement.read,
        idle=idle,
        announcement=partial(_announcement, parts, upstream, request) if idle else None,
        listen=listener(parts, upstream, request) if idle else None,
    )


async def _end(
    parts: AnswerParts,
    context: RequestContext,
    names: ReservedNames,
    settle: Callable[[Ending], Awaitable[None]],
    ending: Ending,
) -> None:
    """Settle an answer, and record that its upstream spoke as the gateway, if it did."""
    await settle(ending)
    if names.count:
        log.warning("upstream.reserved-names", id=context.id, upstream=context.upstream, count=names.count)
        entry = reserved_entry(context.id, context.exchange.upstream, names.count)
        await append_or_log(parts, "reserved", entry)


def _remember(
    ownership: Ownership, upstream: str, principal: Principal, past_call: Callable[[], PastCall] | None, handle: str
) -> None:
    """The caller is given an opaque value of the upstream's."""
    ownership.deliver(upstream, handle, principal, None if past_call is None else past_call())


def _note_round(
    ownership: Ownership, request: UpstreamRequest, past_call: Callable[[], PastCall] | None, keys: Iterable[str]
) -> None:
    """Note that an upstream asked for input without a state. Only a call can go on."""
    if past_call is not None and request.message is not None:
        note_round(ownership, request.principal, request.message, keys, past_call())


def _announcement(parts: AnswerParts, upstream: str, request: UpstreamRequest, begun: bool) -> bytes:  # noqa: FBT001 - as `Relay` asks
    return changed_lists(request, parts.catalogue.announces(upstream), begun=begun)


def _asked(exchanges: SessionlessExchanges, upstream: str, request: UpstreamRequest, question: RequestId) -> None:
    """A server asks the caller something. In a session it is the session's."""
    if request.session is None:
        identifier = None if request.message is None else request.message.id
        exchanges.note_question(upstream, request.principal.key, identifier, question)


def _transform(
    answers: Answers,
    names: ReservedNames,
    status: int,
    written_as: bytes | None,
    settlement: Settlement,
    *,
    turn: Turn,
) -> Transform:
    unseen = answers.may_pass_unseen
    rewriter, observer = settlement.rewriter, settlement.observer
    # Some clients read a list whatever its type says, so a good answer of another type is read as what it should be.
    if written_as == _EVENTS:
        messages: type[EventMessages | JsonMessages] = EventMessages
    elif written_as == _JSON or (not unseen and status < 300):
        messages = JsonMessages
    else:
        return OpaqueBody(names, rewriter, observer)
    return messages(
        answers.filter_message,
        hold=HOLD if unseen else HOLD_LISTS,
        unseen=unseen,
        last_words=answers.last_words,
        names=names,
        rewriter=rewriter,
        observer=observer,
        turn=turn,
        check=partial(EventEnvelope if messages is EventMessages else Envelope, answers.expected),
    )


def _broken_off(
    context: RequestContext,
    written_as: bytes | None,
    answers: Answers,
    error: UpstreamError,
    begun: bool,  # noqa: FBT001 - as `Relay` asks
) -> bytes | None:
    """Return the last words of an answer that has failed, if words still fit; the log has them in any case."""
    log.warning("answer.broken-off", id=context.id, upstream=context.upstream, problem=error.message)
    identifier = answers.expected
    if identifier is None:
        return None
    words = failure_response(identifier, sentence(error.message))
    if written_as == _EVENTS:
        return (sse.NEW_EVENT if begun else b"") + sse.encode(words)
    return words if written_as == _JSON and not begun else None


def _answer_headers(sessions: Sessions, upstream: str, request: UpstreamRequest, reply: UpstreamReply) -> Headers:
    """Return the headers for the client, with the upstream's session id replaced by the caller's own."""
    given = value_of(reply.headers, b"mcp-session-id")
    headers = forwardable_response(reply.headers)
    if given is None:
        return headers
    session = Session(given, _has_client_that_opens_urls(request))
    sealed = sessions.seal(session, upstream=upstream, principal=request.principal)
    return (*headers, (b"mcp-session-id", sealed.encode("latin-1")))


def _has_client_that_opens_urls(request: UpstreamRequest) -> bool:
    """Return whether the client of a session declares URL elicitation, or declared it when it opened the session."""
    message = request.message
    return opens_urls(message) if message is not None and message.method == "initialize" else request.opens_urls
