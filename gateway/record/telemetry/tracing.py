"""Traces over OTLP, and the spans of a call."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import Struct
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags

from gateway.model.wire import Headers
from gateway.wire.protocol.headers import HeaderFields, read_parent, read_state


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


class TraceContext(Struct, frozen=True):
    """A request's place in a trace. `traceparent` goes to the upstream, `None` for none. `state` are the caller's
    `tracestate` and `baggage`, which go with it. `joined`: the caller chose the id of the trace."""

    name: str
    trace_id: str
    traceparent: bytes | None
    recording: OpenSpan | None = None
    state: Headers = ()
    joined: bool = False

    @property
    def headers(self) -> Headers:
        """Return the headers of the trace for the upstream."""
        return () if self.traceparent is None else ((b"traceparent", self.traceparent), *self.state)

    def end(self, attributes: Mapping[str, str | int], *, failed: bool) -> None:
        """Finish the span, if recorded. `attributes` hold names and codes only."""
        if self.recording is not None:
            self.recording.end(attributes, failed=failed)


class Tracing:
    """Starts the trace of each request."""

    def __init__(self, spans: Spans | None) -> None:
        self._spans = spans
        self.records = spans is not None
        """Spans are collected. Without them, a request without a `traceparent` only gets a new id."""

    @classmethod
    def build(cls, endpoint: str | None) -> Tracing:
        if endpoint is None:
            return cls(None)
        from gateway.record.telemetry.tracing import Spans  # noqa: PLC0415 - it takes 4 MB, which only who collects spans pays

        return cls(Spans.to(endpoint))

    def start(self, fields: HeaderFields, name: str) -> TraceContext:
        """Join the caller's trace, or begin a trace."""
        sent = fields.get(b"traceparent")
        parent = None if sent is None else read_parent(sent[0])
        state = () if parent is None else read_state(fields)
        if self._spans is None:
            if sent is None or parent is None:
                return TraceContext(name, os.urandom(16).hex(), None)
            return TraceContext(name, parent[0].decode(), sent[0], state=state, joined=True)
        recording = self._spans.start(parent, name)
        return TraceContext(
            name, recording.trace_id, recording.traceparent, recording, state, joined=parent is not None
        )

    def stop(self) -> None:
        """Send all unsent spans."""
        if self._spans is not None:
            self._spans.stop()
