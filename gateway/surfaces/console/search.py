"""The search over all journals: one text as an id, as a name, or as a digest of arguments."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec

from gateway.record.journal.columns import CALLS, LEASE, REFUSED, Search, find_value
from gateway.surfaces.console import callers, decisions, leases, tasks
from gateway.surfaces.console.visits import ConsoleVisit, page_route

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import Route

    from gateway.record.journal.columns import Column
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/search"
_COUNT: Final = 5
_LOOKED: Final = 20
_PASSES: Final[tuple[tuple[Column, ...], ...]] = (
    ("id",),
    ("task",),
    ("agent", "user", "upstream", "tool", "arguments"),
)
"""Ids and tasks have an index of their own. All other columns are looked at in one pass."""
_TITLES: Final[dict[Column, str]] = {
    "id": "Decision",
    "task": "Task",
    "agent": "Agent",
    "user": "User",
    "upstream": "Upstream",
    "tool": "Tool",
    "arguments": "Digest of arguments",
}


def search_routes(console: ConsoleParts) -> list[Route]:
    """Return the route of the search."""
    return [page_route(console, PATH, "viewer", _show)]


async def _show(visit: ConsoleVisit) -> Response:
    """Show what the journals have of a text."""
    text = visit.request.query_params.get("q", "").strip()[:200]
    found = await visit.console.read_journal(partial(find_all, visit.console, text)) if text else []
    return visit.page("search.html", text=text, found=found)


def find_all(console: ConsoleParts, text: str) -> list[dict[str, Any]]:
    """Return the latest decisions with a text, column by column, and the lease with this id. Raises `JournalError`."""
    mark = msgspec.json.encode(text)
    found: list[dict[str, Any]] = []
    for columns in _PASSES:
        wanted: dict[Column, str] = dict.fromkeys(columns, text)
        search = Search(wanted if len(columns) == 1 else {}, kinds=CALLS | {REFUSED}, any_of=wanted)
        page = console.journals.find_page(search, partial(_has_value, mark, columns, text), count=_LOOKED)
        for column in columns:
            fitting = [one for one in page.found if find_value(one[1], column) == text]
            if fitting:
                rows = [decisions.describe_row(place, entry) for place, entry in fitting[:_COUNT]]
                found.append({"title": _TITLES[column], "path": _path_of(column, text), "rows": rows})
    is_lease = Search({"id": text}, kinds=frozenset({LEASE}))
    if console.journals.find_page(is_lease, lambda line: mark in line, count=1).found:
        found.append({"title": "Lease", "path": f"{leases.PATH}/{quote(text, safe='')}", "rows": []})
    return found


def _has_value(mark: bytes, columns: tuple[Column, ...], text: str, line: bytes) -> bool:
    if mark not in line:
        return False
    entry = msgspec.json.decode(line)
    return any(find_value(entry, column) == text for column in columns)


def _path_of(column: Column, text: str) -> str | None:
    """Return the page of a value; `None` for a decision, which its row leads to."""
    match column:
        case "id":
            return None
        case "task":
            return f"{tasks.PATH}/{quote(text, safe='')}"
        case "agent":
            return f"{callers.AGENTS}/one?{urlencode({'name': text})}"
        case "user":
            return f"{callers.USERS}/one?{urlencode({'name': text})}"
        case _:
            return f"{decisions.PATH}?{urlencode({column: text})}"
