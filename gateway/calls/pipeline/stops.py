"""Stops on the way of requests: the refusal of stopped requests, and the end of all that a stop covers when it begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from gateway.authority.stops.model import Parties, StopRegister, refuse
from gateway.authority.stops.switch import StopEffects
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.authority.approvals.desk import Desk
    from gateway.authority.approvals.model import Question
    from gateway.authority.lending import Authority
    from gateway.authority.stops.model import Selection, Stop
    from gateway.authority.stops.switch import StopSwitch
    from gateway.calls.response.open_answers import OpenAnswers
    from gateway.model.caller import Principal
    from gateway.model.decision import Refusal

log = structlog.get_logger("gateway.stops")


@dataclass(frozen=True, slots=True)
class Stops:
    """The stops in force, and the switch of operators; `None` where nobody operates the gateway."""

    register: StopRegister = field(default_factory=StopRegister)
    switch: StopSwitch | None = None

    def refuse(self, principal: Principal, upstream: str | None = None, task: str | None = None) -> Refusal | None:
        """Return the refusal of a stopped request, `None` if it may go on."""
        stop = self.register.find(principal, upstream, task)
        return None if stop is None else refuse(stop)


class StopEnder:
    """Ends what a new stop covers. `authority` is `None` without leased credentials, `desk` without people.

    `end_processes` ends the processes whose every call a stop covers, and returns their number.
    """

    def __init__(
        self,
        answers: OpenAnswers,
        authority: Authority | None,
        desk: Desk | None,
        end_processes: Callable[[Selection], Awaitable[int]],
    ) -> None:
        self._answers = answers
        self._authority = authority
        self._desk = desk
        self._end_processes = end_processes

    async def end(self, stop: Stop) -> StopEffects:
        """End leases, answers under way, processes and open questions. Leases and answers end in this turn of the event loop."""
        chosen = stop.chosen
        # The end of a lease cuts its answers too. Their callers hear of the stop, so the answers come first.
        answers = self._answers.cut(lambda each: chosen.covers(Parties.of(each.principal), each.upstream, each.task))
        leases = 0 if self._authority is None else _end_leases(self._authority, chosen)
        questions = 0 if self._desk is None else await _withdraw_questions(self._desk, chosen)
        return StopEffects(leases, answers, questions, await self._end_processes(chosen))


def _end_leases(authority: Authority, chosen: Selection) -> int:
    """End the leases under a selection. Leases without grounds are of the gateway's own listings."""
    leases = authority.leases
    permitted = [
        lease
        for lease, grounds in leases.permitted()
        if chosen.covers(Parties.of(grounds.principal), lease.upstream, lease.task)
    ]
    others = Parties((), ("", ""))
    ended = leases.end(permitted, "operator")
    return ended + leases.end_all(lambda lease: chosen.covers(others, lease.upstream, lease.task), "operator")


async def _withdraw_questions(desk: Desk, chosen: Selection) -> int:
    """Withdraw the open questions, and the unused approvals, of calls under a selection. A held call hears of it at once."""
    withdrawn = 0
    for approval in desk.list_open():
        question = approval.question
        if not chosen.covers(_parties_of(question), question.target.partition("/")[0], question.task):
            continue
        try:
            withdrawn += await desk.withdraw(approval.id, "stopped")
        except GatewayError as error:
            log.error("stop.question-left", id=approval.id, problem=error.message)  # noqa: TRY400 - the message says it all
    return withdrawn


def _parties_of(question: Question) -> Parties:
    """Return the names behind a question. It has no issuers of delegates, so the caller's own stands for these."""
    asker = question.requester
    agents = tuple((name, asker.issuer) for name in (asker.id, *asker.delegates))
    return Parties(agents, (asker.user or asker.id, asker.issuer))
