"""Traces joined to the caller's and continued at the upstream (W3C Trace Context). Without a configured exporter the
gateway records nothing, and passes a well-formed `traceparent` on, so the trace continues."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from gateway.model.wire import Headers
from gateway.wire.protocol.headers import HeaderFields, read_parent, read_state

if TYPE_CHECKING:
    from gateway.record.telemetry.spans import OpenSpan, Spans

Attributes: TypeAlias = Mapping[str, str | int]
"""Attributes of a span: names and codes only."""


class TraceContext(Struct, frozen=True):
    """A request's place in a trace. `traceparent` goes to the upstream, `None` for none. `state` are the caller's
    `tracestate` and `baggage`, which go with it. `joined` is the caller's `traceparent`, if the caller chose the trace."""

    name: str
    trace_id: str
    traceparent: bytes | None
    recording: OpenSpan | None = None
    state: Headers = ()
    joined: bytes | None = None

    @property
    def headers(self) -> Headers:
        """Return the headers of the trace for the upstream."""
        return () if self.traceparent is None else ((b"traceparent", self.traceparent), *self.state)

    @property
    def span_id(self) -> str | None:
        """Return the id of the request's span; `None` if spans are not recorded."""
        return None if self.recording is None else self.recording.span_id

    def describe(self, name: str, attributes: Attributes) -> None:
        """Give the span, if recorded, its name and more attributes."""
        if self.recording is not None:
            self.recording.describe(name, attributes)

    def give_way_to(self, other: TraceContext) -> None:
        """Leave this span out. The end of this trace ends the other."""
        if self.recording is not None:
            self.recording.successor = other.recording

    def end(self, attributes: Attributes, *, error: str | None) -> None:
        """Finish the span, if recorded. `error` is the class of a failure: a code of the gateway, or a status."""
        if self.recording is not None:
            self.recording.end(attributes, error=error)


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
        from gateway.record.telemetry.spans import Spans  # noqa: PLC0415 - it takes 4 MB, which only who collects spans pays

        return cls(Spans.to(endpoint))

    def start(
        self, fields: HeaderFields, name: str, *, at: float | None = None, link: bytes | None = None
    ) -> TraceContext:
        """Join the caller's trace, or begin a trace. `at` is its beginning, in seconds since the epoch; without it, now.

        `link` is a `traceparent` that the span is linked to.
        """
        sent = fields.get(b"traceparent")
        parent = None if sent is None else read_parent(sent[0])
        state = () if parent is None else read_state(fields)
        joined = None if sent is None or parent is None else sent[0]
        if self._spans is not None:
            recording = self._spans.start(parent, name, at=at, link=None if link is None else read_parent(link))
            return TraceContext(name, recording.trace_id, recording.traceparent, recording, state, joined)
        if parent is None:
            return TraceContext(name, os.urandom(16).hex(), None)
        return TraceContext(name, parent[0].decode(), joined, state=state, joined=joined)

    def stop(self) -> None:
        """Send all unsent spans."""
        if self._spans is not None:
            self._spans.stop()
