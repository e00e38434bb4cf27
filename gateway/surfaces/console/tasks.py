"""The pages of tasks: their list, and one task as a graph, on a page and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.model import reasons
from gateway.model.errors import JournalError
from gateway.record.journal.columns import CALLS, Search
from gateway.record.journal.placed import EntryPlace
from gateway.surfaces.console.decisions import read_place
from gateway.surfaces.console.graph import GraphEdge, Node, TaskGraph, find_causes, lay_out, read_leases, read_task
from gateway.surfaces.console.responses import HEADERS
from gateway.surfaces.console.task_list import PATH, show_tasks
from gateway.surfaces.console.visits import ConsoleVisit, page_route
from gateway.surfaces.explain.recorded import explain_history
from gateway.surfaces.explain.window import JournalWindow, since_of

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject
    from gateway.surfaces.console.parts import ConsoleParts

_FAR: Final = 256 * 2**20


def task_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of tasks."""
    return [
        page_route(console, PATH, "viewer", show_tasks),
        page_route(console, f"{PATH}/{{id}}", "viewer", _show),
        page_route(console, f"{PATH}/{{id}}/graph.svg", "viewer", _export),
    ]


async def _show(visit: ConsoleVisit) -> Response:
    graph = await _find_graph(visit)
    if graph is None:
        return visit.refuse(reasons.CONSOLE_TASK.reason())
    query = visit.request.scope["query_string"].decode("latin-1")
    return visit.page(
        "task.html",
        graph=graph,
        at=visit.request.query_params.get("at", ""),
        export=f"{PATH}/{graph.task}/graph.svg" + (f"?{query}" if query else ""),
        refused=[node for node in graph.nodes if node.verdict in {"deny", "ask"}][-20:],
        names={node.number: node for node in graph.nodes},
    )


async def _export(visit: ConsoleVisit) -> Response:
    graph = await _find_graph(visit)
    if graph is None:
        return visit.refuse(reasons.CONSOLE_TASK.reason())
    text = visit.console.templates.render("graph.svg", {"graph": graph, "is_file": True})
    headers = {**HEADERS, "content-disposition": f'attachment; filename="{_file_name(graph.task)}.svg"'}
    return Response(text, headers=headers, media_type="image/svg+xml")


def _file_name(task: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "-" for character in task)[:80]


async def _find_graph(visit: ConsoleVisit) -> TaskGraph | None:
    task, query = visit.request.path_params["id"], visit.request.query_params
    try:
        return await visit.console.read_journal(
            partial(make_graph, visit.console, task, read_place(query.get("at", "")), query.get("call"))
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JournalError(f"an entry of {task} is damaged: {error}", "run `opagate journal verify`") from error


def make_graph(console: ConsoleParts, task: str, place: EntryPlace | None, lit: str | None) -> TaskGraph | None:
    """Return the graph of a task; `None` for an unknown one. Without `lit` the last refused call's path is lit.

    It reads files. Raises `JournalError`.
    """
    found = _find_call(console, task, place)
    if found is None:
        return None
    place, call = found
    window = JournalWindow(console.configuration.journal.path, place, console.journal_key, console.index)
    entries = window.tasks({task}, since=_since(call))
    nodes, edges = read_task(task, entries)
    audiences = {name: upstream.audience for name, upstream in console.configuration.upstreams.items()}
    leases = read_leases(task, entries, audiences)
    lit = lit or next((node.id for node in reversed(nodes) if node.verdict == "deny"), None)
    return lay_out(task, nodes, [*edges, *_causes(entries, nodes, lit)], leases, lit=lit)


def _since(call: JsonObject) -> float:
    """Return the time at which the task was opened, also of a task that earlier ones carry readings to."""
    history = cast("Mapping[str, Any]", call.get("history") or {})
    opened = history.get("opened")
    return float(opened) - 1.0 if isinstance(opened, int | float) else since_of(call)


def _find_call(console: ConsoleParts, task: str, place: EntryPlace | None) -> tuple[EntryPlace, JsonObject] | None:
    """Return the last call of a task before a place or the end of the journal, and its place."""
    mark = msgspec.json.encode(task)

    def fits(line: bytes) -> bool:
        if mark not in line or b'"kind":"call"' not in line[:200]:
            return False
        named = cast("Mapping[str, Any]", msgspec.json.decode(line)).get("task")
        return isinstance(named, Mapping) and cast("Mapping[str, Any]", named).get("id") == task

    before = None if place is None else EntryPlace(place.segment, place.offset + 1)
    search = Search({"task": task}, kinds=CALLS)
    page = console.index.find_page(search, fits, before=before, count=1, budget=_FAR)
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
