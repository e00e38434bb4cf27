"""A relay to an HTTP server that keeps the requests, holds a chosen one, or fails as networks and servers do."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

When = Literal["before", "after"]
Fault = Literal["busy", "reset", "swallowed"]
"""`busy`: 503, and the server hears nothing. `reset`: the server has worked, and no answer comes. `swallowed`: 200, and the server hears nothing."""


class Received(NamedTuple):
    """A request to the relay."""

    path: str
    text: bytes
    """Its line, its header and its body."""


class Holding:
    """A relay at `url`, whose name the server sees as its own. A held request gets no answer until the end of the relay."""

    def __init__(self, server: str) -> None:
        self.server = urlsplit(server)
        self.received: list[Received] = []
        self.faults: dict[str, Fault] = {}
        """Parts of paths, and the faults of requests to them from now on."""
        self.reached = threading.Event()
        self.released = threading.Event()
        self._held: tuple[When, str] | None = None
        self._listening = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._listening.daemon_threads = True
        threading.Thread(target=self._listening.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.server_port}"

    def hold(self, when: When, path: str) -> None:
        """Hold each request from now on whose path has this part."""
        self.reached.clear()
        self._held = when, path

    def pass_on(self) -> None:
        """Hold no further request."""
        self._held = None

    def wait(self, when: When, path: str) -> None:
        """Wait until the end if a request is to be held here."""
        if self._held is not None and self._held[0] == when and self._held[1] in path:
            self.reached.set()
            self.released.wait()

    def fault_of(self, path: str) -> Fault | None:
        return next((fault for part, fault in self.faults.items() if part in path), None)

    def close(self) -> None:
        self.released.set()
        self._listening.shutdown()
        self._listening.server_close()


@contextmanager
def holding(server: str) -> Generator[Holding]:
    """Run a relay until the block ends."""
    relay = Holding(server)
    try:
        yield relay
    finally:
        relay.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, relay: Holding, *connection: object) -> None:
        self._relay = relay
        with suppress(OSError):
            super().__init__(*connection)  # type: ignore[arg-type]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        text = f"{self.requestline}\n{self.headers}".encode() + body
        self._relay.received.append(Received(self.path, text))
        fault = self._relay.fault_of(self.path)
        if fault in {"busy", "swallowed"}:
            self._answer(503 if fault == "busy" else 200, [("retry-after", "1")], b"")
            return
        self._relay.wait("before", self.path)
        if self._relay.released.is_set():
            return
        answer, data = self._asked(body)
        if fault == "reset":
            self._reset()
            return
        self._relay.wait("after", self.path)
        self._answer(answer.status, answer.getheaders(), data)

    def _asked(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the answer of the server."""
        connection = http.client.HTTPConnection(str(self._relay.server.netloc), timeout=300)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer, data

    def _reset(self) -> None:
        """End the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _answer(self, status: int, headers: Iterable[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "content-length", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def __getattr__(self, name: str) -> object:
        """Serve each method, also LIST."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Print nothing."""
