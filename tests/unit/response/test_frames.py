"""Answers taken apart into messages: held until whole, bounded, and put together byte for byte."""

from __future__ import annotations

import asyncio
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamBroken
from gateway.protocol.sse import MAX_LINES
from gateway.response.frames import EventMessages, JsonMessages, OpaqueBody
from tests.requirements import requirement
from tests.unit.inspection.streams import LIST, drop, keep, names, nothing, replace, run


async def test_a_json_answer_is_held_until_it_is_whole():
    messages = JsonMessages(keep, hold=100, unseen=True, names=names(), last_words=nothing)

    assert await messages.feed(b'{"a":') == b""
    assert await messages.feed(b"1}") == b""
    assert await messages.finish() == b'{"a":1}'


async def test_an_answer_that_comes_in_tiny_pieces_takes_no_more_memory_than_its_bytes():
    messages = JsonMessages(keep, hold=1_000_000, unseen=True, names=names(), last_words=nothing)
    tracemalloc.start()
    try:
        for _ in range(100_000):
            await messages.feed(bytes((120, 121)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2 * 200_000


async def test_a_large_json_answer_passes_unseen_where_it_may():
    messages = JsonMessages(drop, hold=4, unseen=True, names=names(), last_words=nothing)

    assert await run(messages, b"abc", b"def", b"ghi") == b"abcdefghi"


async def test_a_large_json_answer_ends_where_nothing_may_pass_unseen():
    messages = JsonMessages(keep, hold=4, unseen=False, names=names(), last_words=nothing)
    with pytest.raises(UpstreamBroken, match="too large"):
        await run(messages, b"abc", b"def")


class Spoilsport:
    """A watch of one message, which must not come to an end that says `no`."""

    def __init__(self) -> None:
        self._seen = b""

    def feed(self, chunk: bytes) -> None:
        self._seen += chunk.replace(b"\n", b"")
        if b"no" in self._seen:
            raise UpstreamBroken("it says no")


async def test_what_passes_unseen_is_watched_and_may_not_come_to_its_end():
    for messages in (
        JsonMessages(keep, hold=4, unseen=True, names=names(), last_words=nothing, check=Spoilsport),
        EventMessages(keep, hold=4, unseen=True, names=names(), last_words=nothing, check=Spoilsport),
    ):
        await messages.feed(b"data: it says n")
        with pytest.raises(UpstreamBroken, match="says no"):
            await messages.feed(b"o\n\n")


async def test_each_large_event_has_a_watch_of_its_own():
    messages = EventMessages(keep, hold=4, unseen=True, names=names(), last_words=nothing, check=Spoilsport)
    stream = b"data: it ends ", b"in n\n\n", b"o: a name ", b"of a field\n\n"

    assert await run(messages, *stream) == b"".join(stream)


async def test_an_event_that_never_ended_does_not_pass_where_a_list_may_come():
    messages = EventMessages(keep, hold=99, unseen=False, names=names(), last_words=nothing)

    assert await run(messages, b"data: {}\n\ndata: {}\n") == b"data: {}\n\n"


async def test_a_dropped_json_answer_is_replaced_by_the_last_words():
    messages = JsonMessages(drop, hold=99, unseen=True, names=names(), last_words=lambda: b"instead")

    assert await run(messages, b"{}") == b"instead"


async def test_a_dropped_json_answer_without_last_words_is_empty():
    assert await run(JsonMessages(drop, hold=99, unseen=True, names=names(), last_words=nothing), b"{}") == b""


async def test_an_empty_json_answer_is_not_shown():
    assert await run(JsonMessages(replace, hold=99, unseen=True, names=names(), last_words=nothing)) == b""


STREAM = b": hello\n\nid: 1\ndata:\n\ndata: {}\r\n\r\nevent: message\ndata: {}\nid: 7\n\nretry: 5\n\ndata: unfinished"


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
async def test_a_stream_that_is_kept_comes_out_byte_for_byte_however_it_is_cut(cuts: list[int]):
    places = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in pairwise(places)]
    messages = EventMessages(keep, hold=1000, unseen=True, names=names(), last_words=nothing)

    assert await run(messages, *chunks) == STREAM


async def test_a_replaced_event_keeps_its_id():
    messages = EventMessages(replace, hold=1000, unseen=True, names=names(), last_words=nothing)

    assert await run(messages, b"id: 7\ndata: {}\n\n") == b'id: 7\ndata: {"new":1}\n\n'


async def test_a_dropped_event_leaves_the_others():
    messages = EventMessages(drop, hold=1000, unseen=True, names=names(), last_words=nothing)

    assert await run(messages, b": c\n\ndata: {}\n\nid: 1\ndata:\n\n") == b": c\n\nid: 1\ndata:\n\n"


async def test_an_event_longer_than_the_hold_passes_unseen_where_it_may():
    messages = EventMessages(drop, hold=16, unseen=True, names=names(), last_words=nothing)
    long = b"data: " + b"x" * 100 + b"\n\n"

    assert await run(messages, long[:50], long[50:]) == long


async def test_an_event_longer_than_the_hold_ends_a_stream_where_nothing_may_pass_unseen():
    messages = EventMessages(keep, hold=16, unseen=False, names=names(), last_words=nothing)
    with pytest.raises(UpstreamBroken, match="too large"):
        await run(messages, b"data: " + b"x" * 100)


@requirement("mcp/list-filter")
@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + LIST + b"\n",
        b"data: " + LIST,
        LIST,
        b": x\xe2\x80\xa8data: " + LIST + b"\n\n",
        b"x\xc2\x85data: " + LIST + b"\n\n",
        b"id: 1\x0bdata: " + LIST + b"\n\n",
        b"event: a\x1cdata: " + LIST + b"\n\n",
        b"Data: " + LIST + b"\n\n",
        b": x\n\n\xef\xbb\xbfdata: " + LIST + b"\n\n",
    ],
)
async def test_where_a_list_may_come_nothing_passes_that_only_some_readers_find(stream: bytes):
    """Some readers end lines as Unicode does, some read an event that never ended, some do not look at letter case."""
    messages = EventMessages(drop, hold=1000, unseen=False, names=names(), last_words=nothing)

    assert b"hidden" not in await run(messages, stream)


@requirement("mcp/list-filter")
async def test_where_a_list_may_come_no_line_ends_inside_of_a_message():
    sent = '{"a":"\u2028\u2028data: {}\u2029\x85é"}'
    messages = EventMessages(keep, hold=1000, unseen=False, names=names(), last_words=nothing)

    passed = await run(messages, f"event: message\nid: 7\nretry: 5\ndata: {sent}\n\n".encode())
    assert passed.decode().splitlines() == [
        "event: message",
        "id: 7",
        "retry: 5",
        r'data: {"a":"\u2028\u2028data: {}\u2029\u0085é"}',
        "",
    ]


async def test_where_a_list_may_come_events_without_a_message_keep_what_they_say():
    messages = EventMessages(drop, hold=1000, unseen=False, names=names(), last_words=nothing)

    assert await run(messages, b": hello\n\nid: 1\ndata:\n\nretry: 5\n\n") == b":\n\nid: 1\ndata: \n\nretry: 5\n\n"


async def test_last_words_end_a_stream():
    messages = EventMessages(drop, hold=1000, unseen=True, names=names(), last_words=lambda: b"{}")

    assert await run(messages, b"data: {}\n\n") == b"data: {}\n\n"


class Marks:
    """Rewrites what it is given so that one sees as what."""

    async def document(self, data: bytes) -> bytes:
        return b"d(" + data + b")"

    async def event(self, raw: bytes, data: bytes) -> bytes:
        return b"e(" + raw + data + b")"

    async def part(self, chunk: bytes) -> bytes:
        return b"p(" + chunk + b")"

    async def end(self) -> bytes:
        return b"."

    async def text(self, chunk: bytes) -> bytes:
        return b"t(" + chunk + b")"

    async def text_end(self) -> bytes:
        return b"!"


async def test_what_goes_on_of_a_json_answer_is_rewritten():
    whole = JsonMessages(keep, hold=99, unseen=True, names=names(), last_words=nothing, rewriter=Marks())
    large = JsonMessages(keep, hold=2, unseen=True, names=names(), last_words=nothing, rewriter=Marks())
    dropped = JsonMessages(drop, hold=99, unseen=True, names=names(), last_words=lambda: b"own", rewriter=Marks())

    assert await run(whole, b"{", b"}") == b"d({})"
    assert await run(large, b"ab", b"cd", b"ef") == b"p(abcd)p(ef)."
    assert await run(dropped, b"{}") == b"own"


async def test_what_goes_on_of_a_stream_is_rewritten_and_what_never_ended_does_not():
    messages = EventMessages(keep, hold=12, unseen=True, names=names(), last_words=nothing, rewriter=Marks())

    assert await run(messages, b"data: a\n\n", b": note\n\n", b"data: 0123456789", b"0\n\ndata: b\n\ndata: c") == (
        b"e(data: a\n\na): note\n\np(data: 0123456789)p(0\n\n).e(data: b\n\nb)."
    )


async def test_last_words_come_after_what_is_left_of_a_large_event():
    messages = EventMessages(drop, hold=4, unseen=True, names=names(), last_words=lambda: b"own", rewriter=Marks())

    assert await run(messages, b"data: a") == b"p(data: a).\n\ndata: own\n\n"


async def test_an_answer_of_another_type_is_rewritten_as_text():
    assert await run(OpaqueBody(names(), Marks()), b"a", b"b") == b"t(a)t(b)!"


class Eyes:
    """Writes down what is looked at, and what was passed on by then."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, ...] | str] = []

    async def message(self, raw: bytes, data: bytes) -> None:
        self.seen.append((raw, data))

    async def part(self, chunk: bytes) -> None:
        self.seen.append((chunk,))

    async def end(self) -> None:
        self.seen.append("end")

    async def rewritten(self) -> None:
        self.seen.append("rewritten")


@requirement("history/read-elsewhere")
async def test_what_goes_on_of_a_json_answer_is_looked_at():
    whole, large, dropped = Eyes(), Eyes(), Eyes()

    await run(JsonMessages(keep, hold=99, unseen=True, names=names(), last_words=nothing, observer=whole), b"{", b"}")
    await run(
        JsonMessages(keep, hold=2, unseen=True, names=names(), last_words=nothing, observer=large), b"ab", b"cd", b"ef"
    )
    await run(JsonMessages(drop, hold=99, unseen=True, names=names(), last_words=nothing, observer=dropped), b"{}")
    assert whole.seen == [(b"{}", b"{}")]
    assert large.seen == [(b"abcd",), (b"ef",), "end"]
    assert dropped.seen == []


@requirement("history/read-elsewhere")
async def test_what_goes_on_of_a_stream_is_looked_at_before_it_does():
    """The end of a large event is known when it has come, not with the event after it."""
    eyes = Eyes()
    messages = EventMessages(keep, hold=12, unseen=True, names=names(), last_words=nothing, observer=eyes)

    assert await messages.feed(b"data: a\n\n: note\n\n") == b"data: a\n\n: note\n\n"
    assert eyes.seen == [(b"data: a\n\n", b"a"), (b": note\n\n", b"")]
    eyes.seen.clear()
    assert await messages.feed(b"data: 0123456789") + await messages.feed(b"0\n\n") == b"data: 01234567890\n\n"
    assert eyes.seen == [(b"data: 0123456789",), (b"0\n\n",), "end"]
    eyes.seen.clear()
    assert await messages.feed(b"data: c") + await messages.finish() == b"data: c"
    assert eyes.seen == ["end", (b"data: c", b"c")]


async def test_of_a_message_that_was_changed_the_change_is_looked_at():
    async def change(_data: bytes) -> bytes:
        return b"{}"

    eyes = Eyes()
    out = await run(
        EventMessages(change, hold=99, unseen=True, names=names(), last_words=nothing, observer=eyes),
        b"data: secret\n\n",
    )
    assert (out, eyes.seen) == (b"data: {}\n\n", [(b"{}", b"{}"), "end"])


async def test_what_is_rewritten_was_looked_at_as_it_came():
    eyes = Eyes()
    await run(
        JsonMessages(keep, hold=99, unseen=True, names=names(), last_words=nothing, rewriter=Marks(), observer=eyes),
        b"{}",
    )
    await run(OpaqueBody(names(), Marks(), eyes), b"a")
    assert eyes.seen == [(b"{}", b"{}"), "rewritten", (b"a",), "rewritten", "end", "rewritten"]


async def test_last_words_begin_an_event_of_their_own():
    messages = EventMessages(keep, hold=4, unseen=True, names=names(), last_words=lambda: b"own")

    assert await run(messages, b'data: {"a') == b'data: {"a\n\ndata: own\n\n'


async def test_others_come_in_while_a_stream_of_many_events_is_taken_apart():
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    messages = EventMessages(keep, hold=1000, unseen=True, names=names(), last_words=nothing)
    meanwhile = asyncio.ensure_future(others())
    stream = b": x\n\n" * 20_000
    assert await messages.feed(stream) == stream
    meanwhile.cancel()
    assert turns >= len(stream) // 2**13


async def test_an_event_of_very_many_lines_ends_a_stream_where_nothing_may_pass_unseen():
    messages = EventMessages(keep, hold=2**20, unseen=False, names=names(), last_words=nothing)
    with pytest.raises(UpstreamBroken, match="too large"):
        await run(messages, *[b"data:\n" * 1000] * (MAX_LINES // 1000 + 1))
