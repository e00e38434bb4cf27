"""Records of leases. Pure: frozen values without I/O, clock or randomness. Times are seconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal, NotRequired, TypeAlias, TypedDict, cast

import msgspec
from msgspec import Struct

from gateway.model.caller import Principal
from gateway.model.decision import Reason
from gateway.model.target import Target
from gateway.model.task import Task

State: TypeAlias = Literal[
    "requested", "active", "ending", "stuck", "revoked", "expired", "lapsed", "failed", "abandoned"
]
Cause: TypeAlias = Literal[
    "task-completed",
    "task-cancelled",
    "task-expired",
    "lease-expired",
    "policy-changed",
    "signal",
    "operator",
    "revoked",
    "budget",
    "pin-changed",
    "journal-outage",
    "caller-expired",
    "connection-removed",
    "upstream-401",
    "not-issued",
    "restart",
    "shutdown",
]
ProofKind: TypeAlias = Literal["own", "introspection", "lookup", "absent", "status", "time"]
"""How the end of a credential was seen: the gateway's own list, a question to its issuer, its absence, a 401, or its expiry."""

OPEN: Final[frozenset[State]] = frozenset({"requested", "active", "ending", "stuck"})
"""States in which the credential may still work somewhere."""


OUTLIVING: Final[frozenset[str]] = frozenset({"openbao"})
"""Kinds whose credential may work beyond its time: OpenBao keeps a secret while its database is away."""


LONG_LIVED: Final[frozenset[str]] = frozenset({"user_oauth"})
"""Kinds whose issuer alone chooses the life of a credential. The user agreed to the connection, which lives longer."""


ENDED_BY_VALUE: Final[frozenset[str]] = frozenset({"exchange", "user_oauth"})
"""Kinds whose issuer ends a credential only if it is shown the value."""

MESSAGES: Final = "messages:"
"""Beginning of the name under which a caller's messages without a decision share a lease, instead of a task's id."""
CATALOGUE: Final = "catalogue"
"""The name under which the gateway's own listings share a lease."""
SHORTEST_SECRET: Final = 8
"""Characters below which a part of a dynamic secret is no secret by itself."""


class Scope(Struct, frozen=True):
    """Breadth of a lease. `details` are authorization details (RFC 9396 section 2) that narrow `names` further."""

    names: tuple[str, ...] = ()
    details: tuple[dict[str, Any], ...] = ()


class LeaseGrounds(Struct, frozen=True):
    """Facts behind a permitted lease, without secrets. They let the gateway ask a changed policy about the lease.

    `target` is the target of the first call. Without a `task` the lease serves messages without a decision, and `target` stands for the
    upstream itself. `revision` names the policy that permitted the lease last.
    """

    principal: Principal
    target: Target
    revision: str
    task: Task | None = None


class LeaseRequest(Struct, frozen=True):
    """Terms of a lease before a broker is asked. `id` is the gateway's. `expires` is the latest permitted end.

    `subject_token` is the caller's own access token. A broker may send it to the token endpoint of its issuer and to no other place.
    Without `permits_calls`, the credential is for messages that need no decision, such as `initialize` and lists. The gateway's own
    listings have no `grounds`: they are of no caller. `renew_early` is the share of a lease's life before its end in which the next
    call gets another lease. `ends_by` is the cause of the end at `expires`.
    """

    id: str
    task: str
    principal: Principal
    upstream: str
    audience: str
    scope: Scope
    asked: float
    expires: float
    subject_token: str | None = None
    permits_calls: bool = True
    grounds: LeaseGrounds | None = None
    renew_early: float = 0.0
    ends_by: Cause = "lease-expired"

    @property
    def seconds(self) -> float:
        return self.expires - self.asked

    def __repr__(self) -> str:
        return f"LeaseRequest({self.id!r}, {self.upstream!r})"


class Credential(Struct, frozen=True):
    """A value that the gateway shows to an upstream. Its text appears in no log and no error.

    `header` is the field that carries it over HTTP, `scheme` the word before the value, and `value` the rest of the field. `fields`
    has the parts of a dynamic secret by their name, such as `username` and `password`.
    """

    value: str
    header: str = "authorization"
    scheme: str = "Bearer"
    fields: tuple[tuple[str, str], ...] = ()

    def secrets(self) -> tuple[str, ...]:
        """Return each text that must not appear anywhere else. A short field may stand in any answer by chance."""
        parts = (value for _, value in self.fields if len(value) >= SHORTEST_SECRET)
        return tuple(dict.fromkeys((self.value, *parts)))

    def __repr__(self) -> str:
        return "Credential(…)"


class Issued(Struct, frozen=True):
    """A credential that a broker obtained, with its true end and scope.

    `handle` is all that `Broker.end` needs, and holds no secret: an accessor, a lease id, a `jti`. The journal keeps it.
    """

    credential: Credential
    expires: float
    scope: tuple[str, ...]
    handle: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class BrokerRefusal(Struct, frozen=True):
    """A broker's refusal, with a reason of `reasons.brokers`. `may_retry`: the same request may succeed later.

    `is_certain`: the issuer has issued nothing, whatever `prepare` announced.
    """

    reason: Reason
    may_retry: bool = False
    is_certain: bool = False

    @property
    def code(self) -> str:
        """Return the code of the reason."""
        return self.reason.code


class Proof(Struct, frozen=True):
    """An observation that the credential works no more. `detail` names the question and its answer, without a secret."""

    kind: ProofKind
    at: float
    detail: str = ""


class NotEnded(Struct, frozen=True):
    """An end that is not proven yet. `problem` is for the operator. `after` is the least time in seconds before the next attempt.

    `waits`: only time ends the credential. Nothing has failed, so the lease does not get stuck.
    """

    problem: str
    after: float = 0.0
    waits: bool = False


class Lease(Struct, frozen=True):
    """A credential lent to a task. Its value is kept apart, in memory alone, and is gone once the lease is ending.

    The gateway ends it at `expires`. The issuer's own end is `dies`, which may be later. `processes` tells of the processes that it
    was handed over to: `absent` once all of them are proven gone, `left` if that is not proven. With
    `waits`, only time ends it now.
    """

    id: str
    task: str
    owner: str
    user: str | None
    agent: str
    upstream: str
    audience: str
    broker: str
    kind: str
    scope: Scope
    requested: float
    expires: float
    dies: float
    state: State = "requested"
    handle: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    fingerprints: tuple[str, ...] = ()
    cause: Cause | None = None
    ending_since: float | None = None
    attempts: int = 0
    waits: bool = False
    proof: Proof | None = None
    problem: str = ""
    processes: Literal["absent", "left"] | None = None
    ends_by: Cause = "lease-expired"
    known_as: str = ""
    """Words of the user's token for people: the display name and the mail."""
    replica: str = ""
    """The gateway that lent the lease, or has taken it over. It alone asks the broker for the end."""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_of_task(self) -> bool:
        """Return whether the calls of a task share the lease."""
        return not self.task.startswith(MESSAGES) and self.task != CATALOGUE


class ListedLease(TypedDict):
    """A lease as operators see it: without its value and its handle. Times are in seconds since the epoch."""

    id: str
    task: str
    agent: str
    user: NotRequired[str]
    known_as: NotRequired[str]
    upstream: str
    audience: str
    broker: str
    kind: str
    scope: list[str]
    state: State
    requested: float
    expires: float
    cause: NotRequired[str]
    attempts: NotRequired[int]
    problem: NotRequired[str]
    proof: NotRequired[dict[str, Any]]
    processes: NotRequired[Literal["absent", "left"]]


def describe_lease(lease: Lease) -> ListedLease:
    """Return a lease as operators see it: without its value and its handle."""
    described: dict[str, Any] = {
        "id": lease.id,
        "task": lease.task,
        "agent": lease.agent,
        "user": lease.user,
        "known_as": lease.known_as or None,
        "upstream": lease.upstream,
        "audience": lease.audience,
        "broker": lease.broker,
        "kind": lease.kind,
        "scope": list(lease.scope.names),
        "state": lease.state,
        "requested": lease.requested,
        "expires": lease.expires,
        "cause": lease.cause,
        "attempts": lease.attempts or None,
        "problem": lease.problem or None,
        "proof": None if lease.proof is None else msgspec.to_builtins(lease.proof),
        "processes": lease.processes,
    }
    return cast("ListedLease", {name: value for name, value in described.items() if value is not None})


def describe_to_owner(lease: Lease) -> dict[str, Any]:
    """Return a lease as the owner of its task sees it."""
    shown = ("id", "upstream", "audience", "scope", "state", "expires", "cause", "proof", "processes")
    described = cast("dict[str, Any]", describe_lease(lease))
    ends = datetime.fromtimestamp(lease.expires, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return {name: described[name] for name in shown if name in described} | {"expires": ends}
