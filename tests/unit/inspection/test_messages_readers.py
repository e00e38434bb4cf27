"""Answers in events of which some readers find more than others."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.response.filter import MessageFilter, ReservedNameFilter
from gateway.calls.response.frames import begin_frames
from gateway.calls.response.stream import Stages
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import Disposition, Era, Kind, Message
from gateway.wire.protocol import sse
from tests.requirements import requirement
from tests.unit.inspection.streams import LIST, Recipient, keep, replace, run, stages


async def other(data: bytes) -> bytes | None:
    """Drops what holds a list that was not asked for, as `MessageFilter.filter_message` does."""
    return None if b"hidden" in data else data


HIDING = [
    b": x\xe2\x80\xa8data: " + LIST + b"\n\n",
    b": x\xe2\x80\xa9\xe2\x80\xa9data: " + LIST + b"\ndata: {}\n\n",
    b"x\xc2\x85data: " + LIST + b"\n\n",
    b"id: 1\x0bdata: " + LIST + b"\ndata: {}\n\n",
    b"event: a\x0cdata: " + LIST + b"\n\n",
    b"retry: 5\x1cdata: " + LIST + b"\n\n",
    b"note: 5\x1ddata: " + LIST + b"\n\n",
    b":\x1edata: " + LIST + b"\n\n",
    b"Data: " + LIST + b"\n\n",
    b" data: " + LIST + b"\ndata: {}\n\n",
    b": x\n\n\xef\xbb\xbfdata: " + LIST + b"\n\n",
    b"data:\r" + LIST + b"\n\n",
    b"data: " + LIST + b"\n",
    b"data: " + LIST,
    LIST,
]


@requirement("mcp/list-filter")
@pytest.mark.parametrize("stream", HIDING)
async def test_in_the_answer_to_a_call_nothing_passes_that_only_some_readers_find(stream: bytes):
    """They would find in it the response to another request: a list that nobody has filtered."""
    messages = stages("events", other, hold=1000, unseen=True)

    assert b"hidden" not in await run(messages, stream)


@requirement("mcp/list-filter")
@pytest.mark.parametrize("hold", [1000, 4])
async def test_in_the_answer_to_a_call_no_line_ends_inside_of_a_message(hold: int):
    data = '{"a":"\u2028\u2028data: {}\u2029\x85é"}'.encode()
    sent = b"id: 7\ndata: " + data + b"\n\n"
    for size in range(1, 9):
        messages = stages("events", keep, hold=hold, unseen=True)
        passed = await run(messages, *(sent[i : i + size] for i in range(0, len(sent), size)))
        assert passed.decode().splitlines() == ["id: 7", r'data: {"a":"\u2028\u2028data: {}\u2029\u0085é"}', ""]


async def test_a_first_event_is_found_also_when_something_was_said_before_it():
    """Only at the beginning of a stream is a byte order mark none of a line, and the gateway may have said something by then."""
    messages = stages("events", keep, hold=1000, unseen=True)

    assert await run(messages, b'\xef\xbb\xbfdata: {"a":1}\n\ndata: {}\n\n') == b'data: {"a":1}\n\ndata: {}\n\n'


OPEN = b'{"jsonrpc":"2.0","id":7,"result":{"x":'
SEVERAL_LINES = [
    b"data: " + OPEN + b"\ndata: " + LIST + b"\ndata: }}\n\n",
    b"data: " + OPEN + b'"\ndata: ' + LIST[:-1] + b',"z":"}}"}\n\n',
    b"data: " + OPEN + b'"\nid: 1\ndata: ' + LIST[:-1] + b',"z":"}}"}\n\n',
    b": " + b"x" * 40 + b"\ndata: " + OPEN + b"\ndata: " + LIST + b"\n\n",
]


@requirement("mcp/list-filter")
@pytest.mark.parametrize("hold", [1000, 8])
@pytest.mark.parametrize("stream", SEVERAL_LINES)
async def test_a_line_of_data_among_others_is_no_message_of_its_own(stream: bytes, hold: int):
    """Readers that keep the last line (mcp-go), or the last lines without another field between (the SDK for Go), or take
    each by itself, would find in it the response to another request."""
    passed = await seen_of(stream, 9, hold)

    assert not any(line.endswith(LIST) or line.startswith(b"data: " + LIST[:-1]) for line in passed.splitlines())


async def test_data_of_several_lines_goes_on_in_one():
    messages = stages("events", keep, hold=1000, unseen=True)

    assert await run(messages, b"id: 7\ndata: {\ndata:\ndata:}\nevent: a\n\n") == b"id: 7\nevent: a\ndata: {  }\n\n"


ODD_BUT_CLEAR = [
    ": a comment ä\r\nid: 7\r\nvendor: x\r\nretry: 5\r\ndata:{ }\r\n\r\n",
    'event: message\ndata:{"a":"Å … – é à 漢字 \\u2028 \u2027"}\n\n',
    ": data: x\nid: data\ndata: {}\n\n",
    "data: an event that never ended",
]


@pytest.mark.parametrize("text", ODD_BUT_CLEAR)
async def test_what_every_reader_finds_alike_stays_as_it_was(text: str):
    messages = stages("events", keep, hold=1000, unseen=True)

    assert (await run(messages, text.encode())).decode() == text


@requirement("mcp/list-filter")
@pytest.mark.parametrize("unseen", [True, False])
async def test_the_id_of_an_event_hides_nothing(unseen: bool):  # noqa: FBT001 - a parameter of pytest
    """The id of an event that was changed goes on with the change."""
    messages = stages("events", replace, hold=1000, unseen=unseen)

    assert b"hidden" not in await run(messages, b"id: 1\x0bdata: " + LIST + b"\ndata: {}\n\n")


def lenient(stream: str, lines: Callable[[str], list[str]]) -> set[str]:
    """All that a reader finds which ends lines in that way, trims and folds the names of fields, takes each line of data
    also for itself, and those since the last other field, and reads an event that never ended."""
    found: set[str] = set()
    event: list[str] = []
    last: list[str] = []
    for line in [*lines(stream), ""]:
        name, colon, value = line.partition(":")
        if name.strip("\ufeff \t").lower() == "data" and colon:
            event.append(value)
            last.append(value)
        elif not line:
            found |= {"\n".join(event), "\n".join(last), *event}
            event.clear()
            last.clear()
        else:
            last.clear()
    return {text.strip() for text in found}


def at_line_feeds(text: str) -> list[str]:
    return text.split("\n")


def by_the_standard(text: str) -> list[str]:
    return re.split("\r\n|\n|\r", text)


ENDS: list[Callable[[str], list[str]]] = [str.splitlines, at_line_feeds, by_the_standard]
PIECES = [
    *("data: ", "data:", "Data: ", " data:", "\ufeffdata:", ": ", "id: ", "event: ", "retry:", "note: "),
    *("LIST", "OWN", "LIST\n\n", "OWN\n\n", "x", "data: OPEN\n", "data: }}\n\n"),
    *("\n", "\n\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\u2028\u2028"),
]


@requirement("mcp/list-filter")
@given(st.lists(st.sampled_from(PIECES), max_size=16), st.integers(1, 9), st.sampled_from([8, 64, 4096]))
async def test_no_reader_finds_what_the_strictest_does_not(pieces: list[str], size: int, hold: int):
    own = b'{"jsonrpc":"2.0","id":7,"result":{}}'
    stream = "".join(pieces).encode().replace(b"LIST", LIST).replace(b"OWN", own).replace(b"OPEN", OPEN)
    passed = await seen_of(stream, size, hold)

    text = passed.decode(errors="replace")
    for lines in ENDS:
        assert LIST.decode() not in lenient(text, lines)


async def seen_of(stream: bytes, size: int, hold: int) -> bytes:
    """What the caller gets of this as the answer to a call, if it comes in pieces of this size."""
    recipient, worker = Recipient(), WorkerThread()
    walk = [ReservedNameFilter(recipient, worker), MessageFilter(CALL, "files", recipient, worker, "events")]
    messages = Stages(begin_frames("events", hold, may_pass_unseen=True), walk)
    passed = b""
    try:
        for start in range(0, len(stream), size):
            passed += await messages.feed(stream[start : start + size])
        return passed + await messages.finish()
    except UpstreamBroken:
        return passed + sse.NEW_EVENT + sse.encode(b"{}")


CALL = Message(Kind.REQUEST, Era.STATELESS, Disposition.DECIDE, b"", method="tools/call", id=7)
