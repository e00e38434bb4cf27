"""The parts with which users are sent to connect an agent to another system. Built by `app`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.approvals.seal import TicketSeal
from gateway.authority.connections.office import ConnectionOffice
from gateway.pipeline.people import Holds
from gateway.response.completion_notices import CompletionNotices


@dataclass(frozen=True, slots=True)
class UserConnections:
    """The way to users who have to connect. `page_url` is the address of a link without its id. `hold` is in seconds."""

    office: ConnectionOffice
    tickets: TicketSeal
    page_url: str
    hold: float
    notices: CompletionNotices
    holds: Holds = field(default_factory=Holds)
