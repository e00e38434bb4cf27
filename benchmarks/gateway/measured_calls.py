"""The calls that `call_path` measures: their kinds, a gateway for each, its client and its upstream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml
from joserfc import jwt
from joserfc.jwk import ECKey
from msgspec import structs

from benchmarks.credentials.corpus import prose
from gateway import config
from gateway.calls.composition import Gateway
from gateway.model.wire import UpstreamReply, UpstreamRequest
from gateway.surfaces.app import open_gateway
from gateway.upstreams.served import ServedUpstreams
from gateway.wire.http.exchange import Exchange
from gateway.wire.protocol.headers import group_headers
from gateway.wire.protocol.replies import Reply

_HEAD_OF_REQUEST: Final = (
    "POST /mcp/{upstream} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    "accept: application/json, text/event-stream\r\n{more}content-length: {size}\r\n\r\n"
)
_ISSUER: Final = "https://idp.example"
_PIECE: Final = 64 * 2**10
_GRANTS: Final = """
upstreams:
  files:
    - {id: files, agents: ["*"], issuers: ["*"], tools: ["read_*"]}
  mail:
    - {id: mail, agents: ["*"], issuers: ["*"], tools: ["read_*"], sensitivity: confidential}
"""
_READS: Final = {"effect": "read", "egress": False, "sensitivity": "internal"}
_SENDS: Final = {"effect": "write", "egress": True, "sensitivity": "internal"}
_TOOLS: Final = {
    "files": {"*": _READS, "send_file": _SENDS},
    "mail": {"*": _READS | {"sensitivity": "confidential"}},
}
_UNSPENT: Final = {"hard": 10_000_000}
"""A limit that no measurement reaches."""
INVOICE: Final = {
    "path": "/letters/invoice-2026-11.txt",
    "link": "https://billing.corp.example/invoices/4711?view=full",
    "contact": "ann.miller@corp.example",
    "amount": "1,249.50 EUR",
}
_LETTER: Final = """\
Dear Ann,

the invoice 4711 of 24 November is still open: 1,249.50 EUR for the second half of the migration, as agreed with Mr Brandt on the phone.
Please pay by 14 December, or write to ann.miller@corp.example if the amount or the address of your office in Rotterdam has changed.
The details are at https://billing.corp.example/invoices/4711?view=full, with the hours of each engineer and the two flights to Porto.

Kind regards,
Theo Vandermeer, accounts receivable
"""
"""A result with untrusted and confidential data, in the words of which the next call is written."""
SHORT_PATH: Final = "/etc/motd"
_SHORT_TEXT: Final = "hello " * 20
"""The argument and the result of the cheapest call."""
_NAMES: Final = ("read_file", "read_letter", "find_file", "send_file")
_SCHEMA: Final = {"type": "object", "properties": {name: {"type": "string"} for name in INVOICE}}
_ANSWERS: Final[dict[str, Any]] = {
    "tools/list": {"tools": [{"name": name, "inputSchema": _SCHEMA} for name in _NAMES]},
    "prompts/list": {"prompts": []},
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "x", "version": "1"},
    },
}
_DISCOVERY: Final[dict[str, Any]] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of call. `is_known`: it has a token, people, and a history. `is_lent`: its upstream gets a credential of the call."""

    name: str
    tool: str = "read_file"
    is_known: bool = True
    is_lent: bool = False
    is_allowed: bool = True


CHEAPEST: Final = Kind("cheapest", is_known=False)
OF_USERS: Final = Kind("of users")
LENT: Final = Kind("of users, lent credential", is_lent=True)
REFUSED: Final = Kind("of users, refused", tool="find_file", is_allowed=False)
REFUSED_WRITE: Final = Kind("of users, refused write", tool="send_file", is_allowed=False)
KINDS: Final = (CHEAPEST, OF_USERS, LENT, REFUSED, REFUSED_WRITE)


@dataclass(frozen=True, slots=True)
class Client:
    """A client of a gateway in this process, which sends calls of one kind."""

    gateway: Gateway
    configuration: config.Configuration
    kind: Kind
    token: str | None
    key: ECKey

    def of_agent(self, agent: str) -> Client:
        """Return a client of another agent."""
        return replace(self, token=_sign(self.key, self.configuration.base_url, agent))

    def request(self, upstream: str, tool: str, arguments: dict[str, str]) -> bytes:
        """Return a call in the bytes of HTTP."""
        body = _call(tool, arguments)
        more = "" if self.token is None else f"authorization: Bearer {self.token}\r\n"
        head = _HEAD_OF_REQUEST.format(upstream=upstream, host=self.configuration.listen, more=more, size=len(body))
        return head.encode() + body

    async def prepare(self, size: int | None = None) -> Callable[[], Awaitable[None]]:
        """Return a call, after the calls of its history. Its argument and answer have so many bytes of prose, if a size is given."""
        text = None if size is None else _prose(size)
        answer = text or (_LETTER if self.kind.is_known else _SHORT_TEXT)
        there = with_upstreams(self.gateway, {"files": _Upstream(answer), "mail": _Upstream(_LETTER)})
        send = partial(self._send, there, is_allowed=self.kind.is_allowed)
        if not self.kind.is_known:
            return partial(send, "files", _call(self.kind.tool, {"path": text or SHORT_PATH}))
        await self._send(there, "mail", _call("read_letter", {"path": "inbox"}), is_allowed=True)
        return partial(send, "files", _call(self.kind.tool, INVOICE if text is None else INVOICE | {"path": text}))

    async def prepare_result(self, size: int) -> Callable[[], Awaitable[None]]:
        """Return a call of users with a result of so many bytes of prose, after the calls of its history."""
        await self.prepare()
        there = with_upstreams(self.gateway, {"files": _Upstream(_prose(size))})
        return partial(self._send, there, "files", _call(self.kind.tool, INVOICE), is_allowed=True)

    def list_tools(self, tools: list[dict[str, Any]]) -> Callable[[], Awaitable[None]]:
        """Return a request for the list of an upstream with these tools."""
        there = with_upstreams(self.gateway, {"files": _Upstream(result={"tools": tools})})
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}).encode()
        return partial(self._send, there, "files", body, is_allowed=True)

    async def _send(self, there: Gateway, upstream: str, body: bytes, *, is_allowed: bool) -> None:
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        if self.token is not None:
            headers.append((b"authorization", f"Bearer {self.token}".encode()))

        async def read() -> bytes:
            return body

        url = f"{self.configuration.base_url}/mcp/{upstream}"
        fields = group_headers(tuple(headers))
        exchange = Exchange("POST", upstream, url, tuple(headers), fields, "127.0.0.1", body=read)
        reply = await there.pipeline.handle(exchange)
        if isinstance(reply, Reply):
            require_expected(reply.body, is_allowed=is_allowed)
            return
        require_expected(b"", is_allowed=is_allowed)
        async for _ in reply:
            pass
        await reply.close()


def with_upstreams(gateway: Gateway, upstreams: Mapping[str, Any]) -> Gateway:
    """Return a gateway with other ways to its upstreams."""
    return replace(gateway, served=ServedUpstreams(structs.replace(gateway.served.current, transports=upstreams)))


class _Upstream:
    """An upstream that answers each call with the same text, at once."""

    def __init__(self, text: str = "", result: dict[str, Any] | None = None) -> None:
        found = {"content": [{"type": "text", "text": text}]} if result is None else result
        self._answer = json.dumps({"jsonrpc": "2.0", "id": 7, "result": found}).encode()

    async def send(self, _request: UpstreamRequest) -> UpstreamReply:
        return UpstreamReply(200, ((b"content-type", b"application/json"),), self._chunks(), self._close)

    async def _chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._answer), _PIECE):
            yield self._answer[start : start + _PIECE]

    async def _close(self) -> None:
        """Close nothing."""


def require_expected(body: bytes, *, is_allowed: bool) -> None:
    """Stop the measurement of a call with another answer than it was made for."""
    if (b'"isError":true' in body or b'"error"' in body) == is_allowed:
        raise SystemExit(f"the call was answered with {body[:500].decode()}: its figures say nothing")


def size_of_body(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)


def _prose(size: int) -> str:
    random, parts, left = Random(size), list[str](), size
    while left > 0:
        parts.append(prose(random))
        left -= len(parts[-1]) + 1
    return " ".join(parts)[:size]


@asynccontextmanager
async def open_client(folder: Path, kind: Kind, grants: str = _GRANTS) -> AsyncGenerator[Client]:
    """A gateway in `folder` with an upstream on loopback, and a client of it whose task has the history of its kind."""
    key = ECKey.generate_key("P-256")
    _write_files(folder, key, grants)
    server = await asyncio.start_server(_answer_requests, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        configuration = config.parse(yaml.safe_dump(_configure(kind, url)), base=folder)
        async with open_gateway(configuration) as gateway:
            token = _sign(key, configuration.base_url) if kind.is_known else None
            yield Client(gateway, configuration, kind, token, key)


def _write_files(folder: Path, key: ECKey, grants: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grants.yaml").write_text(grants, "utf-8")
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}), "utf-8")


def _configure(kind: Kind, url: str) -> dict[str, Any]:
    """Return the configuration of a gateway for a kind of call."""
    upstreams: dict[str, dict[str, Any]] = {
        name: {"url": url, "audience": f"https://{name}.example", "environment": "test", "tools": tools}
        for name, tools in _TOOLS.items()
    }
    document: dict[str, Any] = {
        "identity": [{"kind": "jwt", "issuer": _ISSUER, "jwks": "file:jwks.json"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "approvals": {"hold": "30s"},
        "limits": {"task": {"denials": _UNSPENT}},
        "history": {"tasks": 40_000},
        "telemetry": {"level": "error"},
        "upstreams": upstreams,
        "state": "state",
    }
    if not kind.is_known:
        document["identity"] = [{"kind": "anonymous"}]
        del document["approvals"]
    if kind.is_lent:
        upstreams["files"]["credential"] = {"kind": "gateway", "scopes": {"read": ["files:read"]}}
    return document


def _sign(key: ECKey, base_url: str, agent: str = "agent") -> str:
    """Return the access token of an agent that works for a user."""
    now = int(time.time())
    claims = {"iss": _ISSUER, "sub": "ann", "aud": f"{base_url}/mcp", "iat": now, "exp": now + 3600, "jti": "t-1"}
    header = {"alg": "ES256", "typ": "at+jwt"}
    return jwt.encode(header, claims | {"act": {"sub": agent}}, key, algorithms=["ES256"])


async def _answer_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer MCP requests on one connection until it is closed."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            message = json.loads(await reader.readexactly(size_of_body(head)))
            if "id" not in message:
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                continue
            text = _SHORT_TEXT if SHORT_PATH in str(message) else _LETTER
            called = {"content": [{"type": "text", "text": text}]}
            result = called if message["method"] == "tools/call" else _ANSWERS.get(message["method"], _DISCOVERY)
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _call(tool: str, arguments: dict[str, str]) -> bytes:
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()
