"""Messages that are too large to be held: whose they are is seen before they end."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.response.frames import MOST, Envelope, EventEnvelope
from gateway.model.errors import UpstreamBroken
from tests.requirements import requirement

RESULT = '{"a": ["}", "\\\\", "\\"id\\": 8", {"id": 8, "Result": [1, {"b": "\\\\\\""}]}], "id": 8}'
GOOD = (
    '{"jsonrpc": "2.0", "id": 7, "result": ' + RESULT + "}",
    ' { "result" :' + RESULT + ', "jsonrpc":"2.0", "id" : 7 } ',
    '{"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage", "params": ' + RESULT + "}",
)
ERRORS = (
    '{"jsonrpc": "2.0", "id": 7, "error": {"code": -31002, "message": "no", "data": {"id": 8}}}',
    '{"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "no"}}',
)
BAD = (
    '{"jsonrpc": "2.0", "id": 8, "result": ' + RESULT + "}",
    '{"jsonrpc": "2.0", "id": "7", "result": {}}',
    '{"jsonrpc": "2.0", "id": true, "result": {}}',
    '{"jsonrpc": "2.0", "result": {}}',
    '{"jsonrpc": "2.0", "id": 8, "error": {"code": 1, "message": "no"}}',
    '{"jsonrpc": "2.0", "id": 7, "result": ' + RESULT + ', "id": 8}',
    '{"jsonrpc": "2.0", "id": 7, "result": {}, "\\u0069d": 8}',
    '{"jsonrpc": "2.0", "id": 7, "result": {}, "ID": 8, "Result": {}}',
    '{"jsonrpc": "2.0", "id": 7, "result": {}} {"jsonrpc": "2.0", "id": 8, "result": {}}',
    '[{"jsonrpc": "2.0", "id": 8, "result": {}}]',
    '{"jsonrpc": "2.0", "id": 7, result: {}}',
    "}",
    *ERRORS,
)


def fed(envelope: Envelope | EventEnvelope, data: bytes, cuts: list[int]) -> None:
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        envelope.feed(data[start:end])


CUTS = st.lists(st.integers(min_value=0, max_value=100), max_size=6)


@pytest.mark.parametrize("text", GOOD)
@given(cuts=CUTS)
def test_the_message_that_was_asked_for_comes_to_its_end(text: str, cuts: list[int]):
    fed(Envelope(7), text.encode(), cuts)
    fed(EventEnvelope(7), b'event: message\nid: {"1\ndata: ' + text.encode() + b"\n: }\n\n", cuts)


@requirement("mcp/list-filter")
@pytest.mark.parametrize("text", BAD)
@given(cuts=CUTS)
def test_any_other_never_does(text: str, cuts: list[int]):
    with pytest.raises(UpstreamBroken):
        fed(Envelope(7), text.encode(), cuts)
    with pytest.raises(UpstreamBroken):
        fed(EventEnvelope(7), b': "{\ndata: ' + text.encode() + b"\n\n", cuts)


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_comes_to_its_end_where_its_code_was_looked_at(text: str):
    envelope = Envelope(7, errors=True)
    envelope.feed(text.encode())
    assert envelope.ended


@requirement("mcp/list-filter")
@given(cuts=CUTS)
def test_a_byte_order_mark_before_an_event_hides_nothing_of_it(cuts: list[int]):
    """Readers of streams take it away at the beginning (HTML standard, section 9.2.6)."""
    with pytest.raises(UpstreamBroken, match="another request"):
        fed(EventEnvelope(7), b"\xef\xbb\xbfdata:" + BAD[0].encode() + b"\n\n", cuts)
    fed(EventEnvelope(7), b"\xef\xbb\xbfdata:" + GOOD[0].encode() + b"\n\n", cuts)


@requirement("mcp/list-filter")
def test_data_in_several_lines_never_comes_to_its_second():
    for other in (b"data:{}", b": c\ndata:{}", b"id: 1\r\ndata: {}"):
        envelope = EventEnvelope(7)
        envelope.feed(b'data: {"jsonrpc": "2.0",\r\n')
        with pytest.raises(UpstreamBroken, match="several lines"):
            envelope.feed(other)


def test_another_encoding_is_none_that_is_read():
    with pytest.raises(UpstreamBroken, match="UTF-8"):
        Envelope(7).feed(GOOD[0].encode("utf-16"))


def test_what_stands_beside_the_result_is_bounded():
    envelope = Envelope(7)
    envelope.feed(b'{"jsonrpc": "2.0", "id": 7, "note": "')
    with pytest.raises(UpstreamBroken, match="beside its result"):
        envelope.feed(b"x" * MOST)


def test_a_result_may_be_of_any_size():
    envelope = Envelope(7)
    envelope.feed(b'{"id": 7, "result": {"a": "')
    for _ in range(100):
        envelope.feed(b"x" * MOST)
    envelope.feed(b'"}}')
    assert json.loads(bytes(envelope._top)) == {"id": 7, "result": None}


@requirement("mcp/list-filter")
@pytest.mark.parametrize("name", [b"Data", b" data", b"\t" * 80 + b"data", b"DATA "])
@given(cuts=CUTS)
def test_data_that_only_some_readers_find_never_comes_to_its_end(name: bytes, cuts: list[int]):
    with pytest.raises(UpstreamBroken, match="only some readers"):
        fed(EventEnvelope(7), b"data: " + GOOD[0].encode() + b"\n" + name + b": " + BAD[0].encode() + b"\n\n", cuts)
