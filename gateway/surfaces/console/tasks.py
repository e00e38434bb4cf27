"""The pages of tasks: their list, and one task as a graph, on a page and as a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.model import reasons
from gateway.model.errors import JournalError
from gateway.record.journal.columns import CALLS, Search
from gateway.record.journal.placed import EntryPlace
from gateway.surfaces.console.decisions import EVENTS, describe_journals, read_filters
from gateway.surfaces.console.graph import GraphEdge, Node, TaskGraph, find_causes, lay_out, read_leases, read_task
from gateway.surfaces.console.journals import NEWEST, read_cursor, read_place, write_cursor, write_place
from gateway.surfaces.console.rendering import HEADERS
from gateway.surfaces.console.visits import ConsoleVisit, page_route
from gateway.surfaces.explain.recorded import explain_history
from gateway.surfaces.explain.window import since_of

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject
    from gateway.record.journal.columns import Column
    from gateway.record.journal.entry_index import TaskLine
    from gateway.surfaces.console.journals import JournalPlace
    from gateway.surfaces.console.visits import ConsoleParts, ConsoleVisit


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
    wanted, before = read_filters(query, FILTERS), read_cursor(query.get("before", ""))
    values: dict[Column, str] = {name: wanted[name] for name in ("agent", "user") if name in wanted}
    page = console.journals.find_tasks(values, _filter(console, wanted), before, count=_COUNT)
    leases = _count_leases(console)
    older = {**wanted, "before": write_cursor(page.before)} if page.before else None
    return {
        **describe_journals(console),
        "rows": [_describe(console, place, line, leases) for place, line in page.found],
        "wanted": wanted,
        "older": older and f"{PATH}?{urlencode(older)}",
        "newest": not before,
        "newest_path": f"{PATH}?{urlencode(wanted)}",
        "events": f"{EVENTS}/tasks?{urlencode(wanted)}",
        "searched": page.searched,
    }


def _filter(console: ConsoleParts, wanted: Mapping[str, str]) -> Callable[[TaskLine], bool]:
    """Return whether a task has the wanted values: the index finds them by digests, which prove nothing."""
    state, calls = wanted.get("state"), wanted.get("calls")

    def fits(line: TaskLine) -> bool:
        last, principal = line.last, _part(line.last, "principal")
        return (
            (calls != "refused" or line.stopped > 0)
            and (calls != "asked" or line.asked > 0)
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


def _describe(console: ConsoleParts, place: JournalPlace, line: TaskLine, leases: Mapping[str, int]) -> dict[str, Any]:
    principal, task = _part(line.last, "principal"), _part(line.last, "task")
    identifier = task.get("id")
    if not isinstance(identifier, str):
        raise JournalError("a call of the journal names no task", "run `opagate journal verify`")
    return {
        "id": identifier,
        "path": f"{PATH}/{identifier}?at={write_place(place)}",
        "decisions": f"/console/decisions?{urlencode({'task': identifier})}",
        "kind": task.get("kind"),
        "time": str(line.last.get("time", "")),
        "agent": principal.get("id"),
        "user": principal.get("user"),
        "known_as": principal.get("known_as"),
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


_FAR: Final = 256 * 2**20


def task_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of tasks."""
    return [
        page_route(console, PATH, "viewer", show_tasks),
        page_route(console, f"{PATH}/{{id}}", "viewer", _show),
        page_route(console, f"{PATH}/{{id}}/graph.svg", "viewer", _export),
    ]


class ReadTask(NamedTuple):
    """A task as its page has it. `about` tells its caller and its declaration."""

    graph: TaskGraph
    about: dict[str, Any]


async def _show(visit: ConsoleVisit) -> Response:
    found = await _find_graph(visit)
    if found is None:
        return visit.refuse(reasons.CONSOLE_TASK.reason())
    graph = found.graph
    query = visit.request.scope["query_string"].decode("latin-1")
    return visit.page(
        "task.html",
        graph=graph,
        about=found.about,
        may_stop=visit.session.visitor.has_role("operator"),
        at=visit.request.query_params.get("at", ""),
        export=f"{PATH}/{graph.task}/graph.svg" + (f"?{query}" if query else ""),
        refused=[node for node in graph.nodes if node.verdict in {"deny", "ask"}][-20:],
        names={node.number: node for node in graph.nodes},
    )


async def _export(visit: ConsoleVisit) -> Response:
    found = await _find_graph(visit)
    if found is None:
        return visit.refuse(reasons.CONSOLE_TASK.reason())
    graph = found.graph
    text = visit.console.templates.render("graph.svg", {"graph": graph, "is_file": True})
    headers = {**HEADERS, "content-disposition": f'attachment; filename="{_file_name(graph.task)}.svg"'}
    return Response(text, headers=headers, media_type="image/svg+xml")


def _file_name(task: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "-" for character in task)[:80]


async def _find_graph(visit: ConsoleVisit) -> ReadTask | None:
    task, query = visit.request.path_params["id"], visit.request.query_params
    try:
        return await visit.console.read_journal(
            partial(make_graph, visit.console, task, read_place(query.get("at", "")), query.get("call"))
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JournalError(f"an entry of {task} is damaged: {error}", "run `opagate journal verify`") from error


def make_graph(console: ConsoleParts, task: str, place: JournalPlace | None, lit: str | None) -> ReadTask | None:
    """Return a task with its graph; `None` for an unknown one. Without `lit` the last refused call's path is lit.

    It reads files. Raises `JournalError`.
    """
    found = _find_call(console, task, place)
    if found is None:
        return None
    place, call = found
    window = console.journals.open_window(place)
    entries = window.tasks({task}, since=_since(call))
    nodes, edges = read_task(task, entries)
    audiences = {name: upstream.audience for name, upstream in console.configuration.upstreams.items()}
    leases = read_leases(task, entries, audiences)
    lit = lit or next((node.id for node in reversed(nodes) if node.verdict == "deny"), None)
    graph = lay_out(task, nodes, [*edges, *_causes(entries, nodes, lit)], leases, lit=lit)
    return ReadTask(graph, _describe_task(console, task, call, entries))


def _describe_task(console: ConsoleParts, task: str, call: JsonObject, entries: list[JsonObject]) -> dict[str, Any]:
    """Return the caller of a task, its state, and its declaration as the journals have it."""
    principal = _part(call, "principal")
    nothing: JsonObject = {}
    openings = (entry for entry in entries if entry["kind"] == "task" and entry.get("event") == "opened")
    opened = next(openings, nothing)
    declared = dict(_part(opened, "declared"))
    return {
        "agent": principal.get("id"),
        "user": principal.get("user"),
        "known_as": principal.get("known_as"),
        "kind": _part(call, "task").get("kind"),
        "state": find_state(console, task),
        "goal": declared.pop("goal", None),
        "declared": {name: value for name, value in declared.items() if value is not None and name != "id"},
        "decisions": f"/console/decisions?{urlencode({'task': task})}",
        "agent_path": f"/console/agents/one?{urlencode({'name': principal.get('id') or ''})}",
        "user_path": f"/console/users/one?{urlencode({'name': principal.get('user') or ''})}",
    }


def _since(call: JsonObject) -> float:
    """Return the time at which the task was opened, also of a task that earlier ones carry readings to."""
    history = cast("Mapping[str, Any]", call.get("history") or {})
    opened = history.get("opened")
    return float(opened) - 1.0 if isinstance(opened, int | float) else since_of(call)


def _find_call(console: ConsoleParts, task: str, place: JournalPlace | None) -> tuple[JournalPlace, JsonObject] | None:
    """Return the last call of a task before a place or the ends of the journals, and its place."""
    mark = msgspec.json.encode(task)

    def fits(line: bytes) -> bool:
        if mark not in line or b'"kind":"call"' not in line[:200]:
            return False
        named = cast("Mapping[str, Any]", msgspec.json.decode(line)).get("task")
        return isinstance(named, Mapping) and cast("Mapping[str, Any]", named).get("id") == task

    before = NEWEST if place is None else {place.journal: EntryPlace(place.segment, place.offset + 1)}
    page = console.journals.find_page(Search({"task": task}, kinds=CALLS), fits, before, count=1, budget=_FAR)
    return page.found[0] if page.found else None


def _causes(entries: list[JsonObject], nodes: list[Node], lit: str | None) -> list[GraphEdge]:
    """Return the edges to a decision from the calls that caused its facts."""
    decision = next((entry for entry in entries if entry.get("id") == lit and entry["kind"] == "call"), None)
    target = next((node.number for node in nodes if node.id == lit), None)
    if decision is None or target is None:
        return []
    explanation = explain_history(decision, lambda _tasks: entries)
    reasons = cast("list[Mapping[str, Any]]", decision.get("reasons") or [])
    pointers = [str(fact) for reason in reasons for fact in reason.get("facts") or ()]
    return [] if explanation is None else find_causes(explanation, pointers, target)
