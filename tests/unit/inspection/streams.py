"""Stages of an answer with a scripted filter, and an answer that passes through them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.response.filter import MessageFilter, ReservedNameFilter
from gateway.calls.response.frames import HOLD, AnswerFrame, Framing, begin_frames
from gateway.calls.response.stream import Stage, Stages
from gateway.model.wire import RequestId
from gateway.wire.protocol import sse
from gateway.wire.protocol.listing import Listing

LIST = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"hidden"}]}}'
"""A response to another request, which nobody has filtered."""


_WORKER = WorkerThread()


class Recipient:
    """A caller that keeps what it is told."""

    def __init__(self, visible: frozenset[str] = frozenset(), trusted: bytes = b"") -> None:
        self.handles: list[str] = []
        self.questions: list[RequestId] = []
        self.input_requests: list[list[str]] = []
        self.lists: list[str] = []
        self.responses: list[str] = []
        self.announced = 0
        self.waits = 0
        self.reserved = 0
        self._visible = visible
        self._trusted = trusted

    async def visible_names(self, method: str, _page: Listing, /) -> frozenset[str]:
        self.lists.append(method)
        return self._visible

    async def trusts_instructions(self, said: bytes, /) -> bool:
        return said == self._trusted

    async def notice(self) -> str | None:
        return None

    async def note_handle(self, handle: str, /) -> None:
        self.handles.append(handle)

    def note_response(self, response: str, _result: bytes, /) -> None:
        self.responses.append(response)

    def note_question(self, question: RequestId, /) -> None:
        self.questions.append(question)

    def note_wait(self) -> None:
        self.waits += 1

    async def note_input_requests(self, keys: Iterable[str], /) -> None:
        self.input_requests.append(list(keys))

    def note_list_change(self) -> None:
        self.announced += 1

    def note_reserved_names(self, count: int, /) -> None:
        self.reserved += count


class ScriptedFilter(MessageFilter):
    """The filter of an answer, with a script in the place of its judgement."""

    def __init__(
        self,
        script: Callable[[bytes], Awaitable[bytes | None]],
        framing: Framing,
        last_words: Callable[[], bytes | None],
        check: Callable[[], Any] | None,
    ) -> None:
        super().__init__(None, "files", Recipient(), _WORKER, framing)
        self._script = script
        self._last_words = last_words
        self._begin = check

    async def filter_message(self, data: bytes) -> bytes | None:
        return await self._script(data)

    def words_at_end(self, before: bytes) -> AnswerFrame | None:
        words = self._last_words()
        if words is None:
            return None
        return AnswerFrame("own", before + sse.encode(words) if self.framing == "events" else words, words)

    def begin_check(self) -> Any:
        return _Unchecked() if self._begin is None else self._begin()


class _Unchecked:
    answers = True

    def feed(self, chunk: bytes, /) -> None:
        """Pass any chunk on."""


async def keep(data: bytes) -> bytes | None:
    return data


async def drop(_data: bytes) -> bytes | None:
    return None


async def replace(_data: bytes) -> bytes | None:
    return b'{"new":1}'


def nothing() -> bytes | None:
    return None


def stages(
    framing: Framing,
    script: Callable[[bytes], Awaitable[bytes | None]] = keep,
    *,
    hold: int = HOLD,
    unseen: bool = True,
    last_words: Callable[[], bytes | None] = nothing,
    check: Callable[[], Any] | None = None,
    observer: object = None,
    after: Iterable[object] = (),
) -> Stages:
    """Return the stages of an answer. `observer` is before the filters, `after` are stages after them."""
    filters = [ReservedNameFilter(Recipient(), _WORKER), ScriptedFilter(script, framing, last_words, check)]
    walk = cast("list[Stage]", [*filters, *after])
    return Stages(begin_frames(framing, hold, may_pass_unseen=unseen), walk, observer=cast("Stage | None", observer))


async def run(answer: Stages, *chunks: bytes) -> bytes:
    passed = [await answer.feed(chunk) for chunk in chunks]
    return b"".join(passed) + await answer.finish()
