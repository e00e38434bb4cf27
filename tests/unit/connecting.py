"""A whole gateway with an upstream that is used through users' connections, and a browser for its pages."""

from __future__ import annotations

import html
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from joserfc import jwt

from gateway.model.wire import UpstreamReply, UpstreamRequest
from gateway.surfaces.app.serving import build_edge
from gateway.upstreams.catalogue.lister import CONTROL
from tests.unit.authority.connections.server import FakeServer, fake_server
from tests.unit.harness import JSON, READING, Answer, Bench, Upstream, bench, call, modern, own
from tests.unit.surfaces.pages.asking import ask_page

ORIGIN = "http://127.0.0.1:8080"
FORM = (b"content-type", b"application/x-www-form-urlencoded")
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
OPENS: dict[str, Any] = {CAPABILITIES: {"elicitation": {"form": {}, "url": {}}}}


class ConnectedUpstream(Upstream):
    """Answers callers by script, and the gateway's own listings by itself."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        if request.principal == CONTROL:
            return UpstreamReply(200, JSON, self._chunks(own(request).chunks), self.aclose)
        self.sent.append(request)
        back: Any = self.script(request)
        headers = ((b"content-type", b"application/json"), *back.headers)
        if back.session is not None:
            headers += ((b"mcp-session-id", back.session.encode()),)
        return UpstreamReply(back.status, headers, self._chunks(back.chunks), self._close)


@dataclass
class Place:
    """A gateway, its servers, and agents with tokens of the identity provider."""

    bench: Bench
    at: FakeServer
    idp: FakeServer

    def token(self, agent: str = "agent-1", user: str = "alice", **claims: Any) -> tuple[bytes, bytes]:
        """Return the header of an agent's access token."""
        now = int(time.time())
        given = {
            "iss": self.idp.url,
            "sub": user,
            "client_id": agent,
            "aud": f"{ORIGIN}/mcp",
            "iat": now,
            "exp": now + 600,
        }
        header = {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
        text = jwt.encode(header, {**given, **claims}, self.idp.key, algorithms=["ES256"])
        return b"authorization", f"Bearer {text}".encode()

    async def call(self, *headers: tuple[bytes, bytes], agent: str = "agent-1", name: str = "read_file") -> Answer:
        """Call as a client of the handshake era."""
        return await self.bench.ask(call(name, path="a"), self.token(agent), *headers)

    async def ask(
        self, method: str = "tools/call", *, agent: str = "agent-1", meta: Any = OPENS, **params: Any
    ) -> Answer:
        """Ask as a client of the stateless era that opens addresses."""
        given = {"name": "read_file", "arguments": {"path": "a"}} if method == "tools/call" else {}
        body, *headers = modern(method, meta=meta, **{**given, **params})
        if method == "tools/call":
            headers.append((b"mcp-param-path", b"a"))
        return await self.bench.ask(body, self.token(agent), *headers)

    def browser(self) -> Browser:
        return Browser(self)

    def carried(self) -> list[str]:
        """Return the credentials of the requests to the upstream, empty for a request without one."""
        sent = self.bench.upstream.sent
        return ["" if each.credential is None else each.credential.value.decode() for each in sent]

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.bench.entries("connection")]


@dataclass
class Browser:
    """A person's browser. It follows redirects inside the gateway, and keeps cookies."""

    place: Place
    cookies: dict[str, str] = field(default_factory=dict[str, str])

    async def get(self, path: str) -> Answer:
        return await self._send("GET", path)

    async def post(self, path: str, *headers: tuple[bytes, bytes], **fields: str) -> Answer:
        body = urlencode(fields).encode()
        return await self._send("POST", path, FORM, (b"origin", ORIGIN.encode()), *headers, body=body)

    async def log_in(self, url: str) -> Answer:
        """Open a link and log in. Returns the page after it."""
        first = await self.get(urlsplit(url).path)
        assert first.status == 303, first.body
        query = self.place.idp.authorize(self.location(first))
        back = await self.get(f"/oauth/login?{query}")
        return await self.get(self.location(back)) if back.status == 303 else back

    async def agree(self, page: Answer) -> Answer:
        """Press the button of the page, go to the server, and come back."""
        text = page.body.decode()
        (path,) = re.findall(r'action="([^"]+)"', text)
        (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', text)
        onward = await self.post(path, csrf=csrf, answer="allow")
        (url,) = re.findall(r'<a href="([^"]+)"', onward.body.decode())
        return await self.get(f"/oauth/callback/crm?{self.place.at.authorize(html.unescape(url))}")

    async def connect(self, url: str) -> Answer:
        """Go all the way."""
        return await self.agree(await self.log_in(url))

    @staticmethod
    def location(answer: Answer) -> str:
        return dict(answer.headers)[b"location"].decode()

    async def _send(self, method: str, path: str, *headers: tuple[bytes, bytes], body: bytes = b"") -> Answer:
        written = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        cookies = ((b"cookie", written.encode()),) if written else ()
        there = self.place.bench
        edge = build_edge(there.configuration, there.gateway, lambda: False)
        answer = await ask_page(there, method, path, *headers, *cookies, body=body, edge=edge)
        for name, value in answer.headers:
            if name == b"set-cookie":
                field_name, _, rest = value.decode().partition("=")
                self.cookies[field_name] = rest.partition(";")[0]
        return answer


@asynccontextmanager
async def connecting(
    folder: Path, *, more: str = "", hold: str = "20ms", grants: str | None = None
) -> AsyncGenerator[Place]:
    """Give a gateway with the broker `crm`, its server and its identity provider."""
    async with fake_server() as at, fake_server() as idp:
        text = (
            f"brokers: {{crm: {{kind: user_oauth, issuer: '{at.url}', client: {{id: gw}}}}}}\n"
            f"connections: {{hold: {hold}, login: {{issuer: '{idp.url}', client_id: gw-login}}}}\n{more}"
        )
        labels = f"{READING}\n    credential: {{kind: user_oauth, broker: crm, scopes: {{read: [crm.read]}}}}"
        identity = f"{{kind: jwt, issuer: '{idp.url}'}}"
        given = {} if grants is None else {"grants": grants}
        async with bench(folder, ConnectedUpstream(), more=text, labels=labels, identity=identity, **given) as there:
            yield Place(there, at, idp)
