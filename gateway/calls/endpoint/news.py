"""One stream of news from several upstreams: the stream of a session, or the answer to a subscription.

Each upstream is heard beside the others. If an upstream has no stream, or its stream ends, the others go on and it is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

import structlog
from msgspec import Struct

from gateway.base.concurrency.background import Job
from gateway.calls.endpoint.answers import EVENTS, EventRewriter, Outcome, listen_outward
from gateway.calls.endpoint.messages import Outward
from gateway.calls.pipeline.completion import run_to_completion
from gateway.calls.response.build import SORTS
from gateway.calls.response.stream import ResponseStream
from gateway.model.errors import GatewayError
from gateway.model.wire import Headers

log = structlog.get_logger("gateway.endpoint")

_WAITING: Final = 256
"""Pieces that wait for a slow reader; beyond it, the upstreams wait."""
_AGAIN_SECONDS: Final = (1.0, 5.0, 20.0, 60.0)
"""Between two attempts at the stream of an upstream."""
_NEVER: Final = frozenset({400, 401, 404, 405, 501})
"""HTTP statuses of a server without a stream of news, and of a caller whose login has ended."""
_APART_SECONDS: Final = 1.0
"""Between two notifications of one changed list. After a start, all upstreams have news within some seconds."""
_CHANGES: Final = {f"notifications/{sort}/list_changed": sort for sort in SORTS}
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"


class NewsSource(Struct, frozen=True):
    """The stream of one upstream. `open` begins it, again after its end. `mark` stands before the ids of its events."""

    outward: Outward
    mark: str
    open: Callable[[], Awaitable[Outcome | None]]


class ChangedLists:
    """The sorts of changed lists that a reader is to hear of: of each at once, and then after a second at the earliest.

    `say_later` is called with the sorts that had to wait.
    """

    def __init__(self, say_later: Callable[[Collection[str]], None]) -> None:
        self._say_later = say_later
        self._told: dict[str, float] = {}
        self._due: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, sorts: Collection[str]) -> Collection[str]:
        """Return the sorts to tell of now. The others wait."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        ready = {sort for sort in sorts if now - self._told.get(sort, -_APART_SECONDS) >= _APART_SECONDS}
        self._told |= dict.fromkeys(ready, now)
        self._due = self._due.union(sorts) - ready
        if self._due and self._timer is None:
            self._timer = loop.call_later(_APART_SECONDS, self._tell_rest)
        return ready

    def _tell_rest(self) -> None:
        self._timer, due, self._due = None, self._due, set()
        if due:
            self._told |= dict.fromkeys(due, asyncio.get_running_loop().time())
            self._say_later(due)

    def close(self) -> None:
        """Tell nobody any more."""
        if self._timer is not None:
            self._timer.cancel()


class NewsStream:
    """The merged stream, for the edge (`wire.http.exchange.Stream`). `changes` gives the events that tell of changed lists."""

    def __init__(self, make: Callable[[str], NewsSource], changes: Callable[[Collection[str]], bytes]) -> None:
        self.status: int = 200
        self.headers: Headers = EVENTS
        self.idle: bool = True
        self.is_events: bool = True
        self.whole: bool = False
        self.leaves: list[Callable[[], object]] = []
        self._make = make
        self._changes = changes
        self._changed = ChangedLists(self._tell)
        self._unread: frozenset[str] = frozenset()
        self._jobs: dict[str, Job] = {}
        self._waiting: asyncio.Queue[tuple[bytes | None, bool]] = asyncio.Queue()
        self._room = asyncio.Semaphore(_WAITING)
        self._closed = False

    def add(self, upstream: str, begun: Awaitable[Outcome] | None = None) -> None:
        """Hear an upstream from now on. `begun` is its stream, if somebody has asked for it already."""
        job = self._jobs.get(upstream)
        if not self._closed and (job is None or job.is_done()):
            self._jobs[upstream] = Job(lambda: self._hear(self._make(upstream), begun), f"news of {upstream}")

    def say(self, events: bytes) -> None:
        """Send events of the gateway's own."""
        if events:
            self._waiting.put_nowait((events, False))

    def announce(self) -> None:
        """Tell the reader that its lists may have changed."""
        self._tell(self._changed.take(SORTS))

    def end(self) -> None:
        """End the stream after all that waits."""
        self._waiting.put_nowait((b"", False))

    @property
    def announcement(self) -> bytes:
        """The events about changed lists, which the edge sends by itself after a new policy or pin. Empty right after others."""
        return self._changes(self._changed.take(SORTS))

    def listen(self, say: Callable[[bytes], None]) -> Callable[[], None]:  # noqa: ARG002 - the edge's interface
        """Return the end of nothing: the events of the gateway come with the others."""
        return _do_nothing

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self.whole:
            events, takes_room = await self._waiting.get()
            if takes_room:
                self._room.release()
            if events is None:
                sorts, self._unread = self._unread, frozenset()
                events = self._changes(sorts)
            elif not events:
                self.whole = True
            if events:
                return events
        raise StopAsyncIteration

    def _tell(self, sorts: Collection[str]) -> None:
        """Have the reader told of changed lists. A reader that is slow is told once of several changes."""
        if sorts and not self._unread:
            self._waiting.put_nowait((None, False))
        self._unread = self._unread.union(sorts)

    async def close(self) -> None:
        """End the streams of all upstreams. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        self._changed.close()
        await run_to_completion(self._end())

    async def _end(self) -> None:
        try:
            await asyncio.gather(*(job.stop() for job in self._jobs.values()))
        finally:
            for leave in self.leaves:
                leave()

    async def _hear(self, source: NewsSource, begun: Awaitable[Outcome] | None) -> None:
        """Pass on the stream of an upstream, and begin it again, until it has none."""
        attempt, was_away = 0, False
        while True:
            outcome = await (source.open() if begun is None else begun)
            begun = None
            if isinstance(outcome, ResponseStream) and outcome.status == 200 and outcome.is_events:
                if was_away:
                    self.announce()
                attempt, was_away = 0, False
                await self._pass_on(outcome, source)
            else:
                was_away = True
                if isinstance(outcome, ResponseStream):
                    await outcome.close()
            if outcome is None or outcome.status in _NEVER:
                return
            await asyncio.sleep(_AGAIN_SECONDS[min(attempt, len(_AGAIN_SECONDS) - 1)])
            attempt += 1

    async def _pass_on(self, stream: ResponseStream, source: NewsSource) -> None:
        source.outward.keeps = self.keeps
        end = listen_outward(stream, source.outward, self.say)
        rewriter = EventRewriter.begin(source.outward, source.mark)
        try:
            async for chunk in stream:
                if events := rewriter.feed(chunk):
                    await self._room.acquire()
                    self._waiting.put_nowait((events, True))
        except GatewayError as error:
            log.info("news.broken-off", upstream=source.outward.upstream, problem=error.message)
        finally:
            end()
            await stream.close()

    def keeps(self, method: object) -> bool:
        """Return whether a notification of an upstream stays here. That of a changed list is told with those of the others."""
        sort = _CHANGES.get(method) if isinstance(method, str) else None
        if sort is not None:
            self._tell(self._changed.take({sort}))
        return sort is not None or method == ACKNOWLEDGED


def _do_nothing() -> None:
    """Do nothing."""
