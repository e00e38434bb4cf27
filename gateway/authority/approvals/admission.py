"""The check of people who see and answer questions, the same for the page, the API, the socket and the console. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.authority.approvals.model import Person
from gateway.base.control.operators import OperatorAccounts
from gateway.model import reasons
from gateway.model.caller import canonical_groups
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.base.control.line_socket import Account
    from gateway.base.control.operations import ControlRequest, Role


class Approver(NamedTuple):
    """A person who may see and answer questions. `Admission.admit` alone makes one."""

    person: Person


class Admission:
    """The admission of approvers. `groups` are the configured groups. Without groups the listed accounts alone are approvers."""

    def __init__(self, groups: tuple[str, ...] = ()) -> None:
        self._groups = canonical_groups(groups)

    def admit(self, person: Person, *, is_listed: bool = False) -> Approver | Reason:
        """Return a person as an approver, or the reason why the person is none. `is_listed`: the configuration names the account."""
        if (is_listed and not self._groups) or self._groups & canonical_groups(person.groups):
            return Approver(person)
        return reasons.VOTE_MEMBER.reason()


@dataclass(frozen=True, slots=True)
class Accounts:
    """People by the number of their account, and the accounts of operators. The gateway's own account never votes: agents'
    servers may run under it. Only in development its owner may speak as anybody."""

    people: Mapping[int, Person]
    operators: OperatorAccounts
    admission: Admission = field(default_factory=Admission)

    def identify(self, role: Role, account: Account, request: ControlRequest) -> Any:
        """Return the person of a role behind a request, or the reason why the account is none."""
        if role == "approver":
            return self.approver(account, request.speaks_as, request.groups)
        if request.speaks_as is not None or request.groups:
            return reasons.VOTE_ACCOUNT_OF_ANOTHER.reason()
        return account if role == "account" else self.operators.find(account)

    def approver(self, account: Account, speaks_as: str | None, groups: tuple[str, ...]) -> Approver | Reason:
        """Return the approver behind a connection."""
        person = self._person(account, speaks_as, groups)
        return person if isinstance(person, Reason) else self.admission.admit(person, is_listed=True)

    def _person(self, account: Account, speaks_as: str | None, groups: tuple[str, ...]) -> Person | Reason:
        if account.uid == self.operators.own:
            if self.operators.hears_own(account):
                return Person(speaks_as or "developer", "local", groups, "peer", "socket")
            is_development = self.operators.is_development
            return (reasons.VOTE_TERMINAL if is_development else reasons.VOTE_ACCOUNT_OF_GATEWAY).reason()
        found = self.people.get(account.uid)
        if found is None:
            return reasons.VOTE_ACCOUNT.reason(account=account.uid)
        return found if speaks_as is None else reasons.VOTE_ACCOUNT_OF_ANOTHER.reason()
