"""Answers taken apart into messages: held until whole, bounded, and put together byte for byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken
from gateway.inspection.messages import EventMessages, JsonMessages


async def keep(data: bytes) -> bytes | None:
    return data


async def drop(_data: bytes) -> bytes | None:
    return None


async def replace(_data: bytes) -> bytes | None:
    return b'{"new":1}'


def nothing() -> bytes | None:
    return None


async def run(messages: JsonMessages | EventMessages, *chunks: bytes) -> bytes:
    passed = [await messages.feed(chunk) for chunk in chunks]
    return b"".join(passed) + await messages.finish()


async def test_a_json_answer_is_held_until_it_is_whole():
    messages = JsonMessages(keep, hold=100, unseen=True, last_words=nothing)

    assert await messages.feed(b'{"a":') == b""
    assert await messages.feed(b"1}") == b""
    assert await messages.finish() == b'{"a":1}'


async def test_a_large_json_answer_passes_unseen_where_it_may():
    messages = JsonMessages(drop, hold=4, unseen=True, last_words=nothing)

    assert await run(messages, b"abc", b"def", b"ghi") == b"abcdefghi"


async def test_a_large_json_answer_ends_where_nothing_may_pass_unseen():
    messages = JsonMessages(keep, hold=4, unseen=False, last_words=nothing)
    with pytest.raises(UpstreamBroken, match="too large"):
        await run(messages, b"abc", b"def")


async def test_a_dropped_json_answer_is_replaced_by_the_last_words():
    messages = JsonMessages(drop, hold=99, unseen=True, last_words=lambda: b"instead")

    assert await run(messages, b"{}") == b"instead"


async def test_a_dropped_json_answer_without_last_words_is_empty():
    assert await run(JsonMessages(drop, hold=99, unseen=True, last_words=nothing), b"{}") == b""


async def test_an_empty_json_answer_is_not_shown():
    assert await run(JsonMessages(replace, hold=99, unseen=True, last_words=nothing)) == b""


STREAM = b": hello\n\nid: 1\ndata:\n\ndata: {}\r\n\r\nevent: message\ndata: {\ndata: }\nid: 7\n\nretry: 5\n\ndata: unfinished"


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
async def test_a_stream_that_is_kept_comes_out_byte_for_byte_however_it_is_cut(cuts: list[int]):
    places = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in pairwise(places)]
    messages = EventMessages(keep, hold=1000, unseen=True, last_words=nothing)

    assert await run(messages, *chunks) == STREAM


async def test_a_replaced_event_keeps_its_id():
    messages = EventMessages(replace, hold=1000, unseen=True, last_words=nothing)

    assert await run(messages, b"id: 7\ndata: {}\n\n") == b'id: 7\ndata: {"new":1}\n\n'


async def test_a_dropped_event_leaves_the_others():
    messages = EventMessages(drop, hold=1000, unseen=True, last_words=nothing)

    assert await run(messages, b": c\n\ndata: {}\n\nid: 1\ndata:\n\n") == b": c\n\nid: 1\ndata:\n\n"


async def test_an_event_longer_than_the_hold_passes_unseen_where_it_may():
    messages = EventMessages(drop, hold=16, unseen=True, last_words=nothing)
    long = b"data: " + b"x" * 100 + b"\n\n"

    assert await run(messages, long[:50], long[50:]) == long


async def test_an_event_longer_than_the_hold_ends_a_stream_where_nothing_may_pass_unseen():
    messages = EventMessages(keep, hold=16, unseen=False, last_words=nothing)
    with pytest.raises(UpstreamBroken, match="too large"):
        await run(messages, b"data: " + b"x" * 100)


async def test_last_words_end_a_stream():
    messages = EventMessages(drop, hold=1000, unseen=True, last_words=lambda: b"{}")

    assert await run(messages, b"data: {}\n\n") == b"data: {}\n\n"
