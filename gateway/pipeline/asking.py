"""A question to people about a held call: its description, its rule, and the digests that bind the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import structs

from gateway.approvals.digest import digest_call, digest_question, digest_session, digest_subject
from gateway.approvals.model import Approval, Question, Requester, ShownReason
from gateway.approvals.rules import merge_rules
from gateway.journal.redaction import concealed_with, redacted, together
from gateway.model.decision import Reason, Refusal
from gateway.pipeline.known_credentials import known_to
from gateway.pipeline.recurring import with_recurrence
from gateway.pipeline.waiting import may_be_elicited
from gateway.protocol.error_codes import REFUSED
from gateway.protocol.parameters import params_beside
from gateway.protocol.replies import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.credentials.known_spots import KnownSpots
    from gateway.model.facts import CredentialFact
    from gateway.model.wire import JsonObject
    from gateway.pipeline.context import Gateway, Visit
    from gateway.pipeline.decide import Ruling
    from gateway.pipeline.people import People
    from gateway.pipeline.prepare import Case

_CREDENTIALS: Final = 64
_IMPLICIT: Final = "implicit"
"""All implicit tasks of a caller in the digest of a call. The call is decided again with the history of the present one."""


def digest_case(case: Case, *, has_responses: bool = True) -> str:
    """Return the digest by which a retry finds the approval of its call; without input responses, the digest of all its rounds."""
    handles = {handle: [seen.fingerprint for seen in found.sightings] for handle, found in case.presented.held.items()}
    responses = case.message.params.get("inputResponses") if has_responses else None
    beside: JsonObject = {"responses": responses, "params": params_beside(case.message.params)}
    task = case.task.id if case.task.kind == "declared" else _IMPLICIT
    return digest_call(case.request.principal.key, task, case.call, handles, beside)


async def ask_people(gateway: Gateway, visit: Visit, case: Case, ruling: Ruling) -> Approval | Refusal:
    """Put a held call to people, or refuse it: without a desk, or with too many questions.

    Raises `JournalError` and `ApprovalStoreError`.
    """
    people = gateway.people
    if people is None:
        return _refuse(ruling, _UNAVAILABLE)
    known = known_to(gateway, case.request.principal.key, case.task, ruling.content.sightings)
    description = _describe(gateway, people, case, ruling, known)
    question = _question(gateway, visit, people, case, ruling)
    shown = cast("Mapping[str, Any]", description["arguments"]).get("value")
    question = with_recurrence(question, case, ruling, people.endorsements, shown)
    question = structs.replace(question, target=_conceal(gateway, known, case.call.target.id))
    question = structs.replace(question, shown=digest_question(question, description))
    approval = await people.desk.ask(question, description)
    return _refuse(ruling, approval) if isinstance(approval, Reason) else approval


def _conceal(gateway: Gateway, known: KnownSpots | None, text: str) -> str:
    """Return a caller's word without credentials, such as the address of a resource: the journal and lists repeat it."""
    spots = gateway.inspector.spots
    return printable(concealed_with(spots if known is None else together(spots, known), text))


def _refuse(ruling: Ruling, reason: Reason) -> Refusal:
    decision = structs.replace(ruling.decision, reasons=(*ruling.decision.reasons, reason))
    return Refusal(200, reason, REFUSED, decision=decision)


def _question(gateway: Gateway, visit: Visit, people: People, case: Case, ruling: Ruling) -> Question:
    decision, now = ruling.decision, people.desk.now()
    rule = merge_rules(decision.obligations, seconds=people.desk.times.pending)
    ungrounded = ruling.facts.ungrounded or ()
    values = {digest for pointer in ungrounded for digest in ruling.content.authority.get(pointer, ())}
    return Question(
        id=gateway.new_id(),
        call=digest_case(case),
        operation=digest_case(case, has_responses=False),
        subject=digest_subject(case.call.target),
        shown="",
        decision=visit.id,
        task=case.task.id,
        target="",
        requester=_requester(case),
        rule=rule,
        reasons=tuple(
            ShownReason(item.code, item.message, item.remedy, item.facts, dict(item.limits))
            for item in decision.reasons
        ),
        asked=now,
        expires=now + rule.seconds,
        policy=(decision.policy.name, decision.policy.revision),
        values=tuple(sorted(values)),
        outlives_task=case.task.kind == "implicit",
        sort=case.call.target.type,
    )


def _requester(case: Case) -> Requester:
    request, principal = case.request, case.request.principal
    is_elicited = request.session is not None and may_be_elicited(request)
    return Requester(
        principal.key,
        principal.id,
        principal.issuer,
        None if principal.user is None else principal.user.id,
        tuple(actor.id for actor in principal.delegation),
        digest_session(case.call.target.upstream, principal.key, request.session or "") if is_elicited else "",
    )


def _describe(gateway: Gateway, people: People, case: Case, ruling: Ruling, known: KnownSpots | None) -> JsonObject:
    """Return the description of a call for people: without credentials, and with each part's source told apart."""
    call, target, facts = case.call, case.call.target, ruling.facts
    shown = people.describe(call, facts, known, case.exposed)
    responses, beside = case.message.params.get("inputResponses"), params_beside(case.message.params)
    spots, key = gateway.inspector.spots, gateway.journal.fingerprint_key
    labels = target.labels
    return {
        "action": call.action,
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
        "responses": responses and {"value": redacted(responses, key=key, spots=spots, known=known)},
        "beside": {"value": redacted(beside, key=key, spots=spots, known=known)} if beside else None,
        "credentials": [_describe_credential(fact) for fact in (facts.credentials or ())[:_CREDENTIALS]],
        "ungrounded": {
            pointer: gateway.history.sources(case.task, ruling.content.authority.get(pointer, frozenset()))
            for pointer in facts.ungrounded or ()
        },
        "task": {"id": case.task.id, "kind": case.task.kind, "risk": case.task.risk},
        "declared_kind": case.task.declared_kind,
        "client": None if case.message.client_name is None else _conceal(gateway, known, case.message.client_name),
    }


def _describe_credential(fact: CredentialFact) -> dict[str, Any]:
    return {
        "pointer": printable(fact.sighting.pointer),
        "detector": fact.sighting.detector,
        "fingerprint": fact.sighting.fingerprint,
        "origin": fact.origin,
        "audience": fact.origin_audience,
    }


_UNAVAILABLE: Final = Reason(
    "approval/unavailable",
    "This call needs a person's approval, and this gateway has nobody to ask.",
    "Have the operator configure `approvals`, or grant the call without approval.",
)
