"""Calls that need a user's own connection: the user is sent to a link, and the same call passes once the connection is made.

MCP 2026-07-28 has URL elicitation in the result `input_required` for that, and 2025-11-25 an error with the address. All other
clients get a refusal with the link, which their model can read. The client waits: each request is held for a bounded time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.approvals.digest import digest_session
from gateway.authority.approvals.seal import StateTicket, TicketSeal
from gateway.authority.connections.model import owner_of
from gateway.authority.connections.office import ConnectionOffice
from gateway.calls.pipeline.people import CompletionNotices, Holds
from gateway.calls.pipeline.waiting import (
    CONNECTION_KEY,
    ROUNDS,
    ask_for_input,
    may_be_elicited,
    may_be_told_to_wait,
    responses_of,
)
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.error_codes import URL_ELICITATION_REQUIRED
from gateway.wire.protocol.classify import opens_urls, state_of

if TYPE_CHECKING:
    from gateway.authority.connections.model import ConnectionLink, ConnectionOwner
    from gateway.authority.lending import Authority
    from gateway.calls.pipeline.waiting import ResumedRequest
    from gateway.model.caller import Principal
    from gateway.model.wire import JsonObject, Message, UpstreamRequest
    from gateway.wire.protocol.replies import Reply


@dataclass(frozen=True, slots=True)
class UserConnections:
    """The way to users who have to connect. `page_url` is the address of a link without its id. `hold` is in seconds."""

    office: ConnectionOffice
    tickets: TicketSeal
    page_url: str
    hold: float
    notices: CompletionNotices
    holds: Holds = field(default_factory=Holds)


class ConnectionStage(Struct, frozen=True):
    """The way of calls to users who have to connect."""

    connections: UserConnections
    authority: Authority

    async def find_unconnected(self, upstream: str, principal: Principal) -> ConnectionOwner | None:
        """Return the owner who has to connect before a call to an upstream, `None` if no connection is missing. Raises `StoreError`."""
        office, terms = self.connections.office, self.authority.terms.get(upstream)
        if terms is None or terms.broker not in office.servers:
            return None
        owner, connections = owner_of(principal), office.connections
        if owner is None or connections.has_met(owner.key, terms.broker):
            # Its broker looks again before it lends.
            return None
        return owner if await connections.find(owner.key, terms.broker) is None else None

    async def ask_if_unconnected(
        self, decision: str, upstream: str, request: UpstreamRequest, resumed: ResumedRequest | None
    ) -> Reply | Refusal | None:
        """Send the user to a link if a connection is missing. `decision` is the id of the request. Raises `JournalError`."""
        owner, connections = await self.find_unconnected(upstream, request.principal), self.connections
        if owner is None:
            return None
        if not connections.office.serves(owner):
            return _NO_LOGIN
        terms = self.authority.terms[upstream]
        is_elicited = may_be_elicited(request)
        session = digest_session(upstream, request.principal.key, request.session or "") if is_elicited else ""
        place = (terms.broker, upstream, terms.audience)
        asked = await connections.office.ask(owner, place, session=session, decision=decision)
        if asked is None:
            return _DECLINED
        message = request.message
        told = None if message is None else _tell_to_wait(connections, asked.link, request, message, resumed)
        if told is not None:
            return told
        refusal = refuse_with_link(connections, asked.link)
        if not is_elicited or not asked.is_new:
            return refusal
        params = {**_elicitation_params(connections, asked.link), "elicitationId": asked.link.id}
        return replace(refusal, rpc_code=URL_ELICITATION_REQUIRED, data={"elicitations": [params]})

    async def hold(self, request: UpstreamRequest, resumed: ResumedRequest) -> Reply | Refusal | None:
        """Hold a call whose user was sent to a link. Returns the answer of the client, `None` if the call is decided now.

        Raises `JournalError` and `StoreError`.
        """
        connections, message = self.connections, request.message
        identifier = resumed.ticket.connection
        if identifier is None or message is None:
            return None
        office = connections.office
        if resumed.is_declined:
            await office.decline(identifier)
            return None
        with connections.holds.enter(request.principal.key) as may_wait:
            if may_wait:
                await office.wait(identifier, connections.hold)
        link = await office.find_link(identifier)
        if link is None or link.state != "open":
            return None
        return _tell_to_wait(connections, link, request, message, resumed) or refuse_with_link(connections, link)


def refuse_with_link(connections: UserConnections, link: ConnectionLink) -> Refusal:
    """Return the readable refusal of a call whose user has to connect."""
    return reasons.CREDENTIAL_CONNECT.refusal(user=link.owner.user, address=_address(connections, link))


def _tell_to_wait(
    connections: UserConnections,
    link: ConnectionLink,
    request: UpstreamRequest,
    message: Message,
    resumed: ResumedRequest | None,
) -> Reply | None:
    """Return the result `input_required`, `None` if the client cannot take another, or opens no addresses.

    A client gets the address once: it would ask its user each time.
    """
    number = 1 if resumed is None else resumed.ticket.round + 1
    if not may_be_told_to_wait(message) or not opens_urls(message) or number > ROUNDS:
        return None
    own = StateTicket(
        "",
        "",
        request.principal.key,
        number,
        link.expires,
        state_of(message),
        responses_of(message),
        connection=link.id,
    )
    is_shown = resumed is not None and resumed.ticket.connection == link.id
    params = _elicitation_params(connections, link)
    requests: JsonObject = {} if is_shown else {CONNECTION_KEY: {"method": "elicitation/create", "params": params}}
    return ask_for_input(message, connections.tickets.seal(own), requests)


def _elicitation_params(connections: UserConnections, link: ConnectionLink) -> JsonObject:
    text = f"The agent {link.owner.agent!r} needs your connection to {link.upstream}. Open the page, log in and agree."
    return {"mode": "url", "url": _address(connections, link), "message": text}


def _address(connections: UserConnections, link: ConnectionLink) -> str:
    return f"{connections.page_url}/{link.id}"


_DECLINED: Final = reasons.CREDENTIAL_DECLINED.refusal()
_NO_LOGIN: Final = reasons.CREDENTIAL_LOGIN.refusal()
