"""The spans of requests have the names of the conventions for MCP, and nothing that only the caller chose."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from gateway.record.telemetry.spans import Spans
from gateway.record.telemetry.tracing import Tracing
from tests.requirements import requirement
from tests.unit.harness import Bench, Upstream, answering, bench, call, message, modern

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KEY = "7f3c9a1e5b2d48c6a0e4f8b1d3c5a7e9"


@dataclass(frozen=True)
class Traced:
    """A gateway whose spans are kept."""

    there: Bench
    tracing: Tracing
    exporter: InMemorySpanExporter

    def spans(self, kind: SpanKind) -> list[ReadableSpan]:
        self.tracing.stop()
        return [span for span in self.exporter.get_finished_spans() if span.kind is kind]

    def request(self) -> tuple[str, dict[str, Any]]:
        """Return the name and the attributes of the only request."""
        (span,) = self.spans(SpanKind.SERVER)
        return span.name, dict(span.attributes or {})


@pytest.fixture
async def traced(tmp_path: Path) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(Spans(exporter))
    async with bench(tmp_path) as there:
        yield Traced(replace(there, gateway=replace(there.gateway, tracing=tracing)), tracing, exporter)


@requirement("operations/trace")
async def test_a_call_has_the_attributes_of_the_conventions(traced: Traced):
    answering(traced.there, "text")
    await traced.there.ask(*modern("tools/call", name="read_file", arguments={"path": "secret.txt"}))
    name, attributes = traced.request()

    assert name == "tools/call read_file"
    assert attributes == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-07-28",
        "jsonrpc.request.id": "7",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "read_file",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "opagate.decision.id": traced.there.entries("call")[0]["id"],
        "opagate.outcome": "completed",
    }


@requirement("operations/trace")
async def test_a_call_has_children_for_its_decision_and_its_upstream(traced: Traced):
    await traced.there.ask(call(), (b"traceparent", PARENT.encode()))
    (request,), (decided,), (upstream,) = map(traced.spans, (SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT))
    (sent,) = [value for name, value in traced.there.upstream.sent[0].headers if name == b"traceparent"]

    assert request.context is not None
    assert upstream.context is not None
    assert request.context.trace_id == int(TRACE, 16)
    assert [span.parent.span_id for span in (decided, upstream) if span.parent] == [request.context.span_id] * 2
    assert sent.decode() == f"00-{TRACE}-{upstream.context.span_id:016x}-01"
    assert (decided.attributes or {})["opagate.effect"] == "allow"
    assert (upstream.name, (upstream.attributes or {})["opagate.upstream"]) == ("tools/call read_file", "files")
    assert traced.there.entries("call")[0]["span_id"] == f"{request.context.span_id:016x}"


async def test_a_refused_call_has_its_reason_and_no_upstream(traced: Traced):
    await traced.there.ask(message("nonsense/" + KEY))
    name, attributes = traced.request()

    assert KEY not in f"{name} {attributes}"
    assert attributes["error.type"] == attributes["opagate.reason"] == "request/method"
    assert traced.spans(SpanKind.CLIENT) == []


async def test_a_tool_that_no_list_has_is_not_named(traced: Traced):
    await traced.there.ask(call("my_" + KEY))

    name, attributes = traced.request()
    assert name == "tools/call"
    assert KEY not in str(attributes)


@requirement("operations/trace")
async def test_the_span_of_the_mcp_client_is_the_parent_and_that_of_http_is_linked(traced: Traced):
    """The conventions ask for both: one HTTP request may serve several messages."""
    body, *headers = modern("tools/call", meta={"traceparent": PARENT}, name="read_file", arguments={})
    await traced.there.ask(body, *headers, (b"traceparent", OTHER.encode()))
    (span,) = traced.spans(SpanKind.SERVER)

    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, "b7ad6b7169203331")
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [OTHER.split("-")[1]]
    assert traced.there.entries("call")[0]["trace_id"] == TRACE


async def test_the_trace_of_a_message_is_joined_without_a_collector_too(tmp_path: Path):
    async with bench(tmp_path) as there:
        await there.ask(*modern("tools/call", meta={"traceparent": PARENT}, name="read_file", arguments={}))

        assert there.entries("call")[0]["trace_id"] == TRACE


async def test_a_request_that_is_cancelled_in_the_trace_of_its_message_ends_one_span(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
):
    async def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(type(traced.there.gateway.pipeline), "_serve", fail)
    with pytest.raises(RuntimeError):
        await traced.there.ask(*modern("tools/call", meta={"traceparent": PARENT}, name="read_file", arguments={}))
    (span,) = traced.spans(SpanKind.SERVER)

    assert (span.attributes or {})["error.type"] == "cancelled"
    assert span.parent is not None


@requirement("invariant/8")
@pytest.mark.parametrize("place", ["id", "trace"])
async def test_a_known_credential_in_the_id_or_the_trace_of_a_message_is_in_no_span(tmp_path: Path, place: str):
    upstream, exporter = Upstream(), InMemorySpanExporter()
    tracing = Tracing(Spans(exporter))
    async with bench(tmp_path, upstream) as there:
        there.gateway.live.hold("lease", [KEY], "files")
        planted = replace(there, gateway=replace(there.gateway, tracing=tracing))
        if place == "id":
            await planted.ask(message("ping", KEY))
        else:
            meta = {"traceparent": f"00-{KEY}-b7ad6b7169203331-01"}
            await planted.ask(*modern("tools/call", meta=meta, name="read_file", arguments={}))
        tracing.stop()

    spans = exporter.get_finished_spans()
    assert spans
    assert not [span for span in spans if KEY in span.to_json()]


@pytest.mark.parametrize("identifier", ["a b", "x" * 65, "AKIAQ3EGRVXZ5LKJ2MNP"])
async def test_an_id_that_may_be_anything_is_left_out(traced: Traced, identifier: str):
    await traced.there.ask(message("ping", identifier))

    assert "jsonrpc.request.id" not in traced.request()[1]
