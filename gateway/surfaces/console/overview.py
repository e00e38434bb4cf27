"""The first page: what waits for people, the health of the gateway, and the policy in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from gateway.calls.pipeline.readiness import list_problems
from gateway.record.journal.chain import timestamp
from gateway.surfaces.console.visits import ConsoleVisit

if TYPE_CHECKING:
    from gateway.calls.composition import Gateway


async def show_overview(visit: ConsoleVisit) -> Response:
    """Show the state of the gateway. Approvers without a further role see only their questions."""
    gateway, visitor = visit.console.gateway, visit.session.visitor
    is_viewer = visitor.has_role("viewer")
    people = gateway.people
    waiting = None if people is None else sum(one.state == "pending" for one in people.desk.list_open())
    return visit.page(
        "overview.html",
        waiting=waiting if visitor.has_role("approver") else None,
        health=_describe_health(gateway) if is_viewer else None,
        policy=describe_policy(gateway) if is_viewer else None,
    )


def _describe_health(gateway: Gateway) -> dict[str, Any]:
    authority = gateway.authority
    leases = () if authority is None else authority.leases.all()
    return {
        "problems": list_problems(
            gateway.policy, gateway.journal, gateway.identities, gateway.tls, gateway.served, claim=gateway.claim
        ),
        "entries": gateway.journal.entries,
        "open_calls": gateway.journal.open_calls,
        "stops": len(gateway.stops.register.stops),
        "leases": sum(lease.state == "active" for lease in leases),
        "stuck": sum(lease.state == "stuck" for lease in leases),
        "waiting": gateway.served.waiting,
        "upstreams": sorted(gateway.served.current.transports),
    }


def describe_policy(gateway: Gateway) -> dict[str, Any]:
    """Return the policy in force for a page."""
    status = gateway.policy.status()
    return {
        "name": status.name,
        "revision": status.revision,
        "engine": status.engine,
        "since": timestamp(status.since) if status.since else None,
        "problem": status.problem,
    }
