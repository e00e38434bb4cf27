"""News for open pages by server-sent events (HTML Standard, section 9.2): `GET /console/events/TOPIC`.

A page about approvals hears that something changed, and loads itself again. A list gets its new region with the event.
All pages with the same filters share one text. Their events are spread over time, so that no call waits for many pages.
While no page is open, the feed has no subscriber, and a change costs one look at an empty set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from gateway.model.errors import GatewayError, JournalError, StoreError
from gateway.surfaces.console import decisions, tasks
from gateway.surfaces.console.decisions import read_filters
from gateway.surfaces.console.rendering import HEADERS
from gateway.surfaces.console.sessions import LoginSession, Role
from gateway.surfaces.console.visits import ODD_LINES, find_session

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from gateway.surfaces.console.visits import ConsoleParts


Topic: TypeAlias = Literal["approvals", "decisions", "tasks"]

STREAMS: Final = 256
PER_SESSION: Final = 16
_KEEP_ALIVE: Final = 15.0
_PAUSE: Final = 0.5
"""Seconds between two events of one page. Changes in between are one event."""
_PAUSE_EACH: Final = 0.05
"""The same for each open page: many pages hear less often, and leave the gateway to the calls."""
_PAUSE_VIEW: Final = 0.1
"""The same for each list with filters of its own, which is made for itself."""
_GOLDEN: Final = 0.6180339887
"""Multiples of it spread evenly between whole numbers."""


class View(NamedTuple):
    """A list with its filters, in the form of a query. Pages with the same view show the same."""

    topic: Topic
    query: str = ""


Render: TypeAlias = Callable[[View], Awaitable[str]]


class Subscription:
    """An open page. `woken` is set when something changed, or when the feed ends. `phase` is its share of the pause before an event."""

    __slots__ = ("owner", "phase", "view", "woken")

    def __init__(self, view: View, owner: str, phase: float) -> None:
        self.view = view
        self.owner = owner
        self.phase = phase
        self.woken = asyncio.Event()
        if view.topic != "approvals":
            self.woken.set()  # the journal may have grown since the page was made

    def wait(self, now: float, pause: float) -> float:
        """Return the seconds until the page's turn."""
        return (self.phase - now / pause) % 1.0 * pause


class _Rendered(NamedTuple):
    """A region after so many changes."""

    changes: int
    event: bytes


class Feed:
    """The open pages of the console. `render` makes the region of a list."""

    def __init__(self, render: Render, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._render = render
        self._monotonic = monotonic
        self._open: set[Subscription] = set()
        self._opened = 0
        self._changes = 0
        self._rendered: dict[View, _Rendered] = {}
        self._locks: dict[View, asyncio.Lock] = {}
        self._closed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Return whether the gateway stops."""
        return self._closed.is_set()

    def tell(self, *topics: Topic) -> None:
        """Tell the open pages about topics that something changed."""
        if not self._open:
            return
        self._changes += 1
        for one in self._open:
            if one.view.topic in topics:
                one.woken.set()

    def close(self) -> None:
        """End all streams: the gateway stops."""
        self._closed.set()
        for one in self._open:
            one.woken.set()

    @property
    def pause(self) -> float:
        """Return the seconds between two events of one page."""
        return max(_PAUSE, _PAUSE_EACH * len(self._open), _PAUSE_VIEW * len(self._locks))

    def has_room(self, owner: str) -> bool:
        """Return whether a session may open another page with news."""
        return len(self._open) < STREAMS and sum(one.owner == owner for one in self._open) < PER_SESSION

    async def wait_for_turn(self, subscription: Subscription) -> None:
        """Wait until a page may hear of a change, or the gateway stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(subscription.wait(self._monotonic(), self.pause)):
                await self._closed.wait()

    async def event(self, view: View) -> bytes:
        """Return the event with the region of a view, made once for all pages after a change. Raises `GatewayError`."""
        async with self._locks.setdefault(view, asyncio.Lock()):
            known, changes = self._rendered.get(view), self._changes
            if known is None or known.changes != changes:
                region = await self._render(view)
                known = _Rendered(changes, b"event: region\ndata: " + msgspec.json.encode(region) + b"\n\n")
                self._rendered[view] = known
            return known.event

    @contextmanager
    def subscribe(self, view: View, owner: str) -> Generator[Subscription]:
        """Give the subscription of a page while the page is open. `owner` is the id of its session."""
        self._opened += 1
        subscription = Subscription(view, owner, self._opened * _GOLDEN % 1.0)
        self._open.add(subscription)
        try:
            yield subscription
        finally:
            self._open.discard(subscription)
            if all(one.view != view for one in self._open):
                self._rendered.pop(view, None)
                self._locks.pop(view, None)


class EventStream(Response):
    """An answer of events about a view. `is_welcome` tells, again and again, whether its reader still has a login and the role."""

    def __init__(self, feed: Feed, view: View, owner: str, is_welcome: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(headers={**HEADERS, "content-type": "text/event-stream"})
        self._feed = feed
        self._view = view
        self._owner = owner
        self._is_welcome = is_welcome
        self._sent = b""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with self._feed.subscribe(self._view, self._owner) as subscription:
            await _send(send, _COMMENT)
            while (event := await self._next(subscription)) is not None:
                await _send(send, event)
            await _send(send, b"event: ended\ndata:\n\n")
        await send({"type": "http.response.body", "body": b""})

    async def _next(self, subscription: Subscription) -> bytes | None:
        """Return the next event or comment, `None` at the end."""
        try:
            async with asyncio.timeout(_KEEP_ALIVE):
                await subscription.woken.wait()
        except TimeoutError:
            return _COMMENT if await self._is_welcome() else None
        await self._feed.wait_for_turn(subscription)
        subscription.woken.clear()
        if self._feed.is_closed or not await self._is_welcome():
            return None
        return await self._change()

    async def _change(self) -> bytes:
        if self._view.topic == "approvals":
            return _CHANGED
        try:
            event = await self._feed.event(self._view)
        except GatewayError:
            return _CHANGED  # the page itself shows the fault
        if event == self._sent:
            return _COMMENT
        self._sent = event
        return event


_COMMENT: Final = b": open\n\n"
_CHANGED: Final = b"event: changed\ndata:\n\n"


async def _send(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


_FILTERS: Final[Mapping[Topic, tuple[str, ...]]] = {"decisions": decisions.FILTERS, "tasks": tasks.FILTERS}
_LISTS: Final[Mapping[Topic, tuple[Callable[[ConsoleParts, Mapping[str, str]], dict[str, Any]], str]]] = {
    "decisions": (decisions.load_decisions, "decisions_list.html"),
    "tasks": (tasks.load_tasks, "tasks_list.html"),
}
_ROLES: Final[dict[Topic, Role]] = {"approvals": "approver", "decisions": "viewer", "tasks": "viewer"}


def event_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of the streams."""
    return [Route(f"/console/events/{topic}", partial(_stream, console, topic)) for topic in _ROLES]


async def _stream(console: ConsoleParts, topic: Topic, request: Request) -> Response:
    """Answer with a stream of events. An open stream does not count as use of the session."""

    async def find() -> LoginSession | None:
        try:
            found = await find_session(console, request, is_use=False)
        except StoreError:
            return None  # the page itself shows the fault
        return found if found is not None and found.visitor.has_role(_ROLES[topic]) else None

    async def is_welcome() -> bool:
        return await find() is not None

    session = await find()
    if session is None:
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
        except (msgspec.MsgspecError, *ODD_LINES) as error:
            raise JournalError(f"an entry is damaged: {error}", "run `opagate journal verify`") from error

    return await console.read_journal(render)
