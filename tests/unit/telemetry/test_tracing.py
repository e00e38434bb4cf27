"""A trace goes through the gateway, with a span of the gateway's own if somebody collects them."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from gateway.telemetry.tracing import Tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def test_without_a_collector_the_callers_trace_passes_as_it_came():
    tracing = Tracing.build(None)
    trace = tracing.start(((b"traceparent", PARENT),), "POST /mcp/files")
    trace.end({"a": "b"}, failed=False)
    tracing.stop()

    assert (trace.trace_id, trace.traceparent) == (TRACE, PARENT)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"00",
        PARENT.upper(),
        b"01" + PARENT[2:],
        PARENT + b"-x",
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
    ],
)
def test_what_is_no_trace_is_not_passed_on(sent: bytes):
    trace = Tracing.build(None).start(((b"traceparent", sent),), "x")

    assert trace.traceparent is None
    assert len(trace.trace_id) == 32


@pytest.mark.parametrize("parent", [PARENT, None])
@pytest.mark.parametrize("failed", [True, False])
def test_a_span_is_recorded_and_named_to_the_upstream(parent: bytes | None, failed: bool):  # noqa: FBT001 - a parameter of pytest
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)
    trace = tracing.start(() if parent is None else ((b"traceparent", parent),), "POST /mcp/files")
    trace.end({"opagate.outcome": "completed"}, failed=failed)
    tracing.stop()
    (span,) = exporter.get_finished_spans()

    assert span.context is not None
    assert trace.traceparent is not None
    assert trace.traceparent.startswith(f"00-{trace.trace_id}-{span.context.span_id:016x}-".encode())
    assert span.attributes == {"opagate.outcome": "completed"}
    assert (span.status.status_code is StatusCode.ERROR) is failed
    if parent is not None:
        assert trace.trace_id == TRACE
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == SPAN


def test_an_endpoint_makes_an_exporter():
    tracing = Tracing.build("http://127.0.0.1:9/v1/traces")
    assert tracing.start((), "x").traceparent is not None
    # Nothing has ended, so stopping sends nothing.
    tracing.stop()
