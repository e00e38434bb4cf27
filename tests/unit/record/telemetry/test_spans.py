"""A span of the gateway's own, as somebody who collects them sees it."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.record.telemetry.spans import Spans
from gateway.record.telemetry.tracing import Tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


@pytest.mark.parametrize("parent", [PARENT, None])
@pytest.mark.parametrize("error", ["upstream/timeout", None])
def test_a_span_is_recorded_and_named_to_the_upstream(parent: bytes | None, error: str | None):
    exporter = InMemorySpanExporter()
    tracing = Tracing(Spans(exporter))
    trace = tracing.start({} if parent is None else {b"traceparent": (parent,)}, "POST /mcp/files")
    trace.end({"opagate.outcome": "completed"}, error=error)
    tracing.stop()
    (span,) = exporter.get_finished_spans()

    assert span.context is not None
    assert trace.traceparent is not None
    assert trace.traceparent.startswith(f"00-{trace.trace_id}-{span.context.span_id:016x}-".encode())
    assert span.attributes == {"opagate.outcome": "completed", **({} if error is None else {"error.type": error})}
    assert (span.resource.attributes["service.name"], span.kind) == ("opagate", SpanKind.SERVER)
    assert (span.status.status_code is StatusCode.ERROR) is (error is not None)
    if parent is not None:
        assert trace.trace_id == TRACE
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == SPAN


def test_the_end_of_a_request_ends_its_upstream_span_as_well():
    exporter = InMemorySpanExporter()
    tracing = Tracing(Spans(exporter))
    trace = tracing.start({}, "POST /mcp/files", at=100.0)
    assert trace.recording is not None
    sent = trace.recording.open_upstream("tools/call read_file", {})
    trace.recording.add_child("opagate.decide", 100.5, 101.0, {"opagate.effect": "allow"})
    trace.end({}, error="upstream/timeout")
    tracing.stop()
    decided, upstream, request = exporter.get_finished_spans()

    assert request.start_time == 100_000_000_000
    assert (decided.start_time, decided.end_time) == (100_500_000_000, 101_000_000_000)
    assert (upstream.kind, upstream.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    assert upstream.context is not None
    assert sent.split(b"-")[2].decode() == f"{upstream.context.span_id:016x}"
    for child in (decided, upstream):
        assert child.parent is not None
        assert request.context is not None
        assert child.parent.span_id == request.context.span_id
