"""Decisions that people take part in: a call is decided, put to a person, held, and decided again when the person has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from gateway.authority.approvals.model import Approval
from gateway.calls.binding.ownership import find_round
from gateway.calls.pipeline.asking import Questions, digest_prepared_call
from gateway.calls.pipeline.connecting import ConnectionStage
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.decide import Decider, refuse_denied
from gateway.calls.pipeline.people import Hold, People, RequestName
from gateway.calls.pipeline.prepare import Preparation, PreparedCall
from gateway.calls.pipeline.releasing import Release
from gateway.calls.pipeline.waiting import is_shown_address, refuse_waiting, refuse_with_address, tell_to_wait
from gateway.model import reasons
from gateway.model.decision import Decision, Refusal
from gateway.model.wire import Era
from gateway.wire.protocol.classify import state_of

if TYPE_CHECKING:
    from gateway.calls.binding.ownership import Ownership
    from gateway.calls.pipeline.waiting import ResumedRequest
    from gateway.model.wire import Message, RequestId, UpstreamRequest
    from gateway.wire.protocol.replies import Reply

_SETTLED: Final = frozenset({"granted", "used"})


class AllowedCall(Struct, frozen=True):
    """An allowed call, with the circumstances of its record. `approval_ends` is the last moment for an approved call, by the
    setting `grant`."""

    context: RequestContext
    prepared: PreparedCall
    decision: Decision
    approval_ends: float | None = None


class AdmittedRequest(Struct, frozen=True):
    """A request before policy. `exposed`: the message has a piece of a token of its caller. `resumed` is the ticket of an
    earlier request for the same call."""

    request: UpstreamRequest
    exposed: bool = False
    resumed: ResumedRequest | None = None


class _Waiting(Struct, frozen=True):
    """A call whose question may be open. `shows_address`: the answer gives the client the address of the question, and comes at once."""

    prepared: PreparedCall
    approval: Approval
    resumed: ResumedRequest | None
    shows_address: bool


class CallApproval(Struct, frozen=True):
    """The stage with people: a call is decided, put to a person, held, and decided again after the answer.

    `connecting` is `None` without users' own connections.
    """

    people: People
    questions: Questions
    preparation: Preparation
    decider: Decider
    ownership: Ownership
    connecting: ConnectionStage | None
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    new_id: Callable[[], str]

    async def decide(
        self, context: RequestContext, admitted: AdmittedRequest, message: Message, hold: Hold | None = None
    ) -> AllowedCall | Refusal | Reply:
        """Return an allowed call, its refusal, or the answer that asks its client to come again.

        The call is prepared anew for each decision: while the request was held, its task or its tool may have changed. `hold`
        tells whether the client has taken the request back.
        """
        people, resumed = self.people, admitted.resumed
        until = self.monotonic() + people.desk.times.hold
        while True:
            prepared = self.preparation.prepare_call(context, admitted.request, message, exposed=admitted.exposed)
            if isinstance(prepared, Refusal):
                return prepared
            release = self._find_release(prepared)
            if isinstance(release, Refusal):
                return release
            approval = None if release is None else release.approval
            if approval is not None:
                declined = await self._withdraw_declined(approval, resumed)
                if declined is not None:
                    return declined
            if approval is None or approval.state in _SETTLED:
                outcome = await self._decide_once(context, prepared, release, resumed)
                if not isinstance(outcome, Approval):
                    return outcome
                approval = outcome
            shows_address = is_shown_address(prepared, approval, resumed, context.id)
            waiting = _Waiting(prepared, approval, resumed, shows_address)
            answer = await self._hold(waiting, until - self.monotonic(), hold or Hold())
            if answer is not None:
                return answer
            context = structs.replace(context, id=self.new_id(), arrived=self.clock())

    async def _decide_once(
        self, context: RequestContext, prepared: PreparedCall, release: Release | None, resumed: ResumedRequest | None
    ) -> AllowedCall | Refusal | Reply | Approval:
        ruling = await self.decider.decide(context, prepared, release)
        if ruling.decision.effect == "allow":
            return AllowedCall(context, prepared, ruling.decision, self._find_end(release))
        if ruling.decision.effect != "ask":
            return refuse_denied(ruling.decision)
        if self.connecting is not None:
            # The user connects first: an approval would be used up by a call that has no credential.
            upstream = prepared.call.target.upstream
            unconnected = await self.connecting.ask_if_unconnected(context.id, upstream, prepared.request, resumed)
            if unconnected is not None:
                return unconnected
        return await self.questions.ask_people(context, prepared, ruling)

    async def _withdraw_declined(self, approval: Approval, resumed: ResumedRequest | None) -> Refusal | None:
        """Withdraw the question that the client's person declined, also after a yes, and return the refusal of the call.

        An equal call that has claimed the approval keeps its claim.
        """
        if resumed is None or not resumed.is_declined:
            return None
        if not await self.people.desk.withdraw(approval.id, "declined"):
            return None
        return refuse_waiting(self.people, structs.replace(approval, state="withdrawn"))

    async def _hold(self, waiting: _Waiting, seconds: float, hold: Hold) -> Refusal | Reply | None:
        """Hold a call until its question is answered. Returns the answer of the client, `None` if the call is decided again."""
        people, approval = self.people, waiting.approval
        if (declined := await self._withdraw_declined(approval, waiting.resumed)) is not None:
            return declined
        current: Approval | None = approval
        if approval.state == "pending" and seconds > 0 and not waiting.shows_address and not hold.is_taken_back:
            with people.holds.enter(waiting.prepared.request.principal.key) as may_wait:
                woken = asyncio.get_running_loop().create_future()
                hold.wake_with(woken)
                current = await people.desk.wait(approval.id, seconds, woken) if may_wait else approval
        if hold.is_taken_back:
            return refuse_waiting(people, structs.replace(approval, state="pending"))
        if current is None or current.state not in {"pending", "denied", "expired", "unreachable"}:
            return None
        if current.state == "pending" and not people.desk.is_unreached(current.id):
            refuse = refuse_with_address if waiting.shows_address else refuse_waiting
            return tell_to_wait(people, waiting.prepared, current, waiting.resumed) or refuse(people, current)
        people.desk.note_told(current)
        return refuse_waiting(people, current)

    def open_hold(self, upstream: str, request: UpstreamRequest) -> AbstractContextManager[Hold | None]:
        """Give the hold of a request of the handshake era, which its client can take back with a notification."""
        message = request.message
        if message is None or message.era is not Era.HANDSHAKE:
            return _NO_HOLD
        return self.people.holds.open(_name_request(upstream, request, message.id))

    def take_back_held_call(self, upstream: str, request: UpstreamRequest) -> None:
        """End the wait of the held call that a client of the handshake era cancels. An approval that comes later stays unused."""
        message = request.message
        if message is None or message.method != "notifications/cancelled":
            return
        named = message.params.get("requestId")
        if isinstance(named, str | int):
            self.people.holds.take_back(_name_request(upstream, request, named))

    def _find_release(self, prepared: PreparedCall) -> Release | Refusal | None:
        """Return the approval that answers a call. A later round of an upstream's exchange has that of the first.

        Refuse a call that people approved with other parts beside its arguments.
        """
        principal, target, desk = prepared.request.principal, prepared.call.target, self.people.desk
        if not desk.has_questions_about(principal.key, target):
            return None
        state = state_of(prepared.message)
        if state is None:
            earlier = find_round(self.ownership, target.upstream, principal, prepared.message)
        else:
            earlier = self.ownership.past_call(target.upstream, state, principal)
        if earlier is not None:
            used = desk.find_round(digest_prepared_call(prepared, has_responses=False), earlier.call)
            if used is not None:
                return Release(used, earlier.call)
        call = digest_prepared_call(prepared)
        found = desk.find(call)
        if found is None and desk.has_granted_otherwise(digest_prepared_call(prepared, has_beside=False), call):
            return _CHANGED
        return None if found is None else Release(found)

    def _find_end(self, release: Release | None) -> float | None:
        """Return the last moment for an approved call, `None` for a call without an approval, and for later rounds of an exchange."""
        if release is None or release.approval.granted is None or release.earlier is not None:
            return None
        return release.approval.granted + self.people.desk.times.grant


def _name_request(upstream: str, request: UpstreamRequest, identifier: RequestId | None) -> RequestName:
    """Return the name of a request among all that are held. Ids are told apart by type: 1 is not "1"."""
    return upstream, request.principal.key, request.session, type(identifier), identifier


_NO_HOLD: Final = nullcontext()
_CHANGED: Final = reasons.APPROVAL_CHANGED.refusal()
