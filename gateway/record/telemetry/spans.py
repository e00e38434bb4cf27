"""The gateway's own spans, for a collector (OpenTelemetry). Loaded only for an exporter: the library takes 4 MB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer

if TYPE_CHECKING:
    from gateway.record.telemetry.tracing import Attributes

_NANOSECONDS: Final = 1_000_000_000
_Parent: TypeAlias = tuple[bytes, bytes, bytes]
"""The trace id, the span id and the flags of a `traceparent`, in hex."""


class OpenSpan:
    """The span of a request in progress, with its children. `traceparent` names the span to the upstream.

    `successor` is the span of the same request in another trace: it ends in the place of this one.
    """

    def __init__(self, tracer: Tracer, span: Span) -> None:
        here = span.get_span_context()
        self.trace_id = f"{here.trace_id:032x}"
        self.span_id = f"{here.span_id:016x}"
        self.traceparent = _traceparent(here)
        self.successor: OpenSpan | None = None
        self._tracer = tracer
        self._span = span
        self._upstream: Span | None = None

    def describe(self, name: str, attributes: Attributes) -> None:
        """Name the span, and add attributes."""
        self._span.update_name(name)
        self._span.set_attributes(dict(attributes))

    def add_child(self, name: str, began: float, ended: float, attributes: Attributes) -> None:
        """Record a part of the request that is over. Both times are in seconds since the epoch."""
        context = trace.set_span_in_context(self._span)
        child = self._tracer.start_span(
            name, context=context, start_time=_nanoseconds(began), attributes=dict(attributes)
        )
        child.end(_nanoseconds(ended))

    def open_upstream(self, name: str, attributes: Attributes) -> bytes:
        """Begin the span of the exchange with the upstream, which ends with the request. Return its `traceparent`."""
        context = trace.set_span_in_context(self._span)
        self._upstream = self._tracer.start_span(
            name, context=context, kind=SpanKind.CLIENT, attributes=dict(attributes)
        )
        return _traceparent(self._upstream.get_span_context())

    def end(self, attributes: Attributes, *, error: str | None) -> None:
        """Finish the span and its open child. `error` is the class of a failure."""
        if self.successor is not None:
            self.successor.end(attributes, error=error)
            return
        self._span.set_attributes(dict(attributes))
        for span in (self._upstream, self._span):
            if span is None:
                continue
            if error is not None:
                span.set_attribute("error.type", error)
                span.set_status(StatusCode.ERROR)
            span.end()


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

    def start(
        self, parent: _Parent | None, name: str, *, at: float | None = None, link: _Parent | None = None
    ) -> OpenSpan:
        """Begin a span below that of the caller, and linked to another. `at` is in seconds since the epoch."""
        context = trace.set_span_in_context(NonRecordingSpan(_span_context(*parent))) if parent else None
        span = self._tracer.start_span(
            name,
            context=context,
            kind=SpanKind.SERVER,
            links=[Link(_span_context(*link))] if link else None,
            start_time=None if at is None else _nanoseconds(at),
        )
        return OpenSpan(self._tracer, span)

    def stop(self) -> None:
        """Send all unsent spans."""
        self._provider.shutdown()


def _span_context(trace_id: bytes, span_id: bytes, flags: bytes) -> SpanContext:
    return SpanContext(
        trace_id=int(trace_id, 16), span_id=int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


def _traceparent(here: SpanContext) -> bytes:
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}".encode()


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)
