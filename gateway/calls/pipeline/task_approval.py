"""The approval of a declared task as a whole: a person sees goal and contract, and the same declaration opens the task once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import msgspec
from msgspec import Struct, structs

from gateway.authority.approvals.digest import code_of, digest_question
from gateway.authority.approvals.lines import find_warnings, texts_of
from gateway.authority.approvals.model import Approval, Question, Requester, ShownReason
from gateway.authority.approvals.rules import merge_rules
from gateway.authority.approvals.state import reason_of
from gateway.base.json import canonical, strict
from gateway.history.tasks.contract import read_declaration
from gateway.history.tasks.endpoints import TaskApproval, refuse_task
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.task import TaskApprover
from gateway.record.journal.redaction import redact_value
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from gateway.authority.approvals.model import Vote
    from gateway.calls.pipeline.known_credentials import CallerCredentials
    from gateway.calls.pipeline.people import People
    from gateway.model.caller import Principal
    from gateway.model.wire import Json, JsonObject
    from gateway.record.journal.redaction import Spots
    from gateway.record.journal.writer import Journal

_TARGET: Final = "tasks"
_STATUS: Final = {"denied": 403, "expired": 410, "withdrawn": 410, "unreachable": 503}


class TaskApprovals(Struct, frozen=True):
    """The way of declared tasks to people. `people` is `None` at a gateway without a desk."""

    people: People | None
    known: CallerCredentials
    spots: Spots
    journal: Journal
    new_id: Callable[[], str]

    async def approve_task(self, decision: str, principal: Principal, body: bytes) -> TaskApproval | Reply | None:
        """Return the claimed approval of a declared task, or the answer to a waiting caller.

        Returns `None` for a declaration without a question to people, and for an unreadable declaration: its opening names the
        problem. Raises `JournalError` and `StoreError`.
        """
        declared = read_declaration(body)
        if isinstance(declared, Reason) or not declared.asks:
            return None
        people = self.people
        if people is None:
            return refuse_task(_UNAVAILABLE, 409)
        document = strict.read(body)
        assert not isinstance(document, strict.UnreadableJson)  # noqa: S101 - it was read above
        call = canonical.digest({"v": 1, "principal": principal.key, "task": document})
        approval = people.desk.find(call)
        if approval is None:
            description = self._describe(principal, document)
            question = structs.replace(_question(people, self.new_id(), principal, call), decision=decision)
            question = structs.replace(question, warnings=find_warnings(texts_of(description)))
            question = structs.replace(question, shown=digest_question(question, description))
            approval = await people.desk.ask(question, description)
        return await _claim_or_tell(people, principal, approval)

    async def settle_task(self, approval: TaskApproval | None, task_id: str | None) -> None:
        """Use a claimed approval after its task was opened; give it back if there is no such task. Raises `StoreError`."""
        if approval is None or self.people is None:
            return
        if task_id is None:
            self.people.desk.give_back(approval.id)
        else:
            await self.people.desk.use(approval.id, task_id)

    def _describe(self, principal: Principal, document: Json) -> JsonObject:
        """Return the declaration for people, without credentials."""
        known = self.known.find_known(principal.key)
        value = redact_value(document, key=self.journal.fingerprint_key, spots=self.spots, known=known)
        shown: dict[str, Json] = {"mode": "digest"} if value is None else {"mode": "full", "value": value}
        return {"target": _TARGET, "arguments": shown}


async def _claim_or_tell(people: People, principal: Principal, approval: Approval | Reason) -> TaskApproval | Reply:
    """Wait for the answer, and return the claimed approval or the answer to the caller."""
    if isinstance(approval, Reason):
        return refuse_task(approval, 429)
    if approval.state == "pending":
        approval = await _wait(people, principal, approval)
    if approval.state == "granted" and people.desk.claim(approval.id):
        return TaskApproval(approval.id, tuple(map(_approver, approval.yes)))
    people.desk.note_told(approval)
    if approval.state in _STATUS:
        return refuse_task(reason_of(approval), _STATUS[approval.state])
    if people.desk.is_unreached(approval.id):
        return refuse_task(reasons.APPROVAL_UNREACHABLE.reason(), _STATUS["unreachable"])
    return _tell_to_wait(people, approval)


def _approver(vote: Vote) -> TaskApprover:
    person = vote.person
    return TaskApprover(person.id, person.issuer, person.groups, person.assurance, vote.login_age)


async def _wait(people: People, principal: Principal, approval: Approval) -> Approval:
    with people.holds.enter(principal.key) as may_wait:
        if not may_wait:
            return approval
        return await people.desk.wait(approval.id, people.desk.times.hold) or approval


def _question(people: People, identifier: str, principal: Principal, call: str) -> Question:
    now, rule = people.desk.now(), merge_rules((), seconds=people.desk.times.pending)
    user = None if principal.user is None else principal.user.id
    delegates = tuple(actor.id for actor in principal.delegation)
    return Question(
        id=identifier,
        call=call,
        operation=call,
        subject="",
        shown="",
        decision="",
        task="",
        target=_TARGET,
        requester=Requester(principal.key, principal.id, principal.issuer, user, delegates),
        rule=rule,
        reasons=(ShownReason(reasons.APPROVAL_TASK.code, reasons.APPROVAL_TASK.message),),
        asked=now,
        expires=now + rule.seconds,
    )


def _tell_to_wait(people: People, approval: Approval) -> Reply:
    question = approval.question
    document = {
        "status": "waiting",
        "approval": {"id": approval.id, "code": code_of(question), "url": f"{people.page_url}/{approval.id}"},
        "remedy": "Send the same declaration again later: it opens the task once after a person has approved it.",
    }
    headers = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
    return Reply(202, headers, msgspec.json.encode(document))


def task_id_of(reply: Reply) -> str | None:
    """Return the id of the task that a reply says is open."""
    return cast("str", msgspec.json.decode(reply.body)["id"]) if reply.status == 201 else None


_UNAVAILABLE: Final = reasons.APPROVAL_UNAVAILABLE_TASK.reason()
