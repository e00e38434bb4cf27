"""The merged stream of news, for readers of any speed."""

from __future__ import annotations

import asyncio

import pytest

from gateway.calls.endpoint.messages import Outward, build_edits
from gateway.calls.endpoint.news import NewsSource, NewsStream
from gateway.wire.protocol.replies import Reply

EDITS = build_edits("files")
CHANGED = b"data: changed\n\n"


def never(upstream: str) -> NewsSource:
    raise AssertionError(upstream)


@pytest.mark.parametrize("status", [401, 404])
async def test_a_stream_without_news_or_login_is_not_asked_for_again(status: int):
    asked = list[str]()

    async def refuse() -> Reply:
        asked.append("files")
        return Reply(status, (), b"")

    stream = NewsStream(lambda upstream: NewsSource(Outward(upstream, EDITS, bool), upstream, refuse), lambda: CHANGED)
    stream.add("files")
    while not stream._jobs["files"].is_done():
        await asyncio.sleep(0)
    await stream.close()
    assert asked == ["files"]


async def read_out(stream: NewsStream) -> list[bytes]:
    return [events async for events in stream]


async def test_a_slow_reader_is_told_once_of_many_changes():
    stream = NewsStream(never, lambda: CHANGED)
    for _ in range(1_000):
        stream.announce()
    assert await anext(stream) == CHANGED
    stream.say(b"data: own\n\n")
    stream.announce()
    stream.announce()
    stream.end()
    assert await read_out(stream) == [b"data: own\n\n", CHANGED]
    assert stream.whole


async def test_a_subscription_without_lists_goes_on_after_a_change():
    stream = NewsStream(never, lambda: b"")
    stream.announce()
    stream.say(b"data: own\n\n")
    stream.end()
    assert await read_out(stream) == [b"data: own\n\n"]
