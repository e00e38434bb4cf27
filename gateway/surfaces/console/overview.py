"""The first page: what waits for people, the last day of decisions, the health of the gateway, and the policy in force."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from msgspec import Struct
from starlette.responses import Response

from gateway.calls.pipeline.readiness import list_problems
from gateway.model.errors import JournalError
from gateway.record.journal.chain import timestamp
from gateway.record.journal.columns import ALLOWED, ASKED, DENIED, REFUSED
from gateway.surfaces.console import approvals, decisions, tools
from gateway.surfaces.console.visits import ConsoleVisit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.calls.composition import Gateway
    from gateway.calls.pipeline.people import People
    from gateway.record.journal.recent import NamedCount

_HOURS: Final = 24
_STEP: Final = 10
"""Width of an hour in a chart, in units of the drawing."""
_HEIGHT: Final = 48
_SERIES: Final = (
    ("Allowed", "allow", frozenset({ALLOWED})),
    ("Questions", "ask", frozenset({ASKED})),
    ("Refused", "deny", frozenset({DENIED, REFUSED})),
)


class Bar(Struct, frozen=True):
    """One hour of a chart. `at` is the time of its begin."""

    x: int
    y: int
    height: int
    count: int
    at: str


class Chart(Struct, frozen=True):
    """The decisions of one outcome by hour."""

    title: str
    kind: str
    total: int
    bars: list[Bar]
    words: str


async def show_overview(visit: ConsoleVisit) -> Response:
    """Show the state of the gateway. Approvers without a further role see only their questions."""
    gateway, visitor = visit.console.gateway, visit.session.visitor
    is_viewer = visitor.has_role("viewer")
    return visit.page(
        "overview.html",
        questions=_describe_questions(gateway.people) if visitor.has_role("approver") else None,
        day=await _describe_day(visit) if is_viewer else None,
        health=_describe_health(gateway) if is_viewer else None,
        policy=describe_policy(gateway) if is_viewer else None,
    )


def _describe_questions(people: People | None) -> dict[str, Any] | None:
    """Return the number of waiting questions, and the oldest one."""
    if people is None:
        return None
    waiting = [one for one in people.desk.list_open() if one.state == "pending"]
    oldest = min(waiting, key=lambda one: one.question.asked, default=None)
    return {
        "waiting": len(waiting),
        "oldest": None if oldest is None else f"{approvals.PATH}/{oldest.id}",
        "asked": None if oldest is None else oldest.question.asked,
    }


async def _describe_day(visit: ConsoleVisit) -> dict[str, Any]:
    """Return the charts of the last day, and the agents and reasons with the most refusals."""
    console = visit.console
    last = int(console.gateway.clock()) // 3600
    first = last - _HOURS + 1
    try:
        found = await console.read_journal(partial(console.journals.count_recent, first))
    except JournalError as error:
        return {"problem": error.message}
    return {
        "problem": None,
        "charts": [draw(title, kind, found.hours, kinds, first) for title, kind, kinds in _SERIES],
        "agents": _link(found.agents, "agent"),
        "codes": _link(found.codes, "code"),
        "is_whole": found.is_whole,
    }


def draw(title: str, kind: str, hours: Mapping[tuple[int, int], int], kinds: frozenset[int], first: int) -> Chart:
    """Return the chart of some outcomes over a day, from the hour `first` since the epoch. The largest hour fills its height."""
    counts = [sum(hours.get((hour, one), 0) for one in kinds) for hour in range(first, first + _HOURS)]
    largest, total = max(counts), sum(counts)
    # An hour with one decision is seen beside an hour with thousands.
    heights = [max(2, round(count * _HEIGHT / largest)) if count else 0 for count in counts]
    bars = [
        Bar(place * _STEP, _HEIGHT - height, height, count, timestamp((first + place) * 3600))
        for place, (height, count) in enumerate(zip(heights, counts, strict=True))
    ]
    peak = f", most of them ({largest}) from {bars[counts.index(largest)].at[11:16]} UTC on" if total else ""
    return Chart(title, kind, total, bars, f"{title}: {total} in 24 hours{peak}")


def _link(found: Iterable[NamedCount], name: str) -> list[dict[str, Any]]:
    """Return counts with the addresses of their decisions."""
    return [
        {"name": one.name, "count": one.calls, "path": f"{decisions.PATH}?{urlencode({name: one.name})}"}
        for one in found
    ]


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
        "down": {one.upstream: one.error for one in gateway.catalogue.status() if one.error is not None},
        "changes": _count_changes(gateway),
        "certificates": _list_ending(gateway),
    }


def _count_changes(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the upstreams with definitions for a person to look at."""
    counts = {one.upstream: len(gateway.catalogue.changes(one.upstream)) for one in gateway.catalogue.status()}
    return [{"name": name, "count": count, "path": tools.PATH} for name, count in counts.items() if count]


def _list_ending(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the certificates that end soon."""
    now = gateway.clock()
    found = ((files.place, files.material.validity) for files in gateway.tls.files)
    return [
        {"place": place, "until": validity.until}
        for place, validity in found
        if validity is not None and validity.ends_soon(now)
    ]


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
