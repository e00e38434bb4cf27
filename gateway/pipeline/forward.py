"""Forwarding of allowed calls and of messages without a decision, and the handling of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import structlog
from msgspec import Struct

from gateway.binding.ownership import Ownership
from gateway.errors import CredentialEnded, UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnauthorized
from gateway.journal.entry import Outcome, settled_entry
from gateway.journal.results import ResultRecord
from gateway.model.content import ResultContent
from gateway.model.decision import Decision, Refusal
from gateway.model.target import Sensitivity
from gateway.model.wire import Disposition, JsonObject, UpstreamReply, UpstreamRequest, UpstreamTransport
from gateway.pipeline.admit import waits_for_news
from gateway.pipeline.completion import run_to_completion
from gateway.pipeline.ended_logins import LOGIN_ENDED
from gateway.pipeline.issue import NOTHING, Attached, Issuer
from gateway.pipeline.record import record_or_log
from gateway.protocol.replies import Reply
from gateway.response.build import Settlement, relay
from gateway.response.conceal import Concealing, concealing, demanded, withholding
from gateway.response.observe import Observation, label
from gateway.response.open_answers import OpenAnswer, OpenAnswers
from gateway.response.parts import AnswerParts
from gateway.response.stream import NO_BOUNDS, Bounds, EndedAs, Ending, Relay
from gateway.response.undecided_reads import Readings, unanswered

if TYPE_CHECKING:
    from gateway.authority.lending import Authority
    from gateway.model.call import PastCall
    from gateway.pipeline.approve import AllowedCall
    from gateway.pipeline.context import RequestContext
    from gateway.pipeline.known_credentials import CallerCredentials
    from gateway.pipeline.record import CallRecord
    from gateway.pipeline.signals import Signals
    from gateway.pipeline.tickets import Resumed

log = structlog.get_logger("gateway.forwarding")


class CallParts(Struct, frozen=True):
    """The parts with which answers of calls are observed and settled. `authority` is `None` without leased credentials.
    `keep_result` makes the record of a result; `None`: the record has no results."""

    answers: AnswerParts
    record: CallRecord
    known: CallerCredentials
    authority: Authority | None
    keep_result: Callable[[], ResultRecord | None]


class OpenCall:
    """An allowed call from its sending until it is settled."""

    __slots__ = (
        "_context",
        "_decision",
        "_is_read",
        "_kept",
        "_limits",
        "_observation",
        "_parts",
        "_prepared",
        "_read",
        "_rewriter",
        "_sensitivity",
    )

    def __init__(
        self,
        parts: CallParts,
        allowed: AllowedCall,
        rewriter: Concealing | None,
        kept: ResultRecord | None,
        limits: Bounds,
    ) -> None:
        self._parts = parts
        self._context = allowed.context
        self._prepared = allowed.prepared
        self._rewriter = rewriter
        self._kept = kept
        self._limits = limits
        self._sensitivity = label(allowed.decision) if allowed.decision.obligations else Sensitivity.PUBLIC
        self._is_read = False
        self._read: JsonObject | None = None
        self._observation = self._observe()

    def _observe(self) -> Observation:
        """Return the observer of the call's result."""
        parts, call, task = self._parts.answers, self._prepared.call, self._prepared.task
        return Observation(
            parts.inspector.result(
                call,
                task,
                quiet=parts.inspector.suppressions.of(call.target, self._context.arrived),
                seen=parts.history.seen(task),
                words=parts.history.keeps_words(task, call.target),
            ),
            self._fold,
            partial(parts.journal.append, "observed"),
            tuple if self._rewriter is None else self._rewriter.sightings,
            partial(parts.turns.take, self._prepared.request.principal.key),
        )

    async def _fold(self, content: ResultContent) -> JsonObject | None:
        """Fold a part of the result into the task."""
        parts = self._parts.answers
        if content.sightings:
            content = await parts.credential_chain.with_repeated_marked(self._prepared.request, content)
        return parts.history.observe(self._prepared.task, self._context.id, content, label=self._sensitivity)

    def prepare_settlement(self, left: Bounds) -> Settlement:
        """Return the work at the end of the answer."""
        observation, rewriter = self._observation, self._rewriter
        return Settlement(
            self.settle, left, self._kept, self.read_words, observation.around, rewriter, past_call=self.find_past_call
        )

    def find_past_call(self) -> PastCall:
        """Return the facts of this call for a late result."""
        return self._parts.answers.history.past_call(
            self._prepared.task, self._context.id, self._prepared.call.target, self._sensitivity, self._limits.size
        )

    def read_words(self) -> None:
        """Fold the words of an answer that is on its way, the first time only. It is too late to withhold the answer: if its
        words cannot be found, they may be any."""
        if self._is_read:
            return
        self._is_read = True
        try:
            content = self._observation.words()
        except Exception:
            log.exception("defect", id=self._context.id)
            content = ResultContent(complete=False)
        if content is not None:
            self._read = self._parts.answers.history.observe(
                self._prepared.task, self._context.id, content, label=self._sensitivity
            )

    async def settle(self, ending: Ending) -> None:
        """Remove an ended call from the calls under way, and record its end."""
        if not self._is_read:
            self.read_words()
        parts, context, prepared, kept = self._parts, self._context, self._prepared, self._kept
        parts.record.history.settle(prepared.task, context.id)
        if parts.authority is not None:
            parts.authority.end_call(context.id)
        content = None
        if kept is not None:
            known = None
            if kept.held:
                known = parts.known.find_known(prepared.request.principal.key, prepared.task)
            content = await parts.record.worker.run(kept.held, partial(kept.value, known))
        concealed = None if self._rewriter is None else self._rewriter.count
        seconds = parts.record.monotonic() - context.began
        entry = settled_entry(
            context.id,
            _name_outcome(ending),
            duration_ms=seconds * 1000,
            status=ending.status,
            size=ending.size,
            result=ending.digest,
            content=content,
            concealed=concealed,
            put_back=prepared.handles.count,
            history=self._read,
        )
        record_or_log(parts.record, "settled", entry)
        if concealed or prepared.handles.count:
            parts.record.metrics.handles(
                context.exchange.upstream, concealed=concealed or 0, put_back=prepared.handles.count
            )
        measure(parts.record, context, ending)


def measure(record: CallRecord, context: RequestContext, ending: Ending) -> None:
    """Count how an answer ended, and end its span."""
    seconds = record.monotonic() - context.began
    record.metrics.settled(context.exchange.upstream, ending.ended, seconds, ending.size)
    context.trace.end(
        {"opagate.decision.id": context.id, "opagate.outcome": ending.ended},
        failed=ending.ended in {"failed", "limited"},
    )


class Forwarder(Struct, frozen=True):
    """The stage that sends requests to upstreams, and makes their answers ready for callers."""

    upstreams: Mapping[str, UpstreamTransport]
    issuer: Issuer
    signals: Signals
    open_answers: OpenAnswers
    parts: CallParts

    async def forward(self, allowed: AllowedCall, resumed: Resumed | None = None) -> Relay | Refusal | Reply:
        """Obtain the credential of an allowed call, send the call, and settle it exactly once, however it ends.

        `resumed` is the ticket of an earlier request for the call.
        """
        context, prepared, decision = allowed.context, allowed.prepared, allowed.decision
        attached = await self._issue(allowed, resumed)
        if not isinstance(attached, Attached):
            return attached
        upstream = context.exchange.upstream
        rewriter, limits = None, NO_BOUNDS
        if decision.obligations or prepared.handles.values or attached.shown:
            rewriter, limits = self._rewrite_answer(allowed, attached), find_bounds(decision)
        call = OpenCall(self.parts, allowed, rewriter, self.parts.keep_result(), limits)
        session, identifier = prepared.request.session, prepared.message.id
        if session is not None and identifier is not None:
            # A session's answer may come on another stream, before it is known that the first has ended.
            key, principal = unanswered(session, identifier), prepared.request.principal
            self.parts.answers.unanswered.deliver(upstream, key, principal, call.find_past_call(), once=True)
        answer = self._open_answer(prepared.request, attached, prepared.task.id)
        try:
            outgoing, transport = attached.carried_by(prepared.handles.outgoing), self.upstreams[upstream]
            if answer is None and limits.seconds is None:
                reply, left = await accept(upstream, await transport.send(outgoing)), limits
            else:
                sending = send_in_time(upstream, transport, outgoing, limits)
                reply, left = await (sending if answer is None else answer.sending(sending))
            if attached is not NOTHING:
                self.issuer.note_accepted(attached)
                reply = attached.without_secrets(reply)
            relayed = relay(self.parts.answers, context, prepared.request, reply, call.prepare_settlement(left))
            return relayed if answer is None else answer.follow(relayed)
        except BaseException as error:
            if answer is not None:
                answer.leave()
            await run_to_completion(call.settle(Ending(_classify(error))))
            if isinstance(error, UpstreamUnauthorized):
                raise self.issuer.note_rejected(attached, error) from None
            raise

    async def _issue(self, allowed: AllowedCall, resumed: Resumed | None) -> Attached | Refusal | Reply:
        """Return the credential of an allowed call. A call without a credential is settled here, since it goes no further."""
        context, prepared = allowed.context, allowed.prepared
        try:
            # The call may have waited for a person since its caller was identified.
            if self.signals.register.is_ended(prepared.request.principal):
                attached = LOGIN_ENDED
            elif self.issuer.authority is None:
                attached = self.issuer.attach_standing(context.exchange.upstream, allowed.decision)
            else:
                attached = await self.issuer.issue_credential(
                    context, prepared, allowed.decision, resumed=resumed, approval_ends=allowed.approval_ends
                )
        except BaseException as error:
            outcome = Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.REFUSED
            self.parts.record.record_cancelled(context, prepared, outcome)
            raise
        if not isinstance(attached, Attached):
            self.parts.record.record_cancelled(context, prepared, Outcome.REFUSED)
        return attached

    def _rewrite_answer(self, allowed: AllowedCall, attached: Attached) -> Concealing | None:
        """Return the rewriter that conceals credentials in the answer of a call; `None` if the answer may show them."""
        context, prepared, answers = allowed.context, allowed.prepared, self.parts.answers
        if demanded(allowed.decision) or prepared.handles.values:
            answers.vault.conceal(prepared.request.principal.key, context.exchange.upstream)
            values, target = prepared.handles.values, prepared.call.target
            return concealing(answers, prepared.task, target, context.arrived, values, lent=attached.shown)
        return withholding(answers, attached.shown) if attached.shown else None

    def _open_answer(
        self, request: UpstreamRequest, attached: Attached, task: str | None, *, is_idle: bool = False
    ) -> OpenAnswer | None:
        """Note a request that ends with its credential or at a signal; `None` for any other request."""
        is_lent = attached.credential is not None or attached.lent is not None
        if not is_lent and not is_idle and self.signals.receiver is None:
            return None
        lease = None if attached.lent is None else attached.lent.lease.id
        # The end of a task is nothing to a call without a lent credential.
        return self.open_answers.enter(request.principal, lease, task if is_lent else None, is_idle=is_idle)

    async def pass_through(self, context: RequestContext, request: UpstreamRequest) -> Relay | Refusal | Reply:
        """Pass on a message without a decision. An upstream may reject it for want of a user's connection."""
        try:
            return await self._pass_through(context, request)
        except UpstreamUnauthorized as error:
            asked = await self.issuer.ask_after_rejection(context, request, error)
            if asked is None:
                raise
            return asked

    async def _pass_through(self, context: RequestContext, request: UpstreamRequest) -> Relay | Refusal:
        """Pass on a message. The gateway inspects the answer all the same, since its content counts as read from then on."""
        upstream, transport = context.exchange.upstream, self.upstreams[context.exchange.upstream]
        attached = await self.issuer.issue_for_message(context, request)
        if isinstance(attached, Refusal):
            return attached
        rewriter = self._rewrite_message(context, request, attached)
        if isinstance(rewriter, Refusal):
            return rewriter
        is_idle = waits_for_news(context.exchange.method, request.message)
        answer = self._open_answer(request, attached, None, is_idle=is_idle)
        try:
            sending = self._send_message(upstream, attached, transport.send(attached.carried_by(request)))
            reply = await (sending if answer is None else answer.sending(sending))
            answers = self.parts.answers
            observer = Readings(answers, context, request, tuple if rewriter is None else rewriter.sightings)
            settle = partial(self._settle_message, context, rewriter)
            left = find_late_bounds(answers.ownership, upstream, request)
            settlement = Settlement(settle, left, rewriter=rewriter, observer=observer)
            passed = relay(answers, context, request, reply, settlement)
            return passed if answer is None else answer.follow(passed)
        except BaseException:
            if answer is not None:
                answer.leave()
            raise

    def _rewrite_message(
        self, context: RequestContext, request: UpstreamRequest, attached: Attached
    ) -> Concealing | Refusal | None:
        """Return the rewriter of the answer to a message without a decision; `None` if the answer may show all credentials."""
        upstream, answers = context.exchange.upstream, self.parts.answers
        if _may_answer_a_call(request) and answers.vault.conceals(request.principal.key, upstream):
            # It may answer again, or at last, a call whose answer was to be concealed.
            task = answers.tasks.find_task(context, request, request.message, context.arrived)
            if isinstance(task, Refusal):
                return task
            target = answers.catalogue.target(upstream, "resource", "")
            return concealing(answers, task, target, context.arrived, lent=attached.shown)
        return withholding(answers, attached.shown) if attached.shown else None

    async def _send_message(
        self, upstream: str, attached: Attached, sending: Awaitable[UpstreamReply]
    ) -> UpstreamReply:
        """Return the reply to a request with a credential, and tell the leases whether the upstream took the credential."""
        try:
            reply = await accept(upstream, await sending)
        except UpstreamUnauthorized as error:
            raise self.issuer.note_rejected(attached, error) from None
        self.issuer.note_accepted(attached)
        return attached.without_secrets(reply)

    async def _settle_message(self, context: RequestContext, rewriter: Concealing | None, ending: Ending) -> None:
        concealed = 0 if rewriter is None else rewriter.count
        self.parts.record.metrics.handles(context.exchange.upstream, concealed=concealed, put_back=0)
        measure(self.parts.record, context, ending)


def _may_answer_a_call(request: UpstreamRequest) -> bool:
    return request.method == "GET" or (
        request.message is not None and request.message.disposition is not Disposition.FILTER
    )


class Overdue(UpstreamTimeout):
    """A call that took longer than policy allows."""


async def send_in_time(
    upstream: str, transport: UpstreamTransport, request: UpstreamRequest, allowed: Bounds
) -> tuple[UpstreamReply, Bounds]:
    """Return the beginning of the answer, and the bounds left for its rest."""
    if allowed.seconds is None:
        return await accept(upstream, await transport.send(request)), allowed
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(allowed.seconds):
            reply = await accept(upstream, await transport.send(request))
    except TimeoutError:
        raise Overdue(
            f"upstream {upstream} did not begin to answer within the {allowed.seconds} s that policy allows",
            "ask for less, or have the operator raise the limit",
        ) from None
    return reply, replace(allowed, seconds=allowed.seconds - (loop.time() - began))


async def accept(upstream: str, reply: UpstreamReply) -> UpstreamReply:
    """Return an answer that may be passed on. Close any other, and raise its fault."""
    if (fault := find_fault(upstream, reply)) is not None:
        await reply.close()
        raise fault
    return reply


def find_fault(upstream: str, reply: UpstreamReply) -> UpstreamError | None:
    """Return the fault of an answer that may not be passed on. A rejection of the gateway's own credential names the upstream,
    and would send the caller to fetch a token for it. Compressed answers, and answers that are not UTF-8, cannot be inspected;
    the gateway asks for neither."""
    if reply.status in _REJECTED:
        return UpstreamUnauthorized(
            f"upstream {upstream} does not accept this gateway (HTTP {reply.status})",
            "have the operator check the upstream's credential",
            is_unknown=reply.status == 401,
        )
    types: list[bytes] = []
    problem: tuple[str, str] | None = None
    for name, value in reply.headers:
        if name == b"content-type":
            types.append(value)
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            problem = problem or _COMPRESSED
    if problem is None and len(types) > 1:
        problem = _TWO_TYPES
    elif problem is None and types and types[0] not in _USUAL_TYPES and not _charsets(types[0]) <= _PLAIN:
        problem = _OTHER_ENCODING
    return None if problem is None else UpstreamBroken(f"upstream {upstream} {problem[0]}", problem[1])


_REJECTED: Final = frozenset({401, 403})
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


def find_bounds(decision: Decision) -> Bounds:
    """Return the bounds of the `limit` obligation: the tightest of several."""
    if not decision.obligations:
        return NO_BOUNDS
    limits = [cast("Mapping[str, int]", item.properties) for item in decision.obligations if item.id == "limit"]
    seconds = [limit["timeout_seconds"] for limit in limits if "timeout_seconds" in limit]
    sizes = [limit["max_bytes"] for limit in limits if "max_bytes" in limit]
    return Bounds(min(seconds, default=None), min(sizes, default=None))


def find_late_bounds(ownership: Ownership, upstream: str, request: UpstreamRequest) -> Bounds:
    """Return the bounds of the answer to a request that names a protocol task. The result may be no larger than the
    call's own result. Its time limit applied to the first answer."""
    if request.message is None or request.message.name is None:
        return NO_BOUNDS
    past_call = ownership.past_call(upstream, request.message.name, request.principal)
    return NO_BOUNDS if past_call is None else Bounds(size=past_call.max_bytes)


def _classify(error: BaseException) -> EndedAs:
    if isinstance(error, asyncio.CancelledError | CredentialEnded):
        return "cancelled"
    return "limited" if isinstance(error, Overdue) else "failed"


_OUTCOMES: Final[Mapping[EndedAs, Outcome]] = {
    "completed": Outcome.COMPLETED,
    "cancelled": Outcome.CANCELLED,
    "failed": Outcome.UPSTREAM_FAILED,
    "limited": Outcome.REFUSED,
}


def _name_outcome(ending: Ending) -> Outcome:
    if ending.ended == "completed" and (ending.status or 0) >= 400:
        return Outcome.ERROR
    return _OUTCOMES[ending.ended]
