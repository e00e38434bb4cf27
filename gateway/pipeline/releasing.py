"""The release of an approved call. The call claims its approval, and the recorded decision uses or ends the approval."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.approvals.model import Approval
from gateway.approvals.state import fact_of
from gateway.errors import ApprovalStoreError, HistoryError, JournalError
from gateway.pipeline.record import append_or_log
from gateway.pipeline.recurring import give_endorsement
from gateway.policy.document import timestamp

if TYPE_CHECKING:
    from gateway.model.decision import Decision
    from gateway.model.task import Task
    from gateway.model.wire import JsonObject
    from gateway.pipeline.context import Gateway

log = structlog.get_logger("gateway.releasing")


class Release(NamedTuple):
    """An approval for a call. `earlier` is the decision id of the previous round of an upstream's exchange."""

    approval: Approval
    earlier: str | None = None


def claim(gateway: Gateway, release: Release | None) -> Release | None:
    """Return the approval if this call has it now; `None` without one, or if an equal call was faster."""
    if release is None or gateway.people is None:
        return None
    return release if gateway.people.desk.claim(release.approval.id, release.earlier) else None


def describe_approval(release: Release | None) -> JsonObject | None:
    """Return the approval as the policy reads it."""
    if release is None or release.approval.granted is None:
        return None
    return fact_of(release.approval, timestamp(release.approval.granted))


def give_back(gateway: Gateway, release: Release | None) -> None:
    """Let another call have an approval: this one was not decided, or not recorded."""
    if release is not None and gateway.people is not None:
        gateway.people.desk.give_back(release.approval.id, release.earlier)


async def settle_release(
    gateway: Gateway, decision_id: str, task: Task, decision: Decision, release: Release | None
) -> None:
    """Use an approval after the record has the decision of its call, or end it if the policy does not let the call pass."""
    if release is None or gateway.people is None:
        return
    desk, approval = gateway.people.desk, release.approval
    try:
        if decision.allowed:
            is_first = approval.state == "granted"
            await desk.use(approval.id, decision_id)
            if is_first:
                await _endorse(gateway, task, approval)
                await give_endorsement(gateway, approval)
        elif decision.undecided:
            desk.give_back(approval.id, release.earlier)
        elif decision.effect == "ask":
            await desk.end(approval.id, "superseded", "further-reasons")
        else:
            await desk.end(approval.id, "void", decision.reasons[0].code)
    except (ApprovalStoreError, JournalError) as error:
        # The journal has the use of the approval, so a restart cannot use it again.
        log.exception("approval.unsaved", id=approval.id, problem=error.message)


async def _endorse(gateway: Gateway, task: Task, approval: Approval) -> None:
    """Note the use of an approval in the task's history, with the values and limits of its scope."""
    question, scopes = approval.question, approval.scopes
    values = frozenset(question.values) if "destination" in scopes else frozenset[int]()
    limits: dict[str, int] = {}
    if "limit" in scopes:
        for reason in question.reasons:
            limits.update(reason.limits)
    try:
        entry = gateway.history.endorse(task, values, limits)
    except HistoryError as error:
        log.warning("approval.not-endorsed", id=approval.id, problem=error.message)
        return
    await append_or_log(gateway, "task", entry)
