"""Decisions that people take part in: a call is decided, put to a person, held, and decided again when the person has answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct, structs

from gateway.approvals.model import Approval
from gateway.model.decision import Decision, Refusal
from gateway.model.wire import Era
from gateway.pipeline.asking import ask_people, digest_case
from gateway.pipeline.connecting import ask_if_unconnected
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.decide import decide, denied
from gateway.pipeline.people import Hold, RequestName
from gateway.pipeline.prepare import Case
from gateway.pipeline.releasing import Release
from gateway.pipeline.stateless_rounds import find_round
from gateway.pipeline.waiting import is_shown_address, refuse_waiting, refuse_with_address, tell_to_wait
from gateway.protocol.classify import state_of

if TYPE_CHECKING:
    from gateway.model.wire import RequestId, UpstreamRequest
    from gateway.pipeline.people import People
    from gateway.pipeline.tickets import Resumed
    from gateway.protocol.replies import Reply

Prepare: TypeAlias = Callable[[Visit], "Case | Refusal"]

_SETTLED: Final = frozenset({"granted", "used"})


class AllowedCall(Struct, frozen=True):
    """An allowed call, with the visit of its record. `approval_ends` is the last moment for an approved call, by the setting `grant`."""

    visit: Visit
    case: Case
    decision: Decision
    approval_ends: float | None = None


async def decide_with_people(
    gateway: Gateway, visit: Visit, prepare: Prepare, resumed: Resumed | None = None, hold: Hold | None = None
) -> AllowedCall | Refusal | Reply:
    """Return an allowed call, its refusal, or the answer that asks its client to come again.

    `prepare` reads the call anew for each decision: while the request was held, its task or its tool may have changed. `resumed` is the
    ticket of an earlier request for the same call. `hold` tells whether the client has taken the request back.
    """
    people = gateway.people
    until = gateway.monotonic() + (0.0 if people is None else people.desk.times.hold)
    while True:
        case = prepare(visit)
        if isinstance(case, Refusal):
            return case
        release = None if people is None else _find(gateway, people, case)
        approval = None if release is None else release.approval
        if people is not None and approval is not None:
            declined = await _withdraw_declined(people, approval, resumed)
            if declined is not None:
                return declined
        if approval is None or approval.state in _SETTLED:
            outcome = await _decide_once(gateway, visit, case, release, resumed)
            if not isinstance(outcome, Approval):
                return outcome
            approval = outcome
        assert people is not None  # noqa: S101 - without people there is no approval
        waiting = _Waiting(case, approval, resumed, is_shown_address(case, approval, resumed, visit.id))
        answer = await _hold(people, waiting, until - gateway.monotonic(), hold or Hold())
        if answer is not None:
            return answer
        visit = structs.replace(visit, id=gateway.new_id(), arrived=gateway.clock())


class _Waiting(Struct, frozen=True):
    """A call whose question may be open. `shows_address`: the answer gives the client the address of the question, and comes at once."""

    case: Case
    approval: Approval
    resumed: Resumed | None
    shows_address: bool


async def _withdraw_declined(people: People, approval: Approval, resumed: Resumed | None) -> Refusal | None:
    """Withdraw the question that the client's person declined, also after a yes, and return the refusal of the call.

    An equal call that has claimed the approval keeps its claim.
    """
    if resumed is None or not resumed.is_declined or not await people.desk.withdraw(approval.id, "declined"):
        return None
    return refuse_waiting(people, structs.replace(approval, state="withdrawn"))


async def _hold(people: People, waiting: _Waiting, seconds: float, hold: Hold) -> Refusal | Reply | None:
    """Hold a call until its question is answered. Returns the answer of the client, `None` if the call is decided again."""
    approval = waiting.approval
    if (declined := await _withdraw_declined(people, approval, waiting.resumed)) is not None:
        return declined
    current: Approval | None = approval
    if approval.state == "pending" and seconds > 0 and not waiting.shows_address and not hold.is_taken_back:
        with people.holds.enter(waiting.case.request.principal.key) as may_wait:
            woken = asyncio.get_running_loop().create_future()
            hold.wake_with(woken)
            current = await people.desk.wait(approval.id, seconds, woken) if may_wait else approval
    if hold.is_taken_back:
        return refuse_waiting(people, structs.replace(approval, state="pending"))
    if current is None or current.state not in {"pending", "denied", "expired", "unreachable"}:
        return None
    if current.state == "pending" and not people.desk.is_unreached(current.id):
        refuse = refuse_with_address if waiting.shows_address else refuse_waiting
        return tell_to_wait(people, waiting.case, current, waiting.resumed) or refuse(people, current)
    people.desk.note_told(current)
    return refuse_waiting(people, current)


def open_hold(gateway: Gateway, upstream: str, request: UpstreamRequest) -> AbstractContextManager[Hold | None]:
    """Give the hold of a request of the handshake era, which its client can take back with a notification."""
    message = request.message
    if gateway.people is None or message is None or message.era is not Era.HANDSHAKE:
        return _NO_HOLD
    return gateway.people.holds.open(_name_request(upstream, request, message.id))


def take_back_held_call(gateway: Gateway, upstream: str, request: UpstreamRequest) -> None:
    """End the wait of the held call that a client of the handshake era cancels. An approval that comes later stays unused."""
    message = request.message
    if gateway.people is None or message is None or message.method != "notifications/cancelled":
        return
    named = message.params.get("requestId")
    if isinstance(named, str | int):
        gateway.people.holds.take_back(_name_request(upstream, request, named))


def _name_request(upstream: str, request: UpstreamRequest, identifier: RequestId | None) -> RequestName:
    """Return the name of a request among all that are held. Ids are told apart by type: 1 is not "1"."""
    return upstream, request.principal.key, request.session, type(identifier), identifier


_NO_HOLD: Final = nullcontext()


def _find(gateway: Gateway, people: People, case: Case) -> Release | None:
    """Return the approval that answers a call. A later round of an upstream's exchange has that of the first."""
    principal = case.request.principal
    if not people.desk.has_questions_about(principal.key, case.call.target):
        return None
    upstream, state = case.call.target.upstream, state_of(case.message)
    if state is None:
        earlier = find_round(gateway.ownership, upstream, principal, case.message)
    else:
        earlier = gateway.ownership.past_call(upstream, state, principal)
    if earlier is not None:
        used = people.desk.find_round(digest_case(case, has_responses=False), earlier.call)
        if used is not None:
            return Release(used, earlier.call)
    found = people.desk.find(digest_case(case))
    return None if found is None else Release(found)


def _approval_ends(gateway: Gateway, release: Release | None) -> float | None:
    """Return the last moment for an approved call, `None` for a call without an approval, and for later rounds of an exchange."""
    if release is None or gateway.people is None or release.approval.granted is None or release.earlier is not None:
        return None
    return release.approval.granted + gateway.people.desk.times.grant


async def _decide_once(
    gateway: Gateway, visit: Visit, case: Case, release: Release | None, resumed: Resumed | None
) -> AllowedCall | Refusal | Reply | Approval:
    ruling = await decide(gateway, visit, case, release)
    if ruling.decision.allowed:
        return AllowedCall(visit, case, ruling.decision, _approval_ends(gateway, release))
    if ruling.decision.effect == "ask":
        # The user connects first: an approval would be used up by a call that has no credential.
        unconnected = await ask_if_unconnected(gateway, visit.id, case.call.target.upstream, case.request, resumed)
        if unconnected is not None:
            return unconnected
        return await ask_people(gateway, visit, case, ruling)
    return denied(ruling.decision)
