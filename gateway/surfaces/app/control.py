"""The control interface, made from the configuration: its operations, the accounts of people, and its socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from gateway.authority import operators as leases
from gateway.authority.approvals import operations as approvals
from gateway.authority.approvals.admission import Accounts, Admission
from gateway.authority.approvals.model import Person
from gateway.authority.connections import operators as connections
from gateway.authority.signals import operators as signals
from gateway.authority.stops import operators as stops
from gateway.base.control.line_socket import own_uid
from gateway.base.control.operations import ControlSocket
from gateway.base.control.operators import OperatorAccounts, OperatorName
from gateway.model.errors import ConfigurationError
from gateway.surfaces.console import links

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from gateway.calls.composition import Gateway
    from gateway.config import Configuration

log = structlog.get_logger("gateway")

OPERATIONS: Final = {
    operation.name: operation
    for declared in (approvals, leases, connections, signals, stops, links)
    for operation in declared.OPERATIONS
}
"""The operations of every gateway, by their names."""


async def open_control(stack: AsyncExitStack, configuration: Configuration, gateway: Gateway) -> None:
    """Listen for people with an account on this machine until the stack ends.

    Raises `ConfigurationError` if the socket cannot be made, and the gateway has more operations than stops.
    """
    accounts = find_accounts(configuration)
    # Other accounts than root and the gateway's connect only if some are named.
    mode = 0o666 if accounts.people or accounts.operators.named else 0o600
    socket = ControlSocket(configuration.control_socket, gateway.control, accounts.identify, mode=mode)
    try:
        await socket.start(stack)
    except ConfigurationError as error:
        if gateway.people or gateway.authority or gateway.signals.receiver or configuration.console:
            raise
        # A gateway goes on where no socket works, such as on another system than Linux. The console has the stops too.
        log.warning("control.unreachable", problem=error.message, remedy=error.remedy)


def find_accounts(configuration: Configuration) -> Accounts:
    """Return the people with an account on this machine."""
    peers = () if configuration.approvals is None else configuration.approvals.peers
    people = {peer.uid: Person(peer.id, peer.issuer, peer.groups, "peer", "socket") for peer in peers}
    named = {account.uid: OperatorName(account.id, account.issuer) for account in configuration.operators.accounts}
    operators = OperatorAccounts(own_uid(), named, configuration.is_development)
    return Accounts(people, operators, find_admission(configuration))


def find_admission(configuration: Configuration) -> Admission:
    """Return the check of people who see and answer questions."""
    people = None if configuration.approvals is None else configuration.approvals.people
    return Admission() if people is None else Admission(people.groups)
