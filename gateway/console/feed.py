"""News for open pages by server-sent events (HTML Standard, section 9.2). A page hears that something changed, and loads itself again.

While no page is open, the feed has no subscriber, and a change costs one look at an empty set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from starlette.responses import Response

from gateway.console.responses import HEADERS

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import Receive, Scope, Send

Topic: TypeAlias = Literal["approvals", "decisions"]

STREAMS: Final = 256
PER_SESSION: Final = 16
_KEEP_ALIVE: Final = 15.0
_PAUSE: Final = 0.5
"""Seconds between two events of one page. Changes in between are one event."""
_PAUSE_EACH: Final = 0.05
"""The same for each open page: many pages load themselves again less often, and leave the gateway to the calls."""


class Subscription:
    """An open page. `woken` is set when something changed, or when the feed ends."""

    __slots__ = ("owner", "topic", "woken")

    def __init__(self, topic: Topic, owner: str) -> None:
        self.topic = topic
        self.owner = owner
        self.woken = asyncio.Event()


class Feed:
    """The open pages of the console."""

    def __init__(self) -> None:
        self._open: set[Subscription] = set()
        self.is_closed = False

    def has_readers(self, topic: Topic) -> bool:
        """Return whether a page about a topic is open."""
        return any(one.topic == topic for one in self._open)

    def tell(self, topic: Topic) -> None:
        """Tell the open pages about a topic that something changed."""
        for one in self._open:
            if one.topic == topic:
                one.woken.set()

    def close(self) -> None:
        """End all streams: the gateway stops."""
        self.is_closed = True
        for one in self._open:
            one.woken.set()

    @property
    def pause(self) -> float:
        """Return the seconds between two events of one page."""
        return max(_PAUSE, _PAUSE_EACH * len(self._open))

    def has_room(self, owner: str) -> bool:
        """Return whether a session may open another page with news."""
        return len(self._open) < STREAMS and sum(one.owner == owner for one in self._open) < PER_SESSION

    @contextmanager
    def subscribe(self, topic: Topic, owner: str) -> Generator[Subscription]:
        """Give the subscription of a page while the page is open. `owner` is the id of its session."""
        subscription = Subscription(topic, owner)
        self._open.add(subscription)
        try:
            yield subscription
        finally:
            self._open.discard(subscription)


class EventStream(Response):
    """An answer of events about a topic. `is_welcome` tells, again and again, whether its reader still has a login and the role."""

    def __init__(self, feed: Feed, topic: Topic, owner: str, is_welcome: Callable[[], bool]) -> None:
        super().__init__(headers={**HEADERS, "content-type": "text/event-stream"})
        self._feed = feed
        self._topic: Topic = topic
        self._owner = owner
        self._is_welcome = is_welcome

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with self._feed.subscribe(self._topic, self._owner) as subscription:
            await _send(send, b": open\n\n")
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
            return b": open\n\n" if self._is_welcome() else None
        if not self._feed.is_closed:
            await asyncio.sleep(self._feed.pause)
        subscription.woken.clear()
        if self._feed.is_closed or not self._is_welcome():
            return None
        return b"event: changed\ndata:\n\n"


async def _send(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
