"""A small OTLP/HTTP collector: keeps the spans that a gateway exports, and the bytes in which they came."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector(ThreadingHTTPServer):
    """The server. `setting` configures a gateway to send to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _Collecting)

    @property
    def setting(self) -> str:
        return f"otlp: 'http://127.0.0.1:{self.server_port}/v1/traces'"

    @property
    def spans(self) -> list[Any]:
        received = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for got in received for resource in got.resource_spans for scope in resource.scope_spans]
        return [span for scope in scopes for span in scope.spans]


class _Collecting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Collector)
        self.server.bodies.append(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Silent."""


@contextmanager
def collecting() -> Generator[Collector]:
    """Run a collector for as long as the block lasts."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.shutdown()
        collector.server_close()
        thread.join()
