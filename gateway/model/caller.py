"""Callers, their credentials, and the forms in which names of people and groups compare."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct


def canonical_group(name: str) -> str:
    """Return the name of a group in the form for comparisons: NFKC, without spaces around it."""
    return unicodedata.normalize("NFKC", name).strip()


def canonical_groups(names: Iterable[str]) -> frozenset[str]:
    """Return names of groups in the form for comparisons, without empty ones."""
    return frozenset(filter(None, map(canonical_group, names)))


def canonical_person(name: str) -> str:
    """Return the name of a person in the form for comparisons: NFKC, without case and spaces around it."""
    return unicodedata.normalize("NFKC", canonical_group(name).casefold())


class Credentials(Struct, frozen=True):
    """The credentials of a request. `certificate` is the client's certificate as verified by TLS, DER; `issuers` are
    its authorities, nearest first. `url` is the URL of the client's request, without query (for DPoP's `htu`).
    `passed_on`: the request came through a proxy, so the caller's place is unknown."""

    method: str
    url: str
    authorization: tuple[str, ...] = ()
    dpop: tuple[str, ...] = ()
    certificate: bytes | None = None
    issuers: tuple[bytes, ...] = ()
    passed_on: bool = False


class AuthMethod(StrEnum):
    """Methods of authentication."""

    JWT = "jwt"
    SPIFFE_JWT = "spiffe-jwt"
    SPIFFE_X509 = "spiffe-x509"
    DEVELOPMENT = "development"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Actor:
    """A link of a delegation chain (RFC 8693 section 4.1, the `act` claim)."""

    id: str
    issuer: str | None


@dataclass(frozen=True, slots=True)
class User:
    """The person behind the agent."""

    id: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Principal:
    """A verified caller: an agent, possibly acting for a user.

    `delegation` is the `act` chain, the present actor first; empty for a token without `act`. `token_id` is the token's
    `jti`, or a digest of the presented credential without `jti`. `logged_in` is the time of the user's login in seconds
    since the epoch (`auth_time`, OIDC Core 1.0 section 2, RFC 9068 section 2.2.1). `issued`, `session` and `email` are
    `iat`, `sid` and `email`: identity providers name callers by these in signals. `mail` is a verified `email` for people.
    `subject` is `sub`, the name in signals also of a user whose id is another claim.
    `mail` and `display_name` are of the user, or of an agent without one. People read them beside the id; no rule and no key has the name.
    """

    id: str
    issuer: str
    method: AuthMethod
    scopes: frozenset[str] = frozenset()
    user: User | None = None
    delegation: tuple[Actor, ...] = ()
    bound: bool = False
    token_id: str = ""
    logged_in: float | None = None
    issued: float | None = field(default=None, compare=False)
    session: str | None = field(default=None, repr=False, compare=False)
    email: str | None = field(default=None, repr=False, compare=False)
    mail: str | None = field(default=None, repr=False, compare=False)
    subject: str | None = field(default=None, repr=False, compare=False)
    display_name: str | None = field(default=None, repr=False, compare=False)
    key: str = field(init=False, repr=False, compare=False)
    """What sessions, tasks and upstream processes are bound to: 32 hex digits, the same for every token of this agent,
    for this user, through this chain."""
    parties: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The issuer, the agent and, if there is one, the user: 16 hex digits each. Principals with a common party share its part
    of the room for tasks."""
    job: str = field(init=False, repr=False, compare=False)
    """The name of the job of all tasks for this subject, through whichever agents: 16 hex digits. The subject is the user, or an
    agent without one, whose own tasks are of one job with those of its delegates."""

    @property
    def is_in_person(self) -> bool:
        """Return whether the user calls, and no agent: a bound token of the user alone, which tells when the user logged in.

        A token without a proof of possession may be stolen. The token of an agent has no time of a login, or the time 0 of some issuers.
        """
        return self.user is None and not self.delegation and self.bound and (self.logged_in or 0.0) > 0.0

    @property
    def known_as(self) -> str:
        """Return the display name and the address of mail for people; empty without both."""
        return write_known_as(self.display_name, self.mail)

    def __post_init__(self) -> None:
        chain = tuple(part for actor in self.delegation for part in (actor.id, actor.issuer or ""))
        parts = (self.issuer, self.id, self.user.id if self.user else "", *chain)
        digest = hashlib.sha256(b"".join(_frame(part) for part in parts)).hexdigest()
        object.__setattr__(self, "key", digest[:32])
        named = [("issuer", ""), ("agent", self.id), *([("user", self.user.id)] if self.user else [])]
        object.__setattr__(self, "parties", tuple(name_party(kind, self.issuer, name) for kind, name in named))
        object.__setattr__(self, "job", name_job(self.issuer, self.user.id if self.user else self.id))


def write_known_as(name: str | None, mail: str | None) -> str:
    """Return the words for a person beside the person's id: the display name, the address of mail, or both."""
    return ", ".join(part for part in (name, mail) if part)


def describe_person(identifier: str, known_as: str | None) -> str:
    """Return a person for people: the stable id, and beside it the words of the token."""
    return f"{identifier} ({known_as})" if known_as and known_as != identifier else identifier


def name_party(kind: str, issuer: str, name: str) -> str:
    """Return a part of `Principal.parties`. `kind` is `issuer`, `agent` or `user`."""
    return hashlib.sha256(b"".join(map(_frame, (kind, issuer, name)))).hexdigest()[:16]


def name_job(issuer: str, subject: str) -> str:
    """Return the name of a job by its subject: the user, or an agent without one. All spellings of a subject have one job."""
    return name_party("user", issuer, canonical_person(subject))


def _frame(part: str) -> bytes:
    data = part.encode()
    return len(data).to_bytes(4, "big") + data
