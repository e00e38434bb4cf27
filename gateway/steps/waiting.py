"""Answers to a caller whose call waits for a person: asked to come again, or told the state of the question.

The client waits, not the gateway: each request is held for a bounded time. MCP 2026-07-28 has the result `input_required` for that.
Other clients get a result that their model can read, and repeat the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.approvals.digest import code_of
from gateway.approvals.seal import Ticket
from gateway.approvals.state import reason_of
from gateway.model.decision import Decision, PolicyRevision, Reason, Refusal
from gateway.model.wire import Era
from gateway.protocol.classify import client_capabilities, state_of
from gateway.protocol.error_codes import REFUSED
from gateway.protocol.replies import Reply
from gateway.steps.tickets import RESPONSE_KEY

if TYPE_CHECKING:
    from gateway.approvals.model import Approval
    from gateway.model.wire import JsonObject, Message
    from gateway.steps.case import Case
    from gateway.steps.people import People

_ROUNDS: Final = 9
"""Answers that ask a client to come again. SDKs raise an error at the eleventh request of a call."""
_RESUMABLE: Final = frozenset({"tools/call", "prompts/get", "resources/read"})


def refuse_waiting(approval: Approval) -> Refusal:
    """Return the readable refusal of a call whose question is open, refused or expired."""
    question = approval.question
    reasons = tuple(
        Reason(item.code, item.message, item.remedy, facts=item.facts, limits=item.limits) for item in question.reasons
    )
    own = reason_of(approval)
    if approval.state == "pending":
        own = Reason(own.code, f"{own.message} Its code is {code_of(question)}.", own.remedy)
    policy = PolicyRevision(*question.policy)
    return Refusal(200, own, REFUSED, decision=Decision("ask", (*reasons, own), (), policy))


def may_be_told_to_wait(message: Message) -> bool:
    """Return whether the client comes again by itself: the newest protocol has a result for that."""
    return message.era is Era.STATELESS and message.method in _RESUMABLE


def tell_to_wait(people: People, case: Case, approval: Approval, ticket: Ticket | None) -> Reply | None:
    """Return the result `input_required`; `None` if the client cannot take another.

    A client that opens addresses gets the address of the question once: it would ask its user each time.
    """
    message, number = case.message, 1 if ticket is None else ticket.round + 1
    if not may_be_told_to_wait(message) or number > _ROUNDS:
        return None
    question = approval.question
    responses = message.params.get("inputResponses")
    own = Ticket(
        approval.id,
        question.call,
        case.request.principal.key,
        number,
        approval.until + people.desk.times.grant,
        state_of(message),
        dict(responses) if isinstance(responses, Mapping) else None,
    )
    result: dict[str, Any] = {"resultType": "input_required", "requestState": people.tickets.seal(own)}
    if ticket is None and opens_addresses(message):
        result["inputRequests"] = {RESPONSE_KEY: _elicitation(people, approval)}
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": message.id, "result": result})
    return Reply(200, ((b"content-type", b"application/json"),), body)


def opens_addresses(message: Message) -> bool:
    """Return whether the client declares that it opens addresses for its user (elicitation in the mode `url`)."""
    found: Any = client_capabilities(message).get("elicitation")
    return isinstance(found, Mapping) and "url" in found


def _elicitation(people: People, approval: Approval) -> JsonObject:
    text = f"A person has to approve this call. The code of the question is {code_of(approval.question)}."
    params = {"mode": "url", "url": f"{people.page_url}/{approval.id}", "message": text}
    return {"method": "elicitation/create", "params": params}
