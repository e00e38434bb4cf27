"""Accounts of this machine as visitors of the console. An account may do there only as much as over its sockets. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.approvals.model import Person
from gateway.approvals.socket import Accounts
from gateway.console.sessions import Role, Visitor
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT: Final = 0
_OF_OWNER: Final[frozenset[Role]] = frozenset({"viewer", "operator"})
"""The gateway's account reads its journal, and is the operator of its leases. Agents' servers run under it, so it approves nothing."""
_OF_PEER: Final[frozenset[Role]] = frozenset({"approver"})


def find_visitor(accounts: Accounts, uid: int, now: float) -> Visitor | Reason:
    """Return the visitor behind the account with a number."""
    if uid in {accounts.own, ROOT}:
        roles: Collection[Role] = {*_OF_OWNER, *(_OF_PEER if accounts.is_development else ())}
        name = "developer" if accounts.is_development else f"account {uid}"
        person = Person(name, "local", (), "peer", "console")
        return Visitor(person, frozenset(roles), "link", now, name)
    person = accounts.person(uid, None, ())
    if isinstance(person, Reason):
        return person
    person = Person(person.id, person.issuer, person.groups, person.assurance, "console")
    return Visitor(person, _OF_PEER, "link", now, person.id)
