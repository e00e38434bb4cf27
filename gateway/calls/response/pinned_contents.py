"""The stage that compares the contents of a resource that instructs the model, such as a skill, with their pin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from msgspec import Struct

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json import strict
from gateway.calls.response.frames import AnswerFrame
from gateway.calls.response.members import failure_response
from gateway.model import reasons
from gateway.model.call import PastCall
from gateway.model.decision import Refusal
from gateway.model.target import Pin
from gateway.model.wire import Json, RequestId
from gateway.wire.protocol import sse

_TRUSTED: Final = frozenset({Pin.MATCH, Pin.UNPINNED})
_REFUSED: Final = reasons.RESOURCE_CHANGED.refusal()


class PinnedContentsCheck(Struct, eq=False):
    """Stage that replaces contents other than the pinned ones. `judge` compares contents with their pin, and `render` gives the
    words in their place."""

    judge: Callable[[Json], Awaitable[Pin]]
    render: Callable[[Refusal], bytes]
    worker: WorkerThread
    withheld: str | None = None
    """The code for which contents were replaced."""

    async def handle(self, frame: AnswerFrame) -> AnswerFrame:
        """Return a frame with pinned contents, or with a refusal in their place."""
        data = frame.data
        if frame.kind not in {"document", "event"} or not data:
            return frame
        document = await self.worker.run(len(data), partial(strict.read_reply, data))
        if isinstance(document, strict.UnreadableJson):
            return self._replace(frame)
        result = document.get("result")
        if not isinstance(result, dict):
            return frame
        if "contents" not in result:
            return frame if result.get("resultType") == "input_required" else self._replace(frame)
        return frame if await self.judge(result["contents"]) in _TRUSTED else self._replace(frame)

    def _replace(self, frame: AnswerFrame) -> AnswerFrame:
        self.withheld = _REFUSED.reason.code
        words = self.render(_REFUSED)
        raw = words if frame.kind == "document" else sse.encode(words, frame.id)
        return AnswerFrame(frame.kind, raw, words, frame.id)


class LateContentsCheck(Struct, eq=False):
    """Stage for the stream of a session, on which a server may answer an earlier request. `find_call` returns the call of an
    answer, and `judge` compares the contents of a URI with their pin; `None` for a resource without a pin."""

    find_call: Callable[[RequestId], PastCall | None]
    judge: Callable[[str, Json], Awaitable[Pin | None]]

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Return a frame without contents other than the pinned ones."""
        if not frame.data or (_SIGN not in frame.data and _ESCAPED not in frame.data):
            return frame
        document = strict.read_reply(frame.data)
        if isinstance(document, strict.UnreadableJson):
            return None
        result, identifier = document.get("result"), document.get("id")
        if not isinstance(result, dict) or "contents" not in result or not isinstance(identifier, int | str):
            return frame
        call = self.find_call(identifier)
        # Of a call that is forgotten, the contents alone say what they are.
        uris = _uris(result["contents"]) if call is None else (call.target.name,)
        for uri in uris:
            if await self.judge(uri, result["contents"]) not in _PASSING:
                words = failure_response(identifier, _REFUSED.reason.message)
                raw = sse.encode(words, frame.id) if frame.kind == "event" else words
                return AnswerFrame(frame.kind, raw, words, frame.id)
        return frame


_PASSING: Final = _TRUSTED | {None}
_SIGN: Final = b'"contents"'
_ESCAPED: Final = b"\\u00"


def _uris(contents: Json) -> tuple[str, ...]:
    """Return the addresses that contents name themselves by."""
    items = contents if isinstance(contents, list) else []
    return tuple(str(item.get("uri")) for item in items if isinstance(item, dict))
