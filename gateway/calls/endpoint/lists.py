"""Lists and greetings of several upstreams as those of one server. Each upstream's own list is filtered for the caller on its way.

An upstream that is down or slow is left out, or shown by its pins: the others answer within a second. A list that comes later is kept for the next
question, and the caller is told that its lists have changed.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final, TypeVar, cast

import msgspec
from msgspec import Struct

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.endpoint.answers import WholeAnswer
from gateway.calls.endpoint.messages import object_of, rename_item
from gateway.calls.endpoint.names import outer_handle, outer_name, outer_uri
from gateway.model.wire import Era, Json, Message
from gateway.wire.protocol.listing import Listing, read_list
from gateway.wire.protocol.methods import TABLE

DEADLINE: Final = 0.8
"""Seconds for all upstreams together."""
KEPT_SECONDS: Final = 60.0
"""How long a late list waits for the next question."""
_MOST_OF_CALLER: Final = 64
_MOST_LATE: Final = 4_096
"""Late answers of one caller, and of all. Beyond it the oldest are given up."""

Found = TypeVar("Found")

# --- several at once -------------------------------------------------------------------------------------


class LateAnswers:
    """Answers that came too late for their question, or are still to come. Asking again begins no second question."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._open: dict[tuple[str, ...], tuple[asyncio.Task[object], float]] = {}

    async def gather(
        self, asked: Mapping[tuple[str, ...], Callable[[], Awaitable[Found]]], on_late: Callable[[], object]
    ) -> tuple[dict[tuple[str, ...], Found], frozenset[tuple[str, ...]]]:
        """Return the answers in time by question, in the order of the questions, and those that an earlier request began.

        `on_late` is called for each later answer.
        """
        self._expire(asked)
        begun = asked.keys() & self._open.keys()
        tasks = {key: self._begin(key, work) for key, work in asked.items()}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=DEADLINE)
        found: dict[tuple[str, ...], Found] = {}
        for key, task in tasks.items():
            if not task.done():
                task.add_done_callback(partial(_tell, on_late))
                continue
            self._open.pop(key, None)
            if not task.cancelled() and task.exception() is None:
                found[key] = task.result()
        return found, frozenset(found.keys() & begun)

    def _begin(self, key: tuple[str, ...], work: Callable[[], Awaitable[Found]]) -> asyncio.Task[Found]:
        kept = self._open.get(key)
        if kept is not None:
            return cast("asyncio.Task[Found]", kept[0])
        task: asyncio.Task[Found] = asyncio.ensure_future(_run(work))
        self._open[key] = cast("asyncio.Task[object]", task), self._monotonic() + KEPT_SECONDS
        return task

    def _expire(self, asked: Collection[tuple[str, ...]]) -> None:
        """Give up old answers, answers without a list, and the oldest of a caller with too many.

        The first part of a key is the caller of its question.
        """
        now, owners = self._monotonic(), {key[0] for key in asked}
        others = [key for key in self._open if key[0] in owners and key not in asked]
        surplus = {*others[: max(len(others) - _MOST_OF_CALLER, 0)]}
        for key, (task, until) in tuple(self._open.items()):
            is_void = task.done() and not _has_list(task)
            if now >= until or is_void or key in surplus or len(self._open) > _MOST_LATE:
                task.cancel()
                del self._open[key]


def _has_list(task: asyncio.Task[object]) -> bool:
    """Return whether a question has ended with something to show."""
    if task.cancelled() or task.exception() is not None:
        return False
    return task.result() is not None and not isinstance(task.result(), NoPage)


async def _run(work: Callable[[], Awaitable[Found]]) -> Found:
    return await work()


def _tell(on_late: Callable[[], object], task: asyncio.Task[object]) -> None:
    if _has_list(task):
        on_late()


# --- pages -----------------------------------------------------------------------------------------------


class Page(Struct, frozen=True):
    """A page of one upstream's list. `ttl` is how long it may be kept, in milliseconds."""

    listing: Listing
    ttl: int


class NoPage(Struct, frozen=True):
    """The answer of an upstream that has no such list, or does not take the request."""

    answer: WholeAnswer


async def read_page(answer: WholeAnswer, message: Message, worker: WorkerThread) -> Page | NoPage | None:
    """Return the page in an answer to a request for a list; `None` for an answer that the caller gets nothing of."""
    if not answer.raw or message.method is None or message.id is None:
        return None
    listing = await worker.run(len(answer.raw), partial(read_list, answer.raw, message.method, message.id))
    if listing is None or listing.error or answer.status != 200:
        return None if listing is None or answer.is_own else NoPage(answer)
    result = msgspec.json.decode(answer.raw, type=_Timed).result
    return Page(listing, result.ttl if isinstance(result.ttl, int) else 0)


class _TimedResult(Struct):
    ttl: object = msgspec.field(name="ttlMs", default=0)


class _Timed(Struct):
    result: _TimedResult


def merge_pages(message: Message, pages: Mapping[str, Page], hidden: Mapping[str, frozenset[str]]) -> dict[str, object]:
    """Return the result of a list: the pages in their order, with the names for clients.

    Items with one name are left out, and so are the `hidden` names of an upstream.
    """
    items = TABLE[str(message.method)].items
    if items is None:
        raise KeyError(message.method)
    merged: dict[str, bytes | None] = {}
    for upstream, page in pages.items():
        rename = partial(_RENAMES[items.name], upstream)
        for item in page.listing.items:
            if item.name not in hidden.get(upstream, _NONE):
                outer = rename(item.name)
                merged[outer] = None if outer in merged else rename_item(item.raw, items.name, rename)
    result: dict[str, object] = {items.field: [msgspec.Raw(raw) for raw in merged.values() if raw is not None]}
    cursors = {upstream: page.listing.cursor for upstream, page in pages.items() if page.listing.cursor is not None}
    if cursors:
        result["nextCursor"] = write_cursor(cursors)
    return result


_NONE: Final[frozenset[str]] = frozenset()
_RENAMES: Final[Mapping[str, Callable[[str, str], str]]] = {
    "name": outer_name,
    "uri": outer_uri,
    "uriTemplate": outer_uri,
    "taskId": outer_handle,
}
"""The member of an item with its name → the name for clients."""


def of_era(message: Message, ttl: int, server: Mapping[str, str]) -> dict[str, object]:
    """Return the members of a result that the stateless era has. What is filtered for a caller is its own."""
    if message.era is Era.HANDSHAKE:
        return {}
    return {"resultType": "complete", "ttlMs": ttl, "cacheScope": "private", "_meta": {_SERVER: server}}


_SERVER: Final = "io.modelcontextprotocol/serverInfo"


def write_cursor(cursors: Mapping[str, str]) -> str:
    """Return one cursor for the upstreams with a further page."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursors)).decode()


def read_cursor(cursor: str, upstreams: Iterable[str]) -> dict[str, str] | None:
    """Return the cursor of each upstream; `None` for a cursor that this endpoint did not make."""
    try:
        found = msgspec.json.decode(base64.b64decode(cursor, b"-_", validate=True), type=dict[str, str])
    except (ValueError, msgspec.MsgspecError):
        return None
    return found if found and found.keys() <= set(upstreams) else None


# --- greetings -------------------------------------------------------------------------------------------


def merge_greetings(greetings: Mapping[str, Mapping[str, Json]], *, is_complete: bool) -> dict[str, object]:
    """Return what the endpoint says of itself. `is_complete`: every upstream has greeted, else more may come later."""
    capabilities: dict[str, Json] = {"tools": {}}
    for greeting in greetings.values():
        capabilities = _unite(capabilities, object_of(greeting.get("capabilities")))
    for sort in ("tools", "prompts", "resources"):
        if sort in capabilities or not is_complete:
            capabilities[sort] = {**object_of(capabilities.get(sort)), "listChanged": True}
    said = [
        f"## {upstream}\n\n{text}"
        for upstream, greeting in greetings.items()
        if isinstance(text := greeting.get("instructions"), str) and text
    ]
    return {"capabilities": capabilities, **({"instructions": "\n\n".join(said)} if said else {})}


def _unite(first: Mapping[str, Json], second: Mapping[str, Json]) -> dict[str, Json]:
    """Return everything that either side offers. Of two values of other kinds the first stays."""
    united = dict(first)
    for name, value in second.items():
        before = united.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            united[name] = _unite(before, value)
        elif before is None or before is False:
            united[name] = value
    return united
