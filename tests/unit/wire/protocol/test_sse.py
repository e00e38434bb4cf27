"""Event streams, cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.protocol.sse import MAX_LINES, Event, Splitter, Unbroken, breaks_more, data_of, encode, places


def events(*chunks: bytes, limit: int = 1000) -> list[Event]:
    splitter = Splitter(limit)
    return [event for chunk in chunks for event in splitter.feed(chunk)]


def data(*chunks: bytes) -> list[bytes | None]:
    return [event.data for event in events(*chunks)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_ends_with_a_blank_line_of_any_kind(end: bytes):
    raw = end.join([b"event: message", b"id: 7", b"data: {}", b"", b""])
    assert events(raw) == [Event(raw, b"{}", b"7", odd=end == b"\r")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_found_however_the_stream_is_cut(end: bytes):
    stream = end.join([b"data: a", b"", b": note", b"data: b", b"data: c", b"", b"retry: 5", b"", b""])
    for first, second in itertools.combinations(range(len(stream) + 1), 2):
        found = events(stream[:first], stream[first:second], stream[second:])
        assert [event.data for event in found if event.data is not None] == [b"a", b"b\nc"]
        assert b"".join(event.raw for event in found).rstrip(b"\n") == stream.rstrip(b"\n")


def test_one_byte_at_a_time():
    stream = b"\xef\xbb\xbfdata: a\r\n\r\ndata: b\r\r\n\ndata\n\n"
    assert [item for item in data(*(stream[i : i + 1] for i in range(len(stream)))) if item is not None] == [
        b"a",
        b"b",
        b"",
    ]


def test_an_event_that_ends_in_cr_does_not_wait_for_what_follows():
    splitter = Splitter()
    assert [event.data for event in splitter.feed(b"data: a\r\n\r")] == [b"a"]
    assert [event.data for event in splitter.feed(b"\ndata: b\n\n")] == [b"b"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"data:a\n\n", b"a"), (b"data:  a\n\n", b" a"), (b"data: a:b\n\n", b"a:b"), (b"data\n\n", b""), (b"data:\n\n", b""),
        (b"data: a\ndata: b\n\n", b"a\nb"), (b"data: a\ndata\n\n", b"a\n"), (b": data: a\n\n", None), (b" data: a\n\n", None),
        (b"Data: a\n\n", None), (b"\n", None), (b"event: x\n\n", None), (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b"data: a\x00b\n\n", b"a\x00b"), (b"data: a\xe2\x80\xa8b\n\n", b"a\xe2\x80\xa8b"),
    ],
)  # fmt: skip
def test_fields_are_read_as_the_standard_says(raw: bytes, expected: bytes | None):
    assert data(raw) == [expected]


def test_a_byte_order_mark_counts_at_the_start_only():
    assert data(b"data: a\n\n", b"\xef\xbb\xbfdata: b\n\n") == [b"a", None]
    pieces = events(b"data: abcdefgh", b"\n\n", b"\xef\xbb\xbfdata: b\n\n", limit=10)
    assert [(event.whole, event.data, event.odd) for event in pieces] == [
        (False, None, False),
        (False, None, False),
        (True, None, True),
    ]


def test_the_id_is_read():
    assert events(b"event:ping\nid\nid: 4\ndata: x\n\n")[0].id == b"4"
    assert events(b"event:\nid: a\x00b\ndata: x\n\n")[0] == Event(b"event:\nid: a\x00b\ndata: x\n\n", b"x")


def test_an_unfinished_event_is_held_back():
    splitter = Splitter()
    assert splitter.feed(b"data: a\n") == []
    assert splitter.feed(b"") == []
    assert splitter.rest() == Event(b"data: a\n", b"a")
    assert Splitter().rest() is None


# --- bounds ----------------------------------------------------------------------------------------


def test_an_event_of_exactly_the_limit_is_whole():
    raw = b"data: 123456789\n\n"
    assert events(raw, limit=len(raw)) == [Event(raw, b"123456789")]


def test_an_event_beyond_the_limit_comes_in_pieces_and_the_next_one_whole():
    found = events(b"data: 1\n\ndata: " + b"x" * 50, b"y" * 50, b"\ndata: z\n", b"\ndata: 2\n\n", limit=20)
    assert [(event.whole, event.data) for event in found] == [
        (True, b"1"),
        (False, None),
        (False, None),
        (False, None),
        (False, None),
        (True, b"2"),
    ]
    assert (
        b"".join(event.raw for event in found)
        == b"data: 1\n\ndata: " + b"x" * 50 + b"y" * 50 + b"\ndata: z\n\ndata: 2\n\n"
    )


def test_an_oversized_event_in_one_chunk_with_its_end_is_still_not_withheld():
    """The limit bounds what is held back; an event that is complete on arrival holds back nothing."""
    assert data(b"data: " + b"x" * 5000 + b"\n\n") == [b"x" * 5000]


def test_memory_is_bounded_by_the_limit():
    splitter = Splitter(100)
    for _ in range(1000):
        splitter.feed(b"x" * 64)
        held = splitter.rest()
        assert held is None or len(held.raw) <= 100


def test_a_stream_of_single_bytes_is_linear():
    splitter = Splitter(2**20)
    for _ in range(200_000):
        assert splitter.feed(b"x") == []
    assert splitter.feed(b"\n\n")[0].raw == b"x" * 200_000 + b"\n\n"


def test_blank_lines_come_out_together():
    stream = b"\n" * 5000 + b"\r\n\r\n\rdata: a\n\n\n\r"
    found = events(stream)
    assert b"".join(event.raw for event in found) == stream
    assert [event.data for event in found] == [None, b"a", None]


def test_an_event_of_too_many_lines_comes_in_pieces():
    line = b"data: x\n"
    found = events(*([line * 1024] * (MAX_LINES // 1024 + 1)), b"\ndata: 2\n\n", limit=2**20)
    assert [(event.whole, event.last) for event in found] == [(False, False), (False, True), (True, True)]
    assert found[-1].data == b"2"


def test_places_in_data_of_many_lines_are_found():
    raw = b"data: x\n" * MAX_LINES + b"\n"
    where = places(raw, b"\n".join([b"x"] * MAX_LINES))
    assert [raw[where.raw(2 * line) :][:2] for line in range(MAX_LINES)] == [b"x\n"] * MAX_LINES


# --- properties ------------------------------------------------------------------------------------


def reference(stream: bytes) -> list[bytes]:
    """The data of each finished event, by an independent and simple reading of the standard."""
    lines = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    found: list[bytes] = []
    pending: list[bytes] = []
    for line in lines[:-1]:
        if not line:
            if pending:
                found.append(b"\n".join(pending))
            pending = []
        elif line == b"data" or line.startswith(b"data:"):
            pending.append(line[5:].removeprefix(b" "))
    return found


@given(
    st.lists(
        st.sampled_from(
            [b"data: a", b"data", b"data:b", b": c", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"id: 1", b"x"]
        ),
        max_size=25,
    ),
    st.lists(st.integers(0, 60), max_size=6),
    st.sampled_from([1000, 10]),
)
def test_any_cut_keeps_every_byte_and_agrees_with_a_simple_reader(parts: list[bytes], cuts: list[int], limit: int):
    stream = b"".join(parts)
    edges = [0, *sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]
    splitter = Splitter(limit)
    found = [event for start, end in itertools.pairwise(edges) for event in splitter.feed(stream[start:end])]
    held = splitter.rest()
    assert b"".join(event.raw for event in (*found, *([held] if held else ()))) == stream
    if limit == 1000:
        assert [event.data for event in found if event.data is not None] == reference(stream)


@given(st.binary(max_size=40))
def test_what_is_encoded_is_read_back(payload: bytes):
    event = events(encode(payload))
    assert len(event) == 1
    assert event[0].data == payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def test_an_id_cannot_break_out_of_its_line():
    for hostile in (b"7\n\ndata: x\r\x00", b"7\x0bdata: x", b"7\xe2\x80\xa8data:x"):
        assert encode(b"{}", id=hostile) == b"data: {}\n\n"


def test_a_comment_carries_nothing():
    assert data(b":\r\n\r\n") == [None]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("head", [b"", b"event: a\n", b"\xef\xbb\xbf", b"\xef\xbb\xbfdata: x\n"])
def test_each_place_in_the_data_is_found_in_the_event(end: bytes, head: bytes):
    raw = (head + b"data: ab\nid: 7\ndata:cd\ndata\ndata:  e\n: data: z\n\n").replace(b"\n", end)
    for first in (b"", b"data: first\n\n"):
        found = events(first + raw)[-1]
        assert found.data is not None
        where = places(raw, found.data)
        lines = found.data.split(b"\n")
        assert lines[-3:] == [b"cd", b"", b" e"]
        begin = 0
        for line in lines:
            assert raw[where.raw(begin) : where.raw(begin + len(line))] == line
            begin += len(line) + 1


# --- one reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"data: a\rid: 1\r\n\r", b"data: a\nid: 1\r\n\r"),
        (b"data: a\xe2\x80\xa8b\xc2\x85c\x0b\n\n", b"data: a\\u2028b\\u0085c\\u000b\n\n"),
        ("data: Å … Â â\r\n\r\n".encode(), "data: Å … Â â\r\n\r\n".encode()),
        (b"data: half\xe2\x80", b"data: half\xe2\x80"),
        (b"data: half\xc2", b"data: half\xc2"),
    ],
)
def test_an_event_in_pieces_comes_to_one_reading_wherever_it_is_cut(text: bytes, expected: bytes):
    for first, second in itertools.combinations_with_replacement(range(len(text)), 2):
        unbroken = Unbroken()
        begin = unbroken.feed(text[:first], last=False) + unbroken.feed(text[first:second], last=False)

        assert begin + unbroken.feed(text[second:], last=True) == expected
        assert unbroken.feed(b"x", last=True) == b"x"


def test_only_what_ends_a_line_for_some_reader_does():
    assert not any(breaks_more(text.encode()) for text in ("Å", "\u2027", "…", "\r\n", "\t"))
    assert all(
        breaks_more(text.encode()) for text in ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
    )


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_the_data_of_an_ended_stream_is_that_of_its_events(end: str, begin: str):
    lines = [": hi", "", "event: a", "data: 1", "data:2", "", "id: 7", "", "data: 3"]

    assert data_of((begin + end.join(lines)).encode()) == [b"1\n2", b"3"]
    assert data_of(b'{"data": 1}') == []
