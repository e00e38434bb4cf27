"""The stage that compares the contents of a resource that instructs the model, such as a skill, with their pin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from msgspec import Struct

from gateway import reasons
from gateway.json import strict
from gateway.model.decision import Refusal
from gateway.model.target import Pin
from gateway.model.wire import Json
from gateway.protocol import sse
from gateway.response.frames import AnswerFrame
from gateway.worker_thread import WorkerThread

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
