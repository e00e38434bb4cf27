"""Forwarding of allowed calls and of messages without a decision, and the handling of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct, structs

from gateway.calls.binding.ownership import Ownership
from gateway.calls.pipeline.admit import waits_for_news
from gateway.calls.pipeline.completion import run_to_completion
from gateway.calls.pipeline.effects import EffectStage
from gateway.calls.pipeline.issue import NOTHING, AttachedCredential, Issuer, refuse_unconfigured
from gateway.calls.pipeline.record import record_or_log
from gateway.calls.pipeline.revocation import LOGIN_ENDED
from gateway.calls.pipeline.spans import begin_upstream_span
from gateway.calls.response.build import AnswerParts, UpstreamAnswer, build_stream
from gateway.calls.response.checks import LateResultCheck, PinnedContentsCheck, ResultSchemaCheck
from gateway.calls.response.conceal import Concealer, conceal_credentials
from gateway.calls.response.faults import accept
from gateway.calls.response.observe import ResultObserver, UndecidedReadObserver, find_late_call, unanswered_key
from gateway.calls.response.open_answers import OpenAnswer, OpenAnswers
from gateway.calls.response.outcomes import END_OF_RESPONSE, Response, name_outcome
from gateway.calls.response.stream import (
    NO_BOUNDS,
    NO_OBLIGATIONS,
    Bounds,
    EndedAs,
    ResponseObligations,
    ResponseStream,
    StreamEnd,
    read_obligations,
)
from gateway.history.events import end_of
from gateway.history.state import CONFIDENTIAL
from gateway.inspection.schemas import ToolSchemas
from gateway.model.content import ResultContent
from gateway.model.decision import Refusal
from gateway.model.errors import (
    CredentialEnded,
    StoreError,
    UpstreamStarting,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from gateway.model.target import Sensitivity
from gateway.model.wire import Disposition, JsonObject, UpstreamReply, UpstreamRequest, UpstreamTransport
from gateway.record.journal.entry import Outcome, settled_entry
from gateway.record.journal.records import ResultRecord
from gateway.upstreams.served import ServedUpstreams
from gateway.wire.protocol.replies import RefusalForm, Reply, render

if TYPE_CHECKING:
    from gateway.authority.lending import Authority
    from gateway.calls.pipeline.approve import AllowedCall
    from gateway.calls.pipeline.context import RequestContext
    from gateway.calls.pipeline.credentials import CallerCredentials
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.calls.pipeline.record import CallRecord
    from gateway.calls.pipeline.revocation import Signals, Stops
    from gateway.calls.pipeline.waiting import ResumedRequest
    from gateway.model.call import PastCall
    from gateway.model.wire import Message

log = structlog.get_logger("gateway.forwarding")


class CallParts(Struct, frozen=True):
    """The parts with which answers of calls are observed and settled. `authority` is `None` without leased credentials.
    `keep_result` makes the record of a result; `None`: the record has no results."""

    answers: AnswerParts
    record: CallRecord
    known: CallerCredentials
    authority: Authority | None
    keep_result: Callable[[], ResultRecord | None]
    schemas: ToolSchemas
    form: RefusalForm
    effects: EffectStage | None = None


class CallReads(Struct, frozen=True):
    """The reads of one call (see `observe.ResultReads`)."""

    parts: AnswerParts
    context: RequestContext
    prepared: PreparedCall
    label: Sensitivity

    async def fold(self, content: ResultContent) -> JsonObject | None:
        """Fold a part of the result into the task of the call."""
        if content.sightings:
            content = await self.parts.credential_chain.mark_repeated(self.prepared.request, content)
        return await self.parts.ledger.commit(self.prepared.request.principal.job, partial(self._observe, content))

    def record(self, fields: JsonObject) -> Awaitable[None]:
        """Write an `observed` entry. Raises `JournalError`."""
        return self.parts.journal.append("observed", fields)

    def fold_words(self, observer: ResultObserver) -> JsonObject | None:
        """Fold the words of an answer that is on its way. Return the field `history` of its `settled` entry. It is too
        late to withhold the answer: if its words cannot be found, they may be any."""
        try:
            content = observer.words()
        except Exception:
            log.exception("defect", id=self.context.id)
            content = ResultContent(complete=False)
        return None if content is None else self._observe(content)

    def _observe(self, content: ResultContent) -> JsonObject | None:
        return self.parts.ledger.observe(self.prepared.task, self.context.id, content, label=self.label)


class CallAnswer(UpstreamAnswer, kw_only=True):
    """An answer to an allowed call. It adds its words to history, and settles the call. `max_bytes` bounds a late result."""

    calls: CallParts
    prepared: PreparedCall
    reads_of_call: CallReads
    result_record: ResultRecord | None
    max_bytes: int | None
    history: JsonObject | None = None
    """The words of the result that were folded while the answer was on its way."""
    shown: bytes = b""
    """The result of a confirming tool."""

    def past_call(self) -> PastCall:
        """Return the facts of this call for a late result."""
        prepared, label = self.prepared, self.reads_of_call.label
        return self.parts.ledger.past_call(prepared.task, self.context.id, prepared.call.target, label, self.max_bytes)

    def note_response(self, response: Response, result: bytes) -> None:
        """Note a whole response to the call before its caller has the response, and may try again."""
        self.response = response
        effects = self.calls.effects
        if effects is not None:
            effects.register.settle(self.context.id, END_OF_RESPONSE[response])
            if response == "result" and self.prepared.call.target.labels.confirms is not None:
                self.shown = result

    def on_sent(self) -> None:
        """Fold the content not searched while the answer was on its way."""
        if self.observer is not None:
            self.history = self.reads_of_call.fold_words(self.observer)

    async def settle(self, end: StreamEnd) -> None:
        """Remove an ended call from the calls under way, and record its end."""
        calls, context, prepared, kept = self.calls, self.context, self.prepared, self.result_record
        outcome, lost = name_outcome(end, self.response)
        calls.record.ledger.settle(prepared.task, context.id, end_of(outcome))
        if calls.effects is not None:
            calls.effects.register.settle(context.id, end_of(outcome))
        if calls.authority is not None:
            calls.authority.end_call(context.id)
        content = None
        if kept is not None and kept.held:
            known = calls.known.find_known(prepared.request.principal.job, prepared.task)
            content = await self.parts.worker.run(kept.held, partial(kept.value, known))
        concealed = None if self.concealer is None else self.concealer.count
        entry = settled_entry(
            context.id,
            outcome,
            duration_ms=(self.parts.monotonic() - context.began) * 1000,
            status=end.status,
            size=end.size,
            result=end.digest,
            content=content,
            concealed=concealed,
            put_back=prepared.handles.count,
            history=self.history,
            withheld=None if self.check is None else self.check.withheld,
            lost=lost,
        )
        record_or_log(calls.record, "settled", entry)
        if concealed or prepared.handles.count:
            upstream = context.exchange.upstream
            self.parts.metrics.handles(upstream, concealed=concealed or 0, put_back=prepared.handles.count)
        self.measure(end, outcome.value)
        if self.shown and calls.effects is not None:
            await calls.effects.note_shown(prepared, context.id, self.shown)
        if self.reserved_names:
            await self.record_reserved_names()


class Forwarder(Struct, frozen=True):
    """The stage that sends requests to upstreams, and makes their answers ready for callers."""

    served: ServedUpstreams
    issuer: Issuer
    signals: Signals
    stops: Stops
    open_answers: OpenAnswers
    parts: CallParts

    async def forward(
        self, allowed: AllowedCall, resumed: ResumedRequest | None = None
    ) -> ResponseStream | Refusal | Reply:
        """Obtain the credential of an allowed call, send the call, and settle it exactly once, however it ends.

        `resumed` is the ticket of an earlier request for the call.
        """
        context, prepared, decision = allowed.context, allowed.prepared, allowed.decision
        upstream, attached = context.exchange.upstream, NOTHING
        # `_issue` attaches nothing to any other call.
        if (
            self.issuer.authority is not None
            or decision.obligations
            or self.stops.register.stops
            or (self.signals.register.signals and self.signals.register.is_ended(prepared.request.principal))
        ):
            attached = await self._issue(allowed, resumed)
            if not isinstance(attached, AttachedCredential):
                return attached
        obligations = read_obligations(decision) if decision.obligations else NO_OBLIGATIONS
        answer, limits = self._begin_answer(allowed, obligations), obligations.bounds
        session, identifier = prepared.request.session, prepared.message.id
        if session is not None and identifier is not None:
            # A session's answer may come on another stream, before it is known that the first has ended.
            key, principal = unanswered_key(session, identifier), prepared.request.principal
            self.parts.answers.unanswered.deliver(upstream, key, principal, answer.past_call(), once=True)
        outgoing = begin_upstream_span(context, attached.carried_by(prepared.handles.outgoing), prepared.call.target)
        opened = self._open_answer(upstream, prepared.request, attached, prepared.task.id)
        try:
            transport = self.served.current.find_transport_of(prepared.call.target)
            if answer.concealer is not None and (shared := self.parts.answers.shared_values) is not None:
                await shared.note_concealed(prepared.request.principal.key, upstream)
            reply, answer.bounds = await opened.send(send_in_time(upstream, transport, outgoing, limits))
            if attached is not NOTHING:
                self.issuer.note_accepted(attached)
            return opened.follow(build_stream(reply, answer))
        except BaseException as error:
            opened.leave()
            await run_to_completion(answer.settle(StreamEnd(_classify(error), sent=not isinstance(error, _UNSENT))))
            if isinstance(error, UpstreamUnauthorized):
                raise self.issuer.note_rejected(attached, error) from None
            raise

    def _begin_answer(self, allowed: AllowedCall, obligations: ResponseObligations) -> CallAnswer:
        """Return the answer of a call that is about to be sent."""
        context, prepared, parts = allowed.context, allowed.prepared, self.parts.answers
        call, task, target = prepared.call, prepared.task, prepared.call.target
        suppressions = parts.inspector.suppressions
        active = suppressions.of(target, context.arrived) if suppressions.rules else None
        seen, words = parts.ledger.seen(task), parts.ledger.keeps_words(task, target)
        texts = parts.ledger.returning
        # As `ReturningText.may_return`, without a function: most calls need none.
        looks = texts is not None and (target.tenant in texts.of_tenant or target.labels.sensitivity in CONFIDENTIAL)
        inspector = parts.inspector.result(call, task, suppressions=active, seen=seen, words=words, looks=looks)
        concealer = self._conceal_answer(allowed) if obligations.conceals or prepared.handles.values else None
        reads = CallReads(parts, context, prepared, obligations.label)
        turn, is_alone = partial(parts.turns.take, prepared.request.principal.key), not parts.ledger.log.is_shared
        record = self.parts.keep_result()
        return CallAnswer(
            parts,
            context,
            prepared.request,
            concealer,
            record=record,
            observer=ResultObserver(inspector, reads, turn, defers_words=is_alone),
            calls=self.parts,
            prepared=prepared,
            reads_of_call=reads,
            result_record=record,
            max_bytes=obligations.bounds.size,
            check=self._begin_check(context, prepared),
        )

    def _begin_check(
        self, context: RequestContext, prepared: PreparedCall
    ) -> ResultSchemaCheck | PinnedContentsCheck | None:
        """Return the comparison of an answer with its definition; `None` for most calls."""
        target, parts = prepared.call.target, self.parts.answers
        reads = prepared.call.action == "resources/read"
        if target.output is None and not (reads and parts.catalogue.is_pinned_resource(target.upstream, target.name)):
            return None
        words = partial(_render_in_place, prepared.message, context.id, self.parts.form)
        if target.output is not None:
            return ResultSchemaCheck(self.parts.schemas, target, words, parts.worker)
        judge = partial(parts.catalogue.judge_contents, target.upstream, target.name)
        return PinnedContentsCheck(judge, words, parts.worker)

    def _conceal_answer(self, allowed: AllowedCall) -> Concealer:
        """Return the stage that conceals credentials in the answer of a call."""
        context, prepared, answers = allowed.context, allowed.prepared, self.parts.answers
        answers.vault.conceal(prepared.request.principal.key, context.exchange.upstream)
        values, target = prepared.handles.values, prepared.call.target
        return conceal_credentials(answers, prepared.task, target, context.arrived, values)

    async def _issue(
        self, allowed: AllowedCall, resumed: ResumedRequest | None
    ) -> AttachedCredential | Refusal | Reply:
        """Return the credential of an allowed call. A call without a credential is settled here, since it goes no further."""
        context, prepared = allowed.context, allowed.prepared
        try:
            # The call may have waited for a person since its caller was identified.
            if (stopped := self._refuse_stopped(prepared)) is not None:
                attached = stopped
            elif self.signals.register.is_ended(prepared.request.principal):
                attached = LOGIN_ENDED
            elif self.issuer.authority is None:
                attached = refuse_unconfigured(allowed.decision) or NOTHING
            else:
                attached = await self.issuer.issue_credential(
                    context, prepared, allowed.decision, resumed=resumed, approval_ends=allowed.approval_ends
                )
                # A stop may have come while the issuer was asked.
                attached = self._refuse_stopped(prepared) or attached
        except BaseException as error:
            outcome = Outcome.CANCELLED if isinstance(error, asyncio.CancelledError) else Outcome.REFUSED
            self._end_unsent(context, prepared, outcome)
            raise
        if not isinstance(attached, AttachedCredential):
            self._end_unsent(context, prepared, Outcome.REFUSED)
            if self.issuer.authority is not None:
                self.issuer.authority.end_call(context.id)
        return attached

    def _end_unsent(self, context: RequestContext, prepared: PreparedCall, outcome: Outcome) -> None:
        """End an allowed call that goes no further, and give its effect back."""
        self.parts.record.record_cancelled(context, prepared, outcome)
        if self.parts.effects is not None:
            self.parts.effects.register.settle(context.id, "failed")

    def _refuse_stopped(self, prepared: PreparedCall) -> Refusal | None:
        return self.stops.refuse(prepared.request.principal, prepared.call.target.upstream, prepared.task)

    def _open_answer(
        self,
        upstream: str,
        request: UpstreamRequest,
        attached: AttachedCredential,
        task: str | None,
        *,
        is_idle: bool = False,
    ) -> OpenAnswer:
        """Note a request that ends with its credential, at a signal, or at a stop."""
        is_lent = attached.credential is not None or attached.lent is not None
        lease = None if attached.lent is None else attached.lent.lease.id
        return self.open_answers.enter(request.principal, upstream, lease, task, is_lent=is_lent, is_idle=is_idle)

    async def pass_through(self, context: RequestContext, request: UpstreamRequest) -> ResponseStream | Refusal | Reply:
        """Pass on a message without a decision. An upstream may reject it for want of a user's connection."""
        try:
            return await self._pass_through(context, request)
        except UpstreamUnauthorized as error:
            asked = await self.issuer.ask_after_rejection(context, request, error)
            if asked is None:
                raise
            return asked

    async def _pass_through(self, context: RequestContext, request: UpstreamRequest) -> ResponseStream | Refusal:
        """Pass on a message. The gateway inspects the answer all the same, since its content counts as read from then on."""
        upstream = context.exchange.upstream
        attached = await self.issuer.issue_for_message(context, request)
        # A stop may have come while the issuer was asked.
        attached = self.stops.refuse(request.principal, upstream) or attached
        if isinstance(attached, Refusal):
            return attached
        concealer = await self._conceal_message(context, request)
        if isinstance(concealer, Refusal):
            return concealer
        is_idle = waits_for_news(context.exchange.method, request.message)
        opened = self._open_answer(upstream, request, attached, None, is_idle=is_idle)
        try:
            reply = await opened.send(self._send_message(context, attached, request))
            parts = self.parts.answers
            answer = UpstreamAnswer(
                parts,
                context,
                request,
                concealer,
                find_late_bounds(parts.ownership, upstream, request),
                is_idle=is_idle,
            )
            answer.reads = UndecidedReadObserver(parts, context, request)
            answer.check = self._check_task(context, request)
            if is_idle:
                find_call = partial(find_late_call, parts, upstream, request)
                answer.late = LateResultCheck(self.parts.schemas, find_call, parts.worker)
            return opened.follow(build_stream(reply, answer))
        except BaseException:
            opened.leave()
            raise

    def _check_task(self, context: RequestContext, request: UpstreamRequest) -> ResultSchemaCheck | None:
        """Return the comparison of a protocol task's result with the definition of its tool; `None` for other messages."""
        message, parts = request.message, self.parts.answers
        past_call = _find_past_call(parts.ownership, context.exchange.upstream, request)
        if message is None or past_call is None or past_call.target.output is None:
            return None
        words = partial(_render_in_place, message, context.id, self.parts.form)
        return ResultSchemaCheck(self.parts.schemas, past_call.target, words, parts.worker)

    async def _conceal_message(self, context: RequestContext, request: UpstreamRequest) -> Concealer | Refusal | None:
        """Return the stage that conceals credentials in an answer without a decision; `None` if the answer may show all."""
        upstream, answers = context.exchange.upstream, self.parts.answers
        owner, shared = request.principal.key, answers.shared_values
        if _may_answer_a_call(request) and (
            answers.vault.conceals(owner, upstream)
            or (shared is not None and await shared.is_concealed(owner, upstream))
        ):
            # It may answer again, or at last, a call whose answer was to be concealed.
            task = answers.tasks.find_task(context, request, request.message, context.arrived)
            if isinstance(task, Refusal):
                return task
            target = answers.catalogue.target(upstream, "resource", "")
            return conceal_credentials(answers, task, target, context.arrived)
        return None

    async def _send_message(
        self, context: RequestContext, attached: AttachedCredential, request: UpstreamRequest
    ) -> UpstreamReply:
        """Return the reply to a request with a credential, and tell the leases whether the upstream took the credential."""
        upstream, outgoing = context.exchange.upstream, begin_upstream_span(context, attached.carried_by(request))
        try:
            reply = await accept(upstream, await self.served.current.find_transport(upstream).send(outgoing))
        except UpstreamUnauthorized as error:
            raise self.issuer.note_rejected(attached, error) from None
        self.issuer.note_accepted(attached)
        return reply


def _render_in_place(message: Message, decision_id: str, form: RefusalForm, refusal: Refusal) -> bytes:
    return render(refusal, message, decision_id=decision_id, form=form).body


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
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(allowed.seconds):
            reply = await accept(upstream, await transport.send(request))
    except TimeoutError:
        raise Overdue(
            f"upstream {upstream} did not begin to answer within the {allowed.seconds} s that policy allows",
            "ask for less, or have the operator raise the limit",
        ) from None
    return reply, structs.replace(allowed, seconds=allowed.seconds - (asyncio.get_running_loop().time() - began))


def find_late_bounds(ownership: Ownership, upstream: str, request: UpstreamRequest) -> Bounds:
    """Return the bounds of the answer to a request that names a protocol task. The result may be no larger than the
    call's own result. Its time limit applied to the first answer."""
    past_call = _find_past_call(ownership, upstream, request)
    return NO_BOUNDS if past_call is None else Bounds(size=past_call.max_bytes)


def _find_past_call(ownership: Ownership, upstream: str, request: UpstreamRequest) -> PastCall | None:
    """Return the call of the protocol task that a request names."""
    if request.message is None or request.message.name is None:
        return None
    return ownership.past_call(upstream, request.message.name, request.principal)


def _classify(error: BaseException) -> EndedAs:
    if isinstance(error, asyncio.CancelledError | CredentialEnded):
        return "cancelled"
    return "limited" if isinstance(error, Overdue) else "failed"


_UNSENT: Final = (UpstreamUnreachable, UpstreamStarting, UpstreamUnauthorized, StoreError)
"""Failures before a call was carried out."""
