"""Policy's verdict on a call, with what it rests on: what the arguments hold, and what the task has done. It is written
down before anything is sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from gateway import foreign
from gateway.answer import RPC_REFUSED, append_or_say, context_of
from gateway.case import Case
from gateway.journal.entry import Outcome, call_entry, settled_entry
from gateway.model import CallContent, Decision, JsonObject, Reason, Refusal
from gateway.policy import document
from gateway.relay import finished
from gateway.visit import Gateway, Visit


async def decide(gateway: Gateway, visit: Visit, case: Case) -> Decision:
    """Policy's verdict, recorded. The call is counted before it is decided, so that parallel calls cannot race a
    limit, and uncounted again if it does not go on."""
    principal, call, task = case.request.principal, case.call, case.task
    context = context_of(visit, case.message, task)
    depth = len(principal.delegation)
    content = await inspected(gateway, visit, case)
    counted = gateway.history.reserve(task, visit.id, call, content, visit.arrived, depth=depth)
    try:
        asked = gateway.clock()
        decision = await gateway.policy.decide(document.decision(principal, call, context, counted.facts))
        decision = case.presented.judged(decision, call.target.audience)
        seconds = gateway.clock() - asked
        entry = call_entry(
            visit.id, principal, call, task, decision, context, gateway.record(call, counted.facts), counted.facts
        )
        await recorded(gateway, visit, {**entry, "history": counted.fields}, allowed=decision.allowed)
    except BaseException:
        gateway.history.release(task, visit.id, denied=False)
        raise
    if not decision.allowed:
        gateway.history.release(task, visit.id, denied=True)
    code = decision.reasons[0].code if decision.reasons else "allowed"
    gateway.metrics.decided(call.target.upstream, call.action, decision.effect, code, seconds)
    return decision


async def inspected(gateway: Gateway, visit: Visit, case: Case) -> CallContent:
    """What the arguments hold."""
    size, seen = len(case.message.body), gateway.history.seen(case.task)
    quiet = gateway.inspector.suppressions.of(case.call.target, visit.arrived)
    # What a task has seen goes on changing.
    known = dict(seen) if gateway.aside.takes(size) else seen
    look = partial(gateway.inspector.call, case.call, case.task, known, case.presented.stand_ins(), quiet=quiet)
    content = await gateway.aside.look(size, look)
    return await foreign.recalled(gateway, case.request.principal.key, case.task, case.call, content, size=size)


async def recorded(gateway: Gateway, visit: Visit, entry: JsonObject, *, allowed: bool) -> None:
    """Write the decision down. An allowed call whose caller leaves meanwhile is written down as cancelled too, since
    its entry may be on its way to the disk."""
    try:
        await gateway.journal.append("call", entry)
    except asyncio.CancelledError:
        if allowed:
            cancelled = settled_entry(visit.id, Outcome.CANCELLED, duration_ms=visit.milliseconds(gateway.clock()))
            await finished(append_or_say(gateway, "settled", cancelled))
        raise


def denied(decision: Decision) -> Refusal:
    """What the caller is told of a verdict that is not an allow."""
    if decision.effect == "ask":
        reason = Reason(
            "approval/unavailable",
            "This call needs a person's approval, and this gateway cannot ask for one yet.",
            "Have the operator grant it without approval, or do it by hand.",
        )
        return Refusal(200, reason, RPC_REFUSED, decision=replace(decision, reasons=(*decision.reasons, reason)))
    return Refusal(200, decision.reasons[0], RPC_REFUSED, decision=decision)
