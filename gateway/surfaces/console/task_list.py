"""The tasks of the journal, the task with the latest call first, with filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

from gateway.model.errors import JournalError
from gateway.surfaces.console.decisions import EVENTS, read_filters, read_place, write_place

if TYPE_CHECKING:
    from starlette.responses import Response

    from gateway.model.wire import JsonObject
    from gateway.record.journal.columns import Column
    from gateway.record.journal.entry_index import TaskLine
    from gateway.record.journal.index_file import TaskRows
    from gateway.surfaces.console.parts import ConsoleParts
    from gateway.surfaces.console.visits import ConsoleVisit

PATH: Final = "/console/tasks"
STATES: Final = ("open", "completed", "cancelled", "expired", "forgotten")
"""States of a task. The gateway forgets a task some time after its end."""
FILTERS: Final = ("agent", "user", "state", "calls")
_COUNT: Final = 50


async def show_tasks(visit: ConsoleVisit) -> Response:
    """Show the list of tasks."""
    console = visit.console
    context = await console.read_journal(partial(load_tasks, console, visit.request.query_params))
    return visit.page("tasks.html", **context, states=STATES)


def load_tasks(console: ConsoleParts, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of the list for a query. It reads files. Raises `JournalError`."""
    wanted, before = read_filters(query, FILTERS), read_place(query.get("before", ""))
    values: dict[Column, str] = {name: wanted[name] for name in ("agent", "user") if name in wanted}
    page = console.index.find_tasks(values, _filter(console, wanted), before=before, count=_COUNT)
    leases = _count_leases(console)
    older = None if page.before is None else {**wanted, "before": write_place(page.before)}
    return {
        "rows": [_describe(console, line, leases) for line in page.found],
        "wanted": wanted,
        "older": older and f"{PATH}?{urlencode(older)}",
        "newest": before is None,
        "newest_path": f"{PATH}?{urlencode(wanted)}",
        "events": f"{EVENTS}/tasks?{urlencode(wanted)}",
        "searched": page.searched,
        "broken": console.index.broken_lines(),
    }


def _filter(console: ConsoleParts, wanted: Mapping[str, str]) -> Callable[[JsonObject, TaskRows], bool]:
    """Return whether a task has the wanted values: the index finds them by digests, which prove nothing."""
    state, calls = wanted.get("state"), wanted.get("calls")

    def fits(last: JsonObject, rows: TaskRows) -> bool:
        principal = _part(last, "principal")
        return (
            (calls != "refused" or rows.stopped > 0)
            and (calls != "asked" or rows.asked > 0)
            and all(principal.get(key) == wanted[name] for name, key in _KEYS.items() if name in wanted)
            and (state is None or find_state(console, _part(last, "task").get("id")) == state)
        )

    return fits


_KEYS: Final = {"agent": "id", "user": "user"}


def find_state(console: ConsoleParts, task: object) -> str:
    """Return the state of a task, as the gateway knows it now."""
    kept = console.gateway.history.tasks.find(task) if isinstance(task, str) else None
    return "forgotten" if kept is None else kept.status(console.gateway.clock())


def _count_leases(console: ConsoleParts) -> Counter[str]:
    authority = console.gateway.authority
    leases = () if authority is None else authority.leases.all()
    return Counter(lease.task for lease in leases)


def _describe(console: ConsoleParts, line: TaskLine, leases: Mapping[str, int]) -> dict[str, Any]:
    principal, task = _part(line.last, "principal"), _part(line.last, "task")
    identifier = task.get("id")
    if not isinstance(identifier, str):
        raise JournalError("a call of the journal names no task", "run `opagate journal verify`")
    return {
        "id": identifier,
        "path": f"{PATH}/{identifier}?at={write_place(line.place)}",
        "decisions": f"/console/decisions?{urlencode({'task': identifier})}",
        "kind": task.get("kind"),
        "time": str(line.last.get("time", "")),
        "agent": principal.get("id"),
        "user": principal.get("user"),
        "state": find_state(console, identifier),
        "calls": line.calls,
        "asked": line.asked,
        "refused": line.stopped,
        "is_whole": line.is_whole,
        "leases": leases.get(identifier, 0),
    }


def _part(entry: JsonObject, name: str) -> Mapping[str, Any]:
    found: object = entry.get(name)
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}
