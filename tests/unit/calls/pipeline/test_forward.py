"""What is sent on, and what becomes of the answer."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import threading
import time
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.calls.response.stream import Bounds, ResponseStream, read_obligations
from gateway.history.events import Observed, from_fields, unpack
from gateway.inspection.results import ResultWords
from gateway.inspection.words.words import digest
from gateway.model.decision import Obligation
from gateway.model.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.record.journal.records import ResultRecord
from gateway.record.telemetry.spans import Spans
from gateway.record.telemetry.tracing import Tracing
from tests.requirements import requirement
from tests.unit.exchanges import new_exchange
from tests.unit.harness import (
    URL,
    Back,
    Bench,
    Held,
    Upstream,
    allow,
    answering,
    bench,
    call,
    deciding,
    message,
    modern,
    read_out,
    result,
)


@pytest.mark.parametrize(
    ("error", "status", "code", "outcome"),
    [
        (UpstreamUnreachable("it is away"), 502, "upstream/unreachable", "upstream-failed"),
        (UpstreamTimeout("it is late"), 504, "upstream/timeout", "unknown"),
        (UpstreamBroken("it broke"), 502, "upstream/broken", "unknown"),
    ],
)
async def test_a_call_whose_upstream_fails_is_settled_and_answered_for(
    there: Bench, error: Exception, status: int, code: str, outcome: str
):
    there.upstream.script = lambda _request: error
    answer = await there.ask(call())

    assert (answer.status, answer.codes) == (status, [code])
    assert [entry["outcome"] for entry in there.entries("settled")] == [outcome]


@requirement("mcp/no-foreign-challenge")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [call(), message("ping")])
async def test_an_upstream_that_does_not_accept_the_gateway_does_not_challenge_the_caller(
    there: Bench, status: int, body: bytes
):
    there.upstream.script = lambda _request: Back(status)
    answer = await there.ask(body)

    assert (answer.status, answer.codes) == (502, ["upstream/unauthorized"])
    assert there.upstream.closed == 1


async def test_a_defect_in_mid_call_is_settled_and_raised(there: Bench):
    there.upstream.script = lambda _request: RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        await there.ask(call())

    assert [entry["outcome"] for entry in there.entries("settled")] == ["unknown"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, "error"), (429, "error"), (408, "unknown"), (500, "unknown"), (504, "unknown")]
)
async def test_a_status_without_a_response_refuses_a_call_or_tells_nothing_of_it(
    there: Bench, status: int, outcome: str
):
    there.upstream.script = lambda _request: Back(status, "text/plain", (b"sorry",))

    assert (await there.ask(call())).body == b"sorry"
    assert [entry["outcome"] for entry in there.entries("settled")] == [outcome]


async def test_the_outcome_of_a_call_whose_caller_leaves_before_the_answer_is_unknown(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream) as there:
        task = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [entry["outcome"] for entry in there.entries("settled")] == ["unknown"]


async def test_a_limit_on_time_counts_from_the_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, Held()) as there:
        deciding(there, allow(Obligation("limit", {"timeout_seconds": 0.05})), monkeypatch)
        answer = await there.ask(call())
        assert (answer.status, answer.codes) == (504, ["upstream/timeout"])
        assert [entry["outcome"] for entry in there.entries("settled")] == ["unknown"]


async def test_what_is_left_of_a_limit_on_time_is_for_the_answer(there: Bench, monkeypatch: pytest.MonkeyPatch):
    deciding(there, allow(Obligation("limit", {"timeout_seconds": 60, "max_bytes": 10})), monkeypatch)
    answer = await there.ask(call())

    assert "larger than policy allows" in answer.json["error"]["message"]
    assert [(entry["outcome"], entry["lost"]) for entry in there.entries("settled")] == [("completed", "limited")]


async def test_how_long_a_call_took_is_no_matter_of_the_time_of_day(tmp_path: Path):
    """A clock that is set back by an hour while a call is under way made it take less than no time."""
    async with bench(tmp_path) as there:
        set_back = chain([0.0], repeat(3600.0))
        late = replace(there.gateway, clock=lambda: time.time() - next(set_back))
        await replace(there, gateway=late).ask(call())
        exposition = there.gateway.metrics.exposition().decode()

    (settled,) = there.entries("settled")
    assert 0 <= settled["duration_ms"] < 60_000
    sums = [line for line in exposition.splitlines() if "_seconds_sum" in line]
    assert all(0 <= float(line.rpartition(" ")[2]) < 60 for line in sums)


@pytest.mark.parametrize(
    ("back", "outcome", "failed"),
    [
        (Back(202), "unknown", True),
        (UpstreamBroken("it broke"), "unknown", True),
        (UpstreamUnreachable("it is away"), "upstream-failed", True),
        (Back(chunks=(b'{"id":7,"error":{"code":-1,"message":""}}',)), "error", True),
        (Back(chunks=(b'{"id":7,"result":{}}',)), "completed", False),
        (Back(chunks=(b"a" * 101,)), "unknown", True),
    ],
)
async def test_how_a_call_ended_is_counted_and_said_in_its_span(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    back: Back | Exception,
    outcome: str,
    failed: bool,  # noqa: FBT001 - a parameter of pytest
):
    exporter = InMemorySpanExporter()
    async with bench(tmp_path) as there:
        tracing = Tracing(Spans(exporter))
        there.upstream.script = lambda _request: back
        deciding(there, allow(Obligation("limit", {"max_bytes": 100})), monkeypatch)
        await replace(there, gateway=replace(there.gateway, tracing=tracing)).ask(call())
        tracing.stop()
        counted = f'opagate_settled_total{{outcome="{outcome}",upstream="files"}} 1.0'

        assert counted in there.gateway.metrics.exposition().decode()
        spans = exporter.get_finished_spans()
        span = next(span for span in spans if span.kind is SpanKind.SERVER)
        attributes = span.attributes or {}
        assert attributes["opagate.decision.id"] == there.entries("settled")[0]["id"]
        assert attributes["opagate.outcome"] == outcome
        assert attributes.get("error.type") == ({"error": "tool_error"}.get(outcome, outcome) if failed else None)
        assert (span.status.status_code is StatusCode.ERROR) is failed


async def test_the_record_says_of_an_answer_its_status_its_size_and_what_it_was(tmp_path: Path):
    async with bench(tmp_path, more="journal: {results: digest}\n") as there:
        there.upstream.script = lambda _request: Back(404, "text/plain", (b"so", b"rry"))
        await there.ask(call())
        was = hmac.digest(there.gateway.journal.fingerprint_key, b"sorry", "sha256").hex()

        (settled,) = there.entries("settled")
        assert (settled["status"], settled["bytes"], settled["result"]) == (404, 5, was)


async def test_what_needs_no_decision_passes_and_is_measured(there: Bench):
    assert (await there.ask(message("ping"))).status == 200
    assert there.entries("call") == []
    assert b'opagate_settled_total{outcome="completed",upstream="files"} 1.0' in there.gateway.metrics.exposition()


async def test_a_stream_of_a_session_is_passed_on(there: Bench):
    there.upstream.script = lambda _request: Back(200, "text/event-stream", (b": hello\n\nretry: 5\n\n",))

    assert (await there.ask(None)).body == b":\n\nretry: 5\n\n"
    assert there.upstream.sent[0].method == "GET"


@pytest.mark.parametrize("body", [call(), message("ping"), None])
async def test_an_answer_that_cannot_be_looked_into_is_not_passed_on(there: Bench, body: bytes | None):
    there.upstream.script = lambda _request: Back(chunks=(gzip.compress(b"{}"),), encoding="gzip")
    answer = await there.ask(body)

    assert (answer.status, answer.codes) == (502, ["upstream/broken"])
    assert there.upstream.closed == 1


OPENING = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
COMPLETION = {"ref": {"type": "ref/prompt", "name": "hello"}, "argument": {"name": "a", "value": "b"}}
ASKED = {
    "call": call(),
    "ping": message("ping"),
    "list": message("tools/list"),
    "initialize": message("initialize", **OPENING),
    "completion": message("completion/complete", **COMPLETION),
    "stream": None,
}


@pytest.mark.parametrize("charset", ["utf-16", "UTF-7", '"ebcdic-cp-us"', "utf-8;charset=utf-16"])
async def test_an_answer_that_says_that_it_is_not_in_utf8_is_not_passed_on(there: Bench, charset: str):
    for asked, body in ASKED.items():
        type_ = "text/event-stream" if asked == "stream" else "application/json"
        there.upstream.script = partial(result, value={}, type=f"{type_}; Charset={charset}")
        answer = await there.ask(body)

        assert (answer.status, answer.codes) == (502, ["upstream/broken"]), asked
    assert there.upstream.closed == len(ASKED)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
async def test_nothing_of_an_answer_that_is_not_in_utf8_is_passed_on(there: Bench, encoding: str):
    written = '{"jsonrpc": "2.0", "id": 7, "result": {"text": "look at me"}}'
    for type_, text in (
        ("application/json", written),
        ("text/event-stream", f"data: {written}\n\n"),
        ("text/plain", "look at me"),
    ):
        back = Back(type=type_, chunks=(text.encode(encoding),))
        there.upstream.script = lambda _request, back=back: back
        for asked, body in ASKED.items():
            answer = await there.ask(body)

            assert b"\0" not in answer.body, (asked, type_)
            told = b"not in UTF-8" in answer.body
            assert told or (answer.broken is not None and answer.broken.code == "upstream/broken"), (asked, type_)


async def test_an_answer_that_says_that_it_is_in_utf8_is_passed_on(there: Bench):
    for charset in ("utf-8", "UTF8", '"utf-8"', "us-ascii"):
        there.upstream.script = partial(result, value={}, type=f"application/json;charset={charset}")

        assert (await there.ask(message("ping"))).status == 200


async def test_an_answer_that_says_that_it_is_not_compressed_is_passed_on(there: Bench):
    there.upstream.script = lambda request: result(request, {"content": []}, encoding="Identity")

    assert (await there.ask(call())).status == 200


async def test_a_stream_that_waits_for_news_is_idle(there: Bench):
    body, *headers = modern("subscriptions/listen", notifications={})

    async def read() -> bytes:
        return body

    answer = await there.gateway.pipeline.handle(
        new_exchange("POST", "files", URL, tuple(headers), "127.0.0.1", body=read)
    )

    assert isinstance(answer, ResponseStream)
    assert answer.idle
    await read_out(answer)


def limit(**properties: int) -> Obligation:
    return Obligation("limit", properties)


def test_of_several_limits_the_tightest_holds():
    label = Obligation("label", {"confidentiality": "confidential"})

    assert read_obligations(allow(label)).bounds == Bounds(None, None)
    several = (label, limit(timeout_seconds=9, max_bytes=5), limit(timeout_seconds=3), limit(max_bytes=7))
    assert read_obligations(allow(*several)).bounds == Bounds(3, 5)


@requirement("fault/limit", "mcp/tasks")
@pytest.mark.parametrize("method", ["tasks/get", "tasks/result"])
async def test_a_late_result_is_no_larger_than_that_of_its_call_may_be(
    there: Bench, monkeypatch: pytest.MonkeyPatch, method: str
):
    for name, allowed in (("bounded", allow(limit(max_bytes=500))), ("free", allow())):
        deciding(there, allowed, monkeypatch)
        answering(there, {"task": {"taskId": name, "status": "working"}})
        await there.ask(call())
    passed: list[tuple[str, int, bool]] = []
    for name, length in (("bounded", 300), ("bounded", 500), ("free", 500)):
        answering(there, {"content": [{"type": "text", "text": "a" * length}]})
        answer = await there.ask(message(method, taskId=name))
        passed.append((name, length, "result" in answer.json))
        assert "result" in answer.json or "larger than policy allows" in answer.json["error"]["message"]

    assert passed == [("bounded", 300, True), ("bounded", 500, False), ("free", 500, True)]


async def test_a_large_result_is_made_ready_for_the_record_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    threads: list[str] = []
    value = ResultRecord.value

    def watched(record: ResultRecord, *known: Any) -> Any:
        threads.append(threading.current_thread().name.partition("_")[0])
        return value(record, *known)

    monkeypatch.setattr(ResultRecord, "value", watched)
    async with bench(tmp_path, more="journal: {results: full}\n") as there:
        for text in ("short", "word " * 8_000):
            there.upstream.script = lambda request, text=text: result(request, {"text": text})
            assert (await there.ask(call())).status == 200

        assert [entry["content"] for entry in there.entries("settled")] == [
            {"text": "short"},
            {"text": "word " * 8_000},
        ]
    assert threads == ["MainThread", "worker"]


async def test_the_words_of_a_short_answer_are_folded_and_recorded_when_its_call_is_settled(there: Bench):
    there.upstream.script = lambda request: result(request, {"text": "zanzibarian ledger"})
    word = digest("zanzibarian", there.gateway.inspector.key)

    async def read() -> bytes:
        return call()

    answer = await there.gateway.pipeline.handle(new_exchange("POST", "files", URL, (), "127.0.0.1", body=read))
    assert isinstance(answer, ResponseStream)
    assert b"zanzibarian" in b"".join([chunk async for chunk in answer])
    (task,) = there.gateway.history.tasks.all()
    assert word not in there.gateway.history.states.load(task).tokens

    await answer.close()
    assert word in there.gateway.history.states.load(task).tokens
    (settled,) = there.entries("settled")
    event = from_fields(settled["history"])
    assert isinstance(event, Observed)
    assert word in unpack(event.tokens)
    assert all("tokens" not in entry for entry in there.entries("observed"))


async def test_the_words_of_an_answer_are_folded_before_the_upstream_is_waited_for(tmp_path: Path):
    """What the caller sends next may hold them, and be decided before the upstream lets go."""
    known: list[bool] = []

    class Slow(Upstream):
        async def _close(self) -> None:
            (task,) = there.gateway.history.tasks.all()
            known.append(word in there.gateway.history.states.load(task).tokens)

    async with bench(tmp_path, Slow(lambda request: result(request, {"text": "zanzibarian ledger"}))) as there:
        word = digest("zanzibarian", there.gateway.inspector.key)
        assert (await there.ask(call())).status == 200

    assert known == [True]


async def test_an_answer_whose_words_cannot_be_found_is_settled_as_one_that_said_anything(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    """A defect that an upstream's text can reach: the answer has gone already."""

    def broken(_words: ResultWords, _chunk: bytes) -> frozenset[int]:
        raise ValueError("a defect")

    monkeypatch.setattr(ResultWords, "finish", broken)
    there.upstream.script = lambda request: result(request, {"text": "zanzibarian ledger"})

    assert (await there.ask(call())).status == 200

    (task,) = there.gateway.history.tasks.all()
    state = there.gateway.history.states.load(task)
    assert (state.open, state.partial_sources) == ({}, {"files"})
    assert [entry["outcome"] for entry in there.entries("settled")] == ["completed"]
