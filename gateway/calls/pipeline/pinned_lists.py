"""Lists from the lock file, for an upstream that cannot list by itself now: it starts, is slow, or is down.

A pinned list takes the way of an upstream's answer, so policy hides as much of it. It is no news of the upstream: before
the first call of a tool, the gateway lists the upstream itself and compares with the pins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Literal, TypeVar, cast

import msgspec
import structlog
from msgspec import Struct

from gateway.calls.pipeline.context import RequestContext
from gateway.calls.response.build import AnswerParts, UpstreamAnswer, build_stream
from gateway.calls.response.observe import UndecidedReadObserver
from gateway.calls.response.stream import ResponseStream
from gateway.model.errors import UpstreamTimeout, UpstreamUnreachable
from gateway.model.wire import Era, Message, UpstreamReply, UpstreamRequest
from gateway.wire.protocol.classify import cursor_of
from gateway.wire.protocol.methods import TABLE, names_where

log = structlog.get_logger("gateway.visibility")

Outcome = TypeVar("Outcome")
Pass = Callable[[RequestContext, UpstreamRequest], Awaitable[Outcome]]

_LISTS: Final = names_where(lambda row: row.items is not None and row.target in {"tool", "prompt"})
"""Methods whose items the lock file has whole. Of resources it has contents, and no list."""
_FRESH: Final = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
"""Members of a list in the stateless era: clients ask again (2026-07-28/server/utilities/caching.mdx)."""
_JSON: Final = ((b"content-type", b"application/json"),)


class PinnedLists(Struct, frozen=True):
    """The stage that passes on requests for lists, and answers with the pinned definitions if the upstream cannot."""

    parts: AnswerParts

    async def serve(
        self, context: RequestContext, request: UpstreamRequest, forward: Pass[Outcome]
    ) -> Outcome | ResponseStream:
        """Return the upstream's list, or the pinned list of an upstream that has not listed yet or cannot be reached."""
        message, upstream = request.message, context.exchange.upstream
        if message is None or message.method not in _LISTS or cursor_of(message) is not None:
            return await forward(context, request)
        kind, catalogue = cast("Literal['tool', 'prompt']", TABLE[message.method].target), self.parts.catalogue
        if context.takes_pins or catalogue.has_only_pins(upstream, kind) or catalogue.is_away(upstream):
            pinned = await self._show(context, request, message, kind, "it has not listed yet, or is down or slow")
            if pinned is not None:
                return pinned
        try:
            return await forward(context, request)
        except (UpstreamUnreachable, UpstreamTimeout) as error:
            catalogue.relist(upstream)
            pinned = await self._show(context, request, message, kind, error.message)
            if pinned is None:
                raise
            return pinned

    async def _show(
        self,
        context: RequestContext,
        request: UpstreamRequest,
        message: Message,
        kind: Literal["tool", "prompt"],
        why: str,
    ) -> ResponseStream | None:
        """Return the answer with the pinned definitions; `None` without pins."""
        items = await self.parts.catalogue.show_pinned(context.exchange.upstream, kind)
        if items is None:
            return None
        log.warning("list.of-lock", id=context.id, upstream=context.upstream, items=len(items), problem=why)
        listed = {f"{kind}s": [msgspec.Raw(item) for item in items]}
        result = listed if message.era is Era.HANDSHAKE else {**_FRESH, **listed}
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": message.id, "result": result})
        answer = UpstreamAnswer(self.parts, context, request, is_pinned=True)
        answer.reads = UndecidedReadObserver(self.parts, context, request)
        return build_stream(UpstreamReply(200, _JSON, _say(body), _close), answer)


async def _say(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _close() -> None:
    """Do nothing: no upstream is behind a pinned list."""
