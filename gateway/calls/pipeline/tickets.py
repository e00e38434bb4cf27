"""The gateway's own `requestState` in a request of a waiting caller: taken out before anything else reads the message.

The gateway never forwards its own state, and takes no upstream's state for its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from gateway.authority.approvals.seal import PREFIX, StateTicket, TicketSeal
from gateway.calls.pipeline.admit import refuse_foreign
from gateway.model.wire import Disposition, Era, Message
from gateway.wire.protocol.classify import state_of

if TYPE_CHECKING:
    from gateway.model.caller import Principal
    from gateway.model.decision import Refusal
    from gateway.model.wire import Json


class Resumed(Struct, frozen=True):
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
) -> Resumed | Refusal | None:
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
        refuse_foreign(message) if ticket is None else Resumed(_restore(message, ticket), ticket, _is_declined(message))
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
