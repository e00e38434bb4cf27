"""The streams of news for open pages: `GET /console/events/TOPIC`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.console.feed import EventStream, Topic
from gateway.console.sessions import Role
from gateway.console.visits import find_session

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.console.parts import ConsoleParts

_ROLES: Final[dict[Topic, Role]] = {"approvals": "approver", "decisions": "viewer"}


def event_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of the streams."""
    return [Route(f"/console/events/{topic}", partial(_stream, console, topic)) for topic in _ROLES]


async def _stream(console: ConsoleParts, topic: Topic, request: Request) -> Response:
    """Answer with a stream, which does not count as something that the person does."""

    def is_welcome() -> bool:
        found = find_session(console, request, is_use=False)
        return found is not None and found.visitor.has_role(_ROLES[topic])

    session = find_session(console, request, is_use=False)
    if session is None or not is_welcome():
        return Response(status_code=403)
    if console.feed.is_closed or not console.feed.has_room(session.id):
        return Response(status_code=503, headers={"retry-after": "5"})
    return EventStream(console.feed, topic, session.id, is_welcome)
