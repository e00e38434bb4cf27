"""Answers taken apart into messages: held until whole, bounded, and put together byte for byte."""

from __future__ import annotations

import asyncio
import tracemalloc
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.response.conceal import Concealer
from gateway.calls.response.frames import AnswerFrame
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.handles import CredentialRewriter
from gateway.model.content import Sighting
from gateway.model.errors import UpstreamBroken
from gateway.wire.protocol.sse import MAX_LINES
from tests.requirements import requirement
from tests.unit.inspection.streams import LIST, drop, keep, replace, run, stages


async def test_a_json_answer_is_held_until_it_is_whole():
    messages = stages("json", keep, hold=100, unseen=True)

    assert await messages.feed(b'{"a":') == b""
    assert await messages.feed(b"1}") == b""
    assert await messages.finish() == b'{"a":1}'


async def test_an_answer_that_comes_in_tiny_pieces_takes_no_more_memory_than_its_bytes():
    messages = stages("json", keep, hold=1_000_000, unseen=True)
    tracemalloc.start()
    try:
        for _ in range(100_000):
            await messages.feed(bytes((120, 121)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2 * 200_000


async def test_a_large_json_answer_passes_unseen_where_it_may():
    messages = stages("json", drop, hold=4, unseen=True)

    assert await run(messages, b"abc", b"def", b"ghi") == b"abcdefghi"


async def test_a_large_json_answer_ends_where_nothing_may_pass_unseen():
    messages = stages("json", keep, hold=4, unseen=False)
    with pytest.raises(UpstreamBroken, match="too large"):
        await run(messages, b"abc", b"def")


class Spoilsport:
    """A watch of one message, which must not come to an end that says `no`."""

    answers = False

    def __init__(self) -> None:
        self._seen = b""

    def feed(self, chunk: bytes) -> None:
        self._seen += chunk.replace(b"\n", b"")
        if b"no" in self._seen:
            raise UpstreamBroken("it says no")


async def test_what_passes_unseen_is_watched_and_may_not_come_to_its_end():
    for messages in (
        stages("json", keep, hold=4, unseen=True, check=Spoilsport),
        stages("events", keep, hold=4, unseen=True, check=Spoilsport),
    ):
        await messages.feed(b"data: it says n")
        with pytest.raises(UpstreamBroken, match="says no"):
            await messages.feed(b"o\n\n")


async def test_each_large_event_has_a_watch_of_its_own():
    messages = stages("events", keep, hold=4, unseen=True, check=Spoilsport)
    stream = b"data: it ends ", b"in n\n\n", b"o: a name ", b"of a field\n\n"

    assert await run(messages, *stream) == b"".join(stream)


async def test_an_event_that_never_ended_does_not_pass_where_a_list_may_come():
    messages = stages("events", keep, hold=99, unseen=False)

    assert await run(messages, b"data: {}\n\ndata: {}\n") == b"data: {}\n\n"


async def test_a_dropped_json_answer_is_replaced_by_the_last_words():
    messages = stages("json", drop, hold=99, unseen=True, last_words=lambda: b"instead")

    assert await run(messages, b"{}") == b"instead"


async def test_a_dropped_json_answer_without_last_words_is_empty():
    assert await run(stages("json", drop, hold=99, unseen=True), b"{}") == b""


async def test_an_empty_json_answer_is_not_shown():
    assert await run(stages("json", replace, hold=99, unseen=True)) == b""


STREAM = b": hello\n\nid: 1\ndata:\n\ndata: {}\r\n\r\nevent: message\ndata: {}\nid: 7\n\nretry: 5\n\ndata: unfinished"


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
async def test_a_stream_that_is_kept_comes_out_byte_for_byte_however_it_is_cut(cuts: list[int]):
    places = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in pairwise(places)]
    messages = stages("events", keep, hold=1000, unseen=True)

    assert await run(messages, *chunks) == STREAM


async def test_a_replaced_event_keeps_its_id():
    messages = stages("events", replace, hold=1000, unseen=True)

    assert await run(messages, b"id: 7\ndata: {}\n\n") == b'id: 7\ndata: {"new":1}\n\n'


async def test_a_dropped_event_leaves_the_others():
    messages = stages("events", drop, hold=1000, unseen=True)

    assert await run(messages, b": c\n\ndata: {}\n\nid: 1\ndata:\n\n") == b": c\n\nid: 1\ndata:\n\n"


async def test_an_event_longer_than_the_hold_passes_unseen_where_it_may():
    messages = stages("events", drop, hold=16, unseen=True)
    long = b"data: " + b"x" * 100 + b"\n\n"

    assert await run(messages, long[:50], long[50:]) == long


async def test_an_event_longer_than_the_hold_ends_a_stream_where_nothing_may_pass_unseen():
    messages = stages("events", keep, hold=16, unseen=False)
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
    messages = stages("events", drop, hold=1000, unseen=False)

    assert b"hidden" not in await run(messages, stream)


@requirement("mcp/list-filter")
async def test_where_a_list_may_come_no_line_ends_inside_of_a_message():
    sent = '{"a":"\u2028\u2028data: {}\u2029\x85é"}'
    messages = stages("events", keep, hold=1000, unseen=False)

    passed = await run(messages, f"event: message\nid: 7\nretry: 5\ndata: {sent}\n\n".encode())
    assert passed.decode().splitlines() == [
        "event: message",
        "id: 7",
        "retry: 5",
        r'data: {"a":"\u2028\u2028data: {}\u2029\u0085é"}',
        "",
    ]


async def test_where_a_list_may_come_events_without_a_message_keep_what_they_say():
    messages = stages("events", drop, hold=1000, unseen=False)

    assert await run(messages, b": hello\n\nid: 1\ndata:\n\nretry: 5\n\n") == b":\n\nid: 1\ndata: \n\nretry: 5\n\n"


async def test_last_words_end_a_stream():
    messages = stages("events", drop, hold=1000, unseen=True, last_words=lambda: b"{}")

    assert await run(messages, b"data: {}\n\n") == b"data: {}\n\n"


class Marks:
    """Rewrites what it is given so that one sees as what."""

    def document(self, data: bytes) -> bytes:
        return b"d(" + data + b")"

    def event(self, raw: bytes, data: bytes) -> bytes:
        return b"e(" + raw + data + b")"

    def part(self, chunk: bytes) -> bytes:
        return b"p(" + chunk + b")"

    def end(self) -> bytes:
        return b"."

    def text(self, chunk: bytes) -> bytes:
        return b"t(" + chunk + b")"

    def text_end(self) -> bytes:
        return b"!"

    def found(self) -> tuple[Finding, ...]:
        return (Finding("print", "github-pat", "format", "", None, "raw"),)


def marking(observer: Any = None) -> Concealer:
    concealer = Concealer(cast("CredentialRewriter", Marks()), WorkerThread())
    concealer.observer = observer
    return concealer


async def test_what_goes_on_of_a_json_answer_is_rewritten():
    whole = stages("json", keep, hold=99, unseen=True, after=[marking()])
    large = stages("json", keep, hold=2, unseen=True, after=[marking()])
    dropped = stages("json", drop, hold=99, unseen=True, last_words=lambda: b"own", after=[marking()])

    assert await run(whole, b"{", b"}") == b"d({})"
    assert await run(large, b"ab", b"cd", b"ef") == b"p(abcd)p(ef)."
    assert await run(dropped, b"{}") == b"own"


async def test_what_goes_on_of_a_stream_is_rewritten_and_what_never_ended_does_not():
    messages = stages("events", keep, hold=12, unseen=True, after=[marking()])

    assert await run(messages, b"data: a\n\n", b": note\n\n", b"data: 0123456789", b"0\n\ndata: b\n\ndata: c") == (
        b"e(data: a\n\na): note\n\np(data: 0123456789)p(0\n\n).e(data: b\n\nb)"
    )


async def test_an_event_that_a_filter_has_changed_is_rewritten_too():
    """A list without hidden names still has the words of the upstream."""
    assert await run(stages("events", replace, after=[marking()]), b"data: {}\n\n") == (
        b'e(data: {"new":1}\n\n{"new":1})'
    )


async def test_last_words_come_after_what_is_left_of_a_large_event():
    messages = stages("events", drop, hold=4, unseen=True, last_words=lambda: b"own", after=[marking()])

    assert await run(messages, b"data: a") == b"p(data: a).\n\ndata: own\n\n"


async def test_an_answer_of_another_type_is_rewritten_as_text():
    assert await run(stages("text", after=[marking()]), b"a", b"b") == b"t(a)t(b)!"


class Eyes:
    """Writes down what is looked at, and what was passed on by then."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, ...] | str] = []

    async def handle(self, frame: AnswerFrame) -> AnswerFrame:
        if frame.kind in {"document", "event", "unfinished"}:
            self.seen.append((frame.raw, frame.data))
        elif frame.kind in {"part", "text"}:
            self.seen.append((frame.raw,))
        elif frame.kind in {"part-end", "text-end"}:
            self.seen.append("end")
        return frame

    async def note_concealed(self, _sightings: tuple[Sighting, ...]) -> None:
        self.seen.append("rewritten")


@requirement("history/read-elsewhere")
async def test_what_goes_on_of_a_json_answer_is_looked_at():
    whole, large, dropped = Eyes(), Eyes(), Eyes()

    await run(stages("json", keep, hold=99, unseen=True, after=[whole]), b"{", b"}")
    await run(stages("json", keep, hold=2, unseen=True, after=[large]), b"ab", b"cd", b"ef")
    await run(stages("json", drop, hold=99, unseen=True, after=[dropped]), b"{}")
    assert whole.seen == [(b"{}", b"{}")]
    assert large.seen == [(b"abcd",), (b"ef",), "end"]
    assert dropped.seen == []


@requirement("history/read-elsewhere")
async def test_what_goes_on_of_a_stream_is_looked_at_before_it_does():
    """The end of a large event is known when it has come, not with the event after it."""
    eyes = Eyes()
    messages = stages("events", keep, hold=12, unseen=True, after=[eyes])

    assert await messages.feed(b"data: a\n\n: note\n\n") == b"data: a\n\n: note\n\n"
    assert eyes.seen == [(b"data: a\n\n", b"a"), (b": note\n\n", b"")]
    eyes.seen.clear()
    assert await messages.feed(b"data: 0123456789") + await messages.feed(b"0\n\n") == b"data: 01234567890\n\n"
    assert eyes.seen == [(b"data: 0123456789",), (b"0\n\n",), "end"]
    eyes.seen.clear()
    assert await messages.feed(b"data: c") + await messages.finish() == b"data: c"
    assert eyes.seen == [(b"data: c", b"c")]


async def test_of_a_message_that_was_changed_the_change_is_looked_at():
    async def change(_data: bytes) -> bytes:
        return b"{}"

    eyes = Eyes()
    out = await run(
        stages("events", change, hold=99, unseen=True, after=[eyes]),
        b"data: secret\n\n",
    )
    assert (out, eyes.seen) == (b"data: {}\n\n", [(b"data: {}\n\n", b"{}")])


async def test_what_is_rewritten_was_looked_at_as_it_came():
    eyes = Eyes()
    await run(
        stages("json", keep, hold=99, unseen=True, after=[eyes, marking(eyes)]),
        b"{}",
    )
    await run(stages("text", after=[eyes, marking(eyes)]), b"a")
    assert eyes.seen == [(b"{}", b"{}"), "rewritten", (b"a",), "rewritten", "end", "rewritten"]


async def test_last_words_begin_an_event_of_their_own():
    messages = stages("events", keep, hold=4, unseen=True, last_words=lambda: b"own")

    assert await run(messages, b'data: {"a') == b'data: {"a\n\ndata: own\n\n'


async def test_others_come_in_while_a_stream_of_many_events_is_taken_apart():
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    messages = stages("events", keep, hold=1000, unseen=True)
    meanwhile = asyncio.ensure_future(others())
    stream = b": x\n\n" * 20_000
    assert await messages.feed(stream) == stream
    meanwhile.cancel()
    assert turns >= len(stream) // 2**13


async def test_an_event_of_very_many_lines_ends_a_stream_where_nothing_may_pass_unseen():
    messages = stages("events", keep, hold=2**20, unseen=False)
    with pytest.raises(UpstreamBroken, match="too large"):
        await run(messages, *[b"data:\n" * 1000] * (MAX_LINES // 1000 + 1))
