"""Requests of operators on a socket: the check of the account, the reading of a line, and the form of the answer.

`opagate leases`, `connections`, `signals` and `stop` add their own requests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from gateway import reasons
from gateway.line_socket import describe_refusal
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.line_socket import Account, Peer

ROOT: Final = 0
Request = TypeVar("Request", bound=Struct)


class OperatorName(NamedTuple):
    """The person behind an operator's account. `issuer` vouches for the name."""

    id: str
    issuer: str = "local"


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


class Operators(ABC, Generic[Request]):
    """Answers to operators. `word` begins the codes of refusals."""

    def __init__(self, request: type[Request], word: str, accounts: OperatorAccounts) -> None:
        self._request = request
        self._word = word
        self._accounts = accounts

    async def serve(self, line: bytes, peer: Peer, account: Account) -> bool:
        """Answer a line, and return whether the peer may send another."""
        document, may_go_on = await self.answer(line, account)
        await peer.send(document)
        return may_go_on

    async def answer(self, line: bytes, account: Account) -> tuple[dict[str, Any], bool]:
        """Return the answer to a line, and whether the peer may send another."""
        if not self._accounts.has(account):
            return describe_refusal(self._refuse(account)), False
        try:
            request = msgspec.json.decode(line, type=self._request)
        except msgspec.MsgspecError as error:
            return describe_refusal(reasons.OPERATOR_INVALID.reason(word=self._word, problem=error)), True
        found = await self._do(request, self._accounts.name_of(account))
        return (describe_refusal(found) if isinstance(found, Reason) else {"ok": found}), True

    def _refuse(self, account: Account) -> Reason:
        found = reasons.OPERATOR_ACCOUNT
        if account.uid == self._accounts.own:
            is_development = self._accounts.is_development
            found = reasons.OPERATOR_TERMINAL if is_development else reasons.OPERATOR_ACCOUNT_OF_GATEWAY
        return found.reason(word=self._word)

    @abstractmethod
    async def _do(self, request: Request, by: OperatorName, /) -> Any:
        """Return the result of the request of an operator, or the reason of its refusal."""
