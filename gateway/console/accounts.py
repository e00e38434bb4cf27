"""Accounts of this machine as visitors of the console. An account may do there only as much as over the socket. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.approvals.accounts import Accounts
from gateway.approvals.model import Person
from gateway.console.sessions import Role, Visitor
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.line_socket import Account

_OF_OPERATOR: Final[frozenset[Role]] = frozenset({"viewer", "operator"})
_OF_APPROVER: Final[frozenset[Role]] = frozenset({"approver"})


def find_visitor(accounts: Accounts, account: Account, now: float) -> Visitor | Reason:
    """Return the visitor behind an account."""
    is_operator = accounts.operators.has(account)
    approver = accounts.approver(account, None, ())
    if not isinstance(approver, Reason):
        person, roles = approver.person, _OF_APPROVER | (_OF_OPERATOR if is_operator else frozenset[Role]())
    elif is_operator:
        person, roles = Person(*accounts.operators.name_of(account)), _OF_OPERATOR
    else:
        return approver
    return Visitor(structs.replace(person, channel="console"), roles, "link", now, person.id)
