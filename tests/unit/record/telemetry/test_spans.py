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
@pytest.mark.parametrize("failed", [True, False])
def test_a_span_is_recorded_and_named_to_the_upstream(parent: bytes | None, failed: bool):  # noqa: FBT001 - a parameter of pytest
    exporter = InMemorySpanExporter()
    tracing = Tracing(Spans(exporter))
    trace = tracing.start({} if parent is None else {b"traceparent": (parent,)}, "POST /mcp/files")
    trace.end({"opagate.outcome": "completed"}, failed=failed)
    tracing.stop()
    (span,) = exporter.get_finished_spans()

    assert span.context is not None
    assert trace.traceparent is not None
    assert trace.traceparent.startswith(f"00-{trace.trace_id}-{span.context.span_id:016x}-".encode())
    assert span.attributes == {"opagate.outcome": "completed"}
    assert (span.resource.attributes["service.name"], span.kind) == ("opagate", SpanKind.SERVER)
    assert (span.status.status_code is StatusCode.ERROR) is failed
    if parent is not None:
        assert trace.trace_id == TRACE
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == SPAN
