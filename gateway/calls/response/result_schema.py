"""The stage that compares a tool's structured result with the `outputSchema` of its definition. Servers have to keep to it
(2026-07-28/server/tools.mdx, "Output Schema"), and a result in any other form reaches no client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from msgspec import Struct

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json import strict
from gateway.calls.response.frames import AnswerFrame
from gateway.calls.response.members import failure_response
from gateway.inspection.schemas import ToolSchemas
from gateway.model.call import PastCall
from gateway.model.decision import Refusal
from gateway.model.target import Target
from gateway.model.wire import Json, JsonObject
from gateway.wire.protocol import sse

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
        return _refuse_document(self.schemas, self.target, document, len(data))


class LateResultCheck(Struct, eq=False):
    """Stage for a stream of news, on which the result of an earlier call may come. `find_call` returns the call of a message."""

    schemas: ToolSchemas
    find_call: Callable[[JsonObject], PastCall | None]
    worker: WorkerThread

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Return a frame with a result that fits, an error in its place, or `None` in the place of a notification."""
        data = frame.data
        if frame.kind not in {"document", "event"} or (_SIGN not in data and _ESCAPED not in data):
            return frame
        document = await self.worker.run(len(data), partial(strict.read_reply, data))
        if isinstance(document, strict.UnreadableJson):
            return None
        call = self.find_call(document)
        if call is None or call.target.output is None:
            return frame
        look = partial(_refuse_document, self.schemas, call.target, document, len(data))
        refusal = await self.worker.run(len(data), look)
        if refusal is None:
            return frame
        identifier = document.get("id")
        if not isinstance(identifier, int | str):
            return None
        words = failure_response(identifier, refusal.reason.message)
        raw = sse.encode(words, frame.id) if frame.kind == "event" else words
        return AnswerFrame(frame.kind, raw, words, frame.id)


def _refuse_document(schemas: ToolSchemas, target: Target, document: JsonObject, size: int) -> Refusal | None:
    """Refuse a message with a result of another form, wherever the protocol has it."""
    refused = (schemas.refuse_result(target, structured, size) for structured in _find_structured(document))
    return next((refusal for refusal in refused if refusal is not None), None)


def _find_structured(document: JsonObject) -> Iterator[Json]:
    """Yield the structured content of a response, and of the finished task in a response or a notification."""
    for member in (document.get("result"), document.get("params")):
        inner = member.get("result") if isinstance(member, dict) else None
        for result in (member, inner):
            if isinstance(result, dict) and "structuredContent" in result and result.get("isError") is not True:
                yield result["structuredContent"]
