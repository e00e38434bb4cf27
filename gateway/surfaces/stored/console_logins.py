"""The records of logins at the console: sessions, and one-time links."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from msgspec import Struct

from gateway.authority.approvals.model import Person
from gateway.base.store.records import RecordKind

Role: TypeAlias = Literal["viewer", "approver", "operator"]


class Visitor(Struct, frozen=True):
    """A person at the console. `login` names the way in. `logged_in` is the time of the login, in seconds since the epoch.

    `person` is the same person before the desk of approvals.
    """

    person: Person
    roles: frozenset[Role]
    login: Literal["link", "oidc"]
    logged_in: float

    @property
    def name(self) -> str:
        """Return the words for the person: the display name and the mail, or the id alone."""
        return self.person.known_as or self.person.id

    def has_role(self, role: Role) -> bool:
        """Return whether the person has a role. Operators see all that viewers see."""
        return role in self.roles or (role == "viewer" and "operator" in self.roles)


class LoginSession(Struct, frozen=True):
    """A login of a visitor. `id` names it in the journal. `began` and `used` are in seconds since the epoch.

    `terms` is the digest of the settings that gave the visitor the roles.
    """

    id: str
    visitor: Visitor
    csrf: str
    began: float
    used: float
    terms: str


class LoginLink(Struct, frozen=True):
    """A one-time link of a visitor. `until` is its end in seconds since the epoch."""

    visitor: Visitor
    until: float
    terms: str


SESSIONS: Final = RecordKind("session of the console", LoginSession, "the person logs in again")
LOGIN_LINKS: Final = RecordKind("link to the console", LoginLink, "the person asks for another link")
