"""The accounts of operators on this machine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gateway.base.control.line_socket import ROOT
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.base.control.line_socket import Account


class OperatorName(NamedTuple):
    """An operator. `issuer` vouches for the name, and `channel` is the way of the request."""

    id: str
    issuer: str = "local"
    channel: str = "socket"

    def describe(self) -> dict[str, str]:
        """Return the operator for the journal."""
        return {"id": self.id, "issuer": self.issuer, "channel": self.channel}


@dataclass(frozen=True, slots=True)
class OperatorAccounts:
    """The accounts of operators. `own` is the gateway's account, and `named` has the configured ones.

    Programs of agents may run under the gateway's account. So the account counts in development alone, from a terminal or by name.
    """

    own: int
    named: Mapping[int, OperatorName] = field(default_factory=dict[int, OperatorName])
    is_development: bool = False

    def hears_own(self, account: Account) -> bool:
        """Return whether the gateway's own account may ask as the developer."""
        return self.is_development and (account.has_terminal or self.own in self.named)

    def name_of(self, account: Account) -> OperatorName:
        """Return the name of an operator for the record."""
        return self.named.get(account.uid) or OperatorName(f"account {account.uid}")

    def has(self, account: Account) -> bool:
        """Return whether an account is an operator's."""
        if account.uid == self.own:
            return self.hears_own(account)
        return account.uid == ROOT or account.uid in self.named

    def find(self, account: Account) -> OperatorName | Reason:
        """Return the operator behind an account, or the reason why the account is none."""
        if self.has(account):
            return self.name_of(account)
        if account.uid != self.own:
            return reasons.OPERATOR_ACCOUNT.reason()
        return (reasons.OPERATOR_TERMINAL if self.is_development else reasons.OPERATOR_ACCOUNT_OF_GATEWAY).reason()
