"""A trace goes through the gateway, with a span of the gateway's own if somebody collects them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.record.telemetry.tracing import Tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def test_without_a_collector_the_callers_trace_passes_as_it_came():
    tracing = Tracing.build(None)
    trace = tracing.start({b"x-other": (b"x",), b"traceparent": (PARENT,)}, "POST /mcp/files")
    trace.end({"a": "b"}, error=None)
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
    trace = Tracing.build(None).start({b"traceparent": (sent,)}, "x")

    assert trace.traceparent is None
    assert len(trace.trace_id) == 32


def test_an_endpoint_makes_an_exporter():
    tracing = Tracing.build("http://127.0.0.1:9/v1/traces")
    assert tracing.start({}, "x").traceparent is not None
    # Nothing has ended, so stopping sends nothing.
    tracing.stop()


def test_the_library_for_spans_is_loaded_only_for_who_collects_them():
    script = """
import sys
from gateway.record.telemetry.tracing import Tracing
Tracing.build(None).start({}, "x")
assert not any(name.startswith("opentelemetry") for name in sys.modules)
tracing = Tracing.build("http://127.0.0.1:9/v1/traces")
assert "opentelemetry" in sys.modules
tracing.stop()
"""

    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
