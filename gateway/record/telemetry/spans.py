"""The gateway's own spans, for a collector (OpenTelemetry). Loaded only for an exporter: the library takes 4 MB."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags


class OpenSpan:
    """A span in progress. `traceparent` names the span to the upstream."""

    def __init__(self, span: Span) -> None:
        here = span.get_span_context()
        self.trace_id = f"{here.trace_id:032x}"
        self.traceparent = f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}".encode()
        self._span = span

    def end(self, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        self._span.set_attributes(dict(attributes))
        if failed:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Spans:
    """Starts spans, and sends ended spans."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "opagate"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("opagate")

    @classmethod
    def to(cls, endpoint: str) -> Spans:
        """Sent to an OTLP endpoint over HTTP."""
        return cls(OTLPSpanExporter(endpoint=endpoint))

    def start(self, parent: tuple[bytes, bytes, bytes] | None, name: str) -> OpenSpan:
        """Begin a span. `parent` is the trace id, span id and flags of the caller's `traceparent`, in hex."""
        context = trace.set_span_in_context(NonRecordingSpan(_span_context(*parent))) if parent else None
        return OpenSpan(self._tracer.start_span(name, context=context, kind=SpanKind.SERVER))

    def stop(self) -> None:
        """Send all unsent spans."""
        self._provider.shutdown()


def _span_context(trace_id: bytes, span_id: bytes, flags: bytes) -> SpanContext:
    return SpanContext(
        trace_id=int(trace_id, 16), span_id=int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
