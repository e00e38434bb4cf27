"""Chunks in, lines out."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.stdio.wire import LineSplitter, LineTooLong


@given(st.binary(max_size=200), st.integers(1, 20))
def test_the_lines_do_not_depend_on_how_the_bytes_arrive(data: bytes, size: int):
    splitter = LineSplitter()

    lines = [line for start in range(0, len(data), size) for line in splitter.feed(data[start : start + size])]

    ended = data.split(b"\n")[:-1]
    assert lines == [line.rstrip(b"\r") for line in ended if line.rstrip(b"\r")]


def test_each_line_is_its_own_and_empty_ones_are_none():
    splitter = LineSplitter()

    assert splitter.feed(b"a\r\n\r\n\nb\nc") == [b"a", b"b"]
    assert splitter.feed(b"d\ne\r") == [b"cd"]
    assert splitter.feed(b"\n") == [b"e"]


def test_a_line_of_many_chunks_is_joined():
    splitter = LineSplitter()
    assert [splitter.feed(b"x" * 1000) for _ in range(3)] == [[], [], []]

    assert splitter.feed(b"\n") == [b"x" * 3000]


def test_a_line_of_exactly_the_limit_passes():
    assert LineSplitter(limit=4).feed(b"abcd\nefgh\n") == [b"abcd", b"efgh"]


@pytest.mark.parametrize("chunks", [[b"abcde"], [b"abc", b"de"], [b"ok\nabcde\n"]])
def test_a_line_beyond_the_limit_is_refused_before_it_ends(chunks: list[bytes]):
    splitter = LineSplitter(limit=4)

    *before, last = chunks
    assert [splitter.feed(chunk) for chunk in before] == [[] for _ in before]

    with pytest.raises(LineTooLong):
        splitter.feed(last)


def test_nothing_is_read_after_a_line_that_was_too_long():
    splitter = LineSplitter(limit=4)
    with pytest.raises(LineTooLong):
        splitter.feed(b"abcde")

    with pytest.raises(LineTooLong):
        splitter.feed(b"\nok\n")


def test_a_line_in_many_small_pieces_takes_no_more_memory_than_one_in_a_large_one():
    splitter = LineSplitter()
    tracemalloc.start()
    try:
        for _ in range(100_000):
            splitter.feed(bytes((120, 121)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 2 * 200_000


def test_nothing_is_kept_of_a_line_that_was_too_long():
    splitter = LineSplitter(limit=4)
    for _ in range(3):
        with pytest.raises(LineTooLong):
            splitter.feed(b"abcdefgh")

    assert not splitter._line
