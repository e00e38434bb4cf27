"""The relay of an answer: every way in which it can end is settled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.errors import UpstreamBroken, UpstreamError
from gateway.model.wire import UpstreamReply
from gateway.response.stream import Bounds, Ending, Relay


class Upper:
    async def feed(self, chunk: bytes) -> bytes:
        return chunk.upper()

    async def finish(self) -> bytes:
        return b"!"


class Source:
    """An upstream's answer: chunks, then an end or an error."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = list(chunks)
        self.closed = 0
        self.endings: list[Ending] = []

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

    async def settle(self, ending: Ending) -> None:
        self.endings.append(ending)

    def relay(self, **options: Any) -> Relay:
        reply = UpstreamReply(200, (), self, self.close)
        return Relay(reply, headers=(), on_end=self.settle, **options)


def say(error: UpstreamError, _begun: bool) -> bytes:  # noqa: FBT001 - the callback's own signature
    return f"<{error}>".encode()


async def read(relay: Relay) -> bytes:
    try:
        return b"".join([chunk async for chunk in relay])
    finally:
        await relay.close()


async def test_an_answer_that_is_read_to_its_end_is_settled_as_completed_with_its_size():
    source = Source(b"ab", b"c")

    assert await read(source.relay()) == b"abc"
    assert source.endings == [Ending("completed", 200, 3, None)]
    assert source.closed == 1


async def test_an_answer_that_is_left_early_is_settled_as_cancelled():
    source = Source(b"ab", b"c")
    relay = source.relay()
    await anext(aiter(relay))
    await relay.close()

    assert [ending.ended for ending in source.endings] == ["cancelled"]


async def test_closing_twice_settles_once():
    source = Source(b"a")
    relay = source.relay()
    await relay.close()
    await relay.close()

    assert len(source.endings) == 1


async def test_an_answer_that_breaks_off_is_settled_as_failed_and_says_so_if_it_can():
    source = Source(b"a", UpstreamBroken("it died"))

    assert await read(source.relay(on_broken=say)) == b"a<it died>"
    assert [ending.ended for ending in source.endings] == ["failed"]


async def test_an_answer_that_breaks_off_without_last_words_raises():
    source = Source(b"a", UpstreamBroken("it died"))
    with pytest.raises(UpstreamBroken, match="it died"):
        await read(source.relay())

    assert [ending.ended for ending in source.endings] == ["failed"]


async def test_an_answer_larger_than_its_bound_is_cut_before_the_excess_passes():
    source = Source(b"aaaa", b"bbbb")
    relay = source.relay(bounds=Bounds(size=6), on_broken=say)

    assert await read(relay) == b"aaaa<the answer is larger than policy allows>"
    assert [ending.ended for ending in source.endings] == ["limited"]


async def test_an_answer_later_than_its_bound_is_cut():
    class Never(Source):
        async def __anext__(self) -> bytes:
            raise TimeoutError

    source = Never()
    relay = source.relay(bounds=Bounds(seconds=0.001), on_broken=say)

    assert await read(relay) == b"<the answer took longer than policy allows>"
    assert [ending.ended for ending in source.endings] == ["limited"]


async def test_a_transform_sees_each_chunk_and_has_the_last_word():
    assert await read(Source(b"a", b"b").relay(transform=Upper())) == b"AB!"


async def test_an_upstream_that_never_pauses_is_cut_at_its_bound_too():
    class Endless(Source):
        async def __anext__(self) -> bytes:
            return b"a"

    source = Endless()
    relay = source.relay(bounds=Bounds(seconds=0.02), on_broken=say)
    words = b""
    async with asyncio.timeout(20):
        async for chunk in relay:
            words = chunk
    await relay.close()

    assert words == b"<the answer took longer than policy allows>"
    assert [ending.ended for ending in source.endings] == ["limited"]


@pytest.mark.parametrize(("chunks", "begun"), [((), False), ((b"a",), True)])
async def test_last_words_are_asked_for_with_whether_the_answer_has_begun(chunks: tuple[bytes, ...], begun: bool):  # noqa: FBT001 - a parameter of pytest
    asked: list[bool] = []

    def note(_error: UpstreamError, begun: bool) -> bytes:  # noqa: FBT001 - the callback's own signature
        asked.append(begun)
        return b"!"

    await read(Source(*chunks, UpstreamBroken("it died")).relay(on_broken=note))

    assert asked == [begun]


async def test_a_defect_on_the_way_is_settled_as_failed():
    source = Source(b"a", RuntimeError("a defect"))
    with pytest.raises(RuntimeError):
        await read(source.relay())

    assert [ending.ended for ending in source.endings] == ["failed"]


async def test_what_is_done_once_an_answer_is_sent_waits_for_no_upstream():
    """Else what the caller sends next could be looked at before it."""

    class Slow(Source):
        async def close(self) -> None:
            order.append("closing")
            await asyncio.sleep(0)

    order: list[str] = []
    await read(Slow(b"a").relay(on_sent=lambda: order.append("sent")))

    assert order == ["sent", "closing"]


async def test_an_upstream_that_cannot_even_be_closed_is_settled():
    class Stuck(Source):
        async def close(self) -> None:
            raise OSError

    source = Stuck(b"a")
    with pytest.raises(OSError, match=r"^$"):
        await read(source.relay())

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
    await read(source.relay(transform=Upper(), hasher=Joined()))

    assert [ending.digest for ending in source.endings] == [b"AB!".hex()]
