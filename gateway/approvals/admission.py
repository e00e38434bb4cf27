"""The check of people who see and answer questions, the same for the page, the API, the socket and the console. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway import reasons
from gateway.model.names import canonical_groups

if TYPE_CHECKING:
    from gateway.approvals.model import Person
    from gateway.model.decision import Reason


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
