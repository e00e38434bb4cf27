"""The stage that compares a tool's structured result with the `outputSchema` of its definition. Servers have to keep to it
(2026-07-28/server/tools.mdx, "Output Schema"), and a result in any other form reaches no client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Struct

from gateway.inspection.schemas import ToolSchemas
from gateway.json import strict
from gateway.model.decision import Refusal
from gateway.model.target import Target
from gateway.protocol import sse
from gateway.response.frames import AnswerFrame
from gateway.worker_thread import WorkerThread

_SIGN: Final = b"structuredContent"
_ESCAPED: Final = b"\\u00"


class ResultSchemaCheck(Struct, eq=False):
    """Stage that replaces a result with another form than its tool's definition has. `render` gives the words in its place."""

    schemas: ToolSchemas
    target: Target
    render: Callable[[Refusal], bytes]
    worker: WorkerThread
    withheld: str | None = None
    """The code for which a result was replaced."""

    async def handle(self, frame: AnswerFrame) -> AnswerFrame:
        """Return a frame with a result that fits, or with a refusal in its place."""
        data = frame.data
        if frame.kind not in {"document", "event"} or (_SIGN not in data and _ESCAPED not in data):
            return frame
        refusal = await self.worker.run(len(data), partial(self._refuse, data))
        if refusal is None:
            return frame
        self.withheld = refusal.reason.code
        words = self.render(refusal)
        raw = words if frame.kind == "document" else sse.encode(words, frame.id)
        return AnswerFrame(frame.kind, raw, words, frame.id)

    def _refuse(self, data: bytes) -> Refusal | None:
        document = strict.read_reply(data)
        if isinstance(document, strict.UnreadableJson):
            return self.schemas.refuse_unreadable_result()
        result = document.get("result")
        if not isinstance(result, dict) or "structuredContent" not in result or result.get("isError") is True:
            return None
        return self.schemas.refuse_result(self.target, result["structuredContent"], len(data))
