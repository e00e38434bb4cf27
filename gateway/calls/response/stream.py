"""The stream of an answer from an upstream to the client: through its stages, counted, and settled exactly once. The
answer may end, fail, be cut off, or lose its client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

from msgspec import Struct

from gateway.base.concurrency.loop_turns import Turn, next_turn
from gateway.calls.pipeline.completion import run_to_completion
from gateway.calls.response.frames import AnswerFrame, Frames
from gateway.model.decision import Decision
from gateway.model.errors import CredentialEnded, UpstreamBroken, UpstreamError
from gateway.model.target import Sensitivity

if TYPE_CHECKING:
    from gateway.model.wire import Headers, UpstreamReply

# --- obligations -----------------------------------------------------------------------------------------


CONCEAL: Final = "conceal_credentials"


class Bounds(Struct, frozen=True):
    """Bounds of an answer: `seconds` until its end, `size` in bytes."""

    seconds: float | None = None
    size: int | None = None


NO_BOUNDS: Final = Bounds()


class ResponseObligations(Struct, frozen=True):
    """Duties of the gateway for one answer. `label` is the highest confidentiality of the result by policy."""

    label: Sensitivity = Sensitivity.PUBLIC
    bounds: Bounds = NO_BOUNDS
    conceals: bool = False
    """Whether policy requires the credentials of the answer to be concealed."""


NO_OBLIGATIONS: Final = ResponseObligations()


def read_obligations(decision: Decision) -> ResponseObligations:
    """Return the duties of the gateway for the answer by a decision."""
    if not decision.obligations:
        return NO_OBLIGATIONS
    return ResponseObligations(
        read_label(decision), _read_bounds(decision), any(item.id == CONCEAL for item in decision.obligations)
    )


def read_label(decision: Decision) -> Sensitivity:
    """Return the highest confidentiality of the `label` obligations."""
    ranks = list(Sensitivity)
    named = [
        Sensitivity(str(item.properties["confidentiality"])) for item in decision.obligations if item.id == "label"
    ]
    return max(named, key=ranks.index, default=Sensitivity.PUBLIC)


def _read_bounds(decision: Decision) -> Bounds:
    """Return the bounds of the `limit` obligations: the tightest of several."""
    limits = [cast("Mapping[str, int]", item.properties) for item in decision.obligations if item.id == "limit"]
    seconds = [limit["timeout_seconds"] for limit in limits if "timeout_seconds" in limit]
    sizes = [limit["max_bytes"] for limit in limits if "max_bytes" in limit]
    return Bounds(min(seconds, default=None), min(sizes, default=None))


# --- the stream ------------------------------------------------------------------------------------------


EndedAs = Literal["completed", "cancelled", "failed", "limited"]


class StreamEnd(Struct, frozen=True):
    """The end of an answer. `size` is in bytes; `digest` is over the bytes passed on, if requested. `sent`: the request may have
    reached its upstream."""

    ended: EndedAs
    status: int | None = None
    size: int = 0
    digest: str | None = None
    sent: bool = True


class Hasher(Protocol):
    """Something like `hashlib.sha256()`."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Stage(Protocol):
    """A stage of an answer. Inspects, changes or drops (`None`) one frame after another."""

    async def handle(self, frame: AnswerFrame, /) -> AnswerFrame | None: ...


class Settlement(Protocol):
    """The work at the end of an answer."""

    def on_sent(self) -> None:
        """Do the work before the next request of the caller is read, without a wait."""
        ...

    async def settle(self, end: StreamEnd, /) -> None: ...


class StreamNotices(Protocol):
    """The gateway's own events for the reader of an idle stream."""

    def announce(self, *, begun: bool) -> bytes:
        """Return the events about changed lists. `begun`: some of the answer has been passed on."""
        ...

    def listen(self, say: Callable[[bytes], None], /) -> Callable[[], None]:
        """Have `say` called with each notice. Return the end of it."""
        ...


ENDED: Final = (
    "the credential under which this call was made has ended, so the gateway cut the answer off",
    "call again if you may; whether the upstream has carried the call out is not known",
)
"""The words for a caller whose answer was cut, and the remedy."""
STOPPED: Final = (
    "an operator has stopped this call, so the gateway cut the answer off",
    "ask the operator; whether the upstream has carried the call out is not known",
)
"""The same for a stop."""

_OTHER_ENCODING: Final = "the answer was withheld: it is not in UTF-8, so it cannot be looked into"
"""What is written in two bytes a letter has zeros, and neither JSON nor text in UTF-8 has any."""


def _do_nothing() -> None:
    """Do nothing."""


def _no_words(_error: UpstreamError, *, begun: bool) -> bytes | None:
    """Return no last words."""


class Stages(Struct, eq=False):
    """The stages of one answer in their order, and its frames.

    `observer` sees the frames of one piece together, before the other stages. `fail` gives the last bytes of a failed
    answer, if a message still fits.
    """

    frames: Frames
    stages: Sequence[Stage]
    observer: Stage | None = None
    turn: Turn = next_turn
    fail: Callable[..., bytes | None] = _no_words

    async def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to pass on after the next bytes of an answer; empty while a message is held back."""
        frames = self.frames
        if len(chunk) <= frames.at_once:
            return await self._handle(frames.feed(chunk))
        passed: list[bytes] = []
        for start in range(0, len(chunk), frames.at_once):
            passed.append(await self._handle(frames.feed(chunk[start : start + frames.at_once])))
            await self.turn()
        return b"".join(passed)

    async def finish(self) -> bytes:
        """Return the rest of the bytes to pass on."""
        return b"".join([await self._handle([frame]) for frame in self.frames.finish()])

    async def _handle(self, frames: list[AnswerFrame]) -> bytes:
        if not frames:
            return b""
        if self.observer is not None:
            # One look at many small events costs less than a look at each.
            await self.observer.handle(
                frames[0] if len(frames) == 1 else AnswerFrame("event", b"".join([frame.raw for frame in frames]))
            )
        passed = [await self._walk(frame) for frame in frames]
        return passed[0] if len(passed) == 1 else b"".join(passed)

    async def _walk(self, frame: AnswerFrame) -> bytes:
        for stage in self.stages:
            kept = await stage.handle(frame)
            if kept is None:
                return b""
            frame = kept
        return frame.raw


class ResponseStream:
    """One answer. Iterated once by the edge; `close` must follow in any case.

    `record` is told of the bytes that are passed on. `idle`: the stream waits for news, and may have `notices`.
    """

    __slots__ = (
        "_begun",
        "_bounds",
        "_closed",
        "_closing",
        "_cut",
        "_deadline",
        "_ended",
        "_notices",
        "_record",
        "_reply",
        "_settlement",
        "_size",
        "_stages",
        "headers",
        "idle",
        "is_events",
        "leaves",
        "status",
        "whole",
    )

    def __init__(
        self,
        reply: UpstreamReply,
        headers: Headers,
        stages: Stages,
        settlement: Settlement,
        *,
        bounds: Bounds = NO_BOUNDS,
        record: Hasher | None = None,
        idle: bool = False,
        is_events: bool = False,
        notices: StreamNotices | None = None,
    ) -> None:
        self.status = reply.status
        self.headers = headers
        self.idle = idle
        self.is_events = is_events
        self.whole = False
        """Whether the last chunk ended the answer."""
        self._reply = reply
        self._stages = stages
        self._settlement = settlement
        self._notices = notices
        self._bounds = bounds
        self._deadline = None if bounds.seconds is None else asyncio.get_running_loop().time() + bounds.seconds
        self._record = record
        self._size = 0
        self._begun = False
        self._ended: EndedAs = "cancelled"
        self._closed = False
        self._cut: CredentialEnded | None = None
        self._closing: asyncio.Future[None] | None = None
        self.leaves: list[Callable[[], object]] = []
        """To be called once the answer has ended and is settled."""

    def cut(self, fault: CredentialEnded) -> None:
        """End the answer now, and close the exchange with the upstream. The answer counts as cancelled."""
        if self._closed or self.whole or self._cut is not None:
            return
        self._cut = fault
        self._ended = "cancelled"
        self._closing = asyncio.ensure_future(self._reply.close())

    @property
    def announcement(self) -> bytes:
        """The events about changed lists for the reader of this answer, if any."""
        return b"" if self._notices is None else self._notices.announce(begun=self._begun)

    def listen(self, say: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `say` called with each event of the gateway for the reader of this answer. Returns the end of it."""
        return _do_nothing if self._notices is None else self._notices.listen(say)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self.whole:
            if self._cut is not None:
                return self._end_cut(self._cut)
            try:
                chunk = await self._next()
                if chunk and self._cut is None:
                    return self._count(chunk)
            except TimeoutError:
                self._ended = "limited"
                return self._last_words(UpstreamBroken("the answer took longer than policy allows"))
            except UpstreamError as error:
                if self._cut is not None:
                    continue
                if self._ended != "limited":
                    self._ended = "failed"
                return self._last_words(error)
            except Exception:
                # A defect, which the edge tells of; the call has not gone well, whatever it was.
                self._ended = "failed"
                raise
        raise StopAsyncIteration

    async def _next(self) -> bytes:
        """Return the next piece to pass on; empty while a stage holds it back."""
        try:
            chunk = await (anext(self._reply.chunks) if self._deadline is None else self._in_time(self._deadline))
        except StopAsyncIteration:
            return await self._finish()
        if b"\0" in chunk:
            raise UpstreamBroken(_OTHER_ENCODING)
        return await self._stages.feed(chunk)

    async def _finish(self) -> bytes:
        """Return the last piece to pass on, after the upstream's end."""
        if self._cut is not None:
            raise self._cut
        rest = await self._stages.finish()
        if self._cut is None:
            self.whole = True
            self._ended = "completed"
        return rest

    async def _in_time(self, deadline: float) -> bytes:
        if asyncio.get_running_loop().time() >= deadline:
            # An upstream that is never waited for is never timed out by waiting.
            raise TimeoutError
        async with asyncio.timeout_at(deadline):
            return await anext(self._reply.chunks)

    def _end_cut(self, error: CredentialEnded) -> bytes:
        """Return the last bytes for the client of a cut answer. A stream for news just ends, and its client opens another."""
        if not self.idle:
            return self._last_words(error)
        self.whole = True
        raise StopAsyncIteration

    def _last_words(self, error: UpstreamError) -> bytes:
        """Return the last bytes for the client of a failed answer. Raises the error if no bytes are left to send."""
        self.whole = True
        words = self._stages.fail(error, begun=self._begun)
        if words is None:
            raise error
        return words

    def _count(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._bounds.size is not None and self._size > self._bounds.size:
            self._ended = "limited"
            raise UpstreamBroken("the answer is larger than policy allows")
        self._begun = True
        if self._record is not None:
            self._record.update(chunk)
        return chunk

    async def close(self) -> None:
        """End the exchange with the upstream and settle, also if the caller is cancelled meanwhile. Safe to call again."""
        if self._closed:
            return
        self._closed = True
        await run_to_completion(self._end())

    async def _end(self) -> None:
        try:
            self._settlement.on_sent()
            if self._closing is not None:
                await self._closing
            else:
                await self._reply.close()
        finally:
            digest = self._record.hexdigest() if self._record is not None else None
            try:
                await self._settlement.settle(StreamEnd(self._ended, self.status, self._size, digest))
            finally:
                for leave in self.leaves:
                    leave()
