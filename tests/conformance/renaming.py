"""A proxy that gives the one endpoint the names of one upstream: the suite knows the names of its own server alone."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


@contextmanager
def renamed(endpoint: str, upstream: str) -> Generator[str]:
    """Serve the endpoint at another address, whose names are those of the upstream."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Renaming, endpoint, upstream))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Renaming(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, endpoint: str, upstream: str, *connection: Any) -> None:
        self._target = urlsplit(endpoint)
        self._tool, self._uri = f"{upstream}__", f"opagate:{upstream}:"
        super().__init__(*connection)

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.headers.get("mcp-name")
        headers = {key: value for key, value in self.headers.items() if key.lower() not in _HOP | {"mcp-name"}}
        try:
            message: Any = json.loads(body)
        except ValueError:
            message = None
        if isinstance(message, dict):
            body, name = self._rename(cast("dict[str, Any]", message), body, name)
        if name is not None:
            headers["mcp-name"] = name
        own = f":{self.connection.getsockname()[1]}"
        headers = {key: value for key, value in headers.items() if key.lower() != "host" or not value.endswith(own)}
        if headers.get("Origin", headers.get("origin", "")).endswith(own):
            headers = {key: value for key, value in headers.items() if key.lower() != "origin"}
            headers["origin"] = f"http://{self._target.netloc}"
        connection = http.client.HTTPConnection(self._target.netloc, timeout=120)
        try:
            connection.request(self.command, self._target.path, body or None, headers)
            self._answer(connection.getresponse())
        except OSError:
            self.close_connection = True
        finally:
            connection.close()

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_DELETE(self) -> None:
        self._pass_on()

    def _rename(self, message: dict[str, Any], body: bytes, name: str | None) -> tuple[bytes, str | None]:
        """Return the body and the header with the names of the endpoint."""
        method, given = str(message.get("method")), message.get("params")
        if not isinstance(given, dict):
            return body, name
        params = cast("dict[str, Any]", given)
        is_named = name is not None and name.strip() in (params.get("name"), params.get("uri"))
        ref, asked = _part(params, "ref"), _part(params, "notifications")
        if method in ("tools/call", "prompts/get"):
            self._prefix(params, "name", self._tool)
        elif method.startswith("resources/"):
            self._prefix(params, "uri", self._uri)
        elif not ref and "resourceSubscriptions" not in asked:
            return body, name
        self._prefix(ref, "name", self._tool)
        self._prefix(ref, "uri", self._uri)
        if "resourceSubscriptions" in asked:
            asked["resourceSubscriptions"] = [self._uri + uri for uri in asked["resourceSubscriptions"]]
        return json.dumps(message).encode(), params.get("name", params.get("uri")) if is_named else name

    def _prefix(self, members: dict[str, Any], name: str, prefix: str) -> None:
        if isinstance(members.get(name), str):
            members[name] = prefix + members[name]

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            if key.lower() not in _HOP:
                self.send_header(key, value)
        self.send_header("connection", "close")
        self.close_connection = True
        self.end_headers()
        is_events = answer.getheader("content-type", "").startswith("text/event-stream")
        while chunk := answer.readline() if is_events else answer.read():
            for text in (self._tool, self._uri):
                chunk = chunk.replace(text.encode(), b"")
            self.wfile.write(chunk)
            self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
        """Print nothing."""


def _part(params: dict[str, Any], name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", params[name]) if isinstance(params.get(name), dict) else {}
