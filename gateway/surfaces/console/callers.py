"""The agents and the users of a time: what each one called, and its refusals, systems, leases and questions over all tasks.

The counts rest on the index of the journals. A name stands in a checked line of a journal.
"""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from gateway.record.journal.several import time_of
from gateway.surfaces.console import decisions, tasks
from gateway.surfaces.console.visits import ConsoleVisit, page_route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response
    from starlette.routing import Route

    from gateway.record.journal.columns import Column
    from gateway.record.journal.recent import CallCount
    from gateway.surfaces.console.visits import ConsoleParts

AGENTS: Final = "/console/agents"
USERS: Final = "/console/users"
RANGES: Final[Mapping[str, int]] = {"24 hours": 24, "7 days": 7 * 24, "30 days": 30 * 24}
_MOST: Final = 100
_FEW: Final = 20


class _Kind(NamedTuple):
    """Agents, or users: the column of the index, and the column of their counterparts."""

    column: Column
    other: Column
    path: str
    title: str


_AGENT: Final = _Kind("agent", "user", AGENTS, "Agents")
_USER: Final = _Kind("user", "agent", USERS, "Users")


def caller_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of agents and users."""
    return [
        route
        for kind in (_AGENT, _USER)
        for route in (
            page_route(console, kind.path, "viewer", partial(_list, kind)),
            page_route(console, f"{kind.path}/one", "viewer", partial(_show, kind)),
        )
    ]


def read_range(query: Mapping[str, str]) -> str:
    """Return the chosen time of a page."""
    chosen = query.get("range", "")
    return chosen if chosen in RANGES else next(iter(RANGES))


async def _list(kind: _Kind, visit: ConsoleVisit) -> Response:
    """List the agents or users with the most calls of a time."""
    console, chosen = visit.console, read_range(visit.request.query_params)
    since = _begin(console, chosen)
    count = partial(console.journals.count_calls, kind.column, since, most=_MOST)
    found = await console.read_journal(count)
    leases, waiting = _count_open(console, kind)
    rows = [
        {
            **_describe(one),
            "path": f"{kind.path}/one?{urlencode({'name': one.name, 'range': chosen})}",
            "leases": leases.get(one.name, 0),
            "waiting": waiting.get(one.name, 0),
        }
        for one in found.counts
    ]
    return visit.page(
        "callers.html", kind=kind, rows=rows, chosen=chosen, ranges=RANGES, is_whole=found.is_whole, most=_MOST
    )


async def _show(kind: _Kind, visit: ConsoleVisit) -> Response:
    """Show one agent or user: its calls by system, by counterpart and by reason, and its latest refusals."""
    console, query = visit.console, visit.request.query_params
    name, chosen = query.get("name", "")[:2048], read_range(query)
    context = await console.read_journal(partial(_load, console, kind, name, _begin(console, chosen)))
    leases, waiting = _count_open(console, kind)
    return visit.page(
        "caller.html",
        **context,
        kind=kind,
        name=name,
        chosen=chosen,
        ranges=RANGES,
        leases=leases.get(name, 0),
        waiting=waiting.get(name, 0),
        all_decisions=f"{decisions.PATH}?{urlencode({kind.column: name})}",
        all_tasks=f"{tasks.PATH}?{urlencode({kind.column: name})}",
        command=f"opagate policy can {shlex.quote(name)} UPSTREAM/TOOL",
        may_stop=visit.session.visitor.has_role("operator"),
    )


def _load(console: ConsoleParts, kind: _Kind, name: str, since: int) -> dict[str, Any]:
    """Return the counts of one caller and its latest refusals. It reads files. Raises `JournalError`."""
    where: dict[Column, str] = {kind.column: name}
    count = partial(console.journals.count_calls, since=since, where=where, most=_FEW)
    systems, others = count("upstream"), count(kind.other)
    wanted = {kind.column: name, "effect": "deny"}
    refused = decisions.find_decisions(console, wanted, {}, count=_FEW)
    total = [
        sum(column) for column in zip(*((one.allowed, one.asked, one.stopped) for one in systems.counts), strict=True)
    ]
    return {
        "totals": dict(zip(("allowed", "asked", "refused"), total or (0, 0, 0), strict=True)),
        "systems": [_describe(one, {kind.column: name, "upstream": one.name}) for one in systems.counts],
        "others": [_describe(one, {kind.column: name, kind.other: one.name}) for one in others.counts],
        "rows": [decisions.describe_row(place, entry) for place, entry in refused.found],
        "is_whole": systems.is_whole,
    }


def _describe(one: CallCount, wanted: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "name": one.name,
        "allowed": one.allowed,
        "asked": one.asked,
        "refused": one.stopped,
        "time": time_of(one.last),
        "path": f"{decisions.PATH}?{urlencode(wanted or {})}",
    }


def _count_open(console: ConsoleParts, kind: _Kind) -> tuple[dict[str, int], dict[str, int]]:
    """Return the numbers of open leases and of waiting questions by caller."""
    authority, people = console.gateway.authority, console.gateway.people
    leases, waiting = dict[str, int](), dict[str, int]()
    for lease in () if authority is None else authority.leases.all():
        name = lease.agent if kind is _AGENT else lease.user
        leases[name or ""] = leases.get(name or "", 0) + 1
    for one in () if people is None else people.desk.list_open():
        asker = one.question.requester
        name = asker.id if kind is _AGENT else asker.user
        waiting[name or ""] = waiting.get(name or "", 0) + (one.state == "pending")
    return leases, waiting


def _begin(console: ConsoleParts, chosen: str) -> int:
    """Return the hour at which a time begins, since the epoch."""
    return int(console.gateway.clock()) // 3600 - RANGES[chosen] + 1
