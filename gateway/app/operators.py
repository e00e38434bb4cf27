"""The accounts of operators and their sockets, made from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.line_socket import LineSocket, SocketName, own_uid
from gateway.operators import OperatorAccounts, OperatorName

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config import Configuration
    from gateway.line_socket import Account, Peer


def find_operators(configuration: Configuration) -> OperatorAccounts:
    """Return the accounts of operators."""
    named = {account.uid: OperatorName(account.id, account.issuer) for account in configuration.operators.accounts}
    return OperatorAccounts(own_uid(), named, configuration.is_development)


def operator_socket(
    configuration: Configuration,
    name: str,
    names: SocketName,
    serve: Callable[[bytes, Peer, Account], Awaitable[bool]],
) -> LineSocket:
    """Return a socket for operators. Other accounts than root and the gateway's connect only if some are named."""
    mode = 0o666 if configuration.operators.accounts else 0o600
    return LineSocket(configuration.operator_socket(name), names, serve, mode=mode)
