"""The verdict of policy on a call, from its arguments and the history of its task. The journal has the verdict before
the gateway sends anything."""

from __future__ import annotations

from functools import partial

from msgspec import structs

from gateway.history.facts import depth_of
from gateway.journal.entry import Outcome, call_entry, settled_entry
from gateway.journal.redaction import conceal_known
from gateway.model.content import CallContent
from gateway.model.decision import Decision, Reason, Refusal
from gateway.policy import document
from gateway.protocol.error_codes import REFUSED
from gateway.steps.assumed_labels import name_assumed_labels
from gateway.steps.case import Case
from gateway.steps.known_credentials import known_to
from gateway.steps.recording import append_or_log
from gateway.steps.shielding import shielded, shielded_result
from gateway.steps.visit import Gateway, Visit


async def decide(gateway: Gateway, visit: Visit, case: Case) -> Decision:
    """Return the recorded verdict of policy. From its counting on, a call reaches its verdict even if its caller
    leaves: leaving must not undo a denial."""
    content = await inspected(gateway, visit, case)
    decision, left = await shielded_result(ruled(gateway, visit, case, content))
    if left is not None:
        if decision.allowed:
            await shielded(called_off(gateway, visit, case))
        raise left
    return decision


async def ruled(gateway: Gateway, visit: Visit, case: Case, content: CallContent) -> Decision:
    """Count the call, then return its verdict, so that parallel calls cannot race a limit. Uncount a call that does not
    go on."""
    principal, call, task = case.request.principal, case.call, case.task
    context = visit.context(case.message, task)
    depth = depth_of(principal, call.target)
    counted = gateway.history.reserve(task, visit.id, call, content, visit.arrived, depth=depth)
    try:
        asked = gateway.monotonic()
        decision = await gateway.policy.decide(document.decision(principal, call, context, counted.facts))
        decision = name_assumed_labels(case.presented.judged(decision, call.target.audience), call.target)
        seconds = gateway.monotonic() - asked
        known = known_to(gateway, principal.key, task, content.sightings)
        in_pieces = case.exposed or "exposed" in counted.fields
        record = await gateway.worker.run(
            len(case.message.body), partial(gateway.record, call, counted.facts, known, in_pieces)
        )
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
        )
        entry = conceal_known(build, known)
        await gateway.journal.append("call", {**entry, "history": counted.fields})
    except BaseException:
        gateway.history.release(task, visit.id, denied=False)
        raise
    if decision.allowed:
        gateway.history.let_pass(task, visit.id)
    else:
        gateway.history.release(task, visit.id, denied=decision.is_denial)
    code = decision.reasons[0].code if decision.reasons else "allowed"
    gateway.metrics.decided(call.target.upstream, call.action, decision.effect, code, seconds)
    return decision


async def called_off(gateway: Gateway, visit: Visit, case: Case) -> None:
    """End an allowed call without sending it, since its caller has left. The call counts, since its beginning is on
    record."""
    gateway.history.settle(case.task, visit.id)
    entry = settled_entry(visit.id, Outcome.CANCELLED, duration_ms=visit.seconds(gateway.monotonic()) * 1000)
    await append_or_log(gateway, "settled", entry)


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
    """Return the refusal for a verdict other than `allow`."""
    if decision.effect == "ask":
        reason = Reason(
            "approval/unavailable",
            "This call needs a person's approval, and this gateway cannot ask for one yet.",
            "Have the operator grant it without approval, or do it by hand.",
        )
        return Refusal(200, reason, REFUSED, decision=structs.replace(decision, reasons=(*decision.reasons, reason)))
    return Refusal(200, decision.reasons[0], REFUSED, decision=decision)
