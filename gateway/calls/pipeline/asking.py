"""Questions to people about held calls and declared tasks: the description, the rule, and the digests that bind the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec import Struct, structs

from gateway.authority.approvals.digest import code_of, digest_call, digest_question, digest_session, digest_subject
from gateway.authority.approvals.lines import find_warnings, texts_of
from gateway.authority.approvals.model import Approval, Question, Requester, ShownReason
from gateway.authority.approvals.rules import merge_rules
from gateway.authority.approvals.state import reason_of
from gateway.base.json import canonical, strict
from gateway.base.letters import cut, spell_out
from gateway.calls.pipeline.credentials import CallerCredentials
from gateway.calls.pipeline.people import People
from gateway.calls.pipeline.releasing import add_recurrence
from gateway.calls.pipeline.waiting import may_be_elicited
from gateway.history import TaskLedger
from gateway.history.sources import ReadSource, Subject
from gateway.history.tasks.contract import read_declaration
from gateway.history.tasks.endpoints import TaskApproval, refuse_task
from gateway.model import reasons
from gateway.model.decision import Reason, Refusal
from gateway.model.error_codes import REFUSED
from gateway.model.task import TaskApprover
from gateway.record.journal.redaction import Spots, concealed_with, redact_value, together
from gateway.record.journal.writer import Journal
from gateway.wire.protocol.classify import meta_of_client
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.authority.approvals.model import Vote
    from gateway.calls.pipeline.context import RequestContext
    from gateway.calls.pipeline.decide import Ruling
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.inspection.credentials.known_spots import KnownSpots
    from gateway.model.caller import Principal
    from gateway.model.decision import Decision
    from gateway.model.facts import CredentialFact
    from gateway.model.wire import Json, JsonObject

# --- calls -----------------------------------------------------------------------------------------------


_CREDENTIALS: Final = 64
_SOURCES: Final = 8
"""Untrusted results that people are told of one value."""
_LATEST: Final = 3
"""Untrusted results that people are told of a task."""
_LISTED: Final = 256
"""Characters of the name of a target in lists and in the journal."""
_LONGEST: Final = 16 * 2**10
"""Characters of a goal, or of the address of a resource, in the description of a call."""
_IMPLICIT: Final = "implicit"
"""All implicit tasks of a caller in the digest of a call. The call is decided again with the history of the present one."""


def digest_prepared_call(prepared: PreparedCall, *, has_responses: bool = True, has_beside: bool = True) -> str:
    """Return the digest by which a retry finds the approval of its call; without input responses, the digest of all its rounds.

    Without the parts beside the arguments, it is the digest of all calls that differ in these alone.
    """
    handles = {
        handle: [seen.fingerprint for seen in found.sightings] for handle, found in prepared.handles.held.items()
    }
    params = prepared.message.params
    more: dict[str, Json] = {"responses": params.get("inputResponses") if has_responses else None}
    if has_beside:
        more["client"] = meta_of_client(params)
    task = prepared.task.id if prepared.task.kind == "declared" else _IMPLICIT
    call = prepared.call if has_beside else structs.replace(prepared.call, beside={})
    return digest_call(prepared.request.principal.key, task, call, handles, more)


class Questions(Struct, frozen=True):
    """The stage that puts held calls to people."""

    people: People
    known: CallerCredentials
    ledger: TaskLedger
    spots: Spots
    journal: Journal
    new_id: Callable[[], str]

    async def ask_people(self, context: RequestContext, prepared: PreparedCall, ruling: Ruling) -> Approval | Refusal:
        """Put a held call to people, or refuse it with too many questions.

        Raises `JournalError` and `StoreError`.
        """
        known = self.known.find_known(prepared.request.principal.job, prepared.task, ruling.content.sightings)
        description = self._describe(prepared, ruling, known)
        question = self._build_question(context, prepared, ruling)
        shown = cast("Mapping[str, Any]", description["arguments"]).get("value")
        question = add_recurrence(question, prepared, ruling, self.people.endorsements, shown)
        question = structs.replace(question, target=self._conceal(known, prepared.call.target.id))
        asker = question.requester
        named = [question.target, asker.id, asker.user, asker.user_name, asker.user_mail]
        warnings = find_warnings(texts_of([description, *named]))
        question = structs.replace(question, warnings=warnings)
        question = structs.replace(question, shown=digest_question(question, description))
        approval = await self.people.desk.ask(question, description)
        return _refuse(ruling, approval) if isinstance(approval, Reason) else approval

    def _conceal(self, known: KnownSpots | None, text: str) -> str:
        """Return a caller's word without credentials, such as the address of a resource: the journal and lists repeat it."""
        return cut(spell_out(self._redact(known, text)), _LISTED)

    def _redact(self, known: KnownSpots | None, text: str) -> str:
        """Return a caller's word without credentials. A part that is left out is counted."""
        spots = self.spots if known is None else together(self.spots, known)
        return cut(concealed_with(spots, text, 2 * _LONGEST), _LONGEST)

    def _build_question(self, context: RequestContext, prepared: PreparedCall, ruling: Ruling) -> Question:
        decision, now = ruling.decision, self.people.desk.now()
        rule = merge_rules(decision.obligations, seconds=self.people.desk.times.pending)
        ungrounded = ruling.facts.ungrounded or ()
        values = {digest for pointer in ungrounded for digest in ruling.content.authority.get(pointer, ())}
        return Question(
            id=self.new_id(),
            call=digest_prepared_call(prepared),
            operation=digest_prepared_call(prepared, has_responses=False),
            act=digest_prepared_call(prepared, has_beside=False),
            subject=digest_subject(prepared.call.target),
            shown="",
            decision=context.id,
            task=prepared.task.id,
            target="",
            requester=_describe_requester(
                prepared.request.principal,
                _find_session(prepared),
                () if prepared.task.parent is None else prepared.task.parent.agents,
            ),
            rule=rule,
            reasons=_list_reasons(prepared, decision),
            asked=now,
            expires=now + rule.seconds,
            policy=(decision.policy.name, decision.policy.revision),
            values=tuple(sorted(values)),
            outlives_task=prepared.task.kind == "implicit",
            sort=prepared.call.target.type,
            tree="" if prepared.task.parent is None else prepared.task.parent.root,
        )

    def _describe(self, prepared: PreparedCall, ruling: Ruling, known: KnownSpots | None) -> JsonObject:
        """Return the description of a call for people: without credentials, and with each part's source told apart."""
        call, target, facts = prepared.call, prepared.call.target, ruling.facts
        shown = self.people.describe(call, facts, known, prepared.exposed)
        responses, beside = prepared.message.params.get("inputResponses"), call.beside
        spots, key = self.spots, self.journal.fingerprint_key
        labels = target.labels
        return {
            "action": call.action,
            "target": self._redact(known, target.id),
            "audience": target.audience,
            "labels": {
                "effect": labels.effect.value,
                "egress": labels.egress,
                "sensitivity": labels.sensitivity.value,
                "trust": target.trust,
                "environment": target.environment,
                "tenant": target.tenant,
                "pin": None if target.pin is None else target.pin.value,
            },
            "arguments": shown,
            "responses": {"value": redact_value(responses, key=key, spots=spots, known=known)} if responses else None,
            "beside": {"value": redact_value(beside, key=key, spots=spots, known=known)} if beside else None,
            "credentials": [_describe_credential(fact) for fact in (facts.credentials or ())[:_CREDENTIALS]],
            "ungrounded": sorted(facts.ungrounded or ()),
            "sources": self._describe_sources(prepared, ruling, known),
            "latest": [
                self._describe_source(one, known) for one in self.ledger.find_latest_reads(prepared.task, _LATEST)
            ],
            "grounded": sorted(ruling.content.grounded),
            "roles": {pointer: role.value for pointer, role in labels.roles.items()},
            "task": {"id": prepared.task.id, "kind": prepared.task.kind, "risk": prepared.task.risk},
            "declared_kind": prepared.task.declared_kind,
            "goal": None if prepared.task.goal is None else self._redact(known, prepared.task.goal),
            "client": None
            if prepared.message.client_name is None
            else self._redact(known, prepared.message.client_name),
        }

    def _describe_sources(self, prepared: PreparedCall, ruling: Ruling, known: KnownSpots | None) -> JsonObject:
        """Return the untrusted results that the values of authority came from, by the pointer of the argument."""
        authority, ungrounded = ruling.content.authority, ruling.facts.ungrounded or ()
        pointers = {*ungrounded, *(pointer for pointer in authority if pointer not in ruling.content.grounded)}
        found = {
            pointer: self.ledger.find_sources(prepared.task, authority.get(pointer, frozenset()))
            for pointer in sorted(pointers)
        }
        return {
            pointer: [self._describe_source(one, known) for one in sources[:_SOURCES]]
            for pointer, sources in found.items()
            if sources
        }

    def _describe_source(self, source: ReadSource, known: KnownSpots | None) -> JsonObject:
        subject = source.subject
        shown = (
            None if subject is None else Subject(*(self._redact(known, text) for text in (subject.name, subject.text)))
        )
        return msgspec.to_builtins(structs.replace(source, subject=shown))


def refuse_without_people(ruling: Ruling) -> Refusal:
    """Refuse a call that needs a person, at a gateway without a desk."""
    return _refuse(ruling, _UNAVAILABLE)


def _refuse(ruling: Ruling, reason: Reason) -> Refusal:
    decision = structs.replace(ruling.decision, reasons=(*ruling.decision.reasons, reason))
    return Refusal(200, reason, REFUSED, decision=decision)


def _list_reasons(prepared: PreparedCall, decision: Decision) -> tuple[ShownReason, ...]:
    """Return the reasons for people. A message of a rule may repeat a text of the call."""
    said = {
        text for text in texts_of([prepared.call.arguments, prepared.call.beside, prepared.task.goal]) if len(text) > 1
    }
    return tuple(
        ShownReason(
            item.code,
            item.message,
            item.remedy,
            item.facts,
            dict(item.limits),
            is_general=not any(text in item.message for text in said),
        )
        for item in decision.reasons
    )


def _find_session(prepared: PreparedCall) -> str:
    """Return the digest of the session that hears of the end of its question; empty for other clients."""
    request = prepared.request
    if request.session is None or not may_be_elicited(request):
        return ""
    return digest_session(prepared.call.target.upstream, request.principal.key, request.session)


def _describe_requester(principal: Principal, session: str = "", above: Iterable[str] = ()) -> Requester:
    """Return the waiting caller. `above` are the agents of the tasks above."""
    user = principal.user
    return Requester(
        principal.key,
        principal.id,
        principal.issuer,
        None if user is None else user.id,
        (*(actor.id for actor in principal.delegation), *above),
        session,
        user_name=None if user is None else principal.display_name,
        user_mail=None if user is None else principal.mail,
    )


def _describe_credential(fact: CredentialFact) -> dict[str, Any]:
    return {
        "pointer": spell_out(fact.pointer),
        "detector": fact.detector,
        "fingerprint": fact.fingerprint,
        "origin": fact.origin.kind,
        "audience": fact.origin.audience,
    }


_UNAVAILABLE: Final = reasons.APPROVAL_UNAVAILABLE.reason()


# --- declared tasks --------------------------------------------------------------------------------------


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
            return refuse_task(_UNAVAILABLE_FOR_TASKS, 409)
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
        return await _claim_or_tell(people, principal, approval, decision)

    async def settle_task(self, approval: TaskApproval | None, task_id: str | None) -> None:
        """Use a claimed approval after its task was opened; give it back if there is no such task. Raises `StoreError`."""
        if approval is None or self.people is None:
            return
        if task_id is None:
            self.people.desk.give_back(approval.id, approval.request)
        else:
            await self.people.desk.use(approval.id, task_id)

    def _describe(self, principal: Principal, document: Json) -> JsonObject:
        """Return the declaration for people, without credentials."""
        known = self.known.find_known(principal.job)
        value = redact_value(document, key=self.journal.fingerprint_key, spots=self.spots, known=known)
        shown: dict[str, Json] = {"mode": "digest"} if value is None else {"mode": "full", "value": value}
        goal = cast("Mapping[str, Json]", value).get("goal") if isinstance(value, dict) else None
        return {"target": _TARGET, "arguments": shown, "goal": goal if isinstance(goal, str) else None}


async def _claim_or_tell(
    people: People, principal: Principal, approval: Approval | Reason, decision: str
) -> TaskApproval | Reply:
    """Wait for the answer, and return the claimed approval or the answer to the caller."""
    if isinstance(approval, Reason):
        return refuse_task(approval, 429)
    if approval.state == "pending":
        approval = await _wait(people, principal, approval)
    if approval.state == "granted" and await people.desk.claim(approval.id, decision):
        return TaskApproval(approval.id, decision, tuple(map(_approver, approval.yes)))
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
    return Question(
        id=identifier,
        call=call,
        operation=call,
        subject="",
        shown="",
        decision="",
        task="",
        target=_TARGET,
        requester=_describe_requester(principal),
        rule=rule,
        reasons=(ShownReason(reasons.APPROVAL_TASK.code, reasons.APPROVAL_TASK.message, is_general=True),),
        asked=now,
        expires=now + rule.seconds,
        sort="task",
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


_UNAVAILABLE_FOR_TASKS: Final = reasons.APPROVAL_UNAVAILABLE_TASK.reason()
