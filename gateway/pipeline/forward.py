"""Forwarding of allowed calls and of messages without a decision, and the handling of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final, cast

import structlog

from gateway.binding.ownership import Ownership
from gateway.errors import CredentialEnded, UpstreamBroken, UpstreamTimeout, UpstreamUnauthorized
from gateway.journal.entry import Outcome, settled_entry
from gateway.journal.results import ResultRecord
from gateway.model.content import ResultContent
from gateway.model.decision import Decision, Refusal
from gateway.model.wire import Disposition, Headers, JsonObject, UpstreamReply, UpstreamRequest, UpstreamTransport
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.current_task import task_of
from gateway.pipeline.decide import called_off
from gateway.pipeline.ended_logins import LOGIN_ENDED
from gateway.pipeline.issue import (
    Attached,
    ask_after_rejection,
    issue_credential,
    issue_for_message,
    note_accepted,
    note_rejected,
)
from gateway.pipeline.known_credentials import known_to
from gateway.pipeline.places import waits_for_news
from gateway.pipeline.prepare import Case
from gateway.pipeline.record import record_or_log
from gateway.pipeline.shielding import shielded
from gateway.pipeline.tickets import Resumed
from gateway.protocol.replies import Reply
from gateway.response.build import Settlement, relay
from gateway.response.conceal import Concealing, concealing, demanded, withholding
from gateway.response.observe import Observation, label
from gateway.response.open_answers import OpenAnswer
from gateway.response.stream import NO_BOUNDS, Bounds, EndedAs, Ending, Relay
from gateway.response.undecided_reads import Readings, unanswered

log = structlog.get_logger("gateway.forwarding")


async def pass_through(
    gateway: Gateway, visit: Visit, transport: UpstreamTransport, request: UpstreamRequest
) -> Relay | Refusal | Reply:
    """Pass on a message without a decision. An upstream may reject it for want of a user's connection."""
    try:
        return await _pass_through(gateway, visit, transport, request)
    except UpstreamUnauthorized as error:
        asked = await ask_after_rejection(gateway, visit, request, error)
        if asked is None:
            raise
        return asked


async def _pass_through(
    gateway: Gateway, visit: Visit, transport: UpstreamTransport, request: UpstreamRequest
) -> Relay | Refusal:
    """Pass on a message. The gateway inspects the answer all the same, since its content counts as read from then on."""
    upstream = visit.exchange.upstream
    attached = await issue_for_message(gateway, visit, request)
    if isinstance(attached, Refusal):
        return attached
    rewriter = withholding(gateway, attached.shown) if attached.shown else None
    if _may_answer_a_call(request) and gateway.vault.conceals(request.principal.key, upstream):
        # It may answer again, or at last, a call whose answer was to be concealed.
        task = task_of(gateway, visit, request, request.message, visit.arrived)
        if isinstance(task, Refusal):
            return task
        target = gateway.catalogue.target(upstream, "resource", "")
        rewriter = concealing(gateway, task, target, visit.arrived, lent=attached.shown)
    is_idle = waits_for_news(visit.exchange.method, request.message)
    answer = _open_answer(gateway, request, attached, None, is_idle=is_idle)
    try:
        sending = _accepted_with(gateway, upstream, attached, transport.send(attached.carried_by(request)))
        reply = await (sending if answer is None else answer.sending(sending))
        observer = Readings(gateway, visit, request, tuple if rewriter is None else rewriter.sightings)
        settle = partial(_passed, gateway, visit, rewriter)
        left = late_bounds(gateway.ownership, upstream, request)
        passed = relay(gateway, visit, request, reply, Settlement(settle, left, rewriter=rewriter, observer=observer))
        return passed if answer is None else answer.follow(passed)
    except BaseException:
        if answer is not None:
            answer.leave()
        raise


def _open_answer(
    gateway: Gateway, request: UpstreamRequest, attached: Attached, task: str | None, *, is_idle: bool
) -> OpenAnswer | None:
    """Note a request that ends with its credential or at a signal; `None` for any other request."""
    is_lent = attached.credential is not None or attached.lent is not None
    if not is_lent and not is_idle and gateway.signals.receiver is None:
        return None
    lease = None if attached.lent is None else attached.lent.lease.id
    # The end of a task is nothing to a call without a lent credential.
    return gateway.answers.enter(request.principal, lease, task if is_lent else None, is_idle=is_idle)


async def _passed(gateway: Gateway, visit: Visit, rewriter: Concealing | None, ending: Ending) -> None:
    gateway.metrics.handles(visit.exchange.upstream, concealed=0 if rewriter is None else rewriter.count, put_back=0)
    _measure(gateway, visit, ending)


def _may_answer_a_call(request: UpstreamRequest) -> bool:
    return request.method == "GET" or (
        request.message is not None and request.message.disposition is not Disposition.FILTER
    )


async def forward(
    gateway: Gateway,
    visit: Visit,
    transport: UpstreamTransport,
    case: Case,
    decision: Decision,
    *,
    resumed: Resumed | None = None,
    approval_ends: float | None = None,
) -> Relay | Refusal | Reply:
    """Obtain the credential of an allowed call, send the call, and settle it exactly once, however it ends.

    `resumed` is the ticket of an earlier request for the call. The credential of an approved call ends by `approval_ends`.
    """
    attached = await _issue(gateway, visit, case, decision, resumed=resumed, approval_ends=approval_ends)
    if not isinstance(attached, Attached):
        return attached
    kept = gateway.result_record()
    upstream, principal, target = visit.exchange.upstream, case.request.principal, case.call.target
    rewriter = _rewrite_answer(gateway, visit, case, decision, attached)
    allowed = bounds(decision)
    past_call = partial(gateway.history.past_call, case.task, visit.id, target, label(decision), allowed.size)
    session, identifier = case.request.session, case.message.id
    if session is not None and identifier is not None:
        # A session's answer may come on another stream, before it is known that the first has ended.
        gateway.unanswered.deliver(upstream, unanswered(session, identifier), principal, past_call(), once=True)
    seen = observation(gateway, visit, case, decision, rewriter)
    read = once(partial(words, gateway, visit, case, decision, seen))
    settle = partial(settled, gateway, visit, case, kept=kept, rewriter=rewriter, read=read)
    answer = _open_answer(gateway, case.request, attached, case.task.id, is_idle=False)
    try:
        sending = sent(upstream, transport, attached.carried_by(case.presented.outgoing), allowed)
        reply, left = await (sending if answer is None else answer.sending(sending))
        note_accepted(gateway, attached)
        reply = attached.without_secrets(reply)
        settlement = Settlement(settle, left, kept, read, seen.around, rewriter, past_call=past_call)
        relayed = relay(gateway, visit, case.request, reply, settlement)
        return relayed if answer is None else answer.follow(relayed)
    except BaseException as error:
        if answer is not None:
            answer.leave()
        await shielded(settle(Ending(_ended(error))))
        if isinstance(error, UpstreamUnauthorized):
            raise note_rejected(gateway, attached, error) from None
        raise


def _rewrite_answer(
    gateway: Gateway, visit: Visit, case: Case, decision: Decision, attached: Attached
) -> Concealing | None:
    """Return the rewriter that conceals credentials in the answer of a call; `None` if the answer may show them."""
    if demanded(decision) or case.presented.values:
        gateway.vault.conceal(case.request.principal.key, visit.exchange.upstream)
        values, target = case.presented.values, case.call.target
        return concealing(gateway, case.task, target, visit.arrived, values, lent=attached.shown)
    return withholding(gateway, attached.shown) if attached.shown else None


async def _issue(
    gateway: Gateway,
    visit: Visit,
    case: Case,
    decision: Decision,
    *,
    resumed: Resumed | None,
    approval_ends: float | None,
) -> Attached | Refusal | Reply:
    """Return the credential of an allowed call. A call without one is settled here, since it goes no further."""
    try:
        # The call may have waited for a person since its caller was identified.
        has_ended = gateway.signals.register.is_ended(case.request.principal)
        attached = LOGIN_ENDED
        if not has_ended:
            attached = await issue_credential(
                gateway, visit, case, decision, resumed=resumed, approval_ends=approval_ends
            )
    except BaseException as error:
        outcome = Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.REFUSED
        await shielded(called_off(gateway, visit, case, outcome))
        raise
    if not isinstance(attached, Attached):
        await shielded(called_off(gateway, visit, case, Outcome.REFUSED))
    return attached


async def _accepted_with(
    gateway: Gateway, upstream: str, attached: Attached, sending: Awaitable[UpstreamReply]
) -> UpstreamReply:
    """Return the reply to a request with a credential, and tell the leases whether the upstream took the credential."""
    try:
        reply = await accepted(upstream, await sending)
    except UpstreamUnauthorized as error:
        raise note_rejected(gateway, attached, error) from None
    note_accepted(gateway, attached)
    return attached.without_secrets(reply)


async def settled(
    gateway: Gateway,
    visit: Visit,
    case: Case,
    ending: Ending,
    *,
    kept: ResultRecord | None,
    rewriter: Concealing | None,
    read: Callable[[], JsonObject | None],
) -> None:
    """Remove an ended call from the calls under way, and record its end. `read` folds the content not searched while
    the answer was on its way."""
    history = read()
    gateway.history.settle(case.task, visit.id)
    if gateway.authority is not None:
        gateway.authority.end_call(visit.id)
    known = None if kept is None or not kept.held else known_to(gateway, case.request.principal.key, case.task)
    content = None if kept is None else await gateway.worker.run(kept.held, partial(kept.value, known))
    concealed = None if rewriter is None else rewriter.count
    entry = settled_entry(
        visit.id,
        _outcome(ending),
        duration_ms=visit.seconds(gateway.monotonic()) * 1000,
        status=ending.status,
        size=ending.size,
        result=ending.digest,
        content=content,
        concealed=concealed,
        put_back=case.presented.count,
        history=history,
    )
    record_or_log(gateway, "settled", entry)
    if concealed or case.presented.count:
        gateway.metrics.handles(visit.exchange.upstream, concealed=concealed or 0, put_back=case.presented.count)
    _measure(gateway, visit, ending)


def _measure(gateway: Gateway, visit: Visit, ending: Ending) -> None:
    """Count how an answer ended, and end its span."""
    gateway.metrics.settled(visit.exchange.upstream, ending.ended, visit.seconds(gateway.monotonic()), ending.size)
    visit.trace.end(
        {"opagate.decision.id": visit.id, "opagate.outcome": ending.ended}, failed=ending.ended in {"failed", "limited"}
    )


def observation(
    gateway: Gateway, visit: Visit, case: Case, decision: Decision, rewriter: Concealing | None
) -> Observation:
    """Return the observer of the call's result."""

    async def fold(content: ResultContent) -> JsonObject | None:
        marked = await gateway.credential_chain.with_repeated_marked(case.request, content)
        return gateway.history.observe(case.task, visit.id, marked, label=label(decision))

    return Observation(
        gateway.inspector.result(
            case.call,
            case.task,
            quiet=gateway.inspector.suppressions.of(case.call.target, visit.arrived),
            seen=gateway.history.seen(case.task),
            words=gateway.history.keeps_words(case.task, case.call.target),
        ),
        fold,
        partial(gateway.journal.append, "observed"),
        tuple if rewriter is None else rewriter.sightings,
        partial(gateway.turns.take, case.request.principal.key),
    )


def words(gateway: Gateway, visit: Visit, case: Case, decision: Decision, seen: Observation) -> JsonObject | None:
    """Fold the words of an answer that is on its way. Gives the field `history` of its `settled` entry. It is too late to
    withhold the answer: if its words cannot be found, they may be any."""
    try:
        content = seen.words()
    except Exception:
        log.exception("defect", id=visit.id)
        content = ResultContent(complete=False)
    return None if content is None else gateway.history.observe(case.task, visit.id, content, label=label(decision))


def once(make: Callable[[], JsonObject | None]) -> Callable[[], JsonObject | None]:
    """Makes what is asked for the first time, and gives the same from then on. A `functools.cache` for each call would
    cost ten times as much."""
    made: list[JsonObject | None] = []

    def given() -> JsonObject | None:
        if not made:
            made.append(make())
        return made[0]

    return given


class Overdue(UpstreamTimeout):
    """A call that took longer than policy allows."""


async def sent(
    upstream: str, transport: UpstreamTransport, request: UpstreamRequest, allowed: Bounds
) -> tuple[UpstreamReply, Bounds]:
    """Return the beginning of the answer, and the bounds left for its rest."""
    if allowed.seconds is None:
        return await accepted(upstream, await transport.send(request)), allowed
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(allowed.seconds):
            reply = await accepted(upstream, await transport.send(request))
    except TimeoutError:
        raise Overdue(
            f"upstream {upstream} did not begin to answer within the {allowed.seconds} s that policy allows",
            "ask for less, or have the operator raise the limit",
        ) from None
    return reply, replace(allowed, seconds=allowed.seconds - (loop.time() - began))


async def accepted(upstream: str, reply: UpstreamReply) -> UpstreamReply:
    """Return an answer that may be passed on. Refuse three kinds of answers. A rejection of the gateway's own
    credential names the upstream, and would send the caller to fetch a token for it. Compressed answers, and answers
    that are not UTF-8, cannot be inspected; the gateway asks for neither."""
    if reply.status in {401, 403}:
        await reply.close()
        raise UpstreamUnauthorized(
            f"upstream {upstream} does not accept this gateway (HTTP {reply.status})",
            "have the operator check the upstream's credential",
            is_unknown=reply.status == 401,
        )
    if (fault := _unreadable(reply.headers)) is not None:
        await reply.close()
        problem, remedy = fault
        raise UpstreamBroken(f"upstream {upstream} {problem}", remedy)
    return reply


def _unreadable(headers: Headers) -> tuple[str, str] | None:
    """Return why an answer cannot be inspected, and the remedy; `None` for an answer in UTF-8."""
    types: list[bytes] = []
    for name, value in headers:
        if name == b"content-type":
            types.append(value)
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            return _COMPRESSED
    if len(types) > 1:
        return _TWO_TYPES
    return None if not types or types[0] in _USUAL_TYPES or _charsets(types[0]) <= _PLAIN else _OTHER_ENCODING


_COMPRESSED: Final = (
    "compressed its answer, though it was asked not to, so it cannot be looked into",
    "have the operator turn compression off there",
)
_TWO_TYPES: Final = (
    "gave its answer two types, and clients differ in which one they believe",
    "have the operator mend the upstream",
)
_OTHER_ENCODING: Final = (
    "answered in another character encoding than UTF-8, so it cannot be looked into",
    "have the upstream answer in UTF-8",
)
_USUAL_TYPES: Final = frozenset({b"application/json", b"text/event-stream"})
_PLAIN: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1"})
"""Character encodings that write every searched sign as UTF-8 writes it."""


def _charsets(content_type: bytes) -> set[str]:
    parts = content_type.decode("latin-1").split(";")[1:]
    parameters = [part.strip().lower().partition("=") for part in parts]
    return {value.strip(" \"'") for name, _, value in parameters if name.strip() == "charset"}


def bounds(decision: Decision) -> Bounds:
    """Return the bounds of the `limit` obligation: the tightest of several."""
    if not decision.obligations:
        return NO_BOUNDS
    limits = [cast("Mapping[str, int]", item.properties) for item in decision.obligations if item.id == "limit"]
    seconds = [limit["timeout_seconds"] for limit in limits if "timeout_seconds" in limit]
    sizes = [limit["max_bytes"] for limit in limits if "max_bytes" in limit]
    return Bounds(min(seconds, default=None), min(sizes, default=None))


def late_bounds(ownership: Ownership, upstream: str, request: UpstreamRequest) -> Bounds:
    """Return the bounds of the answer to a request that names a protocol task. The result may be no larger than the
    call's own result. Its time limit applied to the first answer."""
    if request.message is None or request.message.name is None:
        return NO_BOUNDS
    past_call = ownership.past_call(upstream, request.message.name, request.principal)
    return NO_BOUNDS if past_call is None else Bounds(size=past_call.max_bytes)


def _ended(error: BaseException) -> EndedAs:
    if isinstance(error, asyncio.CancelledError | CredentialEnded):
        return "cancelled"
    return "limited" if isinstance(error, Overdue) else "failed"


_OUTCOMES: Final[Mapping[EndedAs, Outcome]] = {
    "completed": Outcome.COMPLETED,
    "cancelled": Outcome.CANCELLED,
    "failed": Outcome.UPSTREAM_FAILED,
    "limited": Outcome.REFUSED,
}


def _outcome(ending: Ending) -> Outcome:
    if ending.ended == "completed" and (ending.status or 0) >= 400:
        return Outcome.ERROR
    return _OUTCOMES[ending.ended]
