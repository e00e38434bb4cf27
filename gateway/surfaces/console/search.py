"""The search over all journals: one text as an id, a task, an agent, a user, an upstream, a tool, a lease or a digest of arguments."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec

from gateway.record.journal.columns import CALLS, COLUMNS, LEASE, REFUSED, Search, find_value
from gateway.surfaces.console import callers, decisions, leases, tasks
from gateway.surfaces.console.visits import ConsoleVisit, page_route

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import Route

    from gateway.record.journal.columns import Column
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/search"
_COUNT: Final = 5
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
    """Return the latest decisions with a text for each column that has it, and a lease of that id. It reads files. Raises `JournalError`."""
    mark = msgspec.json.encode(text)
    found: list[dict[str, Any]] = []
    for column in COLUMNS:
        search = Search({column: text}, kinds=CALLS | {REFUSED})
        page = console.journals.find_page(search, partial(_has_value, mark, column, text), count=_COUNT)
        if page.found:
            rows = [decisions.describe_row(place, entry) for place, entry in page.found]
            found.append({"title": _TITLES[column], "path": _path_of(column, text), "rows": rows})
    lease = console.journals.find_page(
        Search({"id": text}, kinds=frozenset({LEASE})), lambda line: mark in line, count=1
    )
    if lease.found:
        found.append({"title": "Lease", "path": f"{leases.PATH}/{quote(text, safe='')}", "rows": []})
    return found


def _has_value(mark: bytes, column: Column, text: str, line: bytes) -> bool:
    return mark in line and find_value(msgspec.json.decode(line), column) == text


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
