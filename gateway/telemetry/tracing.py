"""Traces that join the caller's and go on to the upstream (W3C Trace Context; OpenTelemetry).

Without a configured exporter nothing is recorded: the caller's `traceparent` is passed on as it came, so that a
trace does not end at the gateway.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from gateway.model import Headers

_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's place in a trace. `traceparent` is what goes to the upstream, `None` for none."""

    trace_id: str
    traceparent: bytes | None
    span: Span | None = None

    def end(self, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        """Finish the span, if one is recorded. `attributes` hold names and codes only."""
        if self.span is None:
            return
        self.span.set_attributes(dict(attributes))
        if failed:
            self.span.set_status(StatusCode.ERROR)
        self.span.end()


class Tracing:
    """Starts the trace of each request."""

    def __init__(self, exporter: SpanExporter | None) -> None:
        self._provider: TracerProvider | None = None
        if exporter is not None:
            self._provider = TracerProvider(resource=Resource.create({"service.name": "opagate"}))
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
            self._tracer = self._provider.get_tracer("opagate")

    @classmethod
    def build(cls, endpoint: str | None) -> Tracing:
        return cls(OTLPSpanExporter(endpoint=endpoint) if endpoint else None)

    def start(self, headers: Headers, name: str) -> Trace:
        """Join the caller's trace, or begin one."""
        sent = next((value for key, value in headers if key == b"traceparent"), None)
        parent = _parse(sent)
        if self._provider is None:
            return Trace(parent[0].decode() if parent else secrets.token_hex(16), sent if parent else None)
        context = trace.set_span_in_context(NonRecordingSpan(_span_context(*parent))) if parent else None
        span = self._tracer.start_span(name, context=context, kind=SpanKind.SERVER)
        here = span.get_span_context()
        outgoing = f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}".encode()
        return Trace(f"{here.trace_id:032x}", outgoing, span)

    def stop(self) -> None:
        """Send what is still to be sent."""
        if self._provider is not None:
            self._provider.shutdown()


def _parse(value: bytes | None) -> tuple[bytes, bytes, bytes] | None:
    match = _TRACEPARENT.fullmatch(value) if value else None
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    return match[1], match[2], match[3]


def _span_context(trace_id: bytes, span_id: bytes, flags: bytes) -> SpanContext:
    return SpanContext(
        trace_id=int(trace_id, 16), span_id=int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
