"""The authority of this gateway: its leases, the tokens of calls, and the configured credential of each upstream."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.minting import bind_call
from gateway.authority.model import BrokerRefusal, Credential, LeaseRequest, Scope, describe_to_owner
from gateway.authority.narrowing import Bind, LeaseLimits, choose_end, name_end
from gateway.authority.register import terms_of
from gateway.model import reasons
from gateway.model.target import Effect, Sensitivity

if TYPE_CHECKING:
    from gateway.authority.connections.office import ConnectionOffice
    from gateway.authority.fleet import Fleet
    from gateway.authority.introspection import ActiveTokens
    from gateway.authority.leases import Leases
    from gateway.authority.minting import Mint
    from gateway.authority.model import Cause, Lease, LeaseGrounds
    from gateway.authority.shared_tokens import SharedTokens
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.model.caller import Principal
    from gateway.model.target import Target
    from gateway.model.task import TaskEnd
    from gateway.model.wire import JsonObject

RENEW_EARLY: Final = 1 / 3
"""Share of its life before the end of a handed-over credential in which a call renews it, so that its process need not end."""


class UpstreamTerms(Struct, frozen=True):
    """The configured credential of an upstream. `longest` is the longest life in seconds, `None` for no limit.

    `tool_scopes` are patterns of names of tools, and `hands_over`: the process of a stdio upstream gets it.
    """

    broker: str
    kind: str
    audience: str
    scopes: Mapping[Effect, tuple[str, ...]]
    bind: Bind = "task"
    longest: float | None = None
    hands_over: bool = False
    tool_scopes: Mapping[str, tuple[str, ...]] = {}

    def scopes_of(self, target: Target) -> tuple[str, ...] | None:
        """Return the scopes of a call's target: those of its effect that its tool needs. `None`: the effect has none."""
        scopes = self.scopes.get(target.labels.effect)
        name = target.name if target.type == "tool" else ""
        needed = [names for pattern, names in self.tool_scopes.items() if name and fnmatchcase(name, pattern)]
        if scopes is None or not needed:
            return scopes
        return tuple(scope for scope in scopes if scope in needed[-1]) or None


class Lives(Struct, frozen=True):
    """The configured lives of leases, in seconds."""

    default: float
    longest: float
    by_sensitivity: Mapping[Sensitivity, float]


class Purpose(Struct, frozen=True):
    """The use of a credential: the calls of a task, or messages without a decision."""

    task: str
    principal: Principal
    sensitivity: Sensitivity | None = None
    task_ends: float | None = None
    caller_ends: float | None = None
    approval_ends: float | None = None
    subject_token: str | None = None
    permits_calls: bool = True
    grounds: LeaseGrounds | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """The parts that lend credentials. `clock` gives seconds since the epoch."""

    leases: Leases
    fleet: Fleet
    mint: Mint
    tokens: ActiveTokens
    terms: Mapping[str, UpstreamTerms]
    lives: Lives
    clock: Callable[[], float] = field(repr=False)
    new_id: Callable[[], str] = field(repr=False)
    office: ConnectionOffice | None = None
    """Users' connections; `None`: no upstream is used through them."""
    shared: SharedTokens | None = None
    """The tokens of all gateways that upstreams may ask about; `None` for a gateway alone."""
    live: LiveValues = field(kw_only=True, repr=False)
    """The values that no answer shows and no argument carries elsewhere."""
    process_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """The key of the tokens with which processes ask for their credentials. It ends with the gateway's process."""

    spent: set[str] = field(default_factory=set[str], repr=False)
    """The open tasks that have used up their budget."""

    def token_of_process(self, lease: Lease) -> str:
        """Return the token of the process of a lease. A renewal keeps the token, which lives as long as the lease."""
        name = f"{lease.upstream} {process_terms(lease)}"
        token = hmac.digest(self.process_key, name.encode(), hashlib.sha256).hex()
        self.live.hold(lease.id, [token], lease.audience)
        return token

    def request(self, upstream: str, purpose: Purpose, scope: Scope, seconds: float | None) -> LeaseRequest:
        """Return the request for a credential that lives as long as all limits permit. `seconds` is the life that the policy permits."""
        terms, now = self.terms[upstream], self.clock()
        ends = LeaseLimits(
            default=self.lives.default,
            longest=self.lives.longest,
            of_policy=seconds,
            of_sensitivity=None if purpose.sensitivity is None else self.lives.by_sensitivity.get(purpose.sensitivity),
            of_upstream=terms.longest,
            task_ends=purpose.task_ends,
            caller_ends=purpose.caller_ends,
            approval_ends=purpose.approval_ends,
        )
        expires = choose_end(ends, now)
        return LeaseRequest(
            id=self.new_id(),
            task=purpose.task,
            principal=purpose.principal,
            upstream=upstream,
            audience=terms.audience,
            scope=scope,
            asked=now,
            expires=expires,
            ends_by=name_end(ends, expires),
            subject_token=purpose.subject_token,
            permits_calls=purpose.permits_calls,
            grounds=purpose.grounds,
            renew_early=RENEW_EARLY if terms.hands_over else 0.0,
        )

    async def mint_call(
        self, request: LeaseRequest, method: str, params: JsonObject, *, decision: str, policy: str
    ) -> Credential | BrokerRefusal:
        """Return a token for one call, with the decision's id as its id. The token is active until `end_call`. Raises `StoreError`."""
        try:
            binding = bind_call(method, params, decision=decision, policy=policy)
        except ValueError:
            return _NOT_JSON
        now = self.clock()
        token = self.mint.mint_call(request, binding, jti=decision, now=now)
        if isinstance(token, BrokerRefusal):
            return token
        if not self.tokens.add(token, now):
            return _NO_ROOM
        self.live.hold(decision, token.credential.secrets(), request.audience)
        if self.shared is not None:
            try:
                await self.shared.add(token)
            except BaseException:
                self.end_call(decision)
                raise
        return token.credential

    def describe_task(self, task: str) -> list[JsonObject]:
        """Return the open leases of a task, as its owner sees them."""
        return [describe_to_owner(lease) for lease in self.leases.of_task(task)]

    def end_call(self, decision: str) -> None:
        """Make the token of a call inactive."""
        self.tokens.end(decision)
        self.live.release(decision)

    def end_task(self, task: str, how: TaskEnd) -> None:
        """End the leases of a task and the tokens of its calls."""
        self.spent.discard(task)
        self.tokens.end_task(task)
        self.leases.end_task(task, _CAUSES[how])

    def end_spent(self, task: str) -> None:
        """End the leases of a task that has used up its budget, and the tokens of its calls, once.

        The policy may let such a task read on. Its refused calls then end no further leases, which would burden the issuers.
        A task of other gateways may have nothing here.
        """
        if task not in self.spent and self.tokens.end_task(task) + self.leases.end_task(task, "budget"):
            self.spent.add(task)


def process_terms(lease: Lease) -> str:
    """Return the terms of a lease. Leases with equal terms share one process."""
    _, _, names, details = terms_of(lease.task, lease.upstream, lease.scope)
    return " ".join([lease.task, *names, details.decode()])


_CAUSES: Final[Mapping[TaskEnd, Cause]] = {
    "completed": "task-completed",
    "cancelled": "task-cancelled",
    "expired": "task-expired",
}
_NOT_JSON: Final = BrokerRefusal(reasons.CREDENTIAL_DIGEST.reason())
_NO_ROOM: Final = BrokerRefusal(reasons.CREDENTIAL_TOO_MANY_CALLS.reason(), may_retry=True)
