"""Decisions that people take part in: a call is decided, put to a person, held, and decided again when the person has answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct, structs

from gateway.approvals.model import Approval
from gateway.model.decision import Decision, Refusal
from gateway.protocol.classify import state_of
from gateway.steps.asking import ask_people, digest_case
from gateway.steps.case import Case
from gateway.steps.deciding import decide, denied
from gateway.steps.releasing import Release
from gateway.steps.visit import Gateway, Visit
from gateway.steps.waiting import is_shown_address, refuse_waiting, refuse_with_address, tell_to_wait

if TYPE_CHECKING:
    from gateway.protocol.replies import Reply
    from gateway.steps.people import People
    from gateway.steps.tickets import Resumed

Prepare: TypeAlias = Callable[[Visit], "Case | Refusal"]

_SETTLED: Final = frozenset({"granted", "used"})


class Passed(Struct, frozen=True):
    """A call that the policy allowed, under the visit that its record names."""

    visit: Visit
    case: Case
    decision: Decision


async def decide_with_people(
    gateway: Gateway, visit: Visit, prepare: Prepare, resumed: Resumed | None = None
) -> Passed | Refusal | Reply:
    """Return an allowed call, its refusal, or the answer that asks its client to come again.

    `prepare` reads the call anew for each decision: while the request was held, its task or its tool may have changed. `resumed` is the
    ticket of an earlier request for the same call.
    """
    people = gateway.people
    until = gateway.monotonic() + (0.0 if people is None else people.desk.times.hold)
    while True:
        case = prepare(visit)
        if isinstance(case, Refusal):
            return case
        release = None if people is None else _find(gateway, people, case)
        approval = None if release is None else release.approval
        if approval is None or approval.state in _SETTLED:
            outcome = await _decide_once(gateway, visit, case, release)
            if not isinstance(outcome, Approval):
                return outcome
            approval = outcome
        assert people is not None  # noqa: S101 - without people there is no approval
        answer = await _hold(people, visit, case, approval, seconds=until - gateway.monotonic(), resumed=resumed)
        if answer is not None:
            return answer
        visit = structs.replace(visit, id=gateway.new_id(), arrived=gateway.clock())


async def _hold(
    people: People, visit: Visit, case: Case, approval: Approval, *, seconds: float, resumed: Resumed | None
) -> Refusal | Reply | None:
    """Hold a call until its question is answered. Returns the answer of the client, `None` if the call is decided again."""
    ticket = None if resumed is None else resumed.ticket
    if resumed is not None and resumed.is_declined and approval.state == "pending":
        await people.desk.end(approval.id, "withdrawn", "declined")
        return refuse_waiting(people, structs.replace(approval, state="withdrawn"))
    current = approval
    is_shown = is_shown_address(case, approval, ticket, visit.id)
    if approval.state == "pending" and seconds > 0 and not is_shown:
        with people.holds.enter(case.request.principal.key) as may_wait:
            current = await people.desk.wait(approval.id, seconds) if may_wait else approval
    if current is None or current.state not in {"pending", "denied", "expired"}:
        return None
    if current.state == "pending":
        refuse = refuse_with_address if is_shown else refuse_waiting
        return tell_to_wait(people, case, current, ticket) or refuse(people, current)
    people.desk.note_told(current)
    return refuse_waiting(people, current)


def _find(gateway: Gateway, people: People, case: Case) -> Release | None:
    """Return the approval that answers a call. A later round of an upstream's exchange has that of the first."""
    principal = case.request.principal
    if not people.desk.has_questions_about(principal.key, case.call.target):
        return None
    state, earlier = state_of(case.message), None
    if state is not None:
        earlier = gateway.ownership.past_call(case.call.target.upstream, state, principal)
    if earlier is not None:
        used = people.desk.find_round(digest_case(case, has_responses=False), earlier.call)
        if used is not None:
            return Release(used, earlier.call)
    found = people.desk.find(digest_case(case))
    return None if found is None else Release(found)


async def _decide_once(
    gateway: Gateway, visit: Visit, case: Case, release: Release | None
) -> Passed | Refusal | Approval:
    ruling = await decide(gateway, visit, case, release)
    if ruling.decision.allowed:
        return Passed(visit, case, ruling.decision)
    if ruling.decision.effect == "ask":
        return await ask_people(gateway, visit, case, ruling)
    return denied(ruling.decision)
