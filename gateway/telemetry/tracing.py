"""Traces joined to the caller's and continued at the upstream (W3C Trace Context). Without a configured exporter the
gateway records nothing, and passes the caller's `traceparent` on unchanged, so the trace continues."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.protocol.headers import HeaderFields

if TYPE_CHECKING:
    from gateway.telemetry.spans import OpenSpan, Spans

_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16


class TraceContext(Struct, frozen=True):
    """A request's place in a trace. `traceparent` goes to the upstream, `None` for none."""

    name: str
    trace_id: str
    traceparent: bytes | None
    recording: OpenSpan | None = None

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
        from gateway.telemetry.spans import Spans  # noqa: PLC0415 - it takes 4 MB, which only who collects spans pays

        return cls(Spans.to(endpoint))

    def start(self, fields: HeaderFields, name: str) -> TraceContext:
        """Join the caller's trace, or begin a trace."""
        sent = fields.get(b"traceparent")
        parent = None if sent is None else _parse(sent[0])
        if self._spans is None:
            if sent is None or parent is None:
                return TraceContext(name, os.urandom(16).hex(), None)
            return TraceContext(name, parent[0].decode(), sent[0])
        recording = self._spans.start(parent, name)
        return TraceContext(name, recording.trace_id, recording.traceparent, recording)

    def stop(self) -> None:
        """Send all unsent spans."""
        if self._spans is not None:
            self._spans.stop()


def _parse(value: bytes) -> tuple[bytes, bytes, bytes] | None:
    match = _TRACEPARENT.fullmatch(value)
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    return match[1], match[2], match[3]
