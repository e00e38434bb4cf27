"""A transmitter of the Shared Signals Framework in a thread of the test: metadata, keys, one stream, verification, push and poll."""

from __future__ import annotations

import http.client
import http.server
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.signalling import SSF, Provider

if TYPE_CHECKING:
    from collections.abc import Generator

TOKEN = "stream-access-5d0c2f8e"
PATHS = {"configuration_endpoint": "/streams", "verification_endpoint": "/verify", "jwks_uri": "/jwks"}


@dataclass
class Transmitter:
    """A transmitter at `origin`. `is_down`: it answers 503. `is_mute`: it takes questions, and sends nothing."""

    origin: str
    idp: Provider
    push_to: str | None = None
    is_down: bool = False
    is_mute: bool = False
    queue: dict[str, str] = field(default_factory=dict[str, str])
    acknowledged: list[str] = field(default_factory=list[str])
    refused: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: int = 0
    polls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, subject: dict[str, Any] | None, *args: Any, **more: Any) -> str:
        """Queue an event for polls. Return its `jti`."""
        with self.lock:
            jti = f"queued-{len(self.queue) + len(self.acknowledged) + len(self.refused)}"
            self.queue[jti] = self.idp.event(subject, *args, **{"jti": jti, **more}).decode()
        return jti

    def push(self, token: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Push an event to the gateway. Return the status and the body of the answer."""
        assert self.push_to is not None
        url = urlsplit(self.push_to)
        connection = http.client.HTTPConnection(url.netloc, timeout=300)
        try:
            connection.request("POST", url.path, token, {"content-type": "application/secevent+jwt", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Return the answer to a request of the gateway."""
        if self.is_down:
            return 503, {}
        if path == "/.well-known/ssf-configuration":
            return 200, {"issuer": self.origin, **{name: f"{self.origin}{place}" for name, place in PATHS.items()}}
        if path == "/jwks":
            return 200, self.idp.jwks
        if path == "/streams":
            delivery = {"method": "urn:ietf:rfc:8936", "endpoint_url": f"{self.origin}/poll"}
            return 200, [{"stream_id": "s-1", "delivery": delivery}]
        if path == "/verify" and method == "POST":
            return self._verify(body)
        return self._poll(body) if path == "/poll" and method == "POST" else (404, {})

    def _verify(self, body: Any) -> tuple[int, Any]:
        self.asked += 1
        if not self.is_mute and self.push_to is None:
            self.add(None, f"{SSF}verification", details={"state": body["state"]})
        elif not self.is_mute:
            token = self.idp.event(None, f"{SSF}verification", details={"state": body["state"]})
            threading.Thread(target=self.push, args=(token,), daemon=True).start()
        return 204, None

    def _poll(self, body: Any) -> tuple[int, Any]:
        with self.lock:
            self.polls += 1
            for jti in body.get("ack", []):
                if self.queue.pop(jti, None) is not None:
                    self.acknowledged.append(jti)
            for jti, fault in body.get("setErrs", {}).items():
                self.queue.pop(jti, None)
                self.refused[jti] = fault
            sets = dict(list(self.queue.items())[: body["maxEvents"]])
            more = len(self.queue) > len(sets)
        if not sets and not body["returnImmediately"]:
            time.sleep(0.05)
        return 200, {"sets": sets, "moreAvailable": more}


@contextmanager
def running_transmitter() -> Generator[Transmitter]:
    """Run a transmitter on a free loopback port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            data = self.rfile.read(int(self.headers.get("content-length") or 0))
            public = self.path in {"/jwks", "/.well-known/ssf-configuration"}
            if not public and self.headers.get("authorization") != f"Bearer {TOKEN}":
                status, found = 401, {}
            else:
                status, found = transmitter.answer(
                    method, self.path.partition("?")[0], json.loads(data) if data else {}
                )
            body = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its base has it
            """Print nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    origin = f"http://127.0.0.1:{server.server_address[1]}"
    transmitter = Transmitter(origin, Provider(issuer=origin))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield transmitter
    finally:
        server.shutdown()
        server.server_close()
