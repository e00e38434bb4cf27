"""One-time links as an operation of the control interface, for `opagate console link`.

An account may do at the console only as much as over the socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from gateway.authority.approvals.model import Person
from gateway.base.control.operations import NoFields, Operation
from gateway.model.decision import Reason
from gateway.surfaces.console.sessions import LINK_SECONDS, Role, Visitor

if TYPE_CHECKING:
    from gateway.authority.approvals.admission import Accounts
    from gateway.base.control.line_socket import Account
    from gateway.base.control.operations import Control
    from gateway.surfaces.console.parts import ConsoleParts

_OF_OPERATOR: Final[frozenset[Role]] = frozenset({"viewer", "operator"})
_OF_APPROVER: Final[frozenset[Role]] = frozenset({"approver"})


class MadeLink(Struct, frozen=True):
    """A one-time link for a person, good for so many seconds."""

    url: str
    seconds: int
    person: str
    roles: list[str]


LINK: Final = Operation(
    "logins/link", "account", "Make a link that logs the account in once.", MadeLink, "`console: {}`, without a login"
)
OPERATIONS: Final = (LINK,)


def add_operations(control: Control, console: ConsoleParts, accounts: Accounts) -> None:
    """Add the operation of links."""

    async def link(_asked: NoFields, account: Account) -> MadeLink | Reason:
        return make_link(console, accounts, account)

    control.add({LINK: link})


def make_link(console: ConsoleParts, accounts: Accounts, account: Account) -> MadeLink | Reason:
    """Return a one-time link for an account, or the refusal of a foreign account."""
    visitor = find_visitor(accounts, account, console.gateway.clock())
    if isinstance(visitor, Reason):
        return visitor
    url = console.link(console.links.make(visitor))
    return MadeLink(url, int(LINK_SECONDS), visitor.name, sorted(visitor.roles))


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
