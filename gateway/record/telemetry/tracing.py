"""Traces joined to the caller's and continued at the upstream (W3C Trace Context). Without a configured exporter the
gateway records nothing, and passes a well-formed `traceparent` on, so the trace continues."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.model.wire import Headers
from gateway.wire.protocol.headers import HeaderFields, read_parent, read_state

if TYPE_CHECKING:
    from gateway.record.telemetry.spans import OpenSpan, Spans


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
        from gateway.record.telemetry.spans import Spans  # noqa: PLC0415 - it takes 4 MB, which only who collects spans pays

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
