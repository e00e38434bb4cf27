"""A small OTLP/HTTP collector: keeps the spans and logs that it gets, and the bytes in which they came."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def read_logs(body: bytes) -> list[Any]:
    """Return the log records of a message in JSON, by the types of OpenTelemetry. Raises for a member that these lack."""
    document = json.loads(body)
    for record in (
        record for one in document["resourceLogs"] for logs in one["scopeLogs"] for record in logs["logRecords"]
    ):
        # OTLP writes ids in hex, where the JSON of protobuf has base64.
        for name in {"traceId", "spanId"} & record.keys():
            record[name] = base64.b64encode(bytes.fromhex(record[name])).decode()
    message = json_format.ParseDict(document, ExportLogsServiceRequest())
    return [record for one in message.resource_logs for logs in one.scope_logs for record in logs.log_records]


class Collector(ThreadingHTTPServer):
    """The server. `setting` configures a gateway to send to it. `answer` is the answer to logs, with its status."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.log_bodies: list[bytes] = []
        self.log_headers: list[dict[str, str]] = []
        self.answer: tuple[int, bytes] = (200, b"{}")
        super().__init__(("127.0.0.1", 0), _Collecting)

    @property
    def setting(self) -> str:
        return f"otlp: 'http://127.0.0.1:{self.server_port}/v1/traces'"

    @property
    def logs_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/logs"

    @property
    def logs(self) -> list[Any]:
        return [record for body in self.log_bodies for record in read_logs(body)]

    @property
    def spans(self) -> list[Any]:
        received = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        scopes = [scope for got in received for resource in got.resource_spans for scope in resource.scope_spans]
        return [span for scope in scopes for span in scope.spans]


class _Collecting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Collector)
        status, answer = 200, b""
        if self.path == "/v1/logs":
            self.server.log_bodies.append(body)
            self.server.log_headers.append({name.lower(): value for name, value in self.headers.items()})
            status, answer = self.server.answer
        else:
            self.server.bodies.append(body)
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

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
