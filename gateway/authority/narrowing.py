"""The breadth of a lease: the configured scopes for the effect of a tool, narrowed by the policy. Pure.

The policy can take scopes away, shorten the life, bind a token to its call and add authorization details. It can never widen.
An issuer's credential that is wider all the same is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

from msgspec import Struct

from gateway.authority.lifetime import SKEW
from gateway.authority.model import LONG_LIVED, BrokerRefusal, Scope
from gateway.model import reasons
from gateway.model.decision import Obligation, Reason

if TYPE_CHECKING:
    from gateway.authority.model import Issued, LeaseRequest
    from gateway.model.target import Revocable

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
