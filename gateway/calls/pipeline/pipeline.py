"""The way of a call: identify → read → admit → prepare → decide → (ask people) → record → issue → forward → settle.

`Pipeline.for_caller` identifies the caller, `read` reads the message, `serve` and `_decide_and_forward` do the rest. Each stage takes
frozen values and returns one. A refusal is a value. An exception means a failure outside, and `serve` alone turns it into a refusal.

The body is read after the caller is known: only a verified caller can make the gateway parse anything.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from gateway.authority.approvals.seal import TicketSeal
from gateway.base.store.engine import Claim
from gateway.calls.binding.ownership import SessionlessExchanges
from gateway.calls.binding.shared_values import SharedValues
from gateway.calls.pipeline.admit import Admission, waits_for_news
from gateway.calls.pipeline.approve import AdmittedRequest, AllowedCall, CallApproval
from gateway.calls.pipeline.asking import refuse_without_people
from gateway.calls.pipeline.connecting import ConnectionStage
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.credentials import ExposureGuard
from gateway.calls.pipeline.decide import Decider, Ruling, refuse_denied
from gateway.calls.pipeline.forward import Forwarder
from gateway.calls.pipeline.pinned_lists import PinnedLists
from gateway.calls.pipeline.prepare import Preparation
from gateway.calls.pipeline.refuse import Refuser, refuse_failure
from gateway.calls.pipeline.revocation import Stops
from gateway.calls.pipeline.spans import join_message_trace
from gateway.calls.pipeline.visibility import Visibility
from gateway.calls.pipeline.waiting import take_out_ticket
from gateway.calls.response.stream import ResponseStream
from gateway.history.tasks.tokens import select_task
from gateway.model import reasons
from gateway.model.caller import AuthMethod, Principal
from gateway.model.decision import Refusal
from gateway.model.errors import GatewayError
from gateway.model.wire import Disposition, Era, Kind, Message, UpstreamRequest
from gateway.record.telemetry.tracing import TraceContext
from gateway.wire.http.exchange import Exchange
from gateway.wire.http.limits import RequestPlace
from gateway.wire.protocol.classify import classify
from gateway.wire.protocol.methods import OWN_TASK
from gateway.wire.protocol.replies import Reply

_DECIDE: Final = Disposition.DECIDE
_HANDSHAKE: Final = Era.HANDSHAKE
_REQUEST: Final = Kind.REQUEST
_RESPONSE: Final = Kind.RESPONSE
_ANONYMOUS: Final = AuthMethod.ANONYMOUS


class EndingAnswer(Protocol):
    """An answer whose end comes later. `leaves` are called then."""

    @property
    def leaves(self) -> list[Callable[[], object]]: ...


Answer = TypeVar("Answer", bound="Reply | EndingAnswer | None")
Ended = TypeVar("Ended", bound="EndingAnswer | Reply | Refusal | None")
Outcome = TypeVar("Outcome", bound="ResponseStream | Reply | Refusal")


class Pipeline(Struct, frozen=True):
    """The stages of requests, in their order. `approval` is `None` at a gateway without people, `connecting` without users' own
    connections, and `tickets` without either."""

    admission: Admission
    exposure: ExposureGuard
    preparation: Preparation
    decider: Decider
    approval: CallApproval | None
    connecting: ConnectionStage | None
    tickets: TicketSeal | None
    exchanges: SessionlessExchanges
    visibility: Visibility
    pinned_lists: PinnedLists
    forwarder: Forwarder
    refuser: Refuser
    stops: Stops
    claim: Claim | None
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    shared_values: SharedValues | None = None

    def handle(self, exchange: Exchange) -> Awaitable[Reply | ResponseStream]:
        """Take one request all the way. Never raises for anything that a caller, a policy or an upstream did."""
        known = exchange.upstream if exchange.upstream in self.forwarder.served.current.transports else None
        return self.for_caller(
            self.open_context(exchange, f"{exchange.method} /mcp/{known or '-'}", known), self._answer
        )

    def open_context(self, exchange: Exchange, name: str, upstream: str | None = None) -> RequestContext:
        """Return the circumstances of a new request. `name` is its name in traces."""
        tracing, arrived = self.admission.tracing, self.clock()
        if tracing.records or b"traceparent" in exchange.fields:
            trace = tracing.start(exchange.fields, name, at=arrived)
        else:
            trace = TraceContext(name, os.urandom(16).hex(), None)
        return RequestContext(self.refuser.new_id(), exchange, arrived, self.monotonic(), trace, upstream)

    async def for_caller(
        self, context: RequestContext, work: Callable[[RequestContext, Principal, RequestPlace], Awaitable[Answer]]
    ) -> Answer | Reply:
        """Identify the caller, and do `work` for it if the caller has a place left. `work` returns `None` if it has sent its answer."""
        try:
            principal = await self.admission.identify(context)
            if isinstance(principal, Refusal):
                return await self.refuser.refuse(context, principal)
            if self.claim is not None and (ended := self.claim.find_end()) is not None:
                return await self.refuser.refuse(context, refuse_failure(ended), principal)
            if self.stops.register.stops and (stopped := self.stops.refuse(principal)) is not None:
                return await self.refuser.refuse(context, stopped, principal)
            if b"traceparent" in context.exchange.fields:
                context = self.admission.replace_unsafe_trace(context, principal)
            # Only addresses tell callers without credentials apart.
            is_anonymous = principal.method is _ANONYMOUS
            place = self.admission.places.enter(context.exchange.client_ip or "" if is_anonymous else principal.key)
            if isinstance(place, Refusal):
                return await self.refuser.refuse(context, place, principal)
            try:
                outcome = await work(context, principal, place)
            except BaseException:
                place.leave()
                raise
            return _end_with(outcome, place.leave)
        except BaseException:
            # The client left, or the gateway has a defect, which the edge tells of.
            context.trace.end({"opagate.decision.id": context.id, "opagate.outcome": "cancelled"}, error="cancelled")
            raise

    async def _answer(
        self, context: RequestContext, principal: Principal, place: RequestPlace
    ) -> Reply | ResponseStream:
        """Answer one request of a known caller."""
        message = await self.read(context, principal, place)
        return message if isinstance(message, Reply) else await self.serve(context, principal, message)

    async def read(self, context: RequestContext, principal: Principal, place: RequestPlace) -> Message | Reply | None:
        """Return the message of a request, `None` without a body, or the answer to an unreadable one.

        A request that waits for news gives its place to others, and takes that of a stream.
        """
        exchange = context.exchange
        message = None
        if exchange.method == "POST":
            body = await exchange.body()
            message = body if isinstance(body, Refusal) else classify(body, exchange.fields)
        if isinstance(message, Refusal):
            return await self.refuser.refuse(context, message, principal)
        if (message is None or message.disposition is not _DECIDE) and waits_for_news(exchange.method, message):
            if (refusal := place.become_stream()) is not None:
                return await self.refuser.refuse(context, refusal, principal, message)
            exchange.become_stream()
        return message

    async def serve(
        self, context: RequestContext, principal: Principal, message: Message | None
    ) -> Reply | ResponseStream:
        """Serve a read message with the upstream's answer or a refusal. Failures become refusals here alone."""
        if message is not None and (self.admission.tracing.records or "_meta" in message.params):
            context = join_message_trace(self.admission.tracing, self.admission.known, context, principal, message)
        try:
            outcome = await self._serve(context, principal, message)
        except GatewayError as error:
            outcome = refuse_failure(error)
        if isinstance(outcome, Refusal):
            return await self.refuser.refuse(context, outcome, principal, message)
        return outcome

    async def _serve(
        self, context: RequestContext, principal: Principal, message: Message | None
    ) -> ResponseStream | Reply | Refusal:
        """Serve a message that the caller may send: decide on calls, pass the rest on, and filter lists."""
        upstream, upstreams = context.exchange.upstream, self.forwarder.served.current.transports
        if upstream not in upstreams:
            return _refuse_unknown_upstream(upstream, upstreams, principal)
        if self.stops.register.stops and (stopped := self.stops.refuse(principal, upstream)) is not None:
            return stopped
        admitted = await self._admit(context, principal, message)
        if isinstance(admitted, Refusal):
            return admitted
        request, message = admitted.request, admitted.request.message
        if message is not None and message.disposition is _DECIDE:
            work = self._decide_and_forward(context, admitted, message)
        else:
            refused = await self.visibility.refuse_subscription(context, request)
            # While the message was searched, the question may have been answered and the request may have ended.
            refused = refused or refuse_unowned(self.exchanges, upstream, request)
            if refused is not None:
                return refused
            if message is not None and message.kind is _RESPONSE and request.session is None:
                self.exchanges.close_question(upstream, principal.key, message.id)
            if self.approval is not None:
                self.approval.take_back_held_call(upstream, request)
            work = self.pinned_lists.serve(context, request, self.forwarder.pass_through)
        is_stream = message is None and request.method == "GET"
        is_request = message is not None and message.era is _HANDSHAKE and message.kind is _REQUEST
        if request.session is not None or not (is_stream or is_request):
            return await work
        # Until the answer has ended, the caller may answer its questions and cancel the request, outside of a session.
        end = self.exchanges.begin(upstream, principal.key, None if message is None else message.id)
        try:
            outcome = await work
        except BaseException:
            end()
            raise
        return _end_with(outcome, end)

    async def _admit(
        self, context: RequestContext, principal: Principal, message: Message | None
    ) -> AdmittedRequest | Refusal:
        """Return a request in its outgoing form, without the gateway's own state, if it may go on to policy."""
        if self.decider.ledger.log.is_shared:
            names_task = select_task(message, context.exchange.fields) is not None
            await self.decider.ledger.enter(principal, context.arrived, names_task=names_task)
        resumed = None
        if message is not None and "requestState" in message.params:
            resumed = take_out_ticket(self.tickets, principal, message, context.arrived)
            if isinstance(resumed, Refusal):
                return resumed
            message = message if resumed is None else resumed.message
        if self.shared_values is not None and message is not None:
            await self.shared_values.fetch_named(context.exchange.upstream, message, principal)
        request = self.admission.admit(context, principal, message)
        if isinstance(request, Refusal):
            return request
        if message is not None and message.disposition is not _DECIDE:
            # An answer may carry an image, which takes long to search. No search reads one that no server asked for.
            unowned = refuse_unowned(self.exchanges, context.exchange.upstream, request)
            if unowned is not None:
                return unowned
        exposed = await self.exposure.examine(context, request)
        return exposed if isinstance(exposed, Refusal) else AdmittedRequest(request, exposed, resumed)

    async def _decide_and_forward(
        self, context: RequestContext, admitted: AdmittedRequest, message: Message
    ) -> ResponseStream | Reply | Refusal:
        """Have policy, and people where it asks for them, decide on a call, and forward an allowed call."""
        upstream, request, resumed = context.exchange.upstream, admitted.request, admitted.resumed
        catalogue = self.preparation.catalogue
        if not catalogue.definitions[upstream]["tool"].listed:
            await catalogue.ensure(upstream)
            catalogue.require_listed(upstream, message.method)
        if self.connecting is not None and resumed is not None:
            unconnected = await self.connecting.hold(request, resumed)
            if unconnected is not None:
                return _end_trace(context, unconnected, reasons.CREDENTIAL_CONNECT.code)
        if self.approval is None:
            prepared = self.preparation.prepare_call(context, request, message, exposed=admitted.exposed)
            if isinstance(prepared, Refusal):
                return prepared
            ruling = await self.decider.decide(context, prepared)
            if ruling.decision.effect != "allow":
                return _end_trace(
                    context, await self._refuse_alone(context, ruling, admitted), reasons.APPROVAL_PENDING.code
                )
            outcome = AllowedCall(context, prepared, ruling.decision)
        else:
            with self.approval.open_hold(upstream, request) as hold:
                outcome = await self.approval.decide(context, admitted, message, hold)
            if not isinstance(outcome, AllowedCall):
                return _end_trace(context, outcome, reasons.APPROVAL_PENDING.code)
        forwarded = await self.forwarder.forward(outcome, resumed)
        return (
            _end_trace(context, forwarded, reasons.CREDENTIAL_CONNECT.code)
            if isinstance(forwarded, Reply)
            else forwarded
        )

    async def _refuse_alone(
        self, context: RequestContext, ruling: Ruling, admitted: AdmittedRequest
    ) -> Refusal | Reply:
        """Refuse a call at a gateway without people, or send its user to connect if the policy asks for a person."""
        if ruling.decision.effect != "ask":
            return refuse_denied(ruling.decision)
        if self.connecting is not None:
            unconnected = await self.connecting.ask_if_unconnected(
                context.id, context.exchange.upstream, admitted.request, admitted.resumed
            )
            if unconnected is not None:
                return unconnected
        return refuse_without_people(ruling)


def _end_with(outcome: Ended, end: Callable[[], object]) -> Ended:
    """Call `end` once an outcome has ended: for an answer when it is settled, for other outcomes at once."""
    if outcome is None or isinstance(outcome, Reply | Refusal):
        end()
    else:
        outcome.leaves.append(end)
    return outcome


def _end_trace(context: RequestContext, outcome: Outcome, reason: str) -> Outcome:
    """End the trace of a request whose client is asked to come again. `Refuser.refuse` and `ResponseStream` end the others."""
    if isinstance(outcome, Reply):
        context.trace.end({"opagate.decision.id": context.id, "opagate.reason": reason}, error=None)
    return outcome


def _refuse_unknown_upstream(name: str, known: Iterable[str], principal: Principal) -> Refusal:
    """Refuse a name that no upstream has. A caller with credentials learns the nearest name."""
    near = difflib.get_close_matches(name[:_LONGEST_NAME], known, n=1, cutoff=0.6)
    if near and principal.method is not AuthMethod.ANONYMOUS:
        return reasons.UPSTREAM_UNKNOWN_NEAR.refusal(near=near[0])
    return reasons.UPSTREAM_UNKNOWN.refusal()


_LONGEST_NAME: Final = 63
"""Characters of an upstream's name. A longer text is cut before it is compared."""


_NOT_ASKED: Final = reasons.SESSION_FOREIGN_ANSWER.refusal()
_NOT_UNDER_WAY: Final = reasons.SESSION_NOT_UNDER_WAY.refusal()
_TASK_WITHOUT_OWNER: Final = reasons.SESSION_NOT_UNDER_WAY_TASK.refusal()


def refuse_unowned(exchanges: SessionlessExchanges, upstream: str, request: UpstreamRequest) -> Refusal | None:
    """Refuse an answer, a cancellation or news of a task that the gateway must not send; `None` for all other messages.
    It refuses an answer to a question that the caller was not asked, and messages about requests of unknown owners.
    From 2026-07-28 on, a caller cancels a request by closing its connection. It changes nothing."""
    message, owner = request.message, request.principal.key
    if message is None or request.session is not None:
        return None
    if message.kind is Kind.RESPONSE:
        return None if exchanges.is_asked(upstream, owner, message.id) else _NOT_ASKED
    if message.method == OWN_TASK:
        return _TASK_WITHOUT_OWNER
    if message.method != "notifications/cancelled":
        return None
    named = message.params.get("requestId")
    own = message.era is Era.HANDSHAKE and exchanges.is_open(upstream, owner, named)
    return None if own else _NOT_UNDER_WAY
