"""Lent credentials: the open leases, and the kill switch that ends a choice of them at once."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.model import describe_lease
from gateway.authority.operators import LeaseSelection
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.record.journal.columns import LEASE, Search
from gateway.surfaces.console.rendering import see_other
from gateway.surfaces.console.visits import ConsoleVisit, action_route, page_route, read_reason

if TYPE_CHECKING:
    from gateway.authority.fleet import Fleet
    from gateway.model.wire import JsonObject
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/leases"
_STEPS: Final = 100
_ENDED: Final = 50
_ENDS: Final = re.compile(rb'"event":"(?:revoked|expired|lapsed|abandoned)"')
_DETAILS: Final = ("upstream", "agent", "user", "broker", "scope", "problem", "attempts", "processes")
_MOST: Final = 500
"""Leases on the page, the oldest ones."""
CHOICES: Final = ("id", "task", "agent", "user", "upstream", "broker", "all")


def lease_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of leases. Without a leased credential there is nothing to end, and the page says so."""
    pages = [page_route(console, PATH, "viewer", _list), page_route(console, f"{PATH}/{{id}}", "viewer", _show)]
    if console.gateway.authority is None:
        return pages
    return [
        *pages,
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
        ended_lately=await visit.console.read_journal(partial(list_ended, visit.console)),
        may_end=authority is not None and visit.session.visitor.has_role("operator"),
        choices=CHOICES[1:],
        ended=query.get("ended", "")[:8],
    )


async def _show(visit: ConsoleVisit) -> Response:
    """Show the steps of one lease as the journals have them, with the proof of its end."""
    identifier = visit.request.path_params["id"][:200]
    steps = await visit.console.read_journal(partial(read_steps, visit.console, identifier))
    if not steps:
        return visit.refuse(reasons.LEASE_UNKNOWN_ON_PAGE.reason())
    return visit.page("lease.html", id=identifier, steps=list(map(_describe_step, steps)), task=str(steps[0]["task"]))


def read_steps(console: ConsoleParts, identifier: str) -> list[JsonObject]:
    """Return the entries of a lease, oldest first. It reads files. Raises `JournalError`."""
    mark = msgspec.json.encode(identifier)
    page = console.journals.find_page(
        Search({"id": identifier}, kinds=frozenset({LEASE})), lambda line: mark in line, count=_STEPS
    )
    return [entry for _, entry in reversed(page.found) if entry.get("id") == identifier]


def list_ended(console: ConsoleParts) -> list[dict[str, Any]]:
    """Return the leases whose end the journals tell last, with its proof. It reads files. Raises `JournalError`."""
    page = console.journals.find_page(Search(kinds=frozenset({LEASE})), _is_end, count=_ENDED)
    return [{"id": entry["id"], "path": f"{PATH}/{entry['id']}", **_describe_step(entry)} for _, entry in page.found]


def _is_end(line: bytes) -> bool:
    return _ENDS.search(line) is not None


def _describe_step(entry: JsonObject) -> dict[str, Any]:
    fields: dict[str, Any] = dict(entry)
    return {
        "time": str(fields["time"]),
        "event": str(fields["event"]),
        "cause": fields.get("cause"),
        "proof": fields.get("proof"),
        "decision": fields.get("decision"),
        "details": {name: fields[name] for name in _DETAILS if fields.get(name)},
    }


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
