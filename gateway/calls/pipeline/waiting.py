"""Calls that wait for a person: the ticket in a request of a waiting caller, and the answers that ask the caller to come again.

The client waits, not the gateway: each request is held for a bounded time. MCP 2026-07-28 has the result `input_required` for that,
and 2025-11-25 an error with the address of the question. All clients understand a result that their model can read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct, structs

from gateway.authority.approvals.digest import code_of
from gateway.authority.approvals.seal import PREFIX, StateTicket, TicketSeal
from gateway.authority.approvals.state import reason_of
from gateway.calls.pipeline.admit import refuse_foreign
from gateway.model.decision import Decision, PolicyRevision, Reason, Refusal
from gateway.model.error_codes import REFUSED, URL_ELICITATION_REQUIRED
from gateway.model.reasons import APPROVAL_PENDING, APPROVAL_UNREACHABLE
from gateway.model.wire import Disposition, Era, Message
from gateway.wire.protocol.classify import opens_urls, state_of
from gateway.wire.protocol.headers import value_of
from gateway.wire.protocol.methods import names_where
from gateway.wire.protocol.replies import Reply

if TYPE_CHECKING:
    from gateway.authority.approvals.model import Approval
    from gateway.calls.pipeline.people import People
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.model.caller import Principal
    from gateway.model.wire import Json, JsonObject, UpstreamRequest

# --- tickets ---------------------------------------------------------------------------------------------


class ResumedRequest(Struct, frozen=True):
    """A request of a waiting caller. `message` is the message as it would be forwarded. `is_declined`: the client's person declined
    the gateway's question."""

    message: Message
    ticket: StateTicket
    is_declined: bool


RESPONSE_KEY: Final = "io.opagate/approval"
"""Name of the gateway's question to people in `inputRequests`."""
CONNECTION_KEY: Final = "io.opagate/connection"
"""Name there of the gateway's request to connect."""


def take_out_ticket(
    seal: TicketSeal | None, principal: Principal, message: Message | None, now: float
) -> ResumedRequest | Refusal | None:
    """Return a message without the gateway's own state, and the ticket that was in it; `None` for any other message.

    The upstream's own state and responses, which the first request had, are put back. Refuses a state that this gateway did not give
    to this caller. `seal` is `None` if no call waits for people or for its user.
    """
    if message is None or "requestState" not in message.params:
        return None
    state = state_of(message)
    if state is None or not state.startswith(PREFIX):
        return None
    is_call = message.disposition is Disposition.DECIDE and message.era is Era.STATELESS
    ticket = seal.open(state, principal.key, now) if seal is not None and is_call else None
    return (
        refuse_foreign(message)
        if ticket is None
        else ResumedRequest(_restore(message, ticket), ticket, _is_declined(message))
    )


def _is_declined(message: Message) -> bool:
    """Return whether the client's person declined the gateway's question. No other answer of a client counts.

    `cancel` is no choice of a person: agents without one answer so by themselves (2026-07-28, client/elicitation, "Response Actions").
    """
    responses = message.params.get("inputResponses")
    if not isinstance(responses, dict):
        return False
    given = [responses.get(key) for key in (RESPONSE_KEY, CONNECTION_KEY)]
    return any(isinstance(own, dict) and own.get("action") == "decline" for own in given)


def _restore(message: Message, ticket: StateTicket) -> Message:
    kept = {name: value for name, value in message.params.items() if name not in {"requestState", "inputResponses"}}
    params: dict[str, Json] = kept
    if ticket.state is not None:
        params["requestState"] = ticket.state
    if ticket.responses is not None:
        params["inputResponses"] = ticket.responses
    document: dict[str, Any] = {"jsonrpc": "2.0", "id": message.id, "method": message.method, "params": params}
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    return structs.replace(message, body=body, params=params)


# --- answers ---------------------------------------------------------------------------------------------


ROUNDS: Final = 9
"""Answers that ask a client to come again. SDKs raise an error at the eleventh request of a call."""
_ELICITATION_VERSION: Final = "2025-11-25"
"""The only revision with the error `URLElicitationRequiredError`."""
_RESUMABLE: Final = names_where(lambda row: row.may_wait)


def refuse_waiting(people: People, approval: Approval) -> Refusal:
    """Return the readable refusal of a call whose question is open, refused or expired."""
    question = approval.question
    reasons = tuple(
        Reason(item.code, item.message, item.remedy, facts=item.facts, limits=item.limits) for item in question.reasons
    )
    own = APPROVAL_UNREACHABLE.reason() if people.desk.is_unreached(approval.id) else reason_of(approval)
    if own.code == APPROVAL_PENDING.code:
        told = f"{own.message} Its code is {code_of(question)}, and its page is {_page(people, approval)}."
        own = Reason(own.code, told, own.remedy)
    policy = PolicyRevision(*question.policy)
    return Refusal(200, own, REFUSED, decision=Decision("ask", (*reasons, own), (), policy))


def may_be_elicited(request: UpstreamRequest) -> bool:
    """Return whether the client takes the address of a question as an error: it has a session of 2025-11-25 and opens URLs.

    2025-11-25, client/elicitation, "URL Mode With Elicitation Required Error". Other revisions lack the error.
    """
    message = request.message
    return (
        request.opens_urls
        and message is not None
        and message.era is Era.HANDSHAKE
        and message.method in _RESUMABLE
        and value_of(request.headers, b"mcp-protocol-version") == _ELICITATION_VERSION
    )


def refuse_with_address(people: People, approval: Approval) -> Refusal:
    """Return the error that gives a client of 2025-11-25 the address of a question."""
    params = {**_elicitation_params(people, approval), "elicitationId": approval.id}
    refusal = refuse_waiting(people, approval)
    return dataclasses.replace(refusal, rpc_code=URL_ELICITATION_REQUIRED, data={"elicitations": [params]})


def may_be_told_to_wait(message: Message) -> bool:
    """Return whether the client comes again by itself: the newest protocol has a result for that."""
    return message.era is Era.STATELESS and message.method in _RESUMABLE


def tell_to_wait(
    people: People, prepared: PreparedCall, approval: Approval, resumed: ResumedRequest | None
) -> Reply | None:
    """Return the result `input_required`; `None` if the client cannot take another.

    A client that opens addresses gets the address of the question once: it would ask its user each time. The map of requests is
    never left out. The SDK for Go 1.8.0 takes a result without it as a complete and empty one.
    """
    message, number = prepared.message, 1 if resumed is None else resumed.ticket.round + 1
    if not may_be_told_to_wait(message) or number > ROUNDS:
        return None
    question = approval.question
    own = StateTicket(
        approval.id,
        question.call,
        prepared.request.principal.key,
        number,
        approval.until + people.desk.times.grant,
        state_of(message),
        responses_of(message),
    )
    shows_address = _waits_for_no_person(resumed) and opens_urls(message)
    requests = {RESPONSE_KEY: _elicitation(people, approval)} if shows_address else {}
    return ask_for_input(message, people.tickets.seal(own), requests)


def responses_of(message: Message) -> dict[str, Any] | None:
    """Return the answers of a request to earlier questions of its upstream."""
    responses = message.params.get("inputResponses")
    return dict(responses) if isinstance(responses, Mapping) else None


def ask_for_input(message: Message, state: str, requests: JsonObject) -> Reply:
    """Return the result `input_required` of a request."""
    result: dict[str, Any] = {"resultType": "input_required", "requestState": state, "inputRequests": requests}
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": message.id, "result": result})
    return Reply(200, ((b"content-type", b"application/json"),), body)


def _waits_for_no_person(resumed: ResumedRequest | None) -> bool:
    """Return whether the client was not asked to wait for people: it called for the first time, or waited for a connection."""
    return resumed is None or resumed.ticket.connection is not None


def is_shown_address(prepared: PreparedCall, approval: Approval, resumed: ResumedRequest | None, request: str) -> bool:
    """Return whether this answer gives the client the address of the question, and so comes at once.

    `request` is the decision id of the request. A session gets the address with the answer to the call that made the question.
    """
    if may_be_told_to_wait(prepared.message):
        return _waits_for_no_person(resumed) and opens_urls(prepared.message)
    return approval.question.decision == request and may_be_elicited(prepared.request)


def _elicitation(people: People, approval: Approval) -> JsonObject:
    return {"method": "elicitation/create", "params": _elicitation_params(people, approval)}


def _elicitation_params(people: People, approval: Approval) -> JsonObject:
    text = f"A person has to approve this call. The code of the question is {code_of(approval.question)}."
    return {"mode": "url", "url": _page(people, approval), "message": text}


def _page(people: People, approval: Approval) -> str:
    """Return the address of the page of a question."""
    return f"{people.page_url}/{approval.id}"
