"""Receivers of messages to approvers: a web server that keeps what it gets, and a real SMTP server (aiosmtpd)."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult
from standardwebhooks.webhooks import Webhook

if TYPE_CHECKING:
    from email.message import EmailMessage

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
PASSWORD = "correct horse battery staple"


@dataclass
class Received:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The payload, after another implementation than the gateway's has verified its signature."""
        return Webhook(SECRET).verify(self.body.decode(), self.headers)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Hooks:
    """A web server. It answers with the next of `statuses`, the last of them again and again, and with `headers`."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    received: list[Received] = field(default_factory=list[Received])
    gate: threading.Event = field(default_factory=threading.Event)
    """Requests to `/held` wait for it."""

    def next_status(self) -> int:
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, hooks: Hooks, *connection: Any) -> None:
        self._hooks = hooks
        super().__init__(*connection)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._hooks.received.append(
            Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        )
        if self.path.startswith("/held"):
            self._hooks.gate.wait()
        self.send_response(self._hooks.next_status())
        for name, value in self._hooks.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Generator[Hooks]:
    """A web server on loopback, until the block ends."""
    hooks = Hooks()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Request, hooks))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    hooks.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield hooks
    finally:
        hooks.gate.set()
        server.shutdown()
        serving.join()
        server.server_close()


@dataclass
class Mails:
    """An SMTP server. It answers to a mail with `reply`, and takes no mail for the addresses `refused`."""

    host: str = ""
    port: int = 0
    reply: str = "250 OK"
    farewell: str = "221 Bye"
    refused: dict[str, str] = field(default_factory=dict[str, str])
    received: list[EmailMessage] = field(default_factory=list[Any])
    recipients: list[list[str]] = field(default_factory=list[list[str]])

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - as below
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 - as below
        return self.farewell

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - the name is aiosmtpd's
        if self.reply.startswith("250"):
            self.recipients.append(envelope.rcpt_tos)
            self.received.append(message_from_bytes(envelope.content, policy=policy.default))
        return self.reply

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"gateway", PASSWORD.encode()), handled=False)


@contextmanager
def taking_mail(tls: ssl.SSLContext, *, from_first_byte: bool = False) -> Generator[Mails]:
    """An SMTP server on loopback that asks for TLS and a login, until the block ends."""
    mails = Mails()
    options: dict[str, Any] = {"auth_required": True, "authenticator": mails.authenticate}
    options |= (
        {"ssl_context": tls, "auth_require_tls": False}
        if from_first_byte
        else {"tls_context": tls, "require_starttls": True}
    )
    context = options.pop("ssl_context", None)
    ready, stop = threading.Event(), threading.Event()

    def make() -> SMTP:
        with warnings.catch_warnings():
            # A login without STARTTLS is meant: TLS is there from the first byte.
            warnings.simplefilter("ignore")
            return SMTP(mails, **options)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(make, "127.0.0.1", 0, ssl=context)
        mails.host, mails.port = server.sockets[0].getsockname()
        ready.set()
        await asyncio.to_thread(stop.wait)
        server.close()

    serving = threading.Thread(target=lambda: asyncio.run(serve()))
    serving.start()
    ready.wait(10)
    try:
        yield mails
    finally:
        stop.set()
        serving.join()
