"""The terms of a lease: its life, its scopes, and what the policy permits of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from msgspec import Struct, structs

from gateway.authority.model import LONG_LIVED, BrokerRefusal, Scope
from gateway.model import reasons
from gateway.model.decision import Obligation, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.authority.model import Cause, Issued, LeaseGrounds, LeaseRequest
    from gateway.model.target import Revocable


SKEW: Final = 30.0
"""Seconds by which the clocks of issuers, upstreams and the gateway may differ."""


class LeaseLimits(Struct, frozen=True):
    """Limits on one lease. Lives are in seconds, ends are times; `None` limits nothing."""

    default: float
    longest: float
    of_policy: float | None = None
    of_sensitivity: float | None = None
    of_upstream: float | None = None
    task_ends: float | None = None
    caller_ends: float | None = None
    approval_ends: float | None = None


def choose_end(ends: LeaseLimits, now: float) -> float:
    """Return the time at which a lease that begins now ends at the latest. The policy's life replaces the default."""
    life = ends.default if ends.of_policy is None else ends.of_policy
    lives = (life, ends.longest, ends.of_sensitivity, ends.of_upstream)
    times = (ends.task_ends, ends.caller_ends, ends.approval_ends)
    shortest = min(each for each in lives if each is not None)
    return min([now + shortest, *(each for each in times if each is not None)])


def name_end(ends: LeaseLimits, expires: float) -> Cause:
    """Return the cause of a lease's end at a time that `choose_end` chose."""
    if ends.task_ends is not None and ends.task_ends <= expires:
        return "task-expired"
    if ends.caller_ends is not None and ends.caller_ends <= expires:
        return "caller-expired"
    return "lease-expired"


class PermittedLeases:
    """LeaseGrounds by the ids of leases. A look for leases of other revisions costs nothing while there are none."""

    def __init__(self) -> None:
        self._grounds: dict[str, LeaseGrounds] = {}
        self._revisions: dict[str, dict[str, None]] = {}

    def put(self, identifier: str, grounds: LeaseGrounds) -> None:
        """Keep the grounds of a lease."""
        self.remove(identifier)
        self._grounds[identifier] = grounds
        self._revisions.setdefault(grounds.revision, {})[identifier] = None

    def remove(self, identifier: str) -> None:
        """Forget the grounds of a lease, if it has any."""
        grounds = self._grounds.pop(identifier, None)
        if grounds is None:
            return
        others = self._revisions[grounds.revision]
        del others[identifier]
        if not others:
            del self._revisions[grounds.revision]

    def confirm(self, identifier: str, revision: str) -> None:
        """Note that the policy of this revision permits a lease too."""
        grounds = self._grounds.get(identifier)
        if grounds is not None:
            self.put(identifier, structs.replace(grounds, revision=revision))

    def all(self) -> Iterable[tuple[str, LeaseGrounds]]:
        """Return the ids of all leases, with their grounds."""
        return self._grounds.items()

    def outdated(self, revision: str) -> list[tuple[str, LeaseGrounds]]:
        """Return the ids of the leases that no policy of this revision permitted, with their grounds."""
        return [
            (identifier, self._grounds[identifier])
            for permitting, leases in self._revisions.items()
            if permitting != revision
            for identifier in leases
        ]


Bind: TypeAlias = Literal["call", "task"]

OBLIGATION: Final = "issue_credential"


class Breadth(Struct, frozen=True):
    """Permitted breadth of a credential. `seconds` is the life that the policy permits, `None` if it says nothing."""

    scope: Scope
    bind: Bind
    seconds: float | None = None


def narrow_credential(
    obligations: Sequence[Obligation], scopes: Sequence[str] | None, audience: str, bind: Bind
) -> Breadth | Reason:
    """Return the breadth of a credential for a call, or the reason for none.

    `scopes` are configured for the effect of the tool; `None` if the effect has none. `audience` and `bind` are configured for the upstream.
    """
    if scopes is None:
        return reasons.CREDENTIAL_SCOPE_OF_EFFECT.reason()
    names, found_bind, seconds = tuple(dict.fromkeys(scopes)), bind, list[float]()
    details: tuple[dict[str, Any], ...] | None = None
    for item in obligations:
        if item.id != OBLIGATION:
            continue
        wanted = cast("Mapping[str, Any]", item.properties)
        if wanted.get("audience", audience) != audience:
            return reasons.CREDENTIAL_AUDIENCE.reason()
        narrowed = _narrow_scopes(names, scopes, cast("str | None", wanted.get("scope")))
        if isinstance(narrowed, Reason):
            return narrowed
        names = narrowed
        if "ttl_seconds" in wanted:
            seconds.append(float(wanted["ttl_seconds"]))
        found_bind = "call" if "call" in (found_bind, wanted.get("bind")) else "task"
        more = wanted.get("details")
        if more is not None and details is not None and list(more) != list(details):
            return reasons.CREDENTIAL_SCOPE_DETAILS.reason()
        details = details if more is None else tuple(more)
    return Breadth(Scope(names, details or ()), found_bind, min(seconds, default=None))


def _narrow_scopes(names: tuple[str, ...], configured: Sequence[str], wanted: str | None) -> tuple[str, ...] | Reason:
    """Return the scopes that both sides name. A scope that the configuration does not give is refused, not dropped."""
    if wanted is None:
        return names
    asked = wanted.split(" ")
    foreign = [name for name in asked if name not in configured]
    if foreign:
        return reasons.CREDENTIAL_SCOPE_FOREIGN.reason(scope=foreign[0])
    left = tuple(name for name in names if name in asked)
    return left or reasons.CREDENTIAL_SCOPE_EMPTY.reason()


def find_excess(kind: str, revocable: Revocable, request: LeaseRequest, issued: Issued) -> BrokerRefusal | None:
    """Refuse a credential with other scopes than the request, or one that no issuer can end at the end of its lease."""
    if not set(issued.scope) <= set(request.scope.names):
        return _WIDER
    if revocable == "at_once" or kind in LONG_LIVED:
        return None
    return _OUTLIVES if issued.expires > request.expires + SKEW else None


_WIDER: Final = BrokerRefusal(reasons.CREDENTIAL_WIDER.reason())
_OUTLIVES: Final = BrokerRefusal(reasons.CREDENTIAL_WIDER_LIFE.reason())
