"""Filtering of responses with a list or instructions: the caller gets only visible entries."""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

import msgspec
import structlog
from msgspec import Struct

from gateway.json import strict
from gateway.model.wire import Disposition, Message, RequestId
from gateway.protocol import instructions, listing
from gateway.protocol.listing import Listing
from gateway.protocol.methods import TABLE
from gateway.response.members import OBJECT, UNREADABLE, failure_response, repeats_member
from gateway.worker_thread import WorkerThread

log = structlog.get_logger("gateway.inspection")

_LIST_METHODS: Final = {strict.fold(row.items.field): row.name for row in TABLE.values() if row.items is not None}
"""The member that holds a list, as the most tolerant reader finds it → what lists it."""
_INSTRUCTIONS: Final = strict.fold(instructions.FIELD)
_GREETING: Final = "initialize"
_WATCHED: Final = frozenset({*_LIST_METHODS.values(), _GREETING})
_NONE: Final[frozenset[str]] = frozenset()


class ListViewer(Protocol):
    """The caller of an answer, as far as lists and instructions are concerned."""

    async def visible_names(self, method: str, page: Listing, /) -> frozenset[str]:
        """Return the visible names in a list of this method."""
        ...

    async def trusts_instructions(self, said: bytes, /) -> bool:
        """Return whether instructions, a JSON value, may be shown."""
        ...

    async def notice(self) -> str | None:
        """Return instructions of the gateway's own for a caller without visible tools."""
        ...


class ListFilter(Struct, frozen=True):
    """Filter of an upstream's lists and instructions by the grants of a caller."""

    upstream: str
    viewer: ListViewer
    worker: WorkerThread

    async def filter_response(self, data: bytes, watched: frozenset[str], identifier: RequestId | None) -> bytes:
        """Return a response with the visible entries alone. An error replaces a response with two readings."""
        method, *others = sorted(watched)
        seen = None
        if identifier is not None and not others:
            if method in instructions.METHODS:
                seen = await self._filter_instructions(data, identifier)
            else:
                seen = await self._filter_list(method, data, identifier)
        if seen is None:
            log.warning("upstream.unreadable-answer", upstream=self.upstream, method=method)
            return failure_response(identifier, "The upstream's answer cannot be read, so nothing of it is shown.")
        return seen

    async def _filter_list(self, method: str, data: bytes, identifier: RequestId) -> bytes | None:
        size = len(data)
        page = await self.worker.run(size, partial(listing.read_list, data, method, identifier))
        if page is None or page.error:
            return page and data
        return await self.worker.run(size, partial(page.only, await self.viewer.visible_names(method, page)))

    async def _filter_instructions(self, data: bytes, identifier: RequestId) -> bytes | None:
        greeting = await self.worker.run(len(data), partial(instructions.read_greeting, data, identifier))
        if greeting is None:
            return None
        if greeting.welcomes and (notice := await self.viewer.notice()) is not None:
            return await self.worker.run(len(data), partial(greeting.replaced, notice))
        if greeting.said is None or await self.viewer.trusts_instructions(greeting.said):
            return data
        return await self.worker.run(len(data), greeting.without)


def watched_kinds(message: Message | None, result: msgspec.Raw | None) -> frozenset[str]:
    """Return the kinds of list or instructions that this response may hold. On a session's stream (`message` is `None`),
    servers replay responses to earlier requests, so the shape decides."""
    if message is None:
        return _NONE if result is None else _kinds_by_shape(result)
    method = message.method
    watched = message.disposition is Disposition.FILTER or method in instructions.METHODS
    return frozenset({method}) if watched and method is not None else _NONE


def _kinds_by_shape(result: msgspec.Raw) -> frozenset[str]:
    """Return every kind of result that some reader may see, judged by its members. A result with unreadable members may
    be any kind."""
    raw = bytes(result)
    try:
        members = OBJECT.decode(raw)
    except UNREADABLE:
        return _WATCHED if raw[:1] == b"{" else _NONE
    folded = [(strict.fold(name), bytes(value)) for name, value in members.items()]
    lists = [(method, value) for name, value in folded if (method := _LIST_METHODS.get(name))]
    said = frozenset({_GREETING}) if any(name == _INSTRUCTIONS for name, _ in folded) else _NONE
    if lists and repeats_member(raw, members):
        return frozenset(method for method, _ in lists) | said
    return frozenset(method for method, value in lists if value[:1] == b"[") | said
