"""The release of an approved call. The call claims its approval, and the recorded decision uses or ends the approval."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec import Struct

from gateway.authority.approvals.desk import Desk
from gateway.authority.approvals.endorsements import Endorsements
from gateway.authority.approvals.model import Approval
from gateway.authority.approvals.state import fact_of
from gateway.calls.pipeline.record import append_or_log
from gateway.calls.pipeline.recurring import describe_endorsement, give_endorsement
from gateway.history import TaskLedger
from gateway.model.errors import HistoryError, JournalError, StoreError
from gateway.policy.document import timestamp
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gateway.authority.approvals.endorsement import Endorsement
    from gateway.model.decision import Decision
    from gateway.model.task import Task
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.releasing")


class Release(NamedTuple):
    """An approval for a call. `earlier` is the decision id of the previous round of an upstream's exchange."""

    approval: Approval
    earlier: str | None = None


class Releases(Struct, frozen=True):
    """The approvals and endorsements of people that let calls pass."""

    desk: Desk
    endorsements: Endorsements
    ledger: TaskLedger
    journal: Journal
    metrics: Metrics
    new_id: Callable[[], str]

    def claim(self, release: Release) -> Release | None:
        """Return the approval if this call has it now; `None` if an equal call was faster."""
        return release if self.desk.claim(release.approval.id, release.earlier) else None

    def give_back(self, release: Release) -> None:
        """Let another call have an approval: this call was not decided, or not recorded."""
        self.desk.give_back(release.approval.id, release.earlier)

    async def settle(self, decision_id: str, task: Task, decision: Decision, release: Release) -> None:
        """Use an approval after the record has the decision of its call, or end it if the policy does not let the call pass."""
        desk, approval = self.desk, release.approval
        try:
            if decision.allowed:
                is_first = approval.state == "granted"
                await desk.use(approval.id, decision_id)
                if is_first:
                    await self._endorse(task, approval)
                    await give_endorsement(self.endorsements, approval, self.new_id())
            elif decision.undecided:
                desk.give_back(approval.id, release.earlier)
            elif decision.effect == "ask":
                await desk.end(approval.id, "superseded", "further-reasons")
            else:
                await desk.end(approval.id, "void", decision.reasons[0].code)
        except (StoreError, JournalError) as error:
            # The journal has the use of the approval, so a restart cannot use it again.
            log.exception("approval.unsaved", id=approval.id, problem=error.message)

    async def _endorse(self, task: Task, approval: Approval) -> None:
        """Note the use of an approval in the task's history, with the values and limits of its scope."""
        question, scopes = approval.question, approval.scopes
        values = frozenset(question.values) if "destination" in scopes else frozenset[int]()
        limits: dict[str, int] = {}
        if "limit" in scopes:
            for reason in question.reasons:
                limits.update(reason.limits)
        try:
            entry = self.ledger.endorse(task, values, limits)
        except HistoryError as error:
            log.warning("approval.not-endorsed", id=approval.id, problem=error.message)
            return
        await append_or_log(self, "task", entry)

    def describe(
        self, release: Release | None, endorsement: Endorsement | None
    ) -> tuple[JsonObject | None, JsonObject | None]:
        """Return an approval and an endorsement as the policy reads them."""
        approved = None
        if release is not None and release.approval.granted is not None:
            approved = fact_of(release.approval, timestamp(release.approval.granted))
        return approved, None if endorsement is None else describe_endorsement(self.endorsements, endorsement)

    def is_in_force(self, endorsement: Endorsement) -> bool:
        """Return whether an endorsement is not revoked meanwhile, and its time is not over."""
        return self.endorsements.get(endorsement.id) is not None
