"""The streams of news for open pages: `GET /console/events/TOPIC`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.model.errors import JournalError
from gateway.surfaces.console import decisions, task_list
from gateway.surfaces.console.decisions import read_filters
from gateway.surfaces.console.feed import EventStream, Topic, View
from gateway.surfaces.console.sessions import Role
from gateway.surfaces.console.visits import find_session

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.surfaces.console.parts import ConsoleParts

_FILTERS: Final[Mapping[Topic, tuple[str, ...]]] = {"decisions": decisions.FILTERS, "tasks": task_list.FILTERS}
_LISTS: Final[Mapping[Topic, tuple[Callable[[ConsoleParts, Mapping[str, str]], dict[str, Any]], str]]] = {
    "decisions": (decisions.load_decisions, "decisions_list.html"),
    "tasks": (task_list.load_tasks, "tasks_list.html"),
}
_ROLES: Final[dict[Topic, Role]] = {"approvals": "approver", "decisions": "viewer", "tasks": "viewer"}


def event_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of the streams."""
    return [Route(f"/console/events/{topic}", partial(_stream, console, topic)) for topic in _ROLES]


async def _stream(console: ConsoleParts, topic: Topic, request: Request) -> Response:
    """Answer with a stream of events. An open stream does not count as use of the session."""

    def is_welcome() -> bool:
        found = find_session(console, request, is_use=False)
        return found is not None and found.visitor.has_role(_ROLES[topic])

    session = find_session(console, request, is_use=False)
    if session is None or not is_welcome():
        return Response(status_code=403)
    if console.feed.is_closed or not console.feed.has_room(session.id):
        return Response(status_code=503, headers={"retry-after": "5"})
    return EventStream(console.feed, find_view(topic, request.query_params), session.id, is_welcome)


def find_view(topic: Topic, query: Mapping[str, str]) -> View:
    """Return the view of a page. Parts of the query that are no filters make no view of their own."""
    wanted = read_filters(query, _FILTERS.get(topic, ()))
    return View(topic, urlencode(sorted(wanted.items())))


async def render_region(console: ConsoleParts, view: View) -> str:
    """Return the list of a view, made in a thread. Raises `JournalError`."""
    load, template = _LISTS[view.topic]
    query = dict(parse_qsl(view.query))

    def render() -> str:
        try:
            return console.templates.render_aside(template, load(console, query))
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise JournalError(f"an entry is damaged: {error}", "run `opagate journal verify`") from error

    return await console.read_journal(render)
