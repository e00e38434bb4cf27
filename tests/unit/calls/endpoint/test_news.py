"""News of changed lists on one stream: the first at once, and the next of its sort after a pause."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection

import pytest

from gateway.calls.endpoint import news
from gateway.calls.endpoint.messages import Outward, build_edits
from gateway.calls.endpoint.news import NewsSource, NewsStream
from gateway.calls.response.stream import ResponseStream
from gateway.wire.protocol.replies import Reply

CHANGED = b"data: changed\n\n"


async def open_nothing() -> Reply | ResponseStream | None:
    return None


def source(upstream: str) -> NewsSource:
    return NewsSource(Outward(upstream, build_edits(upstream), lambda _: False), upstream, open_nothing)


def changes(sorts: Collection[str]) -> bytes:
    return ",".join(sorted(sorts)).encode()


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> NewsStream:
    monkeypatch.setattr(news, "_APART_SECONDS", 0.05)
    return NewsStream(source, changes)


async def test_many_announcements_become_two(stream: NewsStream):
    for _ in range(10):
        stream.announce()
    assert await anext(stream) == b"prompts,resources,tools"
    assert stream.announcement == b"", "the edge announces beside the stream"
    assert await anext(stream) == b"prompts,resources,tools"
    stream.announce()
    stream.end()
    assert [events async for events in stream] == []
    await stream.close()


async def test_a_notice_of_an_upstream_counts_with_the_others(stream: NewsStream):
    outward = source("a").outward
    outward.keeps = stream.keeps
    told = json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).encode()
    other = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}}).encode()

    assert [outward.rewrite(told), outward.rewrite(told), outward.rewrite(other)] == [None, None, other]
    stream.announce()

    assert await anext(stream) == b"prompts,resources,tools"
    assert await anext(stream) == b"tools"
    await stream.close()


def announce_all(_sorts: Collection[str]) -> bytes:
    return CHANGED


def never(upstream: str) -> NewsSource:
    raise AssertionError(upstream)


@pytest.mark.parametrize("status", [401, 404])
async def test_a_stream_without_news_or_login_is_not_asked_for_again(status: int):
    asked = list[str]()

    async def refuse() -> Reply:
        asked.append("files")
        return Reply(status, (), b"")

    edits = build_edits("files")
    stream = NewsStream(lambda upstream: NewsSource(Outward(upstream, edits, bool), upstream, refuse), announce_all)
    stream.add("files")
    while not stream._jobs["files"].is_done():
        await asyncio.sleep(0)
    await stream.close()
    assert asked == ["files"]


async def read_out(stream: NewsStream) -> list[bytes]:
    return [events async for events in stream]


async def test_a_slow_reader_is_told_once_of_many_changes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(news, "_APART_SECONDS", 0.0)
    stream = NewsStream(never, announce_all)
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
    stream = NewsStream(never, lambda _: b"")
    stream.announce()
    stream.say(b"data: own\n\n")
    stream.end()
    assert await read_out(stream) == [b"data: own\n\n"]
    await stream.close()
