"""The stages that compare a result with its tool's definition, and the contents of a resource with their pin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

from msgspec import Struct

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json import strict
from gateway.calls.response.frames import AnswerFrame, failure_response
from gateway.inspection.credentials.ruleset import compiled
from gateway.inspection.schemas import ToolSchemas
from gateway.model import reasons
from gateway.model.call import PastCall
from gateway.model.decision import Refusal
from gateway.model.target import Pin, Target
from gateway.model.wire import Json, JsonObject, RequestId

# --- structured results ----------------------------------------------------------------------------------


_STRUCTURED: Final = compiled(r"(?i)" + r"[_\-\x{307}]*".join("ructured") + r"|\\u(?:0|fb0)", groups=False)
"""What each message with structured content has, in any spelling that some client reads as its name (`strict.fold`). Two
ligatures are the first letters of the name."""
_TOLD: Final = frozenset({"structuredContent", "isError"})
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
        if frame.kind not in {"document", "event"} or _STRUCTURED.search(data) is None:
            return frame
        refusal = await self.worker.run(len(data), partial(self._refuse, data))
        if refusal is None:
            return frame
        self.withheld = refusal.reason.code
        return frame.with_message(self.render(refusal))

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
        if frame.kind not in {"document", "event"} or _STRUCTURED.search(data) is None:
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
        return frame.with_message(failure_response(identifier, refusal.reason.message))


def _refuse_document(schemas: ToolSchemas, target: Target, document: JsonObject, size: int) -> Refusal | None:
    """Refuse a message with a result of another form, wherever the protocol has it."""
    for result in _find_results(document):
        if strict.look_alike(result, _TOLD):
            return schemas.refuse_unreadable_result()
        if "structuredContent" in result and result.get("isError") is not True:
            refusal = schemas.refuse_result(target, result["structuredContent"], size)
            if refusal is not None:
                return refusal
    return None


def _find_results(document: JsonObject) -> Iterator[JsonObject]:
    """Yield the result of a response, and of the finished task in a response or a notification."""
    for member in (document.get("result"), document.get("params")):
        inner = member.get("result") if isinstance(member, dict) else None
        for result in (member, inner):
            if isinstance(result, dict):
                yield result


# --- pinned contents -------------------------------------------------------------------------------------


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
        if strict.look_alike(result, _CONTENTS):
            return self._replace(frame)
        if "contents" not in result:
            return frame if result.get("resultType") == "input_required" else self._replace(frame)
        return frame if await self.judge(result["contents"]) in _TRUSTED else self._replace(frame)

    def _replace(self, frame: AnswerFrame) -> AnswerFrame:
        self.withheld = _REFUSED.reason.code
        return frame.with_message(self.render(_REFUSED))


class LateContentsCheck(Struct, eq=False):
    """Stage for the stream of a session, on which a server may answer an earlier request. `find_call` returns the call of an
    answer, and `judge` compares the contents of a URI with their pin; `None` for a resource without a pin."""

    find_call: Callable[[RequestId], PastCall | None]
    judge: Callable[[str, Json], Awaitable[Pin | None]]
    worker: WorkerThread

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Return a frame without contents other than the pinned ones."""
        data = frame.data
        if not data or (_RESULT not in data and _ESCAPED not in data):
            return frame
        document = await self.worker.run(len(data), partial(strict.read_reply, data))
        if isinstance(document, strict.UnreadableJson):
            return None
        result, identifier = document.get("result"), document.get("id")
        if not isinstance(result, dict) or not isinstance(identifier, int | str):
            return frame
        if strict.look_alike(result, _CONTENTS):
            return _refuse(frame, identifier)
        if "contents" in result and not await self._may_pass(identifier, result["contents"]):
            return _refuse(frame, identifier)
        return frame

    async def _may_pass(self, identifier: RequestId, contents: Json) -> bool:
        call = self.find_call(identifier)
        # Of a call that is forgotten, the contents alone say what they are.
        uris = _read_uris(contents) if call is None else (call.target.name,)
        if uris is None:
            return False
        for uri in uris:
            if await self.judge(uri, contents) not in _PASSING:
                return False
        return True


_PASSING: Final = _TRUSTED | {None}
_RESULT: Final = b'"result"'
_CONTENTS: Final = frozenset({"contents"})
_URI: Final = frozenset({"uri"})


def _refuse(frame: AnswerFrame, identifier: RequestId) -> AnswerFrame:
    return frame.with_message(failure_response(identifier, _REFUSED.reason.message))


def _read_uris(contents: Json) -> tuple[str, ...] | None:
    """Return the addresses that contents name themselves by, or `None` for contents of another form than MCP's.

    A client may read more forms than the gateway, so contents without an address are no contents without a pin.
    """
    if not isinstance(contents, list):
        return None
    uris = tuple(
        item.get("uri") if isinstance(item, dict) and not strict.look_alike(item, _URI) else None for item in contents
    )
    known = tuple(uri for uri in uris if isinstance(uri, str))
    return known if len(known) == len(uris) else None
