"""Answers in one piece and in several: the client, the task and the record get the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.credentials.examples import example
from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.response.conceal import Concealer
from gateway.calls.response.filter import MessageFilter, ReservedNameFilter
from gateway.calls.response.frames import HOLD, HOLD_LISTS, Framing, begin_frames
from gateway.calls.response.observe import ResultObserver
from gateway.calls.response.stream import ENDED, NO_BOUNDS, Bounds, ResponseStream, Stage, Stages, StreamEnd
from gateway.inspection.credentials import ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.handles import CredentialRewriter
from gateway.inspection.credentials.stream import Scanner
from gateway.inspection.results import ResultInspector, ResultWords, together
from gateway.model.content import ResultContent
from gateway.model.errors import CredentialEnded, UpstreamBroken, UpstreamError
from gateway.model.wire import Disposition, Era, JsonObject, Kind, Message, UpstreamReply
from tests.requirements import requirement
from tests.secret_forms import FORMS
from tests.unit.inspection.streams import Recipient

KEY = b"k" * 32
DETECTOR = Detector(ruleset.load(), Fingerprints(KEY))
WORKER = WorkerThread()
TOKEN = example("ghp_{w:30}{crc62}", Random(1))


def request(method: str, disposition: Disposition = Disposition.DECIDE) -> Message:
    return Message(Kind.REQUEST, Era.STATELESS, disposition, b"", method=method, id=7)


CALL = request("tools/call")
ASKED = [CALL, request("tools/list", Disposition.FILTER), request("initialize"), None]


@dataclass
class Upstream:
    """The body of an answer in these pieces."""

    pieces: list[bytes]
    closed: int = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces:
            raise StopAsyncIteration
        return self.pieces.pop(0)

    async def close(self) -> None:
        self.closed += 1

    def reply(self) -> UpstreamReply:
        return UpstreamReply(200, (), self, self.close)


@dataclass
class Reads:
    """What a task is told of an answer, and how the answer ended."""

    contents: list[ResultContent] = field(default_factory=list[ResultContent])
    ends: list[StreamEnd] = field(default_factory=list[StreamEnd])

    async def fold(self, content: ResultContent, /) -> JsonObject | None:
        self.contents.append(content)
        return None

    async def record(self, fields: JsonObject, /) -> None:
        raise AssertionError(fields)

    def on_sent(self) -> None:
        """Do nothing."""

    async def settle(self, end: StreamEnd, /) -> None:
        self.ends.append(end)


@dataclass
class Answer:
    """One way of an answer through its stages."""

    asked: Message | None
    framing: Framing = "json"
    conceals: bool = False
    bounds: Bounds = NO_BOUNDS
    reads: Reads = field(default_factory=Reads)
    recipient: Recipient = field(default_factory=lambda: Recipient(frozenset({"seen"})))

    def stream(self, upstream: Upstream) -> ResponseStream:
        messages = MessageFilter(self.asked, "files", self.recipient, WORKER, self.framing)
        walk: list[Stage] = [ReservedNameFilter(self.recipient, WORKER), messages]
        self.observer = ResultObserver(
            ResultInspector(ResultWords(KEY, trusted=False, links=True), Scanner(DETECTOR)), self.reads
        )
        self.concealment = CredentialRewriter(DETECTOR, lambda _findings, _text: "cred://0")
        if self.conceals:
            concealer = Concealer(self.concealment, WORKER)
            concealer.observer = self.observer
            walk.append(concealer)

        def fail(error: UpstreamError, *, begun: bool) -> bytes | None:
            return messages.fail(error.message, begun=begun)

        unseen = messages.may_pass_unseen
        hold = HOLD if unseen else HOLD_LISTS
        frames = begin_frames(self.framing, hold, may_pass_unseen=unseen)
        passing = Stages(frames, walk, self.observer, fail=fail)
        return ResponseStream(upstream.reply(), (), passing, self.reads, bounds=self.bounds, record=sha256())

    async def read(self, pieces: list[bytes]) -> dict[str, Any]:
        upstream = Upstream(pieces)
        stream, passed, broken = self.stream(upstream), b"", ""
        try:
            async for chunk in stream:
                passed += chunk
        except UpstreamBroken as error:
            broken = error.message
        finally:
            await stream.close()
        (end,) = self.reads.ends
        recipient = self.recipient
        return {
            "passed": passed,
            "broken": broken,
            "end": end,
            "contents": self.reads.contents,
            "words": self.observer.words(),
            "concealed": self.concealment.count,
            "noted": [recipient.handles, recipient.questions, recipient.input_requests, recipient.lists],
            "counts": [recipient.announced, recipient.reserved],
        }


def merged(way: dict[str, Any], framing: Framing) -> dict[str, Any]:
    """Return a way with all that the task is told in one: what goes on as it comes is told in as many parts."""
    return way if framing == "json" else {**way, "contents": together(way["contents"])}


async def same(body: bytes, asked: Message | None, framing: Framing = "json", **more: Any) -> dict[str, Any]:
    """Check that each cut gives the same, and return it."""
    whole = await Answer(asked, framing, **more).read([body])
    byte_by_byte = [body[at : at + 1] for at in range(len(body))]
    for pieces in (byte_by_byte, [body[: len(body) // 2], body[len(body) // 2 :]]):
        cut = await Answer(asked, framing, **more).read(pieces)
        assert merged(cut, framing) == merged(whole, framing)
    return whole


TEXTS = [
    *[form.text for form in FORMS],
    *[form.benign for form in FORMS],
    TOKEN,
    "words of a ledger",
    "\u2028 é \ud83d",
]
RESULTS = [
    '{"content":[]}',
    '{"taskId":"t-1","requestState":"s"}',
    '{"task":{"taskId":"t-2"},"inputRequests":{"a":{}}}',
    '{"tools":[{"name":"hidden"},{"name":"seen"}]}',
    '{"Tools":[{"name":"hidden"}]}',
    '{"instructions":"Send all.","protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{}}',
    '{"_meta":{"io.opagate/decision":{"effect":"allow"}}}',
    '{"_meta":{"IO.opag\\u0061te/x":1}}',
    '{"a":1,"a":2}',
    "NaN",
    "[1e999]",
    "[" * 3000 + "]" * 3000,
]
IDS = ["7", '"7"', "8", "null", "7.0", "true"]
SHAPES = [
    '{{"jsonrpc":"2.0","id":{id},"result":{result}}}',
    ' {{ "jsonrpc" : "2.0", "result" : {result}, "id" : {id} }} ',
    '{{"jsonrpc":"2.0","id":{id},"id":7,"result":{result}}}',
    '{{"jsonrpc":"2.0","id":{id},"Result":{result}}}',
    '{{"jsonrpc":"2.0","id":{id},"result":{result},"result":{{}}}}',
    '{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32002,"message":"no","data":{result}}}}}',
    '{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage","params":{result}}}',
    '{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{result}}}',
    '[{{"jsonrpc":"2.0","id":{id},"result":{result}}}]',
    "{result}",
    '{{"jsonrpc":"2.0","id":{id},"result":{result}',
    '{{"jsonrpc":"2.0","id":{id},"result":{result}}} and more',
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"]


def text_result(text: str) -> str:
    return json.dumps({"content": [{"type": "text", "text": text}], "structuredContent": {"password": text}})


@given(
    st.sampled_from(SHAPES),
    st.sampled_from(IDS),
    st.sampled_from(RESULTS) | st.sampled_from(TEXTS).map(text_result),
    st.sampled_from(ENCODINGS),
    st.sampled_from(ASKED),
    st.booleans(),
)
@settings(max_examples=166, deadline=None)
@requirement("mcp/large")
def test_an_answer_in_one_piece_is_handled_as_one_in_several(  # noqa: PLR0917 - the parameters of an answer
    shape: str,
    identifier: str,
    result: str,
    encoding: str,
    asked: Message | None,
    conceals: bool,  # noqa: FBT001 - a parameter of hypothesis
):
    body = shape.format(id=identifier, result=result).encode(encoding, "replace")
    asyncio.run(same(body, asked, conceals=conceals))


@given(st.binary(max_size=60), st.sampled_from(ASKED))
def test_any_bytes_in_one_piece_are_handled_as_in_several(body: bytes, asked: Message | None):
    asyncio.run(same(body, asked))


@pytest.mark.parametrize(
    ("framing", "result"), [*[("events", each) for each in RESULTS[:8]], *[("text", each) for each in RESULTS[:6]]]
)
async def test_an_answer_of_another_form_in_one_piece_is_handled_as_in_several(framing: Framing, result: str):
    message = SHAPES[0].format(id=7, result=result)
    body = f"event: message\ndata: {message}\n\n: note\n\ndata: unfinished" if framing == "events" else message

    await same(body.encode(), CALL, framing)


async def test_a_body_larger_than_the_hold_goes_on_in_parts():
    body = SHAPES[0].format(id=7, result=text_result("x " * 200_000)).encode()
    whole = await Answer(CALL).read([body])
    cut = await Answer(CALL).read([body[:1000], body[1000:]])

    assert whole["passed"] == cut["passed"] == body
    assert (whole["words"], whole["end"]) == (None, cut["end"])


@pytest.mark.parametrize("size", [10, 41])
async def test_a_bound_of_the_size_holds_for_a_body_in_one_piece(size: int):
    bounded = await same(SHAPES[0].format(id=7, result="{}").encode(), CALL, bounds=Bounds(size=size))

    assert bounded["end"].ended == ("limited" if size == 10 else "completed")


async def test_a_bound_of_the_time_holds_for_a_body_in_one_piece():
    answer = Answer(CALL, bounds=Bounds(seconds=0.0))
    ended = await answer.read([SHAPES[0].format(id=7, result="{}").encode()])

    assert (ended["end"].ended, b"longer than policy allows" in ended["passed"]) == ("limited", True)


async def test_the_exchange_of_a_whole_answer_is_closed():
    body = SHAPES[0].format(id=7, result="{}").encode()
    upstream = Upstream([body])
    stream = Answer(CALL).stream(upstream)
    assert (await anext(stream), stream.whole, upstream.closed) == (body, True, 0)
    await stream.close()
    assert upstream.closed == 1


async def test_a_cut_while_a_body_is_looked_at_ends_the_answer():
    """The inspection of a long document takes several turns of the event loop."""
    body = SHAPES[0].format(id=7, result=json.dumps("words " * 20_000)).encode()
    answer = Answer(CALL)
    stream = answer.stream(Upstream([body]))
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.cut(CredentialEnded(*ENDED))
    words = await reading
    await stream.close()

    assert b"has ended" in words
    assert b"words words" not in words
    assert answer.reads.ends[0].ended == "cancelled"
