"""Effects that happen once: the claim of a call before its decision, and the words for a caller that tries again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct, structs

from gateway.authority.effects import Claim, EffectRegister
from gateway.base.control.operations import Operation
from gateway.calls.pipeline.completion import run_for_result
from gateway.calls.pipeline.record import append_or_log
from gateway.history import TaskLedger
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.reasons import policy_codes
from gateway.policy.document import timestamp
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.base.control.operations import Control, OperatorName
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.model.call import RepeatedEffect
    from gateway.model.decision import Decision
    from gateway.model.target import Target
    from gateway.model.wire import JsonObject

LONGEST_REASON: Final = 500
_STATES: Final = {
    "open": "is still under way",
    "done": "was carried out",
    "unknown": "may have been carried out: its answer was lost",
}


class EffectStage(Struct, frozen=True):
    """The claims of calls, and what becomes of their effects."""

    register: EffectRegister
    ledger: TaskLedger
    journal: Journal
    metrics: Metrics

    async def claim(self, prepared: PreparedCall, call_id: str) -> Claim | None:
        """Claim the effect of a call before its decision. Raises `StoreError`."""
        principal, task = prepared.request.principal, prepared.task.id
        claim, left = await run_for_result(self.register.claim(principal, prepared.call, call_id, task))
        if left is not None:
            if claim is not None:
                await self.conclude(claim, passes=False)
            raise left
        return claim

    async def conclude(self, claim: Claim, *, passes: bool) -> None:
        """Give the effect of a refused call back, or take over an effect that may happen again. Raises `StoreError`."""
        _, left = await run_for_result(self.register.conclude(claim, passes=passes))
        if left is not None:
            raise left

    async def note_shown(self, prepared: PreparedCall, call_id: str, result: bytes) -> None:
        """Note the calls that the result of a confirming tool shows as done."""
        for effect in self.register.find_shown(prepared.request.principal, prepared.call, result):
            await self.confirm(effect.call, effect.task, "done", {"call": call_id})

    async def confirm(self, call: str, task: str, end: Literal["done", "failed"], by: JsonObject) -> bool:
        """Note and record what became of a call with an unknown outcome. Return whether there was such a call."""
        history = self.ledger.confirm(task, call, end)
        if not self.register.confirm(call, end) and history is None:
            return False
        await append_or_log(self, "confirmed", {"id": call, "task": task, "end": end, "by": by, **(history or {})})
        return True

    async def settle_by_person(self, order: OutcomeOrder, by: Mapping[str, str]) -> SettledOutcome | Reason:
        """Settle the unknown outcome of a call by a person's word. The journal has the person and the reason."""
        reason = order.reason.strip()
        if not 0 < len(reason) <= LONGEST_REASON:
            return reasons.STOP_REASON.reason(longest=LONGEST_REASON)
        await self.register.learn()
        task = self.register.find_task(order.id) or await self.ledger.find_unknown(order.id)
        if task is None or not await self.confirm(order.id, task, order.end, {**by, "reason": reason}):
            return reasons.OUTCOME_KNOWN.reason()
        return SettledOutcome(order.id, task, order.end)


# --- a person's word ---------------------------------------------------------------------------------


class OutcomeOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's word on a call of unknown outcome. `id` is its decision id."""

    id: str
    end: Literal["done", "failed"]
    reason: str = ""


class SettledOutcome(Struct, frozen=True):
    """A call whose outcome is known from now on."""

    id: str
    task: str
    end: Literal["done", "failed"]


SETTLE: Final = Operation(
    "calls/settle",
    "operator",
    "Settle the unknown outcome of a call.",
    SettledOutcome,
    "",
    OutcomeOrder,
    ("POST", "/api/calls/{id}/settle"),
)
OPERATIONS: Final = (SETTLE,)


def add_operations(control: Control, stage: EffectStage) -> None:
    """Add the operations of outcomes."""

    async def settle(asked: OutcomeOrder, by: OperatorName) -> SettledOutcome | Reason:
        return await stage.settle_by_person(asked, by.describe())

    control.add({SETTLE: settle})


# --- words -------------------------------------------------------------------------------------------


def tell_repeat(decision: Decision, repeats: RepeatedEffect | None, target: Target) -> Decision:
    """Return a decision whose reason says what became of the earlier call with the same effect, and how to find out more."""
    if repeats is None or decision.allowed:
        return decision
    told = tuple(
        _tell(reason, repeats, target) if reason.code == policy_codes.EFFECT_REPEATED else reason
        for reason in decision.reasons
    )
    return structs.replace(decision, reasons=told)


def _tell(reason: Reason, repeats: RepeatedEffect, target: Target) -> Reason:
    message = (
        f"{reason.message} The call {repeats.call} of {timestamp(repeats.at)}, with the same values for"
        f" {' and '.join(target.labels.effect_key)}, {_STATES[repeats.state]}."
    )
    shown_by = target.labels.confirmed_by
    if shown_by is None:
        return replace(reason, message=message)
    advice = f"Call {target.upstream}/{shown_by.tool} with the same {shown_by.argument.removeprefix('/')} to see it."
    return replace(reason, message=message, remedy=f"{advice} {reason.remedy}")
