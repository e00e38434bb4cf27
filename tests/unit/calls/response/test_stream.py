"""The stream of an answer: every way in which it can end is settled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from gateway.calls.response.stream import Bounds, ResponseStream, Stages, StreamEnd
from gateway.model.errors import UpstreamBroken, UpstreamError
from gateway.model.wire import UpstreamReply


def _say_nothing(_error: UpstreamError, *, begun: bool) -> bytes | None:
    return None


class Plain:
    """Stages that change nothing, with last words on demand."""

    def __init__(self, fail: Callable[..., bytes | None] | None = None) -> None:
        self.fail = fail or _say_nothing

    async def feed(self, chunk: bytes) -> bytes:
        return chunk

    async def finish(self) -> bytes:
        return b""


class Upper(Plain):
    async def feed(self, chunk: bytes) -> bytes:
        return chunk.upper()

    async def finish(self) -> bytes:
        return b"!"


class Source:
    """An upstream's answer: chunks, then an end or an error."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = list(chunks)
        self.closed = 0
        self.endings: list[StreamEnd] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            raise StopAsyncIteration
        chunk = self._chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def close(self) -> None:
        self.closed += 1

    async def settle(self, ending: StreamEnd) -> None:
        self.endings.append(ending)

    def on_sent(self) -> None:
        """Do nothing."""

    def stream(self, stages: Plain | None = None, **options: Any) -> ResponseStream:
        reply = UpstreamReply(200, (), self, self.close)
        return ResponseStream(reply, (), cast("Stages", stages or Plain()), self, **options)


def say(error: UpstreamError, *, begun: bool) -> bytes:
    return f"<{error}>".encode()


async def read(stream: ResponseStream) -> bytes:
    try:
        return b"".join([chunk async for chunk in stream])
    finally:
        await stream.close()


async def test_an_answer_that_is_read_to_its_end_is_settled_as_completed_with_its_size():
    source = Source(b"ab", b"c")

    assert await read(source.stream()) == b"abc"
    assert source.endings == [StreamEnd("completed", 200, 3, None)]
    assert source.closed == 1


async def test_an_answer_that_is_left_early_is_settled_as_cancelled():
    source = Source(b"ab", b"c")
    stream = source.stream()
    await anext(aiter(stream))
    await stream.close()

    assert [ending.ended for ending in source.endings] == ["cancelled"]


async def test_closing_twice_settles_once():
    source = Source(b"a")
    stream = source.stream()
    await stream.close()
    await stream.close()

    assert len(source.endings) == 1


async def test_an_answer_that_breaks_off_is_settled_as_failed_and_says_so_if_it_can():
    source = Source(b"a", UpstreamBroken("it died"))

    assert await read(source.stream(stages=Plain(say))) == b"a<it died>"
    assert [ending.ended for ending in source.endings] == ["failed"]


async def test_an_answer_that_breaks_off_without_last_words_raises():
    source = Source(b"a", UpstreamBroken("it died"))
    with pytest.raises(UpstreamBroken, match="it died"):
        await read(source.stream())

    assert [ending.ended for ending in source.endings] == ["failed"]


async def test_an_answer_larger_than_its_bound_is_cut_before_the_excess_passes():
    source = Source(b"aaaa", b"bbbb")
    stream = source.stream(bounds=Bounds(size=6), stages=Plain(say))

    assert await read(stream) == b"aaaa<the answer is larger than policy allows>"
    assert [ending.ended for ending in source.endings] == ["limited"]


async def test_an_answer_later_than_its_bound_is_cut():
    class Never(Source):
        async def __anext__(self) -> bytes:
            raise TimeoutError

    source = Never()
    stream = source.stream(bounds=Bounds(seconds=0.001), stages=Plain(say))

    assert await read(stream) == b"<the answer took longer than policy allows>"
    assert [ending.ended for ending in source.endings] == ["limited"]


async def test_a_stage_sees_each_chunk_and_has_the_last_word():
    assert await read(Source(b"a", b"b").stream(stages=Upper())) == b"AB!"


async def test_an_upstream_that_never_pauses_is_cut_at_its_bound_too():
    class Endless(Source):
        async def __anext__(self) -> bytes:
            return b"a"

    source = Endless()
    stream = source.stream(bounds=Bounds(seconds=0.02), stages=Plain(say))
    words = b""
    async with asyncio.timeout(300):
        async for chunk in stream:
            words = chunk
    await stream.close()

    assert words == b"<the answer took longer than policy allows>"
    assert [ending.ended for ending in source.endings] == ["limited"]


@pytest.mark.parametrize(("chunks", "begun"), [((), False), ((b"a",), True)])
async def test_last_words_are_asked_for_with_whether_the_answer_has_begun(chunks: tuple[bytes, ...], begun: bool):  # noqa: FBT001 - a parameter of pytest
    asked: list[bool] = []

    def note(_error: UpstreamError, *, begun: bool) -> bytes:
        asked.append(begun)
        return b"!"

    await read(Source(*chunks, UpstreamBroken("it died")).stream(stages=Plain(note)))

    assert asked == [begun]


async def test_a_defect_on_the_way_is_settled_as_failed():
    source = Source(b"a", RuntimeError("a defect"))
    with pytest.raises(RuntimeError):
        await read(source.stream())

    assert [ending.ended for ending in source.endings] == ["failed"]


async def test_what_is_done_once_an_answer_is_sent_waits_for_no_upstream():
    """Else what the caller sends next could be looked at before it."""

    class Slow(Source):
        async def close(self) -> None:
            order.append("closing")
            await asyncio.sleep(0)

        def on_sent(self) -> None:
            order.append("sent")

    order: list[str] = []
    await read(Slow(b"a").stream())

    assert order == ["sent", "closing"]


async def test_an_upstream_that_cannot_even_be_closed_is_settled():
    class Stuck(Source):
        async def close(self) -> None:
            raise OSError

    source = Stuck(b"a")
    with pytest.raises(OSError, match=r"^$"):
        await read(source.stream())

    assert [ending.ended for ending in source.endings] == ["completed"]


async def test_what_passed_on_is_what_the_digest_is_of():
    class Joined:
        def __init__(self) -> None:
            self.seen = b""

        def update(self, data: bytes, /) -> None:
            self.seen += data

        def hexdigest(self) -> str:
            return self.seen.hex()

    source = Source(b"a", b"b")
    await read(source.stream(stages=Upper(), record=Joined()))

    assert [ending.digest for ending in source.endings] == [b"AB!".hex()]
