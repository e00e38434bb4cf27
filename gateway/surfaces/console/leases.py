"""Lent credentials: the open leases, and the kill switch that ends a choice of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.model import describe_lease
from gateway.authority.operators import LeaseSelection
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.surfaces.console.rendering import see_other
from gateway.surfaces.console.visits import ConsoleVisit, action_route, page_route, read_reason

if TYPE_CHECKING:
    from gateway.authority.fleet import Fleet
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/leases"
_MOST: Final = 500
"""Leases on the page, the oldest ones."""
CHOICES: Final = ("id", "task", "agent", "user", "upstream", "broker", "all")


def lease_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of leases. Without a leased credential there is nothing to end, and the page says so."""
    listing = page_route(console, PATH, "viewer", _list)
    if console.gateway.authority is None:
        return [listing]
    return [
        listing,
        action_route(console, f"{PATH}/end", "operator", _end),
        action_route(console, f"{PATH}/abandon", "operator", _abandon),
    ]


def _fleet(visit: ConsoleVisit) -> Fleet:
    authority = visit.console.gateway.authority
    assert authority is not None  # noqa: S101 - without an authority there are no routes that act
    return authority.fleet


async def _list(visit: ConsoleVisit) -> Response:
    authority = visit.console.gateway.authority
    found = () if authority is None else sorted(authority.leases.all(), key=lambda lease: lease.requested)
    query = visit.request.query_params
    return visit.page(
        "leases.html",
        has_broker=authority is not None,
        leases=[describe_lease(lease) for lease in found[:_MOST]],
        count=len(found),
        may_end=authority is not None and visit.session.visitor.has_role("operator"),
        choices=CHOICES[1:],
        ended=query.get("ended", "")[:8],
    )


async def _end(visit: ConsoleVisit) -> Response:
    """End the chosen leases. The journal has the person and the reason before the first end begins."""
    reason = read_reason(visit)
    if isinstance(reason, Reason):
        return visit.refuse(reason)
    by, value = visit.value("by"), visit.value("value").strip()
    if by not in CHOICES or (by != "all" and not value):
        return visit.refuse(reasons.LEASE_INVALID_FORM.reason())
    chosen = LeaseSelection(all=True) if by == "all" else msgspec.convert({by: value}, LeaseSelection)
    choice: dict[str, Any] = {"by": by, **({} if by == "all" else {"value": value[:500]})}
    await visit.record("leases-end", chosen=choice, reason=reason)
    ended = await _fleet(visit).end(chosen.predicate(), "operator")
    return see_other(f"{PATH}?ended={ended}")


async def _abandon(visit: ConsoleVisit) -> Response:
    """Give up the end of a lease that its issuer does not confirm."""
    reason = read_reason(visit)
    if isinstance(reason, Reason):
        return visit.refuse(reason)
    identifier = visit.value("id")
    await visit.record("lease-abandon", lease=identifier[:100], reason=reason)
    abandoned = await _fleet(visit).abandon(identifier, reason)
    return visit.refuse(reasons.LEASE_UNKNOWN_ON_PAGE.reason()) if abandoned is None else see_other(PATH)
