"""Findings about the accounts on this machine that operate the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.approval_checks import ApprovalFinding
from gateway.line_socket import own_uid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Configuration


def look(settings: Configuration) -> Iterator[ApprovalFinding]:
    """Yield the configured operators, and each account that is listed for nothing."""
    accounts = settings.operators.accounts
    if accounts:
        named = ", ".join(f"{account.id} ({account.uid})" for account in accounts)
        yield ApprovalFinding(f"over the socket: {named}, and root")
    elif settings.console is not None and settings.console.login is None and not settings.is_development:
        yield ApprovalFinding(
            "root alone operates the gateway over the socket", "list accounts in operators.accounts", is_warning=True
        )
    if not settings.is_development and own_uid() in {account.uid for account in accounts}:
        yield ApprovalFinding(
            f"the account {own_uid()} runs this command; if it also runs the gateway, it operates nothing in production",
            "list another account: servers of agents may run under the gateway's",
            is_warning=True,
        )
