"""The verdict of policy on a call, from its arguments and the history of its task. The journal has the verdict before
the gateway sends anything."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.approvals.endorsement import Endorsement
from gateway.history.embedded import Reservation
from gateway.history.facts import depth_of
from gateway.journal.entry import Outcome, call_entry, settled_entry
from gateway.journal.queued import QueuedEntry
from gateway.journal.redaction import conceal_known
from gateway.model.content import CallContent
from gateway.model.decision import Decision, Refusal
from gateway.model.facts import SessionFacts
from gateway.pipeline.assumed_labels import name_assumed_labels
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.known_credentials import known_to
from gateway.pipeline.prepare import Case
from gateway.pipeline.record import record_or_log
from gateway.pipeline.recurring import describe_endorsement, find_endorsement, is_in_force, note_use
from gateway.pipeline.releasing import Release, claim, describe_approval, give_back, settle_release
from gateway.pipeline.shielding import shielded, shielded_result
from gateway.policy import document
from gateway.protocol.error_codes import REFUSED

if TYPE_CHECKING:
    from gateway.model.call import Context


SPENT: Final = frozenset({"budget/calls", "budget/denials"})
"""Reasons after which a task changes nothing any more. Those of other budgets pass."""


class Ruling(Struct, frozen=True):
    """A recorded decision on a call, with the facts and the content that it rests on."""

    decision: Decision
    facts: SessionFacts
    content: CallContent


class _Recorded(Struct, frozen=True):
    """A decision on a counted call, with its entry on the way to the journal."""

    decision: Decision
    counted: Reservation
    entry: QueuedEntry
    claimed: Release | None
    endorsement: Endorsement | None
    seconds: float
    """Seconds that the policy took."""


async def decide(gateway: Gateway, visit: Visit, case: Case, release: Release | None = None) -> Ruling:
    """Return the policy's decision on a call, after the record has it. `release` is a person's approval of an equal call.

    A counted call is decided also if its caller leaves: a caller could take a denial back by leaving otherwise.
    """
    content = await inspected(gateway, visit, case)
    recorded, left = await shielded_result(_decide_and_record(gateway, visit, case, content, release))
    try:
        left = await recorded.entry.outlast() or left
    except BaseException:
        if recorded.decision.allowed:
            _take_back(gateway, visit, case, recorded.claimed)
        else:
            give_back(gateway, recorded.claimed)
        raise
    _conclude(gateway, visit, case, recorded)
    decision = recorded.decision
    if recorded.claimed is not None:
        _, late = await shielded_result(settle_release(gateway, visit.id, case.task, decision, recorded.claimed))
        left = late or left
    if left is not None:
        if decision.allowed:
            await shielded(called_off(gateway, visit, case))
        raise left
    return Ruling(decision, recorded.counted.facts, content)


async def _decide_and_record(
    gateway: Gateway, visit: Visit, case: Case, content: CallContent, release: Release | None
) -> _Recorded:
    """Decide a call, and queue its entry. The call is counted first, so that parallel calls cannot race a limit."""
    principal, call, task = case.request.principal, case.call, case.task
    claimed = claim(gateway, release)
    depth = depth_of(principal, call.target)
    counted = gateway.history.reserve(task, visit.id, call, content, visit.arrived, depth=depth)
    try:
        endorsement = find_endorsement(gateway, case, counted.facts, content)
        ask = partial(_ask_policy, gateway, visit, case, counted.facts)
        asked = gateway.monotonic()
        context, decision = await ask(release=claimed, endorsement=endorsement)
        seconds = gateway.monotonic() - asked
        known = known_to(gateway, principal.key, task, content.sightings)
        in_pieces = case.exposed or "exposed" in counted.fields
        record = await gateway.worker.run(
            len(case.message.body), partial(gateway.record, call, counted.facts, known, in_pieces)
        )
        if endorsement is not None and not is_in_force(gateway, endorsement):
            endorsement = None
            context, decision = await ask(release=claimed, endorsement=None)
        build = partial(
            call_entry,
            visit.id,
            principal,
            call,
            task,
            decision,
            context=context,
            arguments_record=record,
            facts=counted.facts,
            approval=None if claimed is None else claimed.approval.id,
        )
        fields = conceal_known(build, known)
        entry = gateway.journal.begin("call", {**fields, "history": counted.fields})
    except BaseException:
        _take_back(gateway, visit, case, claimed)
        raise
    if not decision.allowed:
        # At once: other calls of this turn of the loop would find a refused call in flight until the write.
        gateway.history.release(task, visit.id, denied=decision.is_denial)
    return _Recorded(decision, counted, entry, claimed, endorsement, seconds)


def _take_back(gateway: Gateway, visit: Visit, case: Case, claimed: Release | None) -> None:
    """Uncount a call without a recorded decision, and let another call have its approval."""
    gateway.history.release(case.task, visit.id, denied=False)
    give_back(gateway, claimed)


def _conclude(gateway: Gateway, visit: Visit, case: Case, recorded: _Recorded) -> None:
    """Let a recorded call pass. A refused call counts no more, except as a denial."""
    decision, target = recorded.decision, case.call.target
    if decision.allowed:
        gateway.history.let_pass(case.task, visit.id)
        note_use(gateway, recorded.endorsement)
    else:
        _end_if_spent(gateway, case.task.id, decision)
    code = decision.reasons[0].code if decision.reasons else "allowed"
    gateway.metrics.decided(target.upstream, case.call.action, decision.effect, code, recorded.seconds)


def _end_if_spent(gateway: Gateway, task: str, decision: Decision) -> None:
    """End the leases of a task that has used up its calls or its denials beyond the hard limit."""
    if (
        gateway.authority is not None
        and decision.is_denial
        and not SPENT.isdisjoint(reason.code for reason in decision.reasons)
    ):
        gateway.authority.end_spent(task)


async def _ask_policy(
    gateway: Gateway,
    visit: Visit,
    case: Case,
    facts: SessionFacts,
    *,
    release: Release | None,
    endorsement: Endorsement | None,
) -> tuple[Context, Decision]:
    """Return the policy's decision on a counted call, with the circumstances that it was told of."""
    approved, endorsed = describe_approval(release), describe_endorsement(gateway, endorsement)
    principal, call = case.request.principal, case.call
    signals = gateway.signals.register.facts(principal)
    leases = None if gateway.authority is None else gateway.authority.leases.count(case.task.id)
    context = visit.context(case.message, case.task, approved, endorsed, signals=signals, leases=leases)
    decision = await gateway.policy.decide(document.decision(principal, call, context, facts))
    return context, name_assumed_labels(case.presented.judged(decision, call.target.audience), call.target)


async def called_off(gateway: Gateway, visit: Visit, case: Case, outcome: Outcome = Outcome.CANCELLED) -> None:
    """End an allowed call without sending it: its caller has left, or it has no credential. The call counts, since its
    beginning is on record."""
    gateway.history.settle(case.task, visit.id)
    entry = settled_entry(visit.id, outcome, duration_ms=visit.seconds(gateway.monotonic()) * 1000)
    record_or_log(gateway, "settled", entry)


async def inspected(gateway: Gateway, visit: Visit, case: Case) -> CallContent:
    """Return the content of the arguments."""
    size, seen = len(case.message.body), gateway.history.seen(case.task)
    quiet = gateway.inspector.suppressions.of(case.call.target, visit.arrived)
    index = gateway.credential_chain.index(case.task, seen)
    relevance = gateway.history.relevance(case.task, case.call.target)
    look = partial(
        gateway.inspector.call,
        case.call,
        case.task,
        seen,
        case.presented.stand_ins(),
        quiet=quiet,
        relevance=relevance,
        index=index,
        caller=case.request.principal,
    )
    content = await gateway.worker.run(size, look)
    return await gateway.credential_chain.with_other_tasks(
        case.request.principal.key, case.task, case.call, content, size=size
    )


def denied(decision: Decision) -> Refusal:
    """Return the refusal of a call that the policy denied."""
    return Refusal(200, decision.reasons[0], REFUSED, decision=decision)
